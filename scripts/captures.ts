// Captures at random, as nobody would send them: `node dist/scripts/captures.js [CAPTURES] [SEED]`. Stamps jump, lengths lie,
// tunnels nest, segments come in any order from either side, bytes change. Each capture is recorded: whatever memtape
// writes, it has to read again, with times in order; nothing may throw but a RecorderError. Ends with 1 where that fails.

import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { RecorderError } from '../recorder/error.ts';
import { recordCapture } from '../recorder/record.ts';
import { Random } from '../synth/random.ts';
import { TraceReader } from '../trace/file.ts';
import { summarise } from '../trace/summary.ts';
import { randomCapture } from './packets.ts';

const CAPTURES = Number(process.argv[2] ?? 1000);
const SEED = Number(process.argv[3] ?? 1);

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

// In memory where that is to be had: each trace is synchronised with the disk.
const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'memtape-captures-'));
const began = performance.now();
let recorded = 0;
let [slowestMs, failed] = [0, 0];
for (let n = 0; n < CAPTURES && failed < 10; n++) {
  const file = randomCapture(new Random(SEED, n));
  const from = performance.now();
  const wrong = await wrongWith(file, join(folder, 'x.tape'));
  slowestMs = Math.max(slowestMs, performance.now() - from);
  recorded++;
  if (wrong === undefined) continue;
  failed++;
  const kept = join(folder, `${n}.pcap`);
  writeFileSync(kept, file);
  process.stderr.write(`capture ${n} of seed ${SEED}, kept as ${kept}: ${wrong}\n`);
}
if (failed === 0) rmSync(folder, { recursive: true, force: true });
const seconds = (performance.now() - began) / 1000;
process.stdout.write(
  `${recorded} captures, ${failed} with something wrong; ${(recorded / seconds).toFixed(0)} a second, the slowest ${slowestMs.toFixed(0)} ms, ${(process.memoryUsage().rss / 1e6).toFixed(0)} MB\n`,
);
process.exitCode = failed === 0 ? 0 : 1;
