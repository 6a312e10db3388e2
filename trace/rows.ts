// Which columns a block has, and in which order: one list for traces, one for results, each with its way back.

import { Batch, NEVER, connectionEndNames, outcomeNames, type Connection } from './batch.ts';
import { ColumnDecoder, EMPTY, ExpectedAnswers, StringKind, type ColumnEncoder } from './column.ts';
import { TraceError } from './error.ts';
import { MAX_DURATION_NS, MAX_TRACE_NS } from './meta.ts';
import { ResultBatch, resultNames, skipReasonNames } from './results.ts';
import { shown } from './sound.ts';

export function encodeBatch(to: ColumnEncoder, batch: Batch): Buffer {
  const rows = batch.count;
  const { heap } = batch;
  const { keys, values, others } = numbersOf(rows);
  to.begin();
  to.json(batch.connections);
  to.bytes(batch.opcode, rows);
  to.bytes(batch.outcome, rows);
  to.bytes(batch.flags, rows);
  to.bytes(batch.datatype, rows);
  to.words(batch.connection, rows);
  const unit = to.unit([batch.requestNs, batch.requestEndNs, batch.answerNs], rows);
  to.times(batch.requestNs, unit, rows);
  to.timesAfter(batch.requestEndNs, batch.requestNs, unit, rows);
  to.timesAfter(batch.answerNs, batch.requestNs, unit, rows);
  to.words(batch.vbucket, rows);
  to.laneDeltas(batch.opaque, batch.connection, rows);
  to.strings(StringKind.extras, heap, batch.extrasAt, batch.extrasLength, others, rows);
  to.strings(StringKind.key, heap, batch.keyAt, batch.keyLength, keys, rows);
  to.strings(StringKind.value, heap, batch.valueAt, batch.valueLength, values, rows);
  to.words(batch.casHigh, rows);
  to.tokens(batch.casLow, batch.opcode, keys, rows);
  to.words(batch.frames, rows);
  to.words(batch.status, rows);
  to.words(batch.answerCasHigh, rows);
  to.tokens(batch.answerCasLow, batch.opcode, keys, rows);
  to.strings(StringKind.extras, heap, batch.answerExtrasAt, batch.answerExtrasLength, others, rows);
  to.strings(StringKind.key, heap, batch.answerKeyAt, batch.answerKeyLength, others, rows, keys);
  const expected = new ExpectedAnswers(keys, values);
  to.strings(StringKind.value, heap, batch.answerValueAt, batch.answerValueLength, others, rows, expected);
  return to.end();
}

/** @param batch whose memory may be used; it has no row. @throws TraceError BROKEN */
export function decodeBatch(
  raw: Buffer,
  rows: number,
  firstIndex: number,
  where: string,
  batch = new Batch(0, 0),
): Batch {
  const from = new ColumnDecoder(raw, where, rows);
  const { keys, values, others } = numbersOf(rows);
  batch.reserve(Math.max(rows, 1));
  batch.firstIndex = firstIndex;
  batch.count = rows;
  batch.heap = from.heap;
  batch.heapLength = from.heap.length;
  batch.connections = connectionsOf(from.json(), where);
  from.bytes(batch.opcode, rows);
  from.bytes(batch.outcome, rows);
  checkNames(batch.outcome, rows, outcomeNames, where);
  from.bytes(batch.flags, rows);
  from.bytes(batch.datatype, rows);
  from.words(batch.connection, rows);
  const unit = from.unit();
  from.times(batch.requestNs, unit, rows);
  from.timesAfter(batch.requestEndNs, batch.requestNs, unit, rows);
  from.timesAfter(batch.answerNs, batch.requestNs, unit, rows);
  checkTimes(batch, where);
  from.words(batch.vbucket, rows);
  from.laneDeltas(batch.opaque, batch.connection, rows);
  from.stringRefs(StringKind.extras, batch.extrasAt, batch.extrasLength, others, rows);
  from.stringRefs(StringKind.key, batch.keyAt, batch.keyLength, keys, rows);
  from.stringRefs(StringKind.value, batch.valueAt, batch.valueLength, values, rows);
  from.words(batch.casHigh, rows);
  from.tokens(batch.casLow, batch.opcode, keys, rows);
  from.words(batch.frames, rows);
  from.words(batch.status, rows);
  from.words(batch.answerCasHigh, rows);
  from.tokens(batch.answerCasLow, batch.opcode, keys, rows);
  from.stringRefs(StringKind.extras, batch.answerExtrasAt, batch.answerExtrasLength, others, rows);
  from.stringRefs(StringKind.key, batch.answerKeyAt, batch.answerKeyLength, others, rows, keys);
  const expected = new ExpectedAnswers(keys, values);
  from.stringRefs(StringKind.value, batch.answerValueAt, batch.answerValueLength, others, rows, expected);
  from.finish();
  batch.keyCount = from.count(StringKind.key);
  for (let row = 0; row < rows; row++) batch.keyId[row] = keys[row] === EMPTY ? 0 : keys[row]!;
  return batch;
}

