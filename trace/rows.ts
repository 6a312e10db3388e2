// Which columns a block has, and in which order: one list for traces, one for results, each with its way back.

import { Batch, type Connection } from './batch.ts';
import { ColumnDecoder, type ColumnEncoder } from './column.ts';
import { TraceError } from './error.ts';
import { ResultBatch } from './results.ts';

export function encodeBatch(to: ColumnEncoder, batch: Batch): Buffer {
  const rows = batch.count;
  const { heap } = batch;
  to.begin();
  to.json(batch.connections);
  to.bytes(batch.opcode, rows);
  to.bytes(batch.outcome, rows);
  to.bytes(batch.flags, rows);
  to.bytes(batch.datatype, rows);
  to.deltas(batch.connection, rows);
  to.times(batch.requestNs, rows);
  to.timesAfter(batch.requestEndNs, batch.requestNs, rows);
  to.timesAfter(batch.answerNs, batch.requestNs, rows);
  to.words(batch.vbucket, rows);
  to.laneDeltas(batch.opaque, batch.connection, rows);
  to.deltas(batch.casHigh, rows);
  to.deltas(batch.casLow, rows);
  to.strings(heap, batch.extrasAt, batch.extrasLength, rows);
  to.strings(heap, batch.keyAt, batch.keyLength, rows);
  to.strings(heap, batch.valueAt, batch.valueLength, rows);
  to.words(batch.frames, rows);
  to.words(batch.status, rows);
  to.deltas(batch.answerCasHigh, rows);
  to.deltas(batch.answerCasLow, rows);
  to.strings(heap, batch.answerExtrasAt, batch.answerExtrasLength, rows);
  to.strings(heap, batch.answerKeyAt, batch.answerKeyLength, rows);
  to.strings(heap, batch.answerValueAt, batch.answerValueLength, rows);
  return to.end();
}

/** @throws TraceError BROKEN */
export function decodeBatch(raw: Buffer, rows: number, firstIndex: number, where: string): Batch {
  const from = new ColumnDecoder(raw, where);
  const batch = new Batch(Math.max(rows, 1), 0);
  batch.firstIndex = firstIndex;
  batch.count = rows;
  batch.heap = from.heap;
  batch.heapLength = from.heap.length;
  batch.connections = connectionsOf(from.json(), where);
  from.bytes(batch.opcode, rows);
  from.bytes(batch.outcome, rows);
  from.bytes(batch.flags, rows);
  from.bytes(batch.datatype, rows);
  from.deltas(batch.connection, rows);
  from.times(batch.requestNs, rows);
  from.timesAfter(batch.requestEndNs, batch.requestNs, rows);
  from.timesAfter(batch.answerNs, batch.requestNs, rows);
  from.words(batch.vbucket, rows);
  from.laneDeltas(batch.opaque, batch.connection, rows);
  from.deltas(batch.casHigh, rows);
  from.deltas(batch.casLow, rows);
  from.stringRefs(batch.extrasAt, batch.extrasLength, rows);
  from.stringRefs(batch.keyAt, batch.keyLength, rows, batch.keyId);
  from.stringRefs(batch.valueAt, batch.valueLength, rows);
  from.words(batch.frames, rows);
  from.words(batch.status, rows);
  from.deltas(batch.answerCasHigh, rows);
  from.deltas(batch.answerCasLow, rows);
  from.stringRefs(batch.answerExtrasAt, batch.answerExtrasLength, rows);
  from.stringRefs(batch.answerKeyAt, batch.answerKeyLength, rows);
  from.stringRefs(batch.answerValueAt, batch.answerValueLength, rows);
  numberKeys(batch, from.strings);
  return batch;
}

function connectionsOf(value: unknown, where: string): Connection[] {
  if (!Array.isArray(value)) throw new TraceError('BROKEN', `${where}: expected a list of connections`);
  for (const entry of value as unknown[]) {
    const { id, client, server, tenant, openNs, closeNs } = (entry ?? {}) as Partial<Connection>;
    const isSound =
      Number.isSafeInteger(id) &&
      id! >= 0 &&
      typeof client === 'string' &&
      typeof server === 'string' &&
      typeof tenant === 'string' &&
      Number.isFinite(openNs) &&
      Number.isFinite(closeNs);
    if (!isSound)
      throw new TraceError('BROKEN', `${where}: expected a connection, got ${JSON.stringify(entry)}`);
  }
  return value as Connection[];
}

// From numbers in the dictionary, which has values too, to dense numbers of keys.
function numberKeys(batch: Batch, strings: number): void {
  const dense = new Int32Array(strings).fill(-1);
  for (let row = 0; row < batch.count; row++) {
    const id = batch.keyId[row]!;
    if (id === 0xffffffff) {
      batch.keyId[row] = 0;
      continue;
    }
    if (dense[id]! < 0) dense[id] = batch.keyCount++;
    batch.keyId[row] = dense[id]!;
  }
}

export function encodeResults(to: ColumnEncoder, batch: ResultBatch): Buffer {
  const rows = batch.count;
  to.begin();
  to.bytes(batch.result, rows);
  to.bytes(batch.reason, rows);
  to.bytes(batch.agrees, rows);
  to.words(batch.target, rows);
  to.times(batch.intendedNs, rows);
  to.timesAfter(batch.sentNs, batch.intendedNs, rows);
  to.timesAfter(batch.answeredNs, batch.intendedNs, rows);
  to.times(batch.blockedNs, rows);
  to.words(batch.frames, rows);
  to.words(batch.status, rows);
  to.deltas(batch.casHigh, rows);
  to.deltas(batch.casLow, rows);
  to.strings(batch.heap, batch.extrasAt, batch.extrasLength, rows);
  to.strings(batch.heap, batch.keyAt, batch.keyLength, rows);
  to.strings(batch.heap, batch.valueAt, batch.valueLength, rows);
  return to.end();
}

/** @throws TraceError BROKEN */
export function decodeResults(raw: Buffer, rows: number, firstIndex: number, where: string): ResultBatch {
  const from = new ColumnDecoder(raw, where);
  const batch = new ResultBatch(Math.max(rows, 1), 0);
  batch.firstIndex = firstIndex;
  batch.count = rows;
  batch.heap = from.heap;
  batch.heapLength = from.heap.length;
  from.bytes(batch.result, rows);
  from.bytes(batch.reason, rows);
  from.bytes(batch.agrees, rows);
  from.words(batch.target, rows);
  from.times(batch.intendedNs, rows);
  from.timesAfter(batch.sentNs, batch.intendedNs, rows);
  from.timesAfter(batch.answeredNs, batch.intendedNs, rows);
  from.times(batch.blockedNs, rows);
  from.words(batch.frames, rows);
  from.words(batch.status, rows);
  from.deltas(batch.casHigh, rows);
  from.deltas(batch.casLow, rows);
  from.stringRefs(batch.extrasAt, batch.extrasLength, rows);
  from.stringRefs(batch.keyAt, batch.keyLength, rows);
  from.stringRefs(batch.valueAt, batch.valueLength, rows);
  return batch;
}
