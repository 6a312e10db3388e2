// What a trace holds, in figures: `memtape info`.

import { HEADER_BYTES } from '../protocol/header.ts';
import { isQuiet, isRead, opcodeName } from '../protocol/opcode.ts';
import { MAX_KEY_BYTES } from '../protocol/semantics.ts';
import { Status } from '../protocol/status.ts';
import { Outcome, RowFlag, outcomeNames, type Batch } from './batch.ts';
import { Distinct } from './distinct.ts';
import type { TraceReader } from './file.ts';
import { emptyCapture, type Capture, type TraceMeta } from './meta.ts';
import { Sizes, type Percentiles } from './sizes.ts';
import { unknownConnection } from './survey.ts';
import { Top } from './top.ts';

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
  /** `conditional` only where there are such: generated, and sent only where the target misses; nothing else counts them. */
  outcomes: Record<Exclude<(typeof outcomeNames)[number], 'conditional'>, number> & { conditional?: number };
  /** Answered exchanges by response status, decimal. */
  statuses: Record<string, number>;
  /** Response frames: each frame of a STAT counted. */
  responses: number;
  hits: number;
  misses: number;
  /** Distinct keys; an estimate beyond four million. */
  keys: number;
  bytes: { file: number; requests: number; responses: number };
  /** Of reads whose answer is known; null without any. */
  hitRatio: number | null;
  /**
   * The keys with most exchanges, the first of them first: latin1, and their share of all exchanges with a key. Counts
   * are too low by `topKeysMissing` at most, which is 0 where keys are few enough to count all.
   */
  topKeys: { key: string; exchanges: number; share: number }[];
  topKeysMissing: number;
  /** Of requests with a key; of values that requests store, or hits bring. */
  keyBytes: Percentiles;
  valueBytes: Percentiles;
  /** From a request's last byte to its answer's first, microseconds. */
  latencyMicros: Percentiles;
  /** Exchanges in each of sixty stretches of the trace's time, one after the other, each of so many seconds. */
  rate: { intervalSeconds: number; exchanges: number[] };
  /** SASL users and their exchanges; the empty name has those of nobody. Empty where there is no user at all. */
  tenants: { tenant: string; exchanges: number }[];
  capture: Capture;
  /** What the recorder had to say of its source, in sentences. */
  notes: string[];
  privacy: TraceMeta['privacy'];
  truncated: boolean;
}

const STRETCHES = 60;
const TOP_KEYS = 10;
/** As many as are counted exactly enough to be told. */
export const MOST_TOP_KEYS = 1000;

