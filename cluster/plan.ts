// How many workers a rate takes: arithmetic over what a trace asks for, what one worker was seen to send, and how evenly the
// keys divide. Every figure of the result follows from others that stand in it.

import { HEADER_BYTES } from '../protocol/header.ts';
import { NEVER, type Batch, type Connection } from '../trace/batch.ts';
import { MAX_SHARDS, shardHash } from '../trace/shard.ts';
import type { Trace } from '../trace/source.ts';

/** What a trace asks of those who replay it. */
export interface Demand {
  exchanges: number;
  /** From the first request to the last. */
  seconds: number;
  /** Open at the same time, at most. */
  connections: number;
  keys: number;
  /** Bytes of an average exchange: the frames, without TCP and IP. */
  requestBytes: number;
  answerBytes: number;
  /** The share of all exchanges that the most frequent key has: one shard has them all. */
  hottest: number;
  /** Exchanges a second at which the trace can be read here: each worker reads it twice before the start. */
  readRate: number;
  /** Time of the trace, ns, until which it has enough exchanges to measure a worker by. */
  sampleNs: number;
  /** Exchanges by the hash of their key. */
  byHash: ReadonlyMap<number, number>;
}

export interface PlanOptions {
  /** Requests a second, of all workers together. */
  rate: number;
  /** Requests a second that one worker sends as fast as it goes. */
  measured: number;
  /** The share of it at which a worker keeps its times. */
  headroom: number;
  /** Targets that each recorded connection may lead to. */
  targets: number;
}

export interface Plan {
  format: 'memtape-plan/1';
  rate: number;
  measured: number;
  headroom: number;
  /** What a worker may be asked for. */
  perWorker: number;
  /** null: no number of them is enough, as `why` says. */
  workers: number | null;
  why: string | null;
  /** The share of the fullest shard, and what its worker sends, a second. */
  fullest: { share: number; rate: number } | null;
  /** The most that all workers have together: a connection becomes one in each shard and for each target that its keys lead to. */
  connections: number | null;
  /** Bits a second, with the heads of TCP and IP where each exchange is a segment each way. */
  bandwidth: { requests: number; answers: number };
  /** Times the recorded rate. */
  speed: number;
  /** That workers take to make ready, at least: each looks the whole trace over, and cuts its own part out. */
  readySeconds: number;
  trace: Omit<Demand, 'byHash' | 'sampleNs'>;
}

/** Bytes of the headers of Ethernet, IPv4 and TCP with its time stamps. */
const SEGMENT_BYTES = 14 + 20 + 32;
/** Hashes that are kept apart; what comes beyond counts as spread evenly. */
const MAX_HASHES = 2_000_000;
/** The step of the number of workers, from one try to the next. */
const GROWTH = 1.25;
/** Exchanges that a worker is measured by. */
const SAMPLE = 60_000;

/** Reads the trace. @throws TraceError CHECKSUM, BROKEN */
export async function demandOf(trace: Trace, onProgress?: (exchanges: number) => void): Promise<Demand> {
  const counted = { exchanges: 0, requestBytes: 0, answerBytes: 0, firstNs: NEVER, lastNs: 0 };
  const byHash = new Map<number, number>();
  const known = new Map<number, Connection>();
  let sampleNs = Infinity;
  const began = performance.now();
  for await (const batch of trace.batches()) {
    for (const connection of batch.connections) known.set(connection.id, connection);
    countKeys(batch, byHash);
    for (let row = 0; row < batch.count; row++) {
      counted.requestBytes +=
        HEADER_BYTES + batch.extrasLength[row]! + batch.keyLength[row]! + batch.valueLength[row]!;
      if (batch.frames[row] === 0) continue;
      counted.answerBytes +=
        HEADER_BYTES +
        batch.answerExtrasLength[row]! +
        batch.answerKeyLength[row]! +
        batch.answerValueLength[row]!;
    }
    if (sampleNs === Infinity && counted.exchanges + batch.count > SAMPLE)
      sampleNs = batch.requestNs[SAMPLE - counted.exchanges]! + 1;
    if (batch.count > 0) {
      if (counted.firstNs === NEVER) counted.firstNs = batch.requestNs[0]!;
      counted.lastNs = batch.requestNs[batch.count - 1]!;
    }
    counted.exchanges += batch.count;
    onProgress?.(counted.exchanges);
  }
  const { exchanges, requestBytes, answerBytes, firstNs, lastNs } = counted;
  let hottest = 0;
  for (const count of byHash.values()) hottest = Math.max(hottest, count);
  const some = Math.max(1, exchanges);
  return {
    exchanges,
    seconds: (lastNs - Math.max(0, firstNs)) / 1e9,
    connections: mostAtOnce([...known.values()]),
    keys: byHash.size,
    requestBytes: requestBytes / some,
    answerBytes: answerBytes / some,
    hottest: hottest / some,
    readRate: exchanges / Math.max((performance.now() - began) / 1000, 1e-3),
    sampleNs,
    byHash,
  };
}