const agreements = ['differs', 'agrees'] as const;

/** Of a column whose numbers stand for names. @throws TraceError BROKEN */
function checkNames(column: Uint8Array, rows: number, names: readonly string[], where: string): void {
  for (let row = 0; row < rows; row++)
    if (column[row]! >= names.length)
      throw new TraceError(
        'BROKEN',
        `${where} is broken: expected 0 to ${names.length - 1} (${names[0]} to ${names.at(-1)}) in its row ${row}, got ${column[row]}`,
      );
}

/** Readers and the order of a replay rely on it. @throws TraceError BROKEN */
function checkTimes(batch: Batch, where: string): void {
  const row = firstBackwards(batch);
  if (row >= 0)
    throw new TraceError('BROKEN', `${where} is broken: the times of its row ${row} run backwards`);
  const beyond = firstUntellable(batch);
  if (beyond >= 0)
    throw new TraceError(
      'BROKEN',
      `${where} is broken: the times of its row ${beyond} are beyond ${MAX_TRACE_NS} ns`,
    );
}

/** A worker may have sent a little before the start that all have in common. @throws TraceError BROKEN */
function checkResultTimes(batch: ResultBatch, where: string): void {
  for (const column of [batch.intendedNs, batch.sentNs, batch.answeredNs, batch.blockedNs])
    for (let row = 0; row < batch.count; row++)
      if (!(Math.abs(column[row]!) <= MAX_TRACE_NS))
        throw new TraceError(
          'BROKEN',
          `${where} is broken: expected times of at most ${MAX_TRACE_NS} ns, got ${column[row]} in its row ${row}`,
        );
}

/** The first row whose times run backwards; -1 where there is none. */
function firstBackwards(batch: Batch): number {
  let last = 0;
  for (let row = 0; row < batch.count; row++) {
    const request = batch.requestNs[row]!;
    const answer = batch.answerNs[row]!;
    const isSound =
      request >= last && batch.requestEndNs[row]! >= request && (answer >= request || answer === NEVER);
    if (!isSound) return row;
    last = request;
  }
  return -1;
}

/** The first row whose times pass what numbers can hold; -1 where there is none. */
function firstUntellable({ count, requestNs, requestEndNs, answerNs }: Batch): number {
  for (let row = 0; row < count; row++) {
    const toNs = Math.max(requestEndNs[row]!, answerNs[row]!);
    if (toNs > MAX_TRACE_NS || toNs - requestNs[row]! > MAX_DURATION_NS) return row;
  }
  return -1;
}

/** What of the batch no reader would take, in words: times that run backwards, or pass what numbers can hold. */
export function firstUnreadable(batch: Batch): string | undefined {
  const backwards = firstBackwards(batch);
  const row = backwards >= 0 ? backwards : firstUntellable(batch);
  if (row >= 0)
    return `row ${row} with the times ${batch.requestNs[row]}, ${batch.requestEndNs[row]} and ${batch.answerNs[row]} ns`;
  for (let n = 0; n < batch.count; n++)
    if (batch.outcome[n]! >= outcomeNames.length) return `row ${n} with the outcome ${batch.outcome[n]}`;
  for (const connection of batch.connections) {
    const wrong = wrongMember(connection);
    if (wrong !== undefined) return `connection ${connection.id} with ${wrong}`;
  }
  return undefined;
}

let numbers = new Uint32Array(0);

/**
 * Room for the strings' numbers: of keys and requests' values, which others are told by, and of the rest. It is the same for
 * each block, and holds what the one before left.
 */
function numbersOf(rows: number): Record<'keys' | 'values' | 'others', Uint32Array> {
  if (numbers.length < 3 * rows) numbers = new Uint32Array(3 * rows);
  const [keys, values, others] = [0, rows, 2 * rows].map((from) => numbers.subarray(from, from + rows)) as [
    Uint32Array,
    Uint32Array,
    Uint32Array,
  ];
  return { keys, values, others };
}

