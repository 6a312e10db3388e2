// A batch: consecutive exchanges in columns, the unit in which exchanges travel between the stages. The recorder fills
// one, the trace file stores it as a block, the reader gives it back, the replayer and the oracle walk its columns.
// Bytes (extras, keys, values) stand in one heap; columns hold where. Nothing here allocates per exchange.

/** How an exchange ended in the recording. */
export const Outcome = {
  /** A response was seen. */
  answered: 0,
  /** A quiet operation, proven silent by a later response on its connection. */
  silent: 1,
  /** The connection ended, or the request was refused its answer, before one was seen. */
  unanswered: 2,
  /**
   * A quiet operation whose silence nothing proves, an answer that came too late for the recorder's window, or one that
   * the file which the trace was converted from does not tell.
   */
  indeterminate: 3,
  /** Bytes are missing from the capture here; what the server did is unknown. */
  gap: 4,
  /** Generated, and sent only where the target missed what the answer expected to be there; nobody sent it so far. */
  conditional: 5,
} as const;
export type Outcome = (typeof Outcome)[keyof typeof Outcome];
export const outcomeNames = [
  'answered',
  'silent',
  'unanswered',
  'indeterminate',
  'gap',
  'conditional',
] as const;

/** Bits of the `flags` column. */
export const RowFlag = {
  /** Left in the same segment (or the same read, through the proxy) as the request before it on its connection. */
  sharesSegment: 1,
  /** Several outstanding quiet requests had this opcode and opaque: which of them was answered is a guess. */
  ambiguous: 2,
  /** The value was withheld (SASL data): `valueLength` zero bytes stand in its place. */
  secret: 4,
  /** The header's lengths are not what memcached takes from the stream: to send it again could smuggle requests. */
  unsafe: 8,
  /** Stores again what a read of its key on its connection missed: sent where the target missed it, and only there. */
  refill: 16,
  /** A read that a refill may follow. */
  refilled: 32,
  /** The capture lacks bytes of the request's value: its length alone is known, and a reader derives bytes of it. */
  valueUnknown: 64,
  /** The same of the answer's value. */
  answerUnknown: 128,
} as const;

/** How a connection ended. */
export const ConnectionEnd = { open: 0, client: 1, server: 2, reset: 3 } as const;
export type ConnectionEnd = (typeof ConnectionEnd)[keyof typeof ConnectionEnd];
export const connectionEndNames = ['open', 'client', 'server', 'reset'] as const;

/** One recorded connection, as far as it is known when its batch was written. Times in ns since the trace's start. */
export interface Connection {
  /** Dense from 0 in the order of first sight; unique in the trace. */
  id: number;
  /** `10.0.0.7:51234`, `[::1]:51234` */
  client: string;
  server: string;
  /** User name of SASL PLAIN, else empty. */
  tenant: string;
  /** -1: opened before the capture began. */
  openNs: number;
  /** -1: not closed yet. */
  closeNs: number;
  end: ConnectionEnd;
}

/** No time: the column's value for "never". */
export const NEVER = -1;

/** Memory that is lent; whoever never gives it back keeps it. */
export interface Lease {
  users: number;
  giveBack: () => void;
}

/** One user less. */
export function giveUp(lease: Lease | undefined): void {
  if (lease !== undefined && --lease.users === 0) lease.giveBack();
}

/** Four times what memtape writes into a block: what a reader makes of a small file stays small. */
export const MAX_BATCH_ROWS = 262_144;

export class Batch {
  /** Index in the trace of row 0. */
  firstIndex = 0;
  count = 0;
  /** Connections that the rows name, and those that opened or closed in this batch's stretch of time. */
  connections: Connection[] = [];
  heap: Buffer;
  heapLength = 0;

  capacity: number;
  connection!: Uint32Array;
  opcode!: Uint8Array;
  outcome!: Uint8Array;
  flags!: Uint8Array;
  /** Time of the request's first byte, ns since the trace's start; never decreases from row to row. */
  requestNs!: Float64Array;
  /** Time of the request's last byte. */
  requestEndNs!: Float64Array;
  /** Time of the answer's first byte; of the proof, where silent; NEVER where there is none. */
  answerNs!: Float64Array;

