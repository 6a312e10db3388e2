// The items of all servers, in the recording and in the rewritten trace, and the answers that the rewritten requests get.
// What no stage touched, and what it reads nobody changed, keeps the answer that was recorded, to the byte.

import { MAX_RELATIVE_SECONDS } from '../../protocol/expiry.ts';
import { storeExtras } from '../../protocol/frame.ts';
import { uint32 } from '../../protocol/header.ts';
import { Opcode, isOnItem } from '../../protocol/opcode.ts';
import { isCounter, isSilent, isStore, shapeOf } from '../../protocol/semantics.ts';
import { Status, statuses } from '../../protocol/status.ts';
import { NEVER, Outcome, RowFlag } from '../../trace/batch.ts';
import { tokenOf } from '../../trace/token.ts';
import type { PresentKey } from '../../trace/survey.ts';
import type { Refill } from './facts.ts';
import { Item, MISSED, Version, unknown, type State } from './item.ts';
import { expiryOf, flagsOf, isOpen, learn } from './learn.ts';
import { Row, empty } from './row.ts';
import { simulate, type Simulated, type SimulateOptions } from './simulate.ts';

/** Bytes of values that are held; of keys beyond, what is read is not known, and their answers are indeterminate. */
const MAX_VALUE_BYTES = 512 * 1024 * 1024;

export interface WorldOptions extends Omit<SimulateOptions, 'keep'> {
  servers: number;
  present: readonly { place: number; key: PresentKey }[];
  /** What clients do that miss, where they do something. */
  refill: Refill;
  /** The trace has rows for that, as generated ones do. */
  hasRefillRows: boolean;
  /** Some requests name versions: answers tell them. */
  usesCas: boolean;
  /** CAS ids from here on are not those of the recording. */
  firstToken: number;
  /** Times are not those of the recording. */
  isRetimed: boolean;
  maxValueBytes?: number;
}

export class World {
  /** Requests that follow from what was answered, in no order; whoever executes takes them. */
  readonly following: Row[] = [];
  readonly #options: WorldOptions & SimulateOptions;
  readonly #maxBytes: number;
  /** By place and key, latin1. */
  readonly #items: Map<string, Item>[] = [];
  /** By server: when it was flushed, ns. */
  readonly #flushedRecorded: number[] = [];
  readonly #flushedRewritten: number[] = [];
  #bytes = 0;
  #token: number;
  #source = 0;
  #fresh = 0;
  /** What the recording's expected answers became. */
  readonly counts = { reanswered: 0, refills: 0, dropped: 0 };

  constructor(options: WorldOptions) {
    this.#options = { ...options, keep: (value) => this.#keep(value) };
    this.#maxBytes = options.maxValueBytes ?? MAX_VALUE_BYTES;
    this.#token = options.firstToken;
    for (const { place, key } of options.present) {
      const value = key.placeholder ? undefined : this.#keep(key.value);
      const item = new Item(new Version(value, key.flags, Infinity, -1));
      this.#count(item);
      this.#place(place).set(key.key, item);
    }
  }

  /** Requests come in the order in which servers execute them. */
  execute(row: Row): void {
    const { family } = row;
    if (family === 'flush') this.#flush(row);
    else if (isOnItem[row.opcode] === 1) this.#operate(row);
    else if (row.isAdded && row.frames === 0 && row.outcome === Outcome.answered) {
      row.frames = 1;
      row.status = Status.ok;
    }
  }

  #operate(row: Row): void {
    const { line, was, isAdded } = row;
    const name = row.key.toString('latin1');
    const isRefill = (row.flags & RowFlag.refill) !== 0 && !row.isFollowing;
    const isNeeded = isRefill && !row.isDropped && line.missed.delete(name);
    const item = this.#item(line.place, name, row.ns, line.serverIndex);
    const original = isAdded
      ? undefined
      : was === undefined
        ? item
        : this.#item(line.place, was.key.toString('latin1'), row.ns, line.serverIndex);
    const named = tokenOf(row.casHigh, row.casLow);
    const isAsRecorded =
      original !== undefined &&
      was === undefined &&
      !row.isDropped &&
      item.isAsRecorded &&
      (!isRefill || isNeeded === (row.outcome !== Outcome.conditional)) &&
      (named === 0 || item.tokenNow(named) === named) &&
      !(this.#options.isRetimed && isOutOfTime(item.recorded, row));
    const source = ++this.#source;
    if (original !== undefined) this.#learn(original, row, source);
    if (isAsRecorded) {
      item.rewritten = item.recorded;
      if ((row.flags & RowFlag.refilled) !== 0 && isMiss(row)) line.missed.add(name);
    } else if (!row.isDropped) this.#answer(row, item, original, name, isRefill, isNeeded, named, source);
    this.#remember(item, row);
    this.#count(item);
    if (original !== undefined && original !== item) this.#count(original);
  }

