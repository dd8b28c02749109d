// @ts-check

/** @type {(options: object) => void} */
const SwaggerUIBundle = Reflect.get(globalThis, 'SwaggerUIBundle');
SwaggerUIBundle({ url: '/docs/openapi.json', dom_id: '#swagger-ui', deepLinking: true });