  datatype!: Uint8Array;
  vbucket!: Uint16Array;
  opaque!: Uint32Array;
  casHigh!: Uint32Array;
  casLow!: Uint32Array;
  extrasAt!: Uint32Array;
  extrasLength!: Uint8Array;
  keyAt!: Uint32Array;
  keyLength!: Uint16Array;
  valueAt!: Uint32Array;
  valueLength!: Uint32Array;

  /** Frames in the answer: 0 without one, more than 1 for STAT only. */
  frames!: Uint32Array;
  status!: Uint16Array;
  answerCasHigh!: Uint32Array;
  answerCasLow!: Uint32Array;
  answerExtrasAt!: Uint32Array;
  answerExtrasLength!: Uint8Array;
  answerKeyAt!: Uint32Array;
  answerKeyLength!: Uint16Array;
  /** For a STAT with several frames: all of them, headers included, one after the other. */
  answerValueAt!: Uint32Array;
  answerValueLength!: Uint32Array;

  /** Dense numbers of the distinct request keys in this batch; filled by the reader, 0 where there is no key. */
  keyId!: Uint32Array;
  /** How many distinct keys the batch has; filled by the reader. */
  keyCount = 0;

  /** Of a batch whose memory its reader uses again: who takes it back, and how many still use it. */
  lease: Lease | undefined;

  constructor(capacity = 1024, heapBytes = 65_536) {
    this.capacity = 0;
    this.heap = Buffer.allocUnsafe(heapBytes);
    this.reserve(capacity);
  }

  /** Makes room for `rows` rows; what is there stays. */
  reserve(rows: number): void {
    if (rows <= this.capacity) return;
    const capacity = Math.max(rows, this.capacity * 2);
    for (const name of byteColumns) this[name] = grown(this[name], new Uint8Array(capacity));
    for (const name of shortColumns) this[name] = grown(this[name], new Uint16Array(capacity));
    for (const name of wordColumns) this[name] = grown(this[name], new Uint32Array(capacity));
    for (const name of timeColumns) this[name] = grown(this[name], new Float64Array(capacity));
    this.capacity = capacity;
  }

  /** Makes room for `bytes` more bytes in the heap and returns where they begin; the caller fills them. */
  allocate(bytes: number): number {
    const at = this.heapLength;
    if (at + bytes > this.heap.length) {
      const heap = Buffer.allocUnsafe(Math.max(at + bytes, this.heap.length * 2));
      this.heap.copy(heap, 0, 0, at);
      this.heap = heap;
    }
    this.heapLength = at + bytes;
    return at;
  }

  /** Rows [from, to) as a batch of their own that shares this one's memory; nothing is copied. */
  slice(from: number, to: number): Batch {
    // By the constructor, so that the engine that runs us sees one shape of batches.
    const part = new Batch(0, 0);
    for (const name of byteColumns) part[name] = this[name].subarray(from, to);
    for (const name of shortColumns) part[name] = this[name].subarray(from, to);
    for (const name of wordColumns) part[name] = this[name].subarray(from, to);
    for (const name of timeColumns) part[name] = this[name].subarray(from, to);
    return Object.assign(part, {
      firstIndex: this.firstIndex + from,
      count: to - from,
      capacity: to - from,
      connections: this.connections,
      heap: this.heap,
      heapLength: this.heapLength,
      keyCount: this.keyCount,
      lease: this.lease,
    });
  }

  /** So many more use the memory; each of them is to release() it. */
  share(users: number): void {
    if (this.lease !== undefined) this.lease.users += users;
  }

  /** Its user is done with it, and looks at none of it any more: its reader may decode another block into it. */
  release(): void {
    giveUp(this.lease);
  }

  /** Puts what row `from` says into row `to`; its bytes stay where they are. */
  copyRow(from: number, to: number): void {
    copyColumns(this, from, this, to);
  }

  /** Empties the batch for the next use; the memory stays. */
  clear(): void {
    this.count = 0;
    this.heapLength = 0;
    this.keyCount = 0;
    this.connections = [];
    this.heap = renewed(this.heap);
  }

  /** A view of the request's key; valid as long as the batch is. */
  key(row: number): Buffer {
    return this.heap.subarray(this.keyAt[row], this.keyAt[row]! + this.keyLength[row]!);
  }

