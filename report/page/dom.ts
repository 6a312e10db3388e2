// Elements of the page, made from text only: nothing is ever parsed as HTML.

import { visible } from '../format.ts';
import type { Sentence } from '../words.ts';

export type Child = Node | string | undefined;

/** Attributes; `class`, `aria-…` and the like as HTML has them. undefined: absent. */
export type Attributes = Record<string, string | number | boolean | undefined>;

export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: (Child | Child[])[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes))
    if (value !== undefined && value !== false)
      element.setAttribute(name, value === true ? '' : String(value));
  for (const child of children.flat()) if (child !== undefined) element.append(child);
  return element;
}

/** What comes from traffic: in type of its own, with codes for what has no shape. */
export function quoted(text: string): HTMLElement {
  const parts = visible(text).split(/(\\(?:x[\da-f]{2}|u[\da-f]{4}))/);
  return el(
    'code',
    {},
    parts.map((part, n) => (n % 2 === 1 ? el('span', { class: 'code' }, part) : part)),
  );
}

export function spoken(sentence: Sentence): Child[] {
  return sentence.map((part) => (typeof part === 'string' ? part : quoted(part.quoted)));
}

/** A section, named by its heading. */
export function section(
  level: number,
  id: string,
  title: string,
  ...children: (Child | Child[])[]
): HTMLElement {
  const heading = el(`h${level}` as 'h2', { id }, title);
  return el('section', { 'aria-labelledby': id }, heading, ...children);
}

export interface Column {
  name: string;
  /** Numbers stand to the right. */
  number?: boolean;
}

/**
 * A table whose first column names the rows.
 * @param caption for those who do not see what stands around it
 */
export function table(caption: string, columns: readonly Column[], rows: readonly Child[][]): HTMLElement {
  const kind = (n: number): string | undefined => (columns[n]?.number === true ? 'number' : undefined);
  const body = rows.map((cells) =>
    el(
      'tr',
      {},
      cells.map((cell, n) =>
        n === 0 ? el('th', { scope: 'row', class: kind(n) }, cell) : el('td', { class: kind(n) }, cell),
      ),
    ),
  );
  const head = columns.map(({ name }, n) => el('th', { scope: 'col', class: kind(n) }, name));
  return scrolling(
    caption,
    el(
      'table',
      {},
      el('caption', { class: 'unseen' }, caption),
      el('thead', {}, el('tr', {}, head)),
      el('tbody', {}, body),
    ),
  );
}

/** What may be wider than the page scrolls by itself, by keyboard too. */
export function scrolling(label: string, content: HTMLElement): HTMLElement {
  return el('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': label }, content);
}

/** What makes the content of those that were not opened yet. */
const makers = new WeakMap<HTMLDetailsElement, () => void>();

/** Content made when it is first opened. */
export function lazy(
  summary: Child[],
  make: () => Child | Child[],
  attributes: Attributes = {},
): HTMLDetailsElement {
  const details = el('details', attributes, el('summary', {}, summary));
  let isMade = false;
  const fill = (): void => {
    if (isMade || !details.open) return;
    isMade = true;
    details.append(...[make()].flat().filter((child) => child !== undefined));
  };
  makers.set(details, fill);
  details.addEventListener('toggle', fill);
  fill();
  return details;
}

/** Opens it, and has its content at once. */
export function unfold(details: HTMLDetailsElement): void {
  details.open = true;
  makers.get(details)?.();
}

/** A bar as long as its share, 0 to 1, of the whole. */
export function bar(share: number, tone: string): HTMLElement {
  const inner = el('span', { class: `fill ${tone}` });
  inner.style.width = `${Math.min(100, Math.max(0, share * 100)).toFixed(2)}%`;
  return el('span', { class: 'bar', 'aria-hidden': 'true' }, inner);
}