/** Ids stand in a column of 32 bits. */
const MAX_CONNECTION_ID = 0xffffffff;

/** @throws TraceError BROKEN */
function connectionsOf(value: unknown, where: string): Connection[] {
  if (!Array.isArray(value))
    throw new TraceError('BROKEN', `${where} is broken: expected a list of connections, got ${shown(value)}`);
  for (const [n, entry] of (value as unknown[]).entries()) {
    const wrong = wrongMember(entry ?? {});
    if (wrong !== undefined)
      throw new TraceError('BROKEN', `${where} is broken: its connection ${n} has ${wrong}`);
  }
  return value as Connection[];
}

function wrongMember(connection: Partial<Connection>): string | undefined {
  const { id, client, server, tenant, openNs, closeNs, end } = connection;
  if (!isWithin(id, 0, MAX_CONNECTION_ID) || !Number.isInteger(id)) return `the id ${shown(id)}`;
  for (const name of [client, server, tenant])
    if (typeof name !== 'string') return `${shown(name)} where a text is expected`;
  for (const ns of [openNs, closeNs]) if (!isWithin(ns, NEVER, MAX_TRACE_NS)) return `the time ${shown(ns)}`;
  if (!isWithin(end, 0, connectionEndNames.length - 1) || !Number.isInteger(end))
    return `the end ${shown(end)}`;
  return undefined;
}

function isWithin(value: unknown, least: number, most: number): boolean {
  return typeof value === 'number' && value >= least && value <= most;
}

const NANOSECOND = 1;

export function encodeResults(to: ColumnEncoder, batch: ResultBatch): Buffer {
  const rows = batch.count;
  const { others: ids } = numbersOf(rows);
  to.begin();
  to.bytes(batch.result, rows);
  to.bytes(batch.reason, rows);
  to.bytes(batch.agrees, rows);
  to.words(batch.target, rows);
  to.times(batch.intendedNs, NANOSECOND, rows);
  to.timesAfter(batch.sentNs, batch.intendedNs, NANOSECOND, rows);
  to.timesAfter(batch.answeredNs, batch.intendedNs, NANOSECOND, rows);
  to.times(batch.blockedNs, NANOSECOND, rows);
  to.words(batch.frames, rows);
  to.words(batch.status, rows);
  to.deltas(batch.casHigh, rows);
  to.deltas(batch.casLow, rows);
  to.strings(StringKind.extras, batch.heap, batch.extrasAt, batch.extrasLength, ids, rows);
  to.strings(StringKind.key, batch.heap, batch.keyAt, batch.keyLength, ids, rows);
  to.strings(StringKind.value, batch.heap, batch.valueAt, batch.valueLength, ids, rows);
  return to.end();
}

/** @param batch whose memory may be used; it has no row. @throws TraceError BROKEN */
export function decodeResults(
  raw: Buffer,
  rows: number,
  firstIndex: number,
  where: string,
  batch = new ResultBatch(0, 0),
): ResultBatch {
  const from = new ColumnDecoder(raw, where, rows);
  batch.reserve(Math.max(rows, 1));
  const { others: ids } = numbersOf(rows);
  batch.firstIndex = firstIndex;
  batch.count = rows;
  batch.heap = from.heap;
  batch.heapLength = from.heap.length;
  from.bytes(batch.result, rows);
  checkNames(batch.result, rows, resultNames, where);
  from.bytes(batch.reason, rows);
  checkNames(batch.reason, rows, skipReasonNames, where);
  from.bytes(batch.agrees, rows);
  checkNames(batch.agrees, rows, agreements, where);
  from.words(batch.target, rows);
  from.times(batch.intendedNs, NANOSECOND, rows);
  from.timesAfter(batch.sentNs, batch.intendedNs, NANOSECOND, rows);
  from.timesAfter(batch.answeredNs, batch.intendedNs, NANOSECOND, rows);
  from.times(batch.blockedNs, NANOSECOND, rows);
  checkResultTimes(batch, where);
  from.words(batch.frames, rows);
  from.words(batch.status, rows);
  from.deltas(batch.casHigh, rows);
  from.deltas(batch.casLow, rows);
  from.stringRefs(StringKind.extras, batch.extrasAt, batch.extrasLength, ids, rows);
  from.stringRefs(StringKind.key, batch.keyAt, batch.keyLength, ids, rows);
  from.stringRefs(StringKind.value, batch.valueAt, batch.valueLength, ids, rows);
  from.finish();
  return batch;
}
