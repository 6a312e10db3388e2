// The search for the smallest trace that still shows a finding: which tries are made, what a try is, and what came of
// it. The cuts and ddmin are in convert/; here they meet replays and their verdicts.

import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { coarseCuts } from '../convert/cuts.ts';
import { ddmin } from '../convert/ddmin.ts';
import { mergeTraces } from '../convert/merge.ts';
import { squeezeTrace } from '../convert/squeeze.ts';
import type { Finding } from '../diff/verdict.ts';
import { diffOf, withFiles } from '../library/replayed.ts';
import { replay, type ReplayOptions } from '../replayer/replay.ts';
import { TraceReader } from '../trace/file.ts';
import { CliError } from './error.ts';
import type { Subject } from './subject.ts';
import { plural } from './text.ts';

export interface ReductionOptions {
  trace: string;
  /** For files that are of use during the search only. */
  folder: string;
  /** How each try is replayed. */
  run: Omit<ReplayOptions, 'trace' | 'results' | 'targets' | 'signal' | 'onProgress'>;
  subject: Subject;
  /** A healthy server: what shows the finding there too shows nothing. */
  control: { subject: Subject; run: ReductionOptions['run'] };
  /** Pauses of the traces are shortened to this. Default: they stay. */
  maxPauseNs?: number;
  maxTries: number;
  /** Ends the search; the best so far stays. */
  signal: AbortSignal;
  /** Told after each try, with the exchanges of the best so far. */
  onTry: (tries: number, left: number) => void;
}

/** What is looked for: a kind of finding, or the n-th of the report, from 1. */
export type Wanted = { kind: string } | { number: number };

export interface Sought extends Finding {
  /** Tries of the whole trace, and those that showed it. */
  tries: number;
  seen: number;
  /** Tries after which a part that did not show it is taken not to. */
  repeats: number;
  /** A healthy server shows it as well, so it cannot tell what is left of it. */
  isEverywhere: boolean;
}

/** Tries of the whole trace, and of what is left. */
const SIGHTINGS = 3;
/** How often a part that would show it may be missed. */
const MISSED = 0.05;
/** What is left is written as a trace of its own when it is so much smaller than the one that it is read from. */
const REBASE_AT = 0.5;

/** A trace on the disk, and which rows of the first one it holds. */
interface Base {
  path: string;
  indexes: readonly number[];
}

export class Reduction {
  readonly #options: ReductionOptions;
  #base: Base = { path: '', indexes: [] };
  #best: readonly number[] = [];
  #files = 0;
  tries = 0;
  /** Exchanges of the trace; known after look(). */
  total = 0;
  /** What the last try that was looked at as a whole showed. */
  findings: readonly Finding[] = [];

  constructor(options: ReductionOptions) {
    this.#options = options;
  }

  /** Exchanges that are left. */
  get left(): number {
    return this.#best.length;
  }

  get isOver(): boolean {
    return this.#options.signal.aborted || this.tries >= this.#options.maxTries;
  }

  /**
   * Replays the whole trace, three times, to see whether the finding is there, and how often.
   * @returns undefined where it was not seen
   * @throws ReplayError · TraceError · what emptying the target throws
   */
  async look(wanted: Wanted): Promise<Sought | undefined> {
    const { trace, control } = this.#options;
    const reader = await TraceReader.open(trace);
    this.total = reader.exchangeCount;
    await reader.close();
    this.#best = Array.from({ length: this.total }, (_, index) => index);
    this.#base = { path: trace, indexes: this.#best };
    let found: Finding | undefined;
    let seen = 0;
    let tries = 0;
    for (; tries < SIGHTINGS && !this.isOver; tries++) {
      this.findings = await this.#try(trace);
      const finding =
        found === undefined
          ? this.findings.find((one, n) =>
              'kind' in wanted ? one.kind === wanted.kind : n === wanted.number - 1,
            )
          : find(this.findings, found);
      if (finding === undefined) continue;
      found ??= finding;
      seen++;
    }
    if (found === undefined) return undefined;
    const repeats = seen === tries ? 1 : Math.ceil(Math.log(MISSED) / Math.log(1 - seen / tries));
    const healthy = await this.#replay(trace, control.subject, control.run);
    return { ...found, tries, seen, repeats, isEverywhere: find(healthy, found) !== undefined };
  }