  /** A view of the request's extras. */
  extras(row: number): Buffer {
    return this.heap.subarray(this.extrasAt[row], this.extrasAt[row]! + this.extrasLength[row]!);
  }

  /** A view of the request's value. */
  value(row: number): Buffer {
    return this.heap.subarray(this.valueAt[row], this.valueAt[row]! + this.valueLength[row]!);
  }

  /** A view of the answer's extras. */
  answerExtras(row: number): Buffer {
    return this.heap.subarray(
      this.answerExtrasAt[row],
      this.answerExtrasAt[row]! + this.answerExtrasLength[row]!,
    );
  }

  /** A view of the answer's key. */
  answerKey(row: number): Buffer {
    return this.heap.subarray(this.answerKeyAt[row], this.answerKeyAt[row]! + this.answerKeyLength[row]!);
  }

  /** A view of the answer's value. */
  answerValue(row: number): Buffer {
    return this.heap.subarray(
      this.answerValueAt[row],
      this.answerValueAt[row]! + this.answerValueLength[row]!,
    );
  }

  cas(row: number): bigint {
    return (BigInt(this.casHigh[row]!) << 32n) | BigInt(this.casLow[row]!);
  }

  answerCas(row: number): bigint {
    return (BigInt(this.answerCasHigh[row]!) << 32n) | BigInt(this.answerCasLow[row]!);
  }
}

export const byteColumns = [
  'opcode',
  'outcome',
  'flags',
  'datatype',
  'extrasLength',
  'answerExtrasLength',
] as const;
export const shortColumns = ['vbucket', 'keyLength', 'status', 'answerKeyLength'] as const;
export const wordColumns = [
  'connection',
  'opaque',
  'casHigh',
  'casLow',
  'extrasAt',
  'keyAt',
  'valueAt',
  'valueLength',
  'frames',
  'answerCasHigh',
  'answerCasLow',
  'answerExtrasAt',
  'answerKeyAt',
  'answerValueAt',
  'answerValueLength',
  'keyId',
] as const;
export const timeColumns = ['requestNs', 'requestEndNs', 'answerNs'] as const;

/** The memory of a heap, for other bytes: who remembers where in a heap something stands knows it by its Buffer. */
export function renewed({ buffer, byteOffset, length }: Buffer): Buffer {
  return Buffer.from(buffer, byteOffset, length);
}

/** Copies a column into a larger one. */
export function grown<T extends Uint8Array | Uint16Array | Uint32Array | Int32Array | Float64Array>(
  from: T | undefined,
  to: T,
): T {
  if (from !== undefined) to.set(from);
  return to;
}

/** Copies the columns of rows [from, to), which then are the first of another batch, and point into the heap of their own. */
export function copyRows(source: Batch, from: number, to: number, target: Batch): void {
  for (const name of byteColumns) target[name].set(source[name].subarray(from, to));
  for (const name of shortColumns) target[name].set(source[name].subarray(from, to));
  for (const name of wordColumns) target[name].set(source[name].subarray(from, to));
  for (const name of timeColumns) target[name].set(source[name].subarray(from, to));
}

/** Puts the first rows, and what else is known of each, in the order of their requests' times. Those of one time stay as they are. */
export function sortByTime(batch: Batch, rows: number, besides: Float64Array): void {
  const times = batch.requestNs;
  const order = Uint32Array.from({ length: rows }, (_, row) => row).toSorted(
    (a, b) => times[a]! - times[b]! || a - b,
  );
  const gather = (column: Uint8Array | Uint16Array | Uint32Array | Float64Array): void => {
    const before = column.slice(0, rows);
    for (let row = 0; row < rows; row++) column[row] = before[order[row]!]!;
  };
  gather(besides);
  for (const name of byteColumns) gather(batch[name]);
  for (const name of shortColumns) gather(batch[name]);
  for (const name of wordColumns) gather(batch[name]);
  for (const name of timeColumns) gather(batch[name]);
}

/** Copies the columns of a row, which then point into the heap of its own batch. */
export function copyColumns(from: Batch, row: number, to: Batch, at: number): void {
  for (const name of byteColumns) to[name][at] = from[name][row]!;
  for (const name of shortColumns) to[name][at] = from[name][row]!;
  for (const name of wordColumns) to[name][at] = from[name][row]!;
  for (const name of timeColumns) to[name][at] = from[name][row]!;
}