/** Reads the whole trace. @param topKeys how many of them are told @throws TraceError CHECKSUM, BROKEN */
export async function summarise(
  trace: TraceReader,
  onProgress?: (exchanges: number) => void,
  topKeys = TOP_KEYS,
): Promise<Summary> {
  const operations = new Float64Array(256);
  const outcomes = new Float64Array(outcomeNames.length);
  const statuses = new Map<number, number>();
  const keys = new Distinct();
  const servers = new Map<string, number>();
  const serverOf: string[] = [];
  const bytes = { file: trace.fileBytes, requests: 0, responses: 0 };
  let exchanges = 0;
  let rows = 0;
  let responses = 0;
  let hits = 0;
  let misses = 0;
  let lastNs = 0;
  const top = new Top();
  const keyBytes = new Sizes();
  const valueBytes = new Sizes();
  const latencyMicros = new Sizes();
  const tenants = new Map<string, number>();
  const tenantOf: string[] = [];
  // The index of the file knows how long the trace is.
  const endNs = trace.blocks.reduce((end, { toNs }) => Math.max(end, toNs), 0);
  const stretchNs = Math.max(1, (endNs + 1) / STRETCHES);
  const stretches = new Float64Array(STRETCHES);
  for await (const batch of trace.batches()) {
    // New ones come in the order of their ids; what a hand-made file does is put right.
    for (const { id, server, tenant, closeNs } of batch.connections.toSorted((a, b) => a.id - b.id)) {
      if (id > serverOf.length) throw unknownConnection(id);
      serverOf[id] = server;
      tenantOf[id] = tenant;
      if (!servers.has(server)) servers.set(server, 0);
      if (closeNs > lastNs) lastNs = closeNs;
    }
    for (let row = 0; row < batch.count; row++) {
      const opcode = batch.opcode[row]!;
      const outcome = batch.outcome[row]!;
      const status = batch.status[row]!;
      outcomes[outcome]!++;
      // Nobody sent it.
      if (outcome === Outcome.conditional) continue;
      operations[opcode]!++;
      exchanges++;
      const server = serverOf[batch.connection[row]!];
      if (server === undefined) throw unknownConnection(batch.connection[row]!);
      servers.set(server, servers.get(server)! + 1);
      lastNs = Math.max(lastNs, batch.requestEndNs[row]!, batch.answerNs[row]!);
      const keyAt = batch.keyAt[row]!;
      const keyLength = batch.keyLength[row]!;
      if (keyLength > 0) {
        keys.add(batch.heap, keyAt, keyAt + keyLength);
        keyBytes.add(keyLength);
      }
      const tenant = tenantOf[batch.connection[row]!]!;
      tenants.set(tenant, (tenants.get(tenant) ?? 0) + 1);
      stretches[Math.min(STRETCHES - 1, Math.floor(batch.requestNs[row]! / stretchNs))]!++;
      if (batch.valueLength[row]! > 0 && (batch.flags[row]! & RowFlag.secret) === 0)
        valueBytes.add(batch.valueLength[row]!);
      bytes.requests += HEADER_BYTES + batch.extrasLength[row]! + keyLength + batch.valueLength[row]!;
      if (outcome === Outcome.answered) {
        const frames = batch.frames[row]!;
        responses += frames;
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
        latencyMicros.add(Math.max(0, Math.round((batch.answerNs[row]! - batch.requestEndNs[row]!) / 1000)));
        // Of several frames the value holds everything, headers included.
        bytes.responses +=
          (frames > 1 ? 0 : HEADER_BYTES + batch.answerExtrasLength[row]! + batch.answerKeyLength[row]!) +
          batch.answerValueLength[row]!;
      }
      if (isRead[opcode] === 1) {
        if (outcome === Outcome.answered && status === Status.ok) {
          hits++;
          valueBytes.add(batch.answerValueLength[row]!);
        } else if (outcome === Outcome.answered && status === Status.notFound) misses++;
        else if (outcome === Outcome.silent && isQuiet[opcode] === 1) misses++;
      }
    }
    countKeys(batch, top);
    rows += batch.count;
    onProgress?.(rows);
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
    outcomes: Object.fromEntries(
      outcomeNames
        .map((name, n): [string, number] => [name, outcomes[n]!])
        .filter(([name, count]) => name !== 'conditional' || count > 0),
    ) as Summary['outcomes'],
    statuses: Object.fromEntries(statuses),
    responses,
    hits,
    misses,
    keys: keys.count,
    bytes,
    hitRatio: hits + misses === 0 ? null : hits / (hits + misses),
    topKeys: top.first(topKeys).map(({ name, count }) => ({
      key: name,
      exchanges: count,
      share: count / keyBytes.percentiles.count,
    })),
    topKeysMissing: top.missing,
    keyBytes: keyBytes.percentiles,
    valueBytes: valueBytes.percentiles,
    latencyMicros: latencyMicros.percentiles,
    rate: { intervalSeconds: stretchNs / 1e9, exchanges: [...stretches] },
    tenants: [...tenants.keys()].every((tenant) => tenant === '')
      ? []
      : Array.from(tenants, ([tenant, count]) => ({ tenant, exchanges: count })),
    // Earlier versions counted less.
    capture: { ...emptyCapture(), ...end?.capture },
    notes: notesOf(end?.notes),
    privacy: meta.privacy,
    truncated: trace.truncated,
  };
}

/** Whatever a damaged file has in their place, sentences come out. */
function notesOf(notes: unknown): string[] {
  return Array.isArray(notes) ? notes.filter((note) => typeof note === 'string') : [];
}

/** Counts by the batch's own numbers first: few strings are made. */
function countKeys(batch: Batch, top: Top): void {
  const counts = new Uint32Array(batch.keyCount);
  const rows = new Uint32Array(batch.keyCount);
  for (let row = 0; row < batch.count; row++) {
    // What is longer is no key, and a trace can hold gigabytes of it.
    const length = batch.keyLength[row]!;
    if (length === 0 || length > MAX_KEY_BYTES || batch.outcome[row] === Outcome.conditional) continue;
    counts[batch.keyId[row]!]!++;
    rows[batch.keyId[row]!] = row;
  }
  for (const [id, count] of counts.entries())
    if (count > 0) top.add(batch.key(rows[id]!).toString('latin1'), count);
}
