// Drills: commands that run at times of a replay (restart a backend, stop a process), so that what the servers make of
// it is measured under traffic.

import { spawn, type ChildProcess } from 'node:child_process';
import type { DrillRun } from '../trace/meta.ts';
import type { Drill } from './drillfile.ts';

export type { Drill } from './drillfile.ts';

const TIMEOUT_MS = 30_000;
const OUTPUT_KEPT = 2000;
/** For what it printed at its end. */
const LAST_WORDS_MS = 20;

/** Runs each at its time. */
export class Drills {
  readonly runs: DrillRun[];
  readonly #drills: readonly Drill[];
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #running = new Map<ChildProcess, Promise<void>>();
  #startMs = 0;

  constructor(drills: readonly Drill[]) {
    this.#drills = drills.toSorted((a, b) => a.at - b.at);
    this.runs = this.#drills.map(({ at, run, name, server }) => ({
      name: name ?? run,
      run,
      server: server ?? null,
      atSeconds: at / 1000,
      tookSeconds: 0,
      exitCode: null,
      output: 'the replay ended before its time',
    }));
  }

  /** @param delayMs until the replay's start */
  start(delayMs: number): void {
    this.#startMs = performance.now() + delayMs;
    for (const [n, drill] of this.#drills.entries())
      this.#timers.push(setTimeout(() => this.#run(drill, this.runs[n]!), Math.max(0, delayMs + drill.at)));
  }

  /** Ends the waiting ones, and waits for those that run. */
  async stop(): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer);
    await Promise.all(this.#running.values());
  }

  #run({ run, timeout = TIMEOUT_MS }: Drill, told: DrillRun): void {
    const began = performance.now();
    told.atSeconds = round((began - this.#startMs) / 1000);
    told.output = '';
    // A group of its own, so that what it started can be stopped with it.
    const child = spawn(run, { shell: true, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [child.stdout, child.stderr])
      stream.on(
        'data',
        (text: Buffer) => (told.output = (told.output + text.toString()).slice(-OUTPUT_KEPT)),
      );
    const stop = (): void => {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    };
    const timer = setTimeout(stop, timeout);
    this.#running.set(
      child,
      new Promise((resolve) => {
        const done = (exitCode: number | null, error?: Error): void => {
          clearTimeout(timer);
          told.exitCode = exitCode;
          told.tookSeconds = round((performance.now() - began) / 1000);
          if (error !== undefined) told.output = error.message;
          else if (exitCode === null) told.output += `(stopped after ${timeout} ms)`;
          resolve();
        };
        child.once('error', (error) => done(null, error));
        // Not 'close': what it left in the background may keep its output open.
        child.once('exit', (exitCode) =>
          setTimeout(() => {
            child.stdout.destroy();
            child.stderr.destroy();
            done(exitCode);
          }, LAST_WORDS_MS),
        );
      }),
    );
  }
}

function round(seconds: number): number {
  return Math.round(seconds * 1e6) / 1e6;
}
