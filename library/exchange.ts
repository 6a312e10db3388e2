// Exchanges as plain objects, made one at a time out of batches. For looking at some, or many, where the speed of
// columns is not needed; what is made is the caller's to keep.

import { opcodeName } from '../protocol/opcode.ts';
import { NEVER, Outcome, outcomeNames, type Batch, type Connection } from '../trace/batch.ts';
import { TraceError } from '../trace/error.ts';

/** One request and its answer. Times are in ns since the trace's start; bytes are copies. */
export interface Exchange {
  /** In the trace, from 0. */
  index: number;
  /** As far as it was known at that place of the trace. */
  connection: Readonly<Connection>;
  /** Lower case: `get`, `setq`, `gat`. */
  opcode: string;
  opaque: number;
  /** 0n: none. */
  cas: bigint;
  extras: Buffer;
  /** Empty where the operation has none. */
  key: Buffer;
  value: Buffer;
  /** When the request's first byte passed, and its last. */
  requestNs: number;
  requestEndNs: number;
  /** When the answer's first byte passed, or its proof where `outcome` is silent; null where there is neither. */
  answerNs: number | null;
  outcome: (typeof outcomeNames)[number];
  /** null unless `outcome` is answered. */
  answer: ExchangeAnswer | null;
}

export interface ExchangeAnswer {
  status: number;
  /** More than 1 for STAT only; `value` then has all frames, headers included. */
  frames: number;
  cas: bigint;
  extras: Buffer;
  key: Buffer;
  value: Buffer;
}

/** @param connection that the row names */
export function exchangeAt(batch: Batch, row: number, connection: Readonly<Connection>): Exchange {
  const outcome = batch.outcome[row] as Outcome;
  const answerNs = batch.answerNs[row]!;
  return {
    index: batch.firstIndex + row,
    connection,
    opcode: opcodeName(batch.opcode[row]!),
    opaque: batch.opaque[row]!,
    cas: batch.cas(row),
    extras: Buffer.from(batch.extras(row)),
    key: Buffer.from(batch.key(row)),
    value: Buffer.from(batch.value(row)),
    requestNs: batch.requestNs[row]!,
    requestEndNs: batch.requestEndNs[row]!,
    answerNs: answerNs === NEVER ? null : answerNs,
    outcome: outcomeNames[outcome],
    answer:
      outcome === Outcome.answered
        ? {
            status: batch.status[row]!,
            frames: batch.frames[row]!,
            cas: batch.answerCas(row),
            extras: Buffer.from(batch.answerExtras(row)),
            key: Buffer.from(batch.answerKey(row)),
            value: Buffer.from(batch.answerValue(row)),
          }
        : null,
  };
}

/** What the batches up to here told of connections. */
export class Connections {
  readonly #known = new Map<number, Connection>();

  /** Takes what the batch tells. */
  meet(batch: Batch): void {
    // The generator goes on writing into its own.
    for (const connection of batch.connections) this.#known.set(connection.id, { ...connection });
  }

  /** The row's. @throws TraceError BROKEN where the trace does not tell of it */
  of(batch: Batch, row: number): Connection {
    const connection = this.#known.get(batch.connection[row]!);
    if (connection !== undefined) return connection;
    throw new TraceError(
      'BROKEN',
      `the trace is broken: its row ${batch.firstIndex + row} names connection ${batch.connection[row]}, which it does not tell of`,
    );
  }
}
