// Captures at random, as nobody would send them: `node dist/scripts/captures.js [CAPTURES] [SEED]`. Stamps jump, lengths lie,
// tunnels nest, segments come in any order from either side, bytes change. Each capture is recorded: whatever memtape
// writes, it has to read again, with times in order; nothing may throw but a RecorderError. Ends with 1 where that fails.
//
// A worker for each core takes a share of them.

import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { RecorderError } from '../recorder/error.ts';
import { recordCapture } from '../recorder/record.ts';
import { Random } from '../synth/laws/random.ts';
import { TraceReader } from '../trace/file.ts';
import { summarise } from '../trace/summary.ts';
import { openAtOnce } from './atonce.ts';
import { randomCapture } from './packets.ts';

/** The run ends early at so many failures of one worker. */
const MAX_FAILED = 10;
const SAID_EVERY_MS = 60_000;
/** A worker tells of so many captures at a time. */
const TOLD_EVERY = 100;

interface Share {
  captures: number;
  seed: number;
  /** The first capture, and the distance to the next. */
  first: number;
  step: number;
  folder: string;
}

interface Told {
  recorded: number;
  failed: number;
  slowestMs: number;
}

/** What is wrong with the trace of this capture; undefined where nothing is. */
async function wrongWith(file: Buffer, output: string): Promise<string | undefined> {
  let exchanges: number;
  try {
    ({ exchanges } = await recordCapture(Readable.from([file]), {
      output,
      ports: [11_211],
      source: 'random',
    }));
  } catch (error) {
    return error instanceof RecorderError ? undefined : `recording: ${(error as Error).stack}`;
  }
  if (exchanges === 0) return undefined;
  try {
    const trace = await TraceReader.open(output);
    try {
      const summary = await summarise(trace);
      return summary.exchanges === exchanges && !summary.truncated
        ? undefined
        : `${exchanges} exchanges became ${summary.exchanges}`;
    } finally {
      await trace.close();
    }
  } catch (error) {
    return `reading: ${(error as Error).stack}`;
  }
}

/** Works off a worker's share. */
async function work(
  { captures, seed, first, step, folder }: Share,
  tell: (told: Told) => void,
): Promise<void> {
  const output = join(folder, `${first}.tape`);
  let failed = 0;
  let told: Told = { recorded: 0, failed: 0, slowestMs: 0 };
  for (let n = first; n < captures && failed < MAX_FAILED; n += step) {
    const file = randomCapture(new Random(seed, n));
    const from = performance.now();
    const wrong = await wrongWith(file, output);
    told.slowestMs = Math.max(told.slowestMs, performance.now() - from);
    told.recorded++;
    if (wrong !== undefined) {
      failed++;
      told.failed++;
      const kept = join(folder, `${n}.pcap`);
      writeFileSync(kept, file);
      process.stderr.write(`capture ${n} of seed ${seed}, kept as ${kept}: ${wrong}\n`);
    }
    if (told.recorded < TOLD_EVERY) continue;
    tell(told);
    told = { recorded: 0, failed: 0, slowestMs: 0 };
  }
  tell(told);
}

async function main(captures: number, seed: number): Promise<number> {
  // In memory where that is to be had: each trace is synchronised with the disk.
  const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'memtape-captures-'));
  const began = performance.now();
  const all: Told = { recorded: 0, failed: 0, slowestMs: 0 };
  const say = (): void => {
    const seconds = (performance.now() - began) / 1000;
    process.stdout.write(
      `${all.recorded} captures, ${all.failed} with something wrong; ${(all.recorded / seconds).toFixed(0)} a second, the slowest ${all.slowestMs.toFixed(0)} ms, ${(process.memoryUsage().rss / 1e6).toFixed(0)} MB\n`,
    );
  };
  const timer = setInterval(say, SAID_EVERY_MS);
  const step = availableParallelism();
  const codes = await Promise.all(
    Array.from({ length: step }, async (_, first) => {
      const worker = new Worker(new URL(import.meta.url), {
        workerData: { captures, seed, first, step, folder } satisfies Share,
      });
      worker.on('message', ({ recorded, failed, slowestMs }: Told) => {
        all.recorded += recorded;
        all.failed += failed;
        all.slowestMs = Math.max(all.slowestMs, slowestMs);
      });
      return new Promise<number>((resolve, reject) => {
        worker.on('error', reject).on('exit', resolve);
      });
    }),
  );
  clearInterval(timer);
  say();
  if (all.failed === 0) rmSync(folder, { recursive: true, force: true });
  return all.failed === 0 && all.recorded === captures && codes.every((code) => code === 0) ? 0 : 1;
}

if (isMainThread)
  process.exitCode = await main(Number(process.argv[2] ?? 1000), Number(process.argv[3] ?? 1));
else {
  openAtOnce();
  await work(workerData as Share, (told) => parentPort!.postMessage(told, []));
}
