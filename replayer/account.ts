// The account of a target: what its STAT says that bears on a replay (who it is, what it lost, how often it was asked).
// Only what answers as memcached does has one. It is asked before a replay and after it; what lies between is the
// replay's, unless others used the target meanwhile.

import { encodeRequest } from '../protocol/frame.ts';
import {
  HEADER_BYTES,
  bodyLengthAt,
  extrasLengthAt,
  keyLengthAt,
  opcodeAt,
  statusAt,
} from '../protocol/header.ts';
import { Opcode } from '../protocol/opcode.ts';
import { Status } from '../protocol/status.ts';
import type { Account } from '../trace/meta.ts';
import { Deadline } from './deadline.ts';
import { dial } from './dial.ts';
import type { Credentials, Target } from './target.ts';

export type Figures = Account['before'];

const kept: ReadonlySet<string> = new Set([
  'pid',
  'uptime',
  'time',
  'version',
  'evictions',
  'expired_unfetched',
  'evicted_unfetched',
  'reclaimed',
  'crawler_reclaimed',
  'slab_reassign_evictions_nomem',
  'slab_reassign_busy_deletes',
  'slab_reassign_inline_reclaim',
  'direct_reclaims',
  'lrutail_reflocked',
  'cmd_get',
  'cmd_set',
  'cmd_flush',
  'cmd_touch',
  'get_hits',
  'get_misses',
  'get_flushed',
  'get_expired',
  'delete_hits',
  'delete_misses',
  'incr_hits',
  'incr_misses',
  'decr_hits',
  'decr_misses',
  'cas_hits',
  'cas_misses',
  'cas_badval',
  'touch_hits',
  'touch_misses',
  'limit_maxbytes',
  'bytes',
  'curr_items',
  'total_items',
  'total_connections',
]);
const EXTSTORE = 'extstore_';
/** memcached has some forty of those; whatever a target answers, no more than this is held. */
const MAX_FIGURES = 500;
const MAX_FIGURE_BYTES = 200;
/** How long a target may take for its account, ms, at most. */
const DEADLINE_MS = 1000;

export const accountRequest = encodeRequest({ opcode: Opcode.stat });

/** The frames of one answer to STAT, as they come. */
export class Statement {
  readonly #figures: Figures = {};
  #count = 0;
  #isWhole = false;

  /** A frame of the answer: data[at, end). */
  take(data: Buffer, at: number, end: number): void {
    if (statusAt(data, at) !== Status.ok) return;
    if (bodyLengthAt(data, at) === 0) {
      this.#isWhole = true;
      return;
    }
    const from = at + HEADER_BYTES + extrasLengthAt(data, at);
    const value = from + keyLengthAt(data, at);
    if (end - from > MAX_FIGURE_BYTES || this.#count === MAX_FIGURES) return;
    const name = data.toString('latin1', from, value);
    if (!kept.has(name) && !name.startsWith(EXTSTORE)) return;
    this.#count++;
    this.#figures[name] = data.toString('latin1', value, end);
  }

  /** Undefined: this is not the whole answer of a memcached. */
  get figures(): Figures | undefined {
    const isMemcached = this.#figures['pid'] !== undefined && this.#figures['evictions'] !== undefined;
    return this.#isWhole && isMemcached ? this.#figures : undefined;
  }

  get isWhole(): boolean {
    return this.#isWhole;
  }
}

export function accountDeadlineMs(timeoutMs: number): number {
  return Math.min(timeoutMs, DEADLINE_MS);
}

/** Asks on a connection of its own; null where no account comes in time. */
export async function askAccount(
  target: Target,
  credentials: Credentials | undefined,
  timeoutMs: number,
): Promise<Figures | null> {
  return new Promise((resolve) => {
    const statement = new Statement();
    const done = (): void => {
      deadline.clear();
      forget();
      socket.on('error', () => undefined);
      socket.destroy();
      resolve(statement.figures ?? null);
    };
    const { socket, forget } = dial(target, 0, credentials, {
      ready: () => socket.write(accountRequest),
      response: (data, at, end) => {
        const isPart = opcodeAt(data, at) === Opcode.stat && statusAt(data, at) === Status.ok;
        if (isPart) statement.take(data, at, end);
        if (!isPart || statement.isWhole) done();
      },
      readEnd: () => undefined,
      drained: () => undefined,
      gone: done,
    });
    const deadline = new Deadline(accountDeadlineMs(timeoutMs), done);
  });
}