  /**
   * Cuts, coarsely at first, until nothing can be left out or the search is over.
   * @returns whether nothing can be left out
   * @throws as look(); the best so far stays
   */
  async reduce(sought: Sought): Promise<boolean> {
    const { signal } = this.#options;
    const shows = async (part: readonly number[]): Promise<boolean> => this.#shows(part, sought);
    const [first] = sought.examples;
    if (first !== undefined) {
      for (const { rows } of await coarseCuts(this.#options.trace, sought.examples)) {
        if (this.isOver) return false;
        const part = this.#best.filter((index) => rows[index] === 1);
        if (part.length < this.left) await shows(part);
      }
    }
    const { isMinimal } = await ddmin(this.#best, shows, { isOver: () => this.isOver });
    return isMinimal && !signal.aborted;
  }

  /** Writes what is left as a trace. @throws TraceError, ConvertError */
  async write(output: string): Promise<void> {
    await this.#write(this.#best, output);
  }

  /** How often a trace shows it. @throws as look() */
  async confirm(path: string, sought: Sought): Promise<{ seen: number; tries: number }> {
    let seen = 0;
    const tries = SIGHTINGS * sought.repeats;
    for (let n = 0; n < tries; n++) if (find(await this.#try(path), sought) !== undefined) seen++;
    return { seen, tries };
  }

  async #shows(part: readonly number[], sought: Sought): Promise<boolean> {
    if (part.length === 0) return false;
    const { folder, control, signal } = this.#options;
    const path = join(folder, `part-${this.#files++}.tape`);
    await this.#write(part, path);
    // Once may be luck, and of many parts some are lucky: it has to show again.
    let holds = await this.#showsWithin(sought.repeats, path, sought);
    holds &&= await this.#showsWithin(sought.repeats + 1, path, sought);
    // A cut may make by itself what it is to keep: what is read was not stored any more, say.
    if (holds && !sought.isEverywhere)
      holds = find(await this.#replay(path, control.subject, control.run), sought) === undefined;
    holds &&= !signal.aborted;
    if (holds) this.#best = part;
    if (holds && part.length <= this.#base.indexes.length * REBASE_AT) {
      const before = this.#base.path;
      this.#base = { path, indexes: part };
      if (before !== this.#options.trace) await rm(before);
    } else await rm(path);
    return holds;
  }

  async #showsWithin(tries: number, path: string, sought: Sought): Promise<boolean> {
    for (let n = 0; n < tries && !this.isOver; n++)
      if (find(await this.#try(path), sought) !== undefined) return true;
    return false;
  }

  /** Findings of a try; none where it was interrupted. */
  async #try(path: string): Promise<Finding[]> {
    const { subject, run, onTry } = this.#options;
    const findings = await this.#replay(path, subject, run);
    onTry(++this.tries, this.left);
    return findings;
  }

  async #replay(path: string, subject: Subject, run: ReductionOptions['run']): Promise<Finding[]> {
    const { folder, signal } = this.#options;
    const results = join(folder, 'results');
    return subject.fresh(async (targets) => {
      const { survey, end } = await replay({ ...run, trace: path, results, targets, signal });
      if (signal.aborted) return [];
      assertEmptied(end.leftover ?? null);
      const judged = await withFiles(path, results, async (files) => diffOf(files, { survey }));
      return judged.diff.findings;
    });
  }

  async #write(part: readonly number[], output: string): Promise<void> {
    const { folder, maxPauseNs } = this.#options;
    const { path, indexes } = this.#base;
    const rows = new Uint8Array(indexes.length);
    // Both are in order.
    let at = 0;
    for (const index of part) {
      while (indexes[at] !== index) at++;
      rows[at] = 1;
    }
    if (maxPauseNs === undefined) {
      await mergeTraces([path], output, { filter: { rows } });
      return;
    }
    const whole = join(folder, 'whole.tape');
    await mergeTraces([path], whole, { filter: { rows } });
    await squeezeTrace(whole, output, maxPauseNs);
  }
}

/** A try that does not begin with an empty target shows what the one before left there. @throws CliError */
function assertEmptied(leftover: number | null): void {
  if (leftover === null || leftover === 0) return;
  throw new CliError(
    `the target held ${plural(leftover, 'key')} of the trace at the beginning of a try: expected --reset, or FLUSH, to have emptied it`,
    2,
  );
}

function find(findings: readonly Finding[], wanted: Pick<Finding, 'class' | 'kind'>): Finding | undefined {
  return findings.find((one) => one.class === wanted.class && one.kind === wanted.kind);
}
