// Keys that are followed by their CAS ids, for as long as stores and reads of them overtake each other.

import { uint32 } from '../protocol/header.ts';
import { grown, type Batch } from '../trace/batch.ts';
import type { ResultBatch } from '../trace/results.ts';
import { Found } from './found.ts';
import type { ReplayClock } from './gather.ts';
import { Following, Known, NONE, NOT_NUMERIC, lifetimeIn, numberOf, type Held } from './held.ts';
import { Overlap, type Version } from './overlap.ts';
import { RecentVersions } from './recent.ts';
import type { Sketches } from './sketch.ts';

/** Rows that a replayer has under way at most: so much later in the trace may one stand that left before another. */
const NEAR_ROWS = 1 << 17;

export class Overtaking {
  readonly #held: Held;
  readonly #sketches: Sketches;
  readonly #clock: ReplayClock;
  readonly #recent = new RecentVersions();
  readonly #found = new Found();
  /** By key; and keys in the order in which they were opened, or looked at again. */
  readonly #overlaps: (Overlap | undefined)[] = [];
  // By key, while it is followed by its ids: index of the last exchange that was seen; and of the version with the greatest
  // id the latest beginning and the earliest end of the reads that saw it. What that version is stands in Held. Most reads
  // see it, and touch nothing else.
  #lastIndex = new Float64Array(4096);
  #readFromNs = new Float64Array(4096);
  #readToNs = new Float64Array(4096);
  readonly #open = new Set<number>();
  /** What a plain request brings or finds; reused. */
  readonly #version: Version = {
    cas: 0,
    fromNs: 0,
    toNs: 0,
    readFromNs: -Infinity,
    readToNs: Infinity,
    high: 0,
    low: 0,
    length: 0,
    flags: 0,
    number: NOT_NUMERIC,
    expiry: { mayLiveNs: Infinity, mustDieNs: Infinity },
    isMade: true,
    index: 0,
  };

  constructor(held: Held, sketches: Sketches, clock: ReplayClock) {
    this.#held = held;
    this.#sketches = sketches;
    this.#clock = clock;
  }

  /** The version that is there may change places with what overtook it. @param before place of the one before it */
  remember(key: number, before: number, fromNs: number, toNs: number): void {
    const held = this.#held;
    const version = this.#version;
    version.cas = held.cas[key]!;
    version.fromNs = fromNs;
    version.toNs = toNs;
    version.high = held.high[key]!;
    version.low = held.low[key]!;
    version.length = held.length[key]!;
    version.flags = held.flags[key]!;
    version.number = held.number[key]!;
    const { expiry } = version;
    const [mayNs, mustNs] = [held.mayNs[key]!, held.mustNs[key]!];
    expiry.mayLiveNs = mayNs === Infinity ? Infinity : mayNs - fromNs;
    expiry.mustDieNs = mustNs === Infinity ? Infinity : mustNs - toNs;
    held.last[key] = this.#recent.add(before, held.changedNs[key]!, version);
  }

  /** The ids say that it was executed elsewhere than the trace has it. */
  overtakes(key: number, isStore: boolean, cas: number): boolean {
    if (this.#held.known[key] !== Known.present) return false;
    const current = this.#held.cas[key]!;
    return isStore || current === 0 ? cas <= this.#held.greatest[key]! : cas !== current;
  }

  /** From here on the key is followed by its ids. */
  open(key: number, index: number): boolean {
    this.#sweep(index);
    const recent = this.#recent.upTo(this.#held.last[key]!);
    if (recent === undefined) return false;
    const overlap = new Overlap(recent.versions, recent.firstNs, index);
    this.#reserve(key + 1);
    // Without holes, or looking a key up would cost many times as much.
    while (this.#overlaps.length < key) this.#overlaps.push(undefined);
    this.#overlaps[key] = overlap;
    this.#lastIndex[key] = index;
    this.#show(key, overlap);
    this.#open.add(key);
    this.#held.following[key] = Following.byIds;
    return true;
  }

  #reserve(keys: number): void {
    if (keys <= this.#lastIndex.length) return;
    const slots = 2 * keys;
    this.#lastIndex = grown(this.#lastIndex, new Float64Array(slots));
    this.#readFromNs = grown(this.#readFromNs, new Float64Array(slots));
    this.#readToNs = grown(this.#readToNs, new Float64Array(slots));
  }

  /** Puts the version with the greatest id where reads look for it. */
  #show(key: number, { latest }: Overlap): void {
    const held = this.#held;
    held.cas[key] = latest.cas;
    held.high[key] = latest.high;
    held.low[key] = latest.low;
    held.length[key] = latest.length;
    held.flags[key] = latest.flags;
    this.#readFromNs[key] = latest.readFromNs;
    this.#readToNs[key] = latest.readToNs;
  }

  /** Tells that version of the reads that saw it. */
  #hide(key: number, { latest }: Overlap): void {
    latest.readFromNs = this.#readFromNs[key]!;
    latest.readToNs = this.#readToNs[key]!;
  }

  /** Forgets what was seen of a key that is followed no more. */
  drop(key: number): void {
    this.#overlaps[key] = undefined;
    this.#open.delete(key);
  }

  /** A read found the version that is there, and its id. */
  saw(key: number, cas: number, fromNs: number, toNs: number): void {
    this.#recent.saw(this.#held.last[key]!, cas, fromNs, toNs);
  }

  /** Closes keys of which nothing was seen for long, of the two that were opened first. */
  #sweep(index: number): void {
    let left = 2;
    for (const key of this.#open) {
      if (left-- === 0) return;
      if (index - this.#lastIndex[key]! > NEAR_ROWS) {
        if (!this.close(key)) this.#held.following[key] = Following.odd;
      } else {
        this.#open.delete(key);
        this.#open.add(key);
      }
    }
  }

  /**
   * What the row stores, or read, of a key that is followed by its ids.
   * @returns false where no order has room for it; undefined where it left after all that was seen of the key
   */
  follow(
    key: number,
    isStore: boolean,
    batch: Batch,
    row: number,
    results: ResultBatch,
    resultRow: number,
    cas: number,
  ): boolean | undefined {
    const index = batch.firstIndex + row;
    if (index - this.#lastIndex[key]! > NEAR_ROWS) return undefined;
    this.#lastIndex[key] = index;
    const fromNs = results.sentNs[resultRow]!;
    const toNs = results.answeredNs[resultRow]!;
    return isStore
      ? this.#stored(key, batch, row, fromNs, toNs, cas)
      : this.#read(key, batch, row, results, resultRow, fromNs, toNs, cas);
  }

  #stored(key: number, batch: Batch, row: number, fromNs: number, toNs: number, cas: number): boolean {
    const overlap = this.#overlaps[key]!;
    const index = batch.firstIndex + row;
    const version = this.#version;
    const { heap } = batch;
    const extras = batch.extrasAt[row]!;
    this.#sketch(heap, batch.valueAt[row]!, batch.valueLength[row]!, uint32(heap, extras));
    version.number = numberOf(heap, batch.valueAt[row]!, batch.valueLength[row]!);
    const lifetime = lifetimeIn(this.#clock, uint32(heap, extras + 4), batch, row);
    this.#hide(key, overlap);
    const fits =
      overlap.store(cas, fromNs, toNs, version, lifetime, index) && overlap.forget(index - NEAR_ROWS);
    this.#show(key, overlap);
    return fits;
  }

  #read(
    key: number,
    batch: Batch,
    row: number,
    results: ResultBatch,
    resultRow: number,
    fromNs: number,
    toNs: number,
    cas: number,
  ): boolean {
    const found = this.#found;
    if (!found.of(batch, row, results, resultRow)) return false;
    this.#sketch(found.heap, found.at, found.length, found.flags);
    const version = this.#version;
    const held = this.#held;
    if (cas === held.cas[key]) {
      if (fromNs > this.#readFromNs[key]!) this.#readFromNs[key] = fromNs;
      if (toNs < this.#readToNs[key]!) this.#readToNs[key] = toNs;
      return (
        version.high === held.high[key] &&
        version.low === held.low[key] &&
        version.length === held.length[key] &&
        version.flags === held.flags[key]
      );
    }
    const overlap = this.#overlaps[key]!;
    this.#hide(key, overlap);
    const fits = overlap.read(cas, fromNs, toNs, version, batch.firstIndex + row);
    this.#show(key, overlap);
    return fits;
  }

  #sketch(heap: Buffer, at: number, length: number, flags: number): void {
    const version = this.#version;
    const sketches = this.#sketches;
    sketches.of(heap, at, length);
    version.high = sketches.high;
    version.low = sketches.low;
    version.length = length;
    version.flags = flags;
  }

  /** From here on the key is followed in the order of the trace again. @returns false where no order explains the ids */
  close(key: number): boolean {
    const overlap = this.#overlaps[key]!;
    this.#hide(key, overlap);
    const closed = overlap.close();
    this.drop(key);
    this.#held.following[key] = Following.inOrder;
    if (closed === undefined) return false;
    const held = this.#held;
    const { madeNs, version } = closed;
    held.high[key] = version.high;
    held.low[key] = version.low;
    held.length[key] = version.length;
    held.flags[key] = version.flags;
    held.number[key] = version.number;
    held.cas[key] = version.cas;
    // Which recorded version it stands for is not known.
    held.recordedCas[key] = 0;
    held.greatest[key] = Math.max(held.greatest[key]!, version.cas);
    const { mayLiveNs, mustDieNs } = version.expiry;
    held.mayNs[key] = mayLiveNs === Infinity ? Infinity : version.fromNs + mayLiveNs;
    held.mustNs[key] = mustDieNs === Infinity ? Infinity : madeNs + mustDieNs;
    held.changedNs[key] = madeNs;
    held.readNs[key] = Math.max(madeNs, version.readFromNs);
    this.remember(key, NONE, version.fromNs, version.toNs);
    return true;
  }
}