function countKeys(batch: Batch, byHash: Map<number, number>): void {
  const counts = new Uint32Array(batch.keyCount);
  const rows = new Int32Array(batch.keyCount);
  for (let row = 0; row < batch.count; row++) {
    if (batch.keyLength[row] === 0) continue;
    const id = batch.keyId[row]!;
    counts[id]!++;
    rows[id] = row;
  }
  for (const [id, count] of counts.entries()) {
    if (count === 0) continue;
    const at = batch.keyAt[rows[id]!]!;
    const hash = shardHash(batch.heap, at, at + batch.keyLength[rows[id]!]!);
    const before = byHash.get(hash);
    if (before !== undefined || byHash.size < MAX_HASHES) byHash.set(hash, (before ?? 0) + count);
  }
}

function mostAtOnce(connections: readonly Connection[]): number {
  const changes = connections.flatMap(({ openNs, closeNs }): [atNs: number, by: number][] => [
    [openNs === NEVER ? 0 : openNs, 1],
    ...(closeNs === NEVER ? [] : ([[closeNs, -1]] as [number, number][])),
  ]);
  let open = 0;
  let most = 0;
  for (const [, by] of changes.toSorted(([a, one], [b, other]) => a - b || other - one))
    most = Math.max(most, (open += by));
  return most;
}

/** What comes out where every figure is known. */
export function planOf(demand: Demand, options: PlanOptions): Plan {
  const { rate, measured, headroom, targets } = options;
  const { byHash: _byHash, sampleNs: _sampleNs, ...trace } = demand;
  const perWorker = measured * headroom;
  const found = workersFor(demand, rate, perWorker);
  return {
    format: 'memtape-plan/1',
    rate,
    measured,
    headroom,
    perWorker,
    workers: found.workers,
    why: found.why,
    fullest: found.workers === null ? null : { share: found.share, rate: found.share * rate },
    connections: found.workers === null ? null : demand.connections * found.workers * targets,
    bandwidth: {
      requests: rate * (demand.requestBytes + SEGMENT_BYTES) * 8,
      answers: rate * (demand.answerBytes + SEGMENT_BYTES) * 8,
    },
    speed: demand.seconds === 0 ? 0 : rate / (demand.exchanges / demand.seconds),
    readySeconds: (2 * demand.exchanges) / demand.readRate,
    trace,
  };
}

interface Found {
  workers: number | null;
  why: string | null;
  /** The share of the fullest of them. */
  share: number;
}

/** The fewest workers of whom none is asked for more than it can send. */
function workersFor({ hottest, byHash, exchanges }: Demand, rate: number, perWorker: number): Found {
  if (hottest * rate > perWorker)
    return impossible(
      `one key has ${(hottest * 100).toFixed(2)}% of the requests, all of one shard: that alone is ${figure(hottest * rate)} a second, and a worker keeps its times up to ${figure(perWorker)}`,
    );
  const fits = (workers: number): number | undefined => {
    const share = fullest(byHash, exchanges, workers);
    return share * rate <= perWorker ? share : undefined;
  };
  // The fullest shard shrinks about as their number grows: one that is enough is found by larger and larger steps, and
  // the fewest by halving the last of these.
  let tooFew = Math.max(1, Math.ceil(rate / perWorker)) - 1;
  let enough = tooFew + 1;
  let share = fits(enough);
  while (share === undefined && enough < MAX_SHARDS) {
    tooFew = enough;
    enough = Math.min(MAX_SHARDS, Math.ceil(enough * GROWTH));
    share = fits(enough);
  }
  while (share !== undefined && enough - tooFew > 1) {
    const middle = (tooFew + enough) >>> 1;
    const better = fits(middle);
    if (better === undefined) tooFew = middle;
    else [enough, share] = [middle, better];
  }
  if (share !== undefined && enough <= MAX_SHARDS) return { workers: enough, why: null, share };
  return impossible(`the keys divide too unevenly for ${MAX_SHARDS} shards, of which there are no more`);
}

function impossible(why: string): Found {
  return { workers: null, why, share: 0 };
}

/** The share of all exchanges that the fullest shard has. What has no key, or was not kept apart, counts as spread evenly. */
function fullest(byHash: ReadonlyMap<number, number>, exchanges: number, of: number): number {
  const loads = new Float64Array(of);
  let counted = 0;
  for (const [hash, count] of byHash) {
    loads[hash % of]! += count;
    counted += count;
  }
  let most = 0;
  for (const load of loads) most = Math.max(most, load);
  return (most + Math.max(0, exchanges - counted) / of) / Math.max(1, exchanges);
}

function figure(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}