  #learn(original: Item, row: Row, source: number): void {
    const before = original.recorded;
    const { key, value, extras, was } = row;
    if (was !== undefined) Object.assign(row, was);
    original.recorded = learn(before, row, this.#options);
    if (original.recorded !== undefined && original.recorded.source === 0 && before !== original.recorded)
      original.recorded.source = row.isRead ? (before?.source ?? 0) : source;
    Object.assign(row, { key, value, extras });
  }

  #answer(
    row: Row,
    item: Item,
    original: Item | undefined,
    name: string,
    isRefill: boolean,
    isNeeded: boolean,
    named: number,
    source: number,
  ): void {
    const { family } = row;
    if (isOpen(row.outcome)) {
      if (family !== 'get' && family !== 'gat' && family !== 'touch') item.rewritten = unknown;
      return;
    }
    if (isRefill && !isNeeded) {
      row.outcome = Outcome.conditional;
      row.answerCasHigh = row.answerCasLow = 0;
      return;
    }
    if (isRefill) row.outcome = Outcome.answered;
    let cas = named;
    if (named !== 0) {
      cas = item.tokenNow(named);
      // Its client read nothing that it could compare with.
      if (cas === MISSED) {
        row.isDropped = true;
        this.counts.dropped++;
        return;
      }
      [row.casHigh, row.casLow] = halves(cas);
    }
    const seen = {
      isHit: row.isHit,
      value: row.answerValue,
      flags: flagsOf(row),
      cas: row.isHit ? tokenOf(row.answerCasHigh, row.answerCasLow) : 0,
    };
    const before = item.rewritten;
    const simulated = simulate(before, row, cas, this.#options);
    const { state } = simulated;
    item.rewritten = state;
    if (state !== undefined && state !== before && state !== unknown) {
      if (state.source === 0 && !row.isRead) state.source = source;
      // A change that went as in the recording made the version that is called what it was called there.
      const told = tokenOf(row.answerCasHigh, row.answerCasLow);
      if (!row.isAdded && !row.isRead && state.cas === 0 && row.outcome === Outcome.answered)
        if (row.status === Status.ok && simulated.status === Status.ok) state.cas = told;
    }
    if (original === item) this.#join(item);
    const version = row.isRead ? (item.rewritten ?? before) : undefined;
    if (version !== undefined && version.cas === 0 && seen.cas !== 0)
      if (item.recorded?.source === version.source && item.recorded.goesBy(seen.cas)) version.cas = seen.cas;
    this.#apply(row, simulated, version);
    if (row.isRead && seen.cas !== 0 && this.#options.usesCas) {
      const now = isMiss(row) ? MISSED : tokenOf(row.answerCasHigh, row.answerCasLow);
      if (now !== seen.cas) item.tell(seen.cas, now);
    }
    if ((row.flags & RowFlag.refilled) !== 0 && isMiss(row)) row.line.missed.add(name);
    this.#follow(row, item, seen, version);
  }

  /** Where both worlds hold the same again, they are one. */
  #join(item: Item): void {
    const { recorded, rewritten } = item;
    if (recorded === undefined || rewritten === undefined || recorded === rewritten) return;
    if (recorded === unknown || rewritten === unknown || !recorded.equals(rewritten)) return;
    // The same bytes stored twice are two versions, and who names one of them does not mean the other.
    if (this.#options.usesCas && recorded.source !== rewritten.source) return;
    if (rewritten.cas !== 0 && rewritten.cas !== recorded.cas) recorded.alias = rewritten.cas;
    else if (rewritten.alias !== 0) recorded.alias = rewritten.alias;
    // A flush in between is over.
    recorded.sinceNs = Math.max(recorded.sinceNs, rewritten.sinceNs);
    item.rewritten = recorded;
  }

  #apply(row: Row, { status, value, flags }: Simulated, version: State): void {
    if (status === undefined) {
      row.outcome = Outcome.indeterminate;
      clear(row);
      row.answerNs = NEVER;
      return;
    }
    const silent = isSilent(row.opcode, status);
    if (!row.isAdded && isSame(row, status, silent, value, flags)) {
      if (row.isHit) this.#tellVersion(row, version);
      return;
    }
    this.counts.reanswered += row.isAdded ? 0 : 1;
    const casBefore =
      row.status === Status.ok && !row.isAdded ? [row.answerCasHigh, row.answerCasLow] : [0, 0];
    clear(row);
    if (row.answerNs === NEVER) row.answerNs = row.endNs;
    row.outcome = silent ? Outcome.silent : Outcome.answered;
    if (silent) return;
    row.frames = 1;
    row.status = status;
    const shape = shapeOf(row.opcode, status)!;
    if (shape.key) row.answerKey = row.key;
    if (status === Status.ok) {
      if (shape.extras > 0) row.answerExtras = flagsBytes(flags);
      row.answerValue = value ?? empty;
      if (row.isRead) this.#tellVersion(row, version);
      else [row.answerCasHigh, row.answerCasLow] = casBefore as [number, number];
    } else if (!shape.key) row.answerValue = textOf(status);
  }

  /** A read tells the version, where somebody may name it. */
  #tellVersion(row: Row, version: State): void {
    if (version === undefined) return;
    const token =
      version.cas !== 0 || !this.#options.usesCas ? version.cas : (version.alias ||= this.#token++);
    [row.answerCasHigh, row.answerCasLow] = halves(token);
  }

  #follow(
    row: Row,
    item: Item,
    seen: { isHit: boolean; value: Buffer; flags: number },
    version: State,
  ): void {
    const { refill, hasRefillRows } = this.#options;
    if (!row.isRead || row.answerNs === NEVER) return;
    if (row.follow?.kind === 'cas') {
      if (row.isHit && version?.value !== undefined) this.#change(row, item, version);
      return;
    }
    const isClient = !hasRefillRows && row.line.refills && seen.isHit && !row.isRepeated;
    if (!isMiss(row) || (row.follow === undefined && !isClient)) return;
    const value = seen.isHit ? seen.value : item.last?.value;
    if (value === undefined) return;
    const flags = seen.isHit ? seen.flags : item.last!.flags;
    const delayNs = row.follow?.delayNs ?? refill.delayNs;
    row.flags |= RowFlag.refilled;
    const store = this.#after(row, delayNs, refill.opcode, value, flags, item);
    store.flags = RowFlag.refill;
    this.following.push(store);
    this.counts.refills++;
  }

  /** Another value in the place of the version that was read. */
  #change(row: Row, item: Item, version: Version): void {
    const { payloads } = this.#options;
    const value = payloads.fresh(payloads.length(version.value!), 0x40000000 + this.#fresh++);
    const store = this.#after(row, row.follow!.delayNs, Opcode.set, value, version.flags, item);
    store.casHigh = row.answerCasHigh;
    store.casLow = row.answerCasLow;
    this.following.push(store);
  }

  /** A store by the client of a read, once it has its answer. */
  #after(read: Row, delayNs: number, opcode: number, value: Buffer, flags: number, item: Item): Row {
    const store = new Row(read.line);
    store.ns = store.endNs = read.answerNs + Math.max(1, Math.round(delayNs));
    store.answerNs = store.ns + Math.max(1, read.answerNs - read.ns);
    store.opcode = opcode;
    store.isAdded = true;
    store.isFollowing = true;
    store.opaque = (read.opaque + 1) >>> 0;
    const isPast =
      item.expiry > MAX_RELATIVE_SECONDS && item.expiry < this.#options.startSeconds + store.ns / 1e9;
    store.extras = storeExtras(flags, isPast ? 0 : item.expiry);
    store.key = read.key;
    store.value = value;
    return store;
  }

  #flush(row: Row): void {
    const { serverIndex } = row.line;
    const atNs = row.ns + (row.extras.length === 4 ? uint32(row.extras, 0) * 1e9 : 0);
    const isDone = row.isAdded || row.outcome === Outcome.silent || row.status === Status.ok;
    if (row.isAdded) {
      row.frames = 1;
      row.status = Status.ok;
    } else if (isDone && !isOpen(row.outcome)) this.#flushedRecorded[serverIndex] = atNs;
    if (isDone && !isOpen(row.outcome) && !row.isDropped) this.#flushedRewritten[serverIndex] = atNs;
  }

  #item(place: number, name: string, ns: number, server: number): Item {
    const items = this.#place(place);
    let item = items.get(name);
    if (item === undefined) items.set(name, (item = new Item(undefined)));
    if (isFlushed(item.recorded, this.#flushedRecorded[server], ns)) item.recorded = undefined;
    if (isFlushed(item.rewritten, this.#flushedRewritten[server], ns)) item.rewritten = undefined;
    return item;
  }

  #place(place: number): Map<string, Item> {
    return (this.#items[place] ??= new Map());
  }

  #remember(item: Item, row: Row): void {
    const version = item.rewritten ?? item.recorded;
    if (version !== undefined && version !== unknown && version.value !== undefined) item.last = version;
    if (row.status === Status.ok && isStore(row.family))
      item.expiry = expiryOf(row.was === undefined ? row : { opcode: row.opcode, extras: row.was.extras });
  }

  #keep(value: Buffer): Buffer | undefined {
    return this.#bytes + value.length > this.#maxBytes ? undefined : Buffer.from(value);
  }

  /** What the item's values take, and took before. */
  #count(item: Item): void {
    const values = new Set([item.recorded?.value, item.rewritten?.value, item.last?.value]);
    let bytes = 0;
    for (const value of values) bytes += value?.length ?? 0;
    this.#bytes += bytes - item.bytes;
    item.bytes = bytes;
  }
}

