// What is known of each shard of a run: who has it, how far it is, when it was last heard of, and what became of it.

import type { News } from './job.ts';

export interface ShardState {
  index: number;
  state: 'waiting' | 'working' | 'ready' | 'prepared' | 'begun' | 'replaying' | 'done' | 'lost';
  /** Who has it. */
  host: string | undefined;
  attempt: string | undefined;
  /** Jobs that were filed for it so far. */
  jobs: number;
  latest: News | undefined;
  /** Where the clock of its machine stands, as measured before the start. */
  clock: { uncertaintyMs: number; wallMs: number } | undefined;
  /** When it began: Unix time by the clock of Redis, and its machine's monotonic one. */
  begun: { unixMs: number; monotonicMs: number } | undefined;
  /** Path of its results. */
  results: string | undefined;
  /** Why it has none, as what follows `shard 2/8`. */
  lost: string | undefined;
  /** Why its attempt is no more; cleared by the next one. */
  trouble: string | undefined;
}

/** An attempt is chosen if it was heard of so lately, ms: signs come every second. */
const FRESH_MS = 3_500;

export class Shards {
  readonly all: readonly ShardState[];
  /** Resolves once all have ended. */
  readonly ended: Promise<void>;
  readonly #silenceMs: number;
  /** By number, performance.now() of the last sign. */
  readonly #heardMs: number[] = [];
  #end: (() => void) | undefined;
  #isCommitted = false;
  /** performance.now() of the start. */
  #startedMs = Infinity;

  constructor(count: number, silenceMs: number) {
    this.#silenceMs = silenceMs;
    this.ended = new Promise((resolve) => (this.#end = resolve));
    this.all = Array.from({ length: count }, (_, n) => ({
      index: n + 1,
      state: 'waiting' as const,
      host: undefined,
      attempt: undefined,
      jobs: 1,
      latest: undefined,
      clock: undefined,
      begun: undefined,
      results: undefined,
      lost: undefined,
      trouble: undefined,
    }));
  }

  hear(news: News): void {
    const shard = this.all[news.index - 1];
    if (shard === undefined || this.#isOver(shard)) return;
    // Until one is chosen, the latest attempt counts; then it alone.
    if (this.#isCommitted && shard.attempt !== news.attempt) return;
    if (!this.#isCommitted && news.kind !== 'failed') shard.attempt = news.attempt;
    this.#heardMs[news.index] = performance.now();
    shard.host = news.host;
    shard.latest = news;
    if (news.kind === 'prepared') shard.clock = { uncertaintyMs: news.uncertaintyMs, wallMs: news.wallMs };
    if (news.kind === 'begun') shard.begun = { unixMs: news.unixMs, monotonicMs: news.monotonicMs };
    // Results that come by another way, perhaps later, are what makes a shard done.
    if (news.kind !== 'failed' && news.kind !== 'done') shard.state = news.kind;
  }

  /** Its n-th job is no more, whether or not anything was heard of it. Once attempts are chosen, that alone says nothing: a worker may have lost Redis and go on. */
  failed(index: number, job: number, why: string): void {
    const shard = this.all[index - 1];
    if (shard !== undefined && !this.#isCommitted && shard.jobs === job) shard.trouble = why;
  }

  hasResults(index: number, path: string): void {
    const shard = this.all[index - 1]!;
    shard.results = path;
    shard.state = 'done';
    this.#settle();
  }

  lose(index: number, why: string): void {
    const shard = this.all[index - 1]!;
    if (this.#isOver(shard)) return;
    shard.lost = why;
    shard.state = 'lost';
    this.#settle();
  }

  giveUp(why: string): void {
    for (const { index } of this.all) this.lose(index, why);
  }

  get hasEnded(): boolean {
    return this.all.every((shard) => this.#isOver(shard));
  }

  get areReady(): boolean {
    const now = performance.now();
    return this.all.every(
      ({ index, state, trouble }) =>
        state === 'ready' && trouble === undefined && now - this.#heardMs[index]! < FRESH_MS,
    );
  }

  get arePrepared(): boolean {
    return this.all.every(({ state }) => state === 'prepared');
  }

  /** The attempts that are to replay, by shard. */
  commit(): Record<string, string> {
    this.#isCommitted = true;
    return Object.fromEntries(this.all.map(({ index, attempt }) => [String(index), attempt!]));
  }

  /** @param leadMs from now until they start */
  started(leadMs: number): void {
    this.#startedMs = performance.now() + leadMs;
  }

  /** Those that still wait for the start, so long after it. */
  waitInVain(ms: number): ShardState[] {
    if (performance.now() - this.#startedMs < ms) return [];
    return this.all.filter(({ state }) => state === 'prepared');
  }

  /** When the shard was last heard of: `at 3.2 s`. */
  lastHeard(index: number): string {
    const sinceMs = (this.#heardMs[index] ?? -Infinity) - this.#startedMs;
    return sinceMs >= 0 ? `at ${(sinceMs / 1000).toFixed(1)} s` : 'before the start';
  }

  /** The attempt that counts for the shard. */
  isCurrent(index: number, attempt: string): boolean {
    return this.all[index - 1]?.attempt === attempt;
  }

  takes(index: number, attempt: string): boolean {
    const shard = this.all[index - 1];
    return shard !== undefined && shard.attempt === attempt && !this.#isOver(shard);
  }

  /** Before attempts are chosen: those whose attempt is no more. */
  dead(): ShardState[] {
    return this.all.filter(
      (shard) => shard.trouble !== undefined || (shard.state !== 'waiting' && this.#isSilent(shard)),
    );
  }

  silent(): ShardState[] {
    return this.all.filter((shard) => !this.#isOver(shard) && this.#isSilent(shard));
  }

  /** It waits for an attempt again. */
  again(shard: ShardState): void {
    shard.state = 'waiting';
    shard.attempt = undefined;
    shard.trouble = undefined;
    shard.jobs++;
  }

  /** Nobody could be heard meanwhile. */
  forgive(): void {
    for (const { index } of this.all) this.#heardMs[index] = performance.now();
  }

  #isSilent({ index }: ShardState): boolean {
    return performance.now() - (this.#heardMs[index] ?? Infinity) > this.#silenceMs;
  }

  #isOver({ state }: ShardState): boolean {
    return state === 'done' || state === 'lost';
  }

  #settle(): void {
    if (this.hasEnded) this.#end!();
  }
}
