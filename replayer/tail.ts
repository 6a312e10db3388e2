// Tails: a request that took its time in the recording, from its first byte to its last, leaves in two writes, cut inside
// its body. What of it is left waits here, and all that its connection sends behind it waits too.

import type { Batch } from '../trace/batch.ts';
import type { Course } from './course.ts';
import { rowOf } from './handle.ts';
import { SocketState, type Session } from './session.ts';
import type { Slab } from './slab.ts';
import type { Window } from './window.ts';

export const splits = ['whole', 'recorded'] as const;
/** How requests leave: each in one piece, or in two where they came in more than one. */
export type Split = (typeof splits)[number];

/** Before a tail that is due this soon, no timer is set. */
const SPIN_NS = 2e6;
/** Turns of the event loop between the two writes, at least: so many make two segments of them. */
const TURNS = 2;

interface Tail {
  session: Session;
  bytes: Buffer;
  dueNs: number;
  turns: number;
}

export class Tails {
  readonly #course: Course;
  readonly #window: Window;
  readonly #slab: Slab;
  readonly #resume: (session: Session) => void;

  /** @param resume called once the session may go on */
  constructor(course: Course, window: Window, slab: Slab, resume: (session: Session) => void) {
    this.#course = course;
    this.#window = window;
    this.#slab = slab;
    this.#resume = resume;
  }

  /** The request, the last in the slab: keeps its second half back, where it was recorded in parts. */
  hold(session: Session, handle: number): void {
    const { batch } = this.#window.of(handle);
    const row = rowOf(handle);
    const apartNs = batch.requestEndNs[row]! - batch.requestNs[row]!;
    const length = apartNs > 0 ? tailOf(batch, row) : 0;
    if (length === 0) return;
    const { nowNs, isPaced, schedule } = this.#course;
    const bytes = this.#slab.writeBut(session, length);
    session.tail = bytes;
    session.splitHandle = handle;
    this.#wait({ session, bytes, dueNs: nowNs + (isPaced ? apartNs / schedule.speed : 0), turns: 0 });
  }

  #wait(tail: Tail): void {
    const waitNs = tail.dueNs - this.#course.look();
    if (waitNs < SPIN_NS) setImmediate(() => this.#look(tail));
    // The run goes on by its own timers, and does not end while something is under way.
    else setTimeout(() => this.#look(tail), waitNs / 1e6 - 1).unref();
  }

  #look(tail: Tail): void {
    const { session, bytes, dueNs } = tail;
    // Its connection is gone.
    if (session.tail !== bytes || session.state !== SocketState.open) return;
    if (++tail.turns < TURNS || this.#course.look() < dueNs) return this.#wait(tail);
    session.tail = undefined;
    session.tailSentNs = this.#course.nowNs;
    session.socket!.write(bytes);
    this.#resume(session);
  }
}

/** Bytes of the second half: of the value, else of the key; 0 where there is neither. */
function tailOf(batch: Batch, row: number): number {
  const length = batch.valueLength[row]! > 0 ? batch.valueLength[row]! : batch.keyLength[row]!;
  return Math.ceil(length / 2);
}
