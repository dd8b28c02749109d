import type { ServiceFrame, TransportFrame } from '../frame.js';
import { create, find, write } from './elements.js';
import { integer } from './words.js';

/** The part of the page that shows other nodes: who serves what, what each has, and what waits in the broker. */
export class NodeTable {
  readonly #section = find(document, '#nodes', HTMLElement);
  readonly #rows = find(this.#section, 'tbody', HTMLElement);
  /** What is shown, so that a selection stays where nothing has changed. */
  #shown = '';

  set isStale(value: boolean) {
    this.#section.classList.toggle('stale', value);
  }

  update(transport: TransportFrame | null): void {
    this.#section.hidden = transport === null;
    const now = JSON.stringify(transport);
    if (!transport || now === this.#shown) return;
    this.#shown = now;
    write(find(this.#section, '.settings', HTMLElement), describeTransport(transport));
    this.#rows.replaceChildren(...transport.services.flatMap(rowsOf));
  }
}

export function describeTransport({ name, isConnected, isDraining }: TransportFrame): string {
  const connection = isConnected ? 'connected' : 'the broker cannot be reached';
  return [`over ${name}`, connection, ...(isDraining ? ['takes no more inputs of other nodes'] : [])].join(
    ', ',
  );
}

function rowsOf({ service, waiting, calls, nodes }: ServiceFrame): HTMLElement[] {
  const head = create('th', service);
  head.scope = 'rowgroup';
  const shared = [head, create('td', integer(waiting)), create('td', integer(calls))];
  for (const cell of shared) cell.rowSpan = Math.max(1, nodes.length);
  if (nodes.length === 0) {
    const none = create('td', 'no node serves it', 'none');
    none.colSpan = 4;
    const row = create('tr');
    row.append(...shared, none);
    return [row];
  }
  return nodes.map(({ node, isOwn, inProgress, prefetch, redelivered }, index) => {
    const row = create('tr');
    const texts = [
      isOwn ? `${node} (this process)` : node,
      integer(inProgress),
      integer(prefetch),
      integer(redelivered),
    ];
    row.append(...(index === 0 ? shared : []), ...texts.map((text) => create('td', text)));
    return row;
  });
}
