// @ts-check

/** Swagger UI is dark where this class is set. Its own switch comes with a bar that loads other documents. */
const dark = matchMedia('(prefers-color-scheme: dark)');
const showMode = () => document.documentElement.classList.toggle('dark-mode', dark.matches);
dark.addEventListener('change', showMode);
showMode();

/** @type {(options: object) => { specSelectors: { info(): Map<string, string> } }} */
const SwaggerUIBundle = Reflect.get(globalThis, 'SwaggerUIBundle');
const ui = SwaggerUIBundle({
  url: '/docs/openapi.json',
  dom_id: '#swagger-ui',
  deepLinking: true,
  onComplete: () => (document.title = `${ui.specSelectors.info().get('title')} · API reference`),
});
