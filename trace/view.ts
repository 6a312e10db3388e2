// What of a trace is replayed, and how often: a stretch of its time, or a shard, over and over. The replay walks it, and the verdict
// walks it again beside the results; times begin at 0, and each turn comes after the one before.

import { Batch, NEVER, type Connection } from './batch.ts';
import type { TraceMeta } from './meta.ts';
import { Sharding, keepShard, type Membership, type Shard } from './shard.ts';
import type { Trace } from './source.ts';
import { surveyTrace, type Survey, type SurveyedStretch, type TenantMode } from './survey.ts';

export interface ViewOptions {
  /** Requests from here on, ns since the trace's start. Default 0. */
  fromNs?: number;
  /** Requests before this. Default: all. */
  toNs?: number;
  /** How often. Default 1. */
  loops?: number;
  /** Only exchanges of this shard. Default: all. */
  shard?: Shard;
}

/** Between the last event of a turn and the first of the next. */
const PAUSE_NS = 1000;

export class TraceView {
  readonly meta: TraceMeta;
  readonly fromNs: number;
  readonly toNs: number;
  readonly loops: number;
  readonly shard: Shard | undefined;
  readonly #trace: Trace;
  /** Of one turn, once it has been surveyed. */
  #rows = 0;
  #spanNs = 0;
  #firstIndex = 0;
  /** Of a shard: which exchanges of a turn are its own. */
  #members: Membership | undefined;

  constructor(trace: Trace, { fromNs = 0, toNs = Infinity, loops = 1, shard }: ViewOptions = {}) {
    this.meta = trace.meta;
    this.#trace = trace;
    this.fromNs = fromNs;
    this.toNs = toNs;
    this.loops = loops;
    this.shard = shard;
  }

  /** Unix time of the view's first moment, seconds. */
  get startSeconds(): number {
    return Number(BigInt(this.meta.startNs) / 1_000_000n) / 1000 + this.fromNs / 1e9;
  }

  /** Exchanges at most, before a survey has counted them. */
  get exchangeCount(): number {
    return this.#trace.exchangeCount;
  }

  /** Index in the trace of a row of the view. */
  indexInTrace(index: number): number {
    const row = this.#rows === 0 ? index : index % this.#rows;
    return this.#firstIndex + (this.#members === undefined ? row : this.#members.nth(row));
  }

  /**
   * Reads one turn; what it says of connections is true of all turns together.
   * @param leavesKeys as of SurveyOptions
   * @throws TraceError CHECKSUM, BROKEN
   */
  async survey(
    tenants: TenantMode,
    onProgress?: (rows: number) => void,
    leavesKeys = false,
  ): Promise<Survey> {
    const { shard } = this;
    const options = { leavesKeys, ...(shard ? { shard } : {}), ...(onProgress ? { onProgress } : {}) };
    let survey = await surveyTrace(this.#stretch(), { tenants, ...options });
    // Whose keys are whose shows only once all was read.
    if (tenants === 'auto' && survey.tenantsShare)
      survey = await surveyTrace(this.#stretch(), { tenants: 'shared', ...options });
    this.#rows = survey.exchanges;
    this.#members = survey.members;
    this.#spanNs = survey.lastNs + PAUSE_NS;
    survey.firstIndex = this.#firstIndex;
    survey.exchanges *= this.loops;
    survey.allExchanges *= this.loops;
    for (const connection of survey.connections) {
      connection.exchanges *= this.loops;
      if (connection.closeNs !== NEVER) connection.closeNs += (this.loops - 1) * this.#spanNs;
    }
    survey.lastNs += (this.loops - 1) * this.#spanNs;
    return survey;
  }

  /** What an earlier view of the same stretch found. */
  adopt(survey: SurveyedStretch): void {
    this.#firstIndex = survey.firstIndex;
    this.#rows = survey.exchanges / this.loops;
    this.#members = survey.members;
    this.#spanNs = (survey.lastNs + PAUSE_NS) / this.loops;
  }

  /** All turns; `survey` comes first where there are several. @throws TraceError CHECKSUM, BROKEN */
  async *batches(): AsyncGenerator<Batch> {
    for (let loop = 0; loop < this.loops; loop++) {
      for await (const batch of this.#turn()) {
        if (loop > 0) {
          shift(batch, loop * this.#spanNs);
          batch.firstIndex += loop * this.#rows;
          batch.connections = [];
        }
        yield batch;
      }
    }
  }

  async *#turn(): AsyncGenerator<Batch> {
    const { shard } = this;
    if (shard === undefined) {
      yield* this.#stretch();
      return;
    }
    const sharding = new Sharding(shard.of);
    let index = 0;
    for await (const batch of this.#stretch()) {
      keepShard(batch, sharding.shardsOf(batch), shard);
      batch.firstIndex = index;
      index += batch.count;
      yield batch;
    }
  }

  async *#stretch(): AsyncGenerator<Batch> {
    const { fromNs, toNs } = this;
    if (fromNs === 0 && toNs === Infinity) {
      yield* this.#trace.batches();
      return;
    }
    // Connections are told of where they are first seen, which may be before the stretch.
    let connections: Connection[] = [];
    let index = 0;
    for await (const batch of this.#trace.batches({ toNs })) {
      connections = connections.concat(batch.connections);
      let from = 0;
      while (from < batch.count && batch.requestNs[from]! < fromNs) from++;
      let to = from;
      while (to < batch.count && batch.requestNs[to]! < toNs) to++;
      if (to === from) {
        batch.release();
        continue;
      }
      const part = batch.slice(from, to);
      if (index === 0) this.#firstIndex = part.firstIndex;
      part.firstIndex = index;
      part.connections = structuredClone(connections);
      connections = [];
      shift(part, -fromNs);
      index += part.count;
      yield part;
    }
  }
}

function shift(batch: Batch, byNs: number): void {
  const { count, requestNs, requestEndNs, answerNs } = batch;
  for (let row = 0; row < count; row++) {
    requestNs[row]! += byNs;
    requestEndNs[row]! += byNs;
    if (answerNs[row] !== NEVER) answerNs[row]! += byNs;
  }
  for (const connection of batch.connections) {
    connection.openNs = connection.openNs === NEVER ? NEVER : Math.max(0, connection.openNs + byNs);
    if (connection.closeNs !== NEVER) connection.closeNs = Math.max(0, connection.closeNs + byNs);
  }
}
