// What a trace holds, in figures: `memtape info`.

import { HEADER_BYTES } from '../protocol/header.ts';
import { isQuiet, isRead, opcodeName } from '../protocol/opcode.ts';
import { Status } from '../protocol/status.ts';
import { Outcome, outcomeNames } from './batch.ts';
import { Distinct } from './distinct.ts';
import type { TraceReader } from './file.ts';
import { emptyCapture, type Capture, type TraceMeta } from './meta.ts';

/** The JSON of `memtape info --json`. */
export interface Summary {
  format: string;
  exchanges: number;
  connections: number;
  /** ISO 8601, to the millisecond. */
  startTime: string;
  durationSeconds: number;
  source: string;
  servers: { address: string; exchanges: number }[];
  operations: Record<string, number>;
  outcomes: Record<(typeof outcomeNames)[number], number>;
  /** Answered exchanges by response status, decimal. */
  statuses: Record<string, number>;
  /** Response frames: each frame of a STAT counted. */
  responses: number;
  hits: number;
  misses: number;
  /** Distinct keys; an estimate beyond four million. */
  keys: number;
  bytes: { file: number; requests: number; responses: number };
  capture: Capture;
  privacy: TraceMeta['privacy'];
  truncated: boolean;
}

/** Reads the whole trace. @throws TraceError CHECKSUM, BROKEN */
export async function summarise(
  trace: TraceReader,
  onProgress?: (exchanges: number) => void,
): Promise<Summary> {
  const operations = new Float64Array(256);
  const outcomes = new Float64Array(outcomeNames.length);
  const statuses = new Map<number, number>();
  const keys = new Distinct();
  const servers = new Map<string, number>();
  const serverOf: string[] = [];
  const bytes = { file: trace.fileBytes, requests: 0, responses: 0 };
  let exchanges = 0;
  let responses = 0;
  let hits = 0;
  let misses = 0;
  let lastNs = 0;
  for await (const batch of trace.batches()) {
    for (const { id, server, closeNs } of batch.connections) {
      serverOf[id] = server;
      if (!servers.has(server)) servers.set(server, 0);
      if (closeNs > lastNs) lastNs = closeNs;
    }
    for (let row = 0; row < batch.count; row++) {
      const opcode = batch.opcode[row]!;
      const outcome = batch.outcome[row]!;
      const status = batch.status[row]!;
      operations[opcode]!++;
      outcomes[outcome]!++;
      const server = serverOf[batch.connection[row]!] ?? 'unknown';
      servers.set(server, (servers.get(server) ?? 0) + 1);
      lastNs = Math.max(lastNs, batch.requestEndNs[row]!, batch.answerNs[row]!);
      const keyAt = batch.keyAt[row]!;
      const keyLength = batch.keyLength[row]!;
      if (keyLength > 0) keys.add(batch.heap, keyAt, keyAt + keyLength);
      bytes.requests += HEADER_BYTES + batch.extrasLength[row]! + keyLength + batch.valueLength[row]!;
      if (outcome === Outcome.answered) {
        const frames = batch.frames[row]!;
        responses += frames;
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
        // Of several frames the value holds everything, headers included.
        bytes.responses +=
          (frames > 1 ? 0 : HEADER_BYTES + batch.answerExtrasLength[row]! + batch.answerKeyLength[row]!) +
          batch.answerValueLength[row]!;
      }
      if (isRead[opcode] === 1) {
        if (outcome === Outcome.answered && status === Status.ok) hits++;
        else if (outcome === Outcome.answered && status === Status.notFound) misses++;
        else if (outcome === Outcome.silent && isQuiet[opcode] === 1) misses++;
      }
    }
    exchanges += batch.count;
    onProgress?.(exchanges);
  }
  const { meta, end } = trace;
  return {
    format: meta.format,
    exchanges,
    connections: serverOf.length,
    startTime: new Date(Number(BigInt(meta.startNs) / 1_000_000n)).toISOString(),
    durationSeconds: lastNs / 1e9,
    source: meta.source,
    servers: Array.from(servers, ([address, count]) => ({ address, exchanges: count })),
    operations: Object.fromEntries(
      Array.from(operations, (count, opcode) => [opcodeName(opcode), count] as const).filter(
        ([, count]) => count > 0,
      ),
    ),
    outcomes: Object.fromEntries(outcomeNames.map((name, n) => [name, outcomes[n]!])) as Summary['outcomes'],
    statuses: Object.fromEntries(statuses),
    responses,
    hits,
    misses,
    keys: keys.count,
    bytes,
    capture: end?.capture ?? emptyCapture(),
    privacy: meta.privacy,
    truncated: trace.truncated,
  };
}
