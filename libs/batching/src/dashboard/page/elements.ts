/** The element that the page has for this selector. */
export function find<E extends Element>(parent: ParentNode, selector: string, type: abstract new () => E): E {
  const element = parent.querySelector(selector);
  if (!(element instanceof type)) throw new Error(`the page has no ${selector}`);
  return element;
}

export function create<K extends keyof HTMLElementTagNameMap>(
  name: K,
  text = '',
  className = '',
): HTMLElementTagNameMap[K] {
  const element = document.createElement(name);
  if (text) element.textContent = text;
  if (className) element.className = className;
  return element;
}

/** Writes only what changes, so that a selection stays and no layout is done for nothing. */
export function write(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows a message in its place; none hides it. */
export function show(place: HTMLElement, message: string): void {
  write(place, message);
  place.hidden = message === '';
}