/** The read found nothing. */
function isMiss(row: Row): boolean {
  return (
    row.isRead &&
    (row.outcome === Outcome.silent || (row.outcome === Outcome.answered && row.status === Status.notFound))
  );
}

function isFlushed(state: State, flushedNs: number | undefined, ns: number): boolean {
  return state !== undefined && flushedNs !== undefined && ns >= flushedNs && state.sinceNs <= flushedNs;
}

/** By the times that it has now, the recorded answer cannot be: what it found had run out, or had not. */
function isOutOfTime(state: State, row: Row): boolean {
  if (state === undefined || state.expiresNs === Infinity) return false;
  const margin = 0.5e9;
  return isMiss(row) ? row.ns < state.expiresNs - margin : row.isHit && row.ns > state.expiresNs + margin;
}

function isSame(
  row: Row,
  status: number,
  silent: boolean,
  value: Buffer | undefined,
  flags: number,
): boolean {
  if (silent) return row.outcome === Outcome.silent;
  if (row.outcome !== Outcome.answered || row.status !== status) return false;
  if (status !== Status.ok) return true;
  if (row.isRead) return flagsOf(row) === flags && value !== undefined && row.answerValue.equals(value);
  if (isCounter(row.family)) return value === undefined || row.answerValue.equals(value);
  return row.family !== 'touch' || flagsOf(row) === flags;
}

function clear(row: Row): void {
  row.frames = 0;
  row.status = 0;
  row.answerCasHigh = row.answerCasLow = 0;
  row.answerExtras = row.answerKey = row.answerValue = empty;
}

const texts = new Map<number, Buffer>();
function textOf(status: number): Buffer {
  let text = texts.get(status);
  if (text === undefined) texts.set(status, (text = Buffer.from(statuses[status]?.text ?? '')));
  return text;
}

function flagsBytes(flags: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(flags);
  return bytes;
}

function halves(token: number): [number, number] {
  return [Math.floor(token / 0x1_0000_0000), token % 0x1_0000_0000];
}
