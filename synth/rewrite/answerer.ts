// The end of every rewrite: rows are executed in the order in which their servers do, which is that of their answers, and
// leave in the order of their requests, with what follows from answers among them.

import { NEVER } from '../../trace/batch.ts';
import { Agenda } from '../generate/agenda.ts';
import type { Row } from './row.ts';
import type { World } from './world.ts';

/** An answer that comes later says nothing of when its request was executed; so rows are held no longer. */
const MAX_WAIT_NS = 250e6;

interface Held {
  row: Row;
  isDone: boolean;
}

export class Answerer {
  readonly #world: World;
  readonly #next: (row: Row) => void;
  readonly #executions = new Agenda<Held>();
  readonly #following = new Agenda<Row>();
  /** In the order of requests; those before `#head` have left. */
  #held: Held[] = [];
  #head = 0;

  constructor(world: World, next: (row: Row) => void) {
    this.#world = world;
    this.#next = next;
  }

  push(row: Row): void {
    // Nothing comes between those of one segment.
    if (!row.joins) this.#advance(row.ns);
    this.#hold(row);
  }

  end(): void {
    this.#advance(Infinity);
  }

  #advance(ns: number): void {
    for (;;) {
      const executionNs = this.#executions.nextNs;
      const followingNs = this.#following.nextNs;
      if (Math.min(executionNs, followingNs) >= ns || Math.min(executionNs, followingNs) === Infinity) break;
      if (followingNs <= executionNs) {
        const row = this.#following.take()!;
        if (row.line.takes(row.ns, Infinity)) this.#hold(row);
      } else this.#execute(this.#executions.take()!, executionNs);
    }
    while (this.#head < this.#held.length && this.#held[this.#head]!.isDone) {
      const { row } = this.#held[this.#head++]!;
      if (!row.isDropped) this.#next(row);
    }
    if (this.#head > 1024 && this.#head * 2 > this.#held.length) {
      this.#held = this.#held.slice(this.#head);
      this.#head = 0;
    }
  }

  #hold(row: Row): void {
    const { line } = row;
    if (row.family === 'quit' && !row.isDropped) line.hasQuit = true;
    if (row.isAdded) line.isMixed = true;
    // A connection is answered in the order of its requests.
    if (line.isMixed && row.answerNs !== NEVER && row.answerNs < line.finishNs && !row.isDropped)
      row.answerNs = line.finishNs;
    const held = { row, isDone: false };
    this.#held.push(held);
    const finishNs = row.answerNs === NEVER ? row.endNs : row.answerNs;
    if (!row.isDropped) line.finishNs = Math.max(line.finishNs, finishNs);
    const byNs = row.isDropped ? finishNs : line.finishNs;
    this.#executions.put(Math.max(row.ns, Math.min(byNs, row.ns + MAX_WAIT_NS)), held);
  }

  #execute(held: Held, ns: number): void {
    this.#world.execute(held.row);
    held.isDone = true;
    for (const row of this.#world.following.splice(0)) {
      // Answers may be held up by those before them.
      const late = Math.max(0, ns + 1 - row.ns);
      row.ns += late;
      row.endNs += late;
      row.answerNs += late;
      this.#following.put(row.ns, row);
    }
  }
}
