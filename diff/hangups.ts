// What each connection was answered last before the server hung up: what is under way then, if anything is, is nobody's
// fault, but what came before may have been the reason.

import { NEVER } from '../trace/batch.ts';
import type { Incident } from '../trace/meta.ts';
import type { Attribution, Observed } from './attribution.ts';

/** What a replayed connection is told by, which has one socket to each target. */
export function sessionOf(connection: number, target: number): string {
  return `${connection} ${target}`;
}

interface Session {
  /** Times of its hang-ups, ns, and how many of them are past. */
  readonly times: number[];
  past: number;
  last: Observed | undefined;
}

export class HangUps {
  readonly #sessions = new Map<string, Session>();
  readonly #cutOff: ReadonlyMap<string, number>;
  readonly #attribution: Attribution;

  /** @param cutOff how many requests hang-ups cut off, by session */
  constructor(incidents: readonly Incident[], cutOff: ReadonlyMap<string, number>, attribution: Attribution) {
    this.#cutOff = cutOff;
    this.#attribution = attribution;
    // Results of earlier versions do not say the kind.
    for (const { kind = 'lost', connection, target, atNs } of incidents) {
      if (kind !== 'lost') continue;
      const name = sessionOf(connection, target);
      const known = this.#sessions.get(name);
      if (known === undefined) this.#sessions.set(name, { times: [atNs], past: 0, last: undefined });
      else known.times.push(atNs);
    }
    for (const { times } of this.#sessions.values()) times.sort((a, b) => a - b);
  }

  /** What one that was cut off counts as: each hang-up is one event, however many it fails. */
  weightOf(connection: number, target: number): number {
    const session = sessionOf(connection, target);
    const cutOff = this.#cutOff.get(session) ?? 1;
    return Math.min(1, (this.#sessions.get(session)?.times.length ?? cutOff) / cutOff);
  }

  /** The exchanges of each connection, in the order of the trace. */
  see(seen: Observed, target: number, sentNs: number, answeredNs: number): void {
    if (this.#sessions.size === 0) return;
    const session = this.#sessions.get(sessionOf(seen.connection, target));
    if (session === undefined) {
      this.#attribution.add({ ...seen, failed: false });
      return;
    }
    const { times, last } = session;
    const before = session.past;
    // One without an answer was cut off by the first hang-up after its sending.
    const untilNs = answeredNs === NEVER ? sentNs : answeredNs;
    while (session.past < times.length && times[session.past]! < untilNs) session.past++;
    if (answeredNs === NEVER && session.past < times.length) session.past++;
    if (last !== undefined) this.#attribution.add({ ...last, failed: session.past > before });
    session.last = answeredNs === NEVER ? undefined : seen;
  }

  end(): void {
    for (const { times, past, last } of this.#sessions.values())
      if (last !== undefined) this.#attribution.add({ ...last, failed: past < times.length });
  }
}
