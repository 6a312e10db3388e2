// The course of a run: its time, how far it is, whether it was stopped, and what is noted on the way.

import { emptyEnd, type IncidentKind, type Outage, type ResultsEnd } from '../trace/meta.ts';
import { ZERO_NS, type Clock } from './clock.ts';
import type { Page } from './page.ts';
import type { Schedule } from './schedule.ts';
import type { Session } from './session.ts';

const MAX_NOTES = 100;
const MAX_INCIDENTS = 10_000;

/** How far a run is; read at any time. */
export interface EngineProgress {
  /** Rows complete. */
  done: number;
  sent: number;
  answered: number;
  /** Rows whose answer is not byte for byte the recorded one. */
  differ: number;
  /** Rows without an answer, or with none that is valid. */
  failed: number;
  /** The time of the schedule, ns. */
  positionNs: number;
  /** The latest by our own fault, ns, since whoever reads this last set it to 0. */
  lagNs: number;
}

export const nothingDone: EngineProgress = {
  done: 0,
  sent: 0,
  answered: 0,
  differ: 0,
  failed: 0,
  positionNs: ZERO_NS,
  lagNs: ZERO_NS,
};

export class Course {
  readonly progress: EngineProgress = { ...nothingDone };
  readonly end: ResultsEnd = emptyEnd();
  readonly schedule: Schedule;
  /** Requests have a time. */
  readonly isPaced: boolean;
  /** By the clock, ns; and Unix time, s. */
  startNs = ZERO_NS;
  startSeconds = ZERO_NS;
  /** What the clock said when it was last looked at: once for all that one event does. */
  nowNs = ZERO_NS;
  /** When the event loop should be with us again: what is later is our own fault. */
  expectedTickNs = ZERO_NS;
  isAborted = false;
  failure: Error | undefined;
  readonly #clock: Clock;

  constructor(schedule: Schedule, clock: Clock) {
    this.schedule = schedule;
    this.isPaced = !schedule.isMax;
    this.#clock = clock;
  }

  /** Stopped, by whoever runs it or by a failure: nothing more is sent. */
  get isOver(): boolean {
    return this.isAborted || this.failure !== undefined;
  }

  /** Looks at the clock. */
  look(): number {
    return (this.nowNs = this.#clock.nowNs());
  }

  /** When the row is due, ns after the start. */
  dueNs({ batch }: Page, row: number): number {
    return this.schedule.dueNs(batch.firstIndex + row, batch.requestNs[row]!);
  }

  /** A target is down from now on, until whoever gets this says that it is back. */
  outage(target: number): Outage {
    const outage: Outage = { target, fromNs: this.nowNs - this.startNs, toNs: null };
    const outages = (this.end.outages ??= []);
    if (outages.length < MAX_INCIDENTS) outages.push(outage);
    return outage;
  }

  incident(kind: IncidentKind, session: Session, note: string): void {
    this.end.incidentCount++;
    if (this.end.incidents.length < MAX_INCIDENTS)
      this.end.incidents.push({
        kind,
        connection: session.connection.id,
        target: session.target.index,
        atNs: this.nowNs - this.startNs,
        note,
      });
  }

  /** A response that nobody asked for. */
  orphan(session: Session, opcode: number, opaque: number): void {
    this.end.orphanCount++;
    if (this.end.orphans.length < MAX_NOTES)
      this.end.orphans.push({
        connection: session.connection.id,
        target: session.target.index,
        atNs: this.nowNs - this.startNs,
        // Answered twice: the second is about the same request.
        ...(opaque === session.lastAnswered.opaque ? { index: session.lastAnswered.index } : {}),
        note: `opcode 0x${opcode.toString(16)}, opaque 0x${opaque.toString(16)}`,
      });
  }
}
