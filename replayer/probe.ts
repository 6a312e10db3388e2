// Probes: a target that is down is asked every so often whether it is back, by a NOOP on a connection of its own, so that
// no request of the trace is lost to find out, and traffic goes on as soon as it can.

import { encodeRequest } from '../protocol/frame.ts';
import { ProtocolError } from '../protocol/error.ts';
import { Opcode } from '../protocol/opcode.ts';
import type { Outage } from '../trace/meta.ts';
import { SkipReason } from '../trace/results.ts';
import type { Course } from './course.ts';
import { Refused, dial, type Dialled } from './dial.ts';
import type { Session, TargetState } from './session.ts';
import type { Credentials } from './target.ts';

/** Between two probes, ns: with the watch's own steps, some 100 ms. */
const PROBE_NS = 80e6;
/** Probes of a target that are under way at most: one may be lost for good, as the SYN that nobody answered. */
const MAX_OPEN = 10;

interface Down {
  credentials: Credentials | undefined;
  probes: Dialled[];
  sent: number;
  sinceNs: number;
  nextNs: number;
  outage: Outage;
}

export class Probes {
  readonly #course: Course;
  readonly #down = new Map<TargetState, Down>();

  constructor(course: Course) {
    this.#course = course;
  }

  /**
   * The session's target is down: nothing is sent to it until a probe is answered.
   * @param reason with which requests are skipped until then
   */
  begin({ target, credentials, connection }: Session, reason: SkipReason = SkipReason.unreachable): void {
    if (target.down !== SkipReason.none) return;
    target.down = reason;
    const { nowNs } = this.#course;
    // The first probe goes at once: it may have been one connection only.
    const nextNs = nowNs;
    const outage = this.#course.outage(target.index);
    this.#down.set(target, { credentials, probes: [], sent: connection.id, sinceNs: nowNs, nextNs, outage });
  }

  check(): void {
    const { nowNs } = this.#course;
    for (const [target, down] of this.#down) {
      // A connection that was open all the time had an answer.
      if (target.lastAnswerNs > down.sinceNs) this.#back(target, down);
      else if (nowNs >= down.nextNs) this.#probe(target, down);
    }
  }

  closeAll(): void {
    for (const down of this.#down.values()) close(down);
    this.#down.clear();
  }

  #probe(target: TargetState, down: Down): void {
    down.nextNs = this.#course.nowNs + PROBE_NS;
    if (down.probes.length === MAX_OPEN) end(down.probes.shift()!);
    const back = (): void => this.#back(target, down);
    const probe = dial(target, down.sent++, down.credentials, {
      ready: () => probe.socket.write(encodeRequest({ opcode: Opcode.noop })),
      response: back,
      readEnd: () => undefined,
      drained: () => undefined,
      gone: (error) => {
        down.probes = down.probes.filter((one) => one !== probe);
        // Whoever refuses a user, or answers something else, is there. What broke connections has to answer.
        const isThere = error instanceof ProtocolError && target.down === SkipReason.unreachable;
        if (error instanceof Refused || isThere) back();
      },
    });
    down.probes.push(probe);
  }

  #back(target: TargetState, down: Down): void {
    if (this.#down.get(target) !== down) return;
    this.#down.delete(target);
    target.down = SkipReason.none;
    down.outage.toNs = this.#course.nowNs - this.#course.startNs;
    close(down);
  }
}

function close({ probes }: Down): void {
  for (const probe of probes.splice(0)) end(probe);
}

function end({ socket, forget }: Dialled): void {
  forget();
  socket.on('error', () => undefined);
  socket.destroy();
}
