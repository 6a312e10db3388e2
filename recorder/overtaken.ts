// Requests of one connection that an answer to a later one has passed over: a server that answers out of order may still
// answer them. The last few are remembered; what is forgotten is a gap, or stays as silent as it seemed.

import { isQuiet, loudOf } from '../protocol/opcode.ts';
import { NEVER, Outcome } from '../trace/batch.ts';
import type { Window } from './window.ts';

const MAX_REMEMBERED = 64;
const NONE = -1;

export class Overtaken {
  readonly #row = new Float64Array(MAX_REMEMBERED).fill(NONE);
  readonly #opcode = new Uint8Array(MAX_REMEMBERED);
  readonly #opaque = new Uint32Array(MAX_REMEMBERED);
  #next = 0;

  push(row: number, opcode: number, opaque: number, window: Window): void {
    const at = this.#next;
    this.#next = (at + 1) % MAX_REMEMBERED;
    this.#close(at, window);
    this.#row[at] = row;
    this.#opcode[at] = opcode;
    this.#opaque[at] = opaque;
  }

  /** The row that an answer with this opcode and opaque is to; -1 where there is none, or more than one with this opaque. */
  take(opcode: number, opaque: number): number {
    let found = NONE;
    for (let at = 0; at < MAX_REMEMBERED; at++) {
      if (this.#row[at] === NONE || this.#opaque[at] !== opaque) continue;
      if (found !== NONE) return NONE;
      found = at;
    }
    if (found === NONE) return NONE;
    if (this.#opcode[found] !== opcode && loudOf(this.#opcode[found]!) !== opcode) return NONE;
    const row = this.#row[found]!;
    this.#row[found] = NONE;
    return row;
  }

  /** Their answers are not coming any more. */
  giveUp(window: Window): void {
    for (let at = 0; at < MAX_REMEMBERED; at++) this.#close(at, window);
  }

  #close(at: number, window: Window): void {
    const row = this.#row[at]!;
    this.#row[at] = NONE;
    if (row !== NONE && isQuiet[this.#opcode[at]!] === 0) window.complete(row, Outcome.gap, NEVER);
  }
}
