// One exchange on its way through a rewrite: what a batch has in columns, as an object, since stages copy, move, rename and
// drop exchanges one at a time. Its bytes are views into the batch that it came from.

import { isRead, opcodeInfo, type Family } from '../../protocol/opcode.ts';
import { Status } from '../../protocol/status.ts';
import { NEVER, Outcome, RowFlag, type Batch } from '../../trace/batch.ts';
import type { Line } from './line.ts';

export const empty = Buffer.alloc(0);

/** What a client does once it has the answer. */
export interface Follow {
  /** Stores again what it missed; or changes what it read, by its CAS id. */
  kind: 'refill' | 'cas';
  /** From the answer on. */
  delayNs: number;
}

export class Row {
  line: Line;
  ns = 0;
  endNs = 0;
  answerNs = NEVER;
  opcode = 0;
  outcome: number = Outcome.answered;
  flags = 0;
  datatype = 0;
  vbucket = 0;
  opaque = 0;
  casHigh = 0;
  casLow = 0;
  extras: Buffer = empty;
  key: Buffer = empty;
  value: Buffer = empty;
  frames = 0;
  status = 0;
  answerCasHigh = 0;
  answerCasLow = 0;
  answerExtras: Buffer = empty;
  answerKey: Buffer = empty;
  answerValue: Buffer = empty;

  /** Nobody recorded it: the rewrite made it. */
  isAdded = false;
  /** It is not sent, and what it did in the recording is only remembered. */
  isDropped = false;
  /** The request as it was recorded, where it has changed. */
  was: { key: Buffer; value: Buffer; extras: Buffer } | undefined;
  follow: Follow | undefined;
  /** It follows from an answer of the rewritten trace. */
  isFollowing = false;
  /** The same request once more: what follows from its answer follows from that of the first. */
  isRepeated = false;

  constructor(line: Line) {
    this.line = line;
  }

  get family(): Family | undefined {
    return opcodeInfo(this.opcode)?.family;
  }

  get isRead(): boolean {
    return isRead[this.opcode] === 1;
  }

  /** It left together with the one before it. */
  get joins(): boolean {
    return (this.flags & RowFlag.sharesSegment) !== 0;
  }

  /** The recording, or the rewrite, says that it brought a value. */
  get isHit(): boolean {
    return this.isRead && this.frames > 0 && this.outcome === Outcome.answered && this.status === Status.ok;
  }

  /** Remembers the request as it was recorded, before the first change of it. */
  change(): void {
    if (!this.isAdded) this.was ??= { key: this.key, value: this.value, extras: this.extras };
  }

  rename(key: Buffer): void {
    this.change();
    if (this.answerKey.length > 0 && this.frames === 1) this.answerKey = key;
    this.key = key;
  }

  /** Another that nobody recorded, of the same bytes. */
  copy(line: Line, ns: number): Row {
    const other = Object.assign(new Row(line), this, { line, isAdded: true, was: undefined });
    other.ns = ns;
    other.endNs = ns + (this.endNs - this.ns);
    other.answerNs = this.answerNs === NEVER ? NEVER : ns + (this.answerNs - this.ns);
    return other;
  }
}

/** The row of a batch, on its line. */
export function rowOf(batch: Batch, n: number, line: Line): Row {
  const row = new Row(line);
  row.ns = batch.requestNs[n]!;
  row.endNs = batch.requestEndNs[n]!;
  row.answerNs = batch.answerNs[n]!;
  row.opcode = batch.opcode[n]!;
  row.outcome = batch.outcome[n]!;
  row.flags = batch.flags[n]!;
  row.datatype = batch.datatype[n]!;
  row.vbucket = batch.vbucket[n]!;
  row.opaque = batch.opaque[n]!;
  row.casHigh = batch.casHigh[n]!;
  row.casLow = batch.casLow[n]!;
  if (batch.extrasLength[n]! > 0) row.extras = batch.extras(n);
  if (batch.keyLength[n]! > 0) row.key = batch.key(n);
  if (batch.valueLength[n]! > 0) row.value = batch.value(n);
  row.frames = batch.frames[n]!;
  row.status = batch.status[n]!;
  row.answerCasHigh = batch.answerCasHigh[n]!;
  row.answerCasLow = batch.answerCasLow[n]!;
  if (batch.answerExtrasLength[n]! > 0) row.answerExtras = batch.answerExtras(n);
  if (batch.answerKeyLength[n]! > 0) row.answerKey = batch.answerKey(n);
  if (batch.answerValueLength[n]! > 0) row.answerValue = batch.answerValue(n);
  return row;
}

/** Puts the row at the end of a batch, its bytes with it. @param connection its number in the output */
export function putRow(row: Row, batch: Batch, connection: number): void {
  const at = batch.count++;
  batch.reserve(batch.count);
  batch.connection[at] = connection;
  batch.requestNs[at] = row.ns;
  batch.requestEndNs[at] = row.endNs;
  batch.answerNs[at] = row.answerNs;
  batch.opcode[at] = row.opcode;
  batch.outcome[at] = row.outcome;
  batch.flags[at] = row.flags;
  batch.datatype[at] = row.datatype;
  batch.vbucket[at] = row.vbucket;
  batch.opaque[at] = row.opaque;
  batch.casHigh[at] = row.casHigh;
  batch.casLow[at] = row.casLow;
  batch.frames[at] = row.frames;
  batch.status[at] = row.status;
  batch.answerCasHigh[at] = row.answerCasHigh;
  batch.answerCasLow[at] = row.answerCasLow;
  batch.extrasAt[at] = put(batch, row.extras);
  batch.extrasLength[at] = row.extras.length;
  batch.keyAt[at] = put(batch, row.key);
  batch.keyLength[at] = row.key.length;
  batch.valueAt[at] = put(batch, row.value);
  batch.valueLength[at] = row.value.length;
  batch.answerExtrasAt[at] = put(batch, row.answerExtras);
  batch.answerExtrasLength[at] = row.answerExtras.length;
  batch.answerKeyAt[at] = put(batch, row.answerKey);
  batch.answerKeyLength[at] = row.answerKey.length;
  batch.answerValueAt[at] = put(batch, row.answerValue);
  batch.answerValueLength[at] = row.answerValue.length;
}

function put(batch: Batch, bytes: Buffer): number {
  if (bytes.length === 0) return 0;
  const at = batch.allocate(bytes.length);
  bytes.copy(batch.heap, at);
  return at;
}
