// Stages that change what requests say, or when they are sent; nothing is added and nothing dropped.

import { DO_NOT_CREATE, expiryOffset } from '../../protocol/expiry.ts';
import { putUint32, uint32 } from '../../protocol/header.ts';
import { isOnItem } from '../../protocol/opcode.ts';
import { isStore } from '../../protocol/semantics.ts';
import { NEVER, RowFlag } from '../../trace/batch.ts';
import { renamedKey } from '../../trace/rename.ts';
import { unitOf } from '../laws/hash.ts';
import type { KeyFact } from './facts.ts';
import type { Line } from './line.ts';
import type { Row } from './row.ts';
import { Stage, type Context } from './stage.ts';

/** Larger values than the trace has stay below memcached's limit of 1 MiB, header and key included. */
const MAX_VALUE_BYTES = 1024 * 1024 - 512;

/** What is stored in a stretch of time is gone at its end. */
export class ExpiryStage extends Stage {
  readonly #fromNs: number;
  readonly #untilNs: number;

  /** Times in ms. */
  constructor(context: Context, { from, until }: { from: number; until: number }) {
    super(context);
    this.#fromNs = from * 1e6;
    this.#untilNs = until * 1e6;
  }

  protected override take(row: Row): void {
    const at = expiryOffset[row.opcode]!;
    const isInTime = row.ns >= this.#fromNs && row.ns < this.#untilNs;
    if (isInTime && at >= 0 && at + 4 <= row.extras.length && uint32(row.extras, at) !== DO_NOT_CREATE) {
      row.change();
      row.extras = Buffer.from(row.extras);
      putUint32(row.extras, at, Math.max(1, Math.round((this.#untilNs - row.ns) / 1e9)));
    }
    this.next(row);
  }
}

/** Values that are stored from some time on are of another size. */
export class SizeStage extends Stage {
  readonly #fromNs: number;
  readonly #factor: number;

  /** @param at ms */
  constructor(context: Context, { at, factor }: { at: number; factor: number }) {
    super(context);
    this.#fromNs = at * 1e6;
    this.#factor = factor;
  }

  protected override take(row: Row): void {
    const isSecret = (row.flags & RowFlag.secret) !== 0;
    if (row.ns >= this.#fromNs && isStore(row.family) && row.value.length > 0 && !isSecret) {
      row.change();
      row.value = this.context.payloads.scaled(row.value, this.#factor, MAX_VALUE_BYTES);
    }
    this.next(row);
  }
}

/** Requests are for other keys. */
abstract class KeyStage extends Stage {
  /** Undefined: as it is. */
  protected abstract keyFor(row: Row): Buffer | undefined;

  protected override take(row: Row): void {
    if (row.key.length > 0 && isOnItem[row.opcode] === 1) {
      const key = this.keyFor(row);
      if (key !== undefined) row.rename(key);
    }
    this.next(row);
  }
}

/** A growing share of the clients asks for keys of a new version. */
export class VersionStage extends KeyStage {
  readonly #waves: readonly { ns: number; share: number }[];
  readonly #seed: number;
  readonly #byHost: boolean;
  readonly #places = new Map<Line, number>();
  readonly #renamed = new Map<string, Buffer>();

  /** @param waves `at` in ms, in their order, and the share of the clients from then on */
  constructor(context: Context, waves: readonly { at: number; share: number }[]) {
    super(context);
    this.#waves = waves.map(({ at, share }) => ({ ns: at * 1e6, share }));
    this.#seed = context.ownSeed();
    // A process deploys as a whole; where all are on one host, connections stand for them.
    this.#byHost = new Set(context.lines.recorded.map(({ host }) => host)).size >= waves.length;
  }

  protected override keyFor({ line, ns, key }: Row): Buffer | undefined {
    let place = this.#places.get(line);
    if (place === undefined) {
      place = unitOf(this.#seed, this.#byHost ? line.host : line.client);
      this.#places.set(line, place);
    }
    const own = place;
    return this.#waves.some((wave) => ns >= wave.ns && own < wave.share) ? this.#versioned(key) : undefined;
  }

  #versioned(key: Buffer): Buffer {
    const name = key.toString('latin1');
    let renamed = this.#renamed.get(name);
    if (renamed === undefined) {
      if (this.#renamed.size >= 65_536) this.#renamed.clear();
      this.#renamed.set(name, (renamed = renamedKey(key, 'v2')));
    }
    return renamed;
  }
}

/** Who asked for the key of one rank asks for that of another; ranks are those among keys of one sort, of one place. */
export class RankStage extends KeyStage {
  readonly #steps: readonly { ns: number; by: number | undefined }[];
  readonly #ranks = new Map<string, { group: readonly KeyFact[]; rank: number }>();

  /** @param steps `at` in ms; `by` undefined: half of the keys, in all */
  constructor(context: Context, steps: readonly { at: number; by: number | undefined }[]) {
    super(context);
    this.#steps = steps.map(({ at, by }) => ({ ns: at * 1e6, by }));
    const groups = new Map<string, KeyFact[]>();
    for (const key of context.facts.ranked) {
      const id = `${key.place} ${key.sort}`;
      const group = groups.get(id) ?? [];
      groups.set(id, group);
      this.#ranks.set(`${key.place} ${key.name}`, { group, rank: group.length });
      group.push(key);
    }
  }

  protected override keyFor({ line, ns, key }: Row): Buffer | undefined {
    if (this.#steps.length === 0 || ns < this.#steps[0]!.ns) return undefined;
    const known = this.#ranks.get(`${line.place} ${key.toString('latin1')}`);
    if (known === undefined) return undefined;
    const { length } = known.group;
    let { rank } = known;
    for (const step of this.#steps)
      if (ns >= step.ns) rank += step.by ?? Math.max(1, Math.floor(length / (2 * this.#steps.length)));
    return Buffer.from(known.group[((rank % length) + length) % length]!.name, 'latin1');
  }
}

/** Times by another clock, on which all stay in their order. */
export class ClockStage extends Stage {
  protected override readonly takesDropped = true;
  readonly #retime: (ns: number) => number;
  readonly #seen = new Set<Line>();

  constructor(context: Context, retime: (ns: number) => number) {
    super(context);
    this.#retime = retime;
  }

  protected override take(row: Row): void {
    if (!this.#seen.has(row.line)) {
      this.#seen.add(row.line);
      row.line.retime(this.#retime);
    }
    row.ns = this.#retime(row.ns);
    row.endNs = this.#retime(row.endNs);
    if (row.answerNs !== NEVER) row.answerNs = this.#retime(row.answerNs);
    this.next(row);
  }
}

/**
 * The clock on which a steady rate becomes that of a day: from the quietest to the busiest time `amplitude` times as much,
 * with the mean as it was.
 * @param periodNs of a day
 */
export function dayClock(amplitude: number, periodNs: number): (ns: number) => number {
  const swing = (amplitude - 1) / (amplitude + 1);
  const turn = (2 * Math.PI) / periodNs;
  // So much is done by a time of the day, on the even clock.
  const done = (ns: number): number => ns - (swing / turn) * Math.sin(turn * ns);
  return (ns) => {
    let low = Math.max(0, ns - swing / turn);
    let high = ns + swing / turn + 1;
    for (let n = 0; n < 64 && high - low > 0.25; n++) {
      const middle = (low + high) / 2;
      if (done(middle) < ns) low = middle;
      else high = middle;
    }
    return Math.round((low + high) / 2);
  };
}
