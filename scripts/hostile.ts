// Targets that mean harm: `node dist/scripts/hostile.js [TIMEOUT_MS] [PART]` replays against each kind, from the first byte
// and after 1,500 requests, and holds the command to an end within three time-outs and two seconds, 256 MB, and an exit
// code that is true. PART: of the kinds, one in so many. Ends with 1 where one of them is not kept.

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { harms, startHostile } from '../fixtures/hostile.ts';
import { startServer } from '../fixtures/server.ts';
import { synth } from '../library/synth.ts';

const TIMEOUT_MS = Number(process.argv[2] ?? 1000);
const PART = Number(process.argv[3] ?? 1);
const ONLY = process.argv[4];
const AFTER = 1500;
const MAX_MEGABYTES = 256;
/** Whatever runs longer is stopped. */
const KILL_MS = 30_000;
/** Beside the time-outs; on a busy machine, in proportion to what a target that means well takes. */
const OWN_MS = 2000;
const BUSY = 1.5;
/** A target that answers rightly, whatever else it does. */
const harmless = new Set(['right answers, and it never closes']);
const command = new URL('../cli/main.js', import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), 'memtape-hostile-'));
const trace = join(folder, 'traffic.tape');

interface Run {
  code: number | null;
  ms: number;
  megabytes: number;
  said: string;
}

/** Requests of the replay itself are what is counted, and no keys that are set before it. */
function argumentsFor(address: string, after: number): string[] {
  const prefill = after === 0 ? 'auto' : 'none';
  const args = ['--target', address, '--speed', 'max', '--timeout', `${TIMEOUT_MS}ms`, '--prefill', prefill];
  return ['replay', trace, ...args, '--quiet'];
}

async function run(args: readonly string[]): Promise<Run> {
  const from = performance.now();
  const child = spawn(process.execPath, [command, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (text: Buffer) => (said += text.toString()));
  let megabytes = 0;
  const look = setInterval(() => {
    try {
      const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
      megabytes = Math.max(megabytes, Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024);
    } catch {
      // It is gone.
    }
  }, 20);
  const kill = setTimeout(() => child.kill('SIGKILL'), KILL_MS);
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  clearInterval(look);
  clearTimeout(kill);
  return { code, ms: performance.now() - from, megabytes, said };
}

let [wrong, slowest, largest] = [0, 0, 0];
const server = await startServer();
try {
  await synth('etc', trace, { requests: 3000, seed: 1 });
  const sound = await run(argumentsFor(server.address, 0));
  const maxMs = 3 * TIMEOUT_MS + Math.max(OWN_MS, BUSY * sound.ms);
  process.stdout.write(`a target that means well: ${(sound.ms / 1000).toFixed(1)} s\n`);
  const kinds = Object.entries(harms).filter(([name], n) =>
    ONLY === undefined ? n % PART === 0 : name === ONLY,
  );
  for (const [name, harm] of kinds)
    for (const after of [0, AFTER]) {
      const target = await startHostile(server.address, harm, after);
      const { code, ms, megabytes, said } = await run(argumentsFor(target.address, after));
      await target.stop();
      const codes = harmless.has(name) ? [0, 1] : after === 0 ? [1, 5] : [1];
      const isRight = code !== null && codes.includes(code) && !/defect in memtape/.test(said);
      const isKept = isRight && ms <= maxMs && megabytes <= MAX_MEGABYTES;
      if (!isKept) wrong++;
      [slowest, largest] = [Math.max(slowest, ms), Math.max(largest, megabytes)];
      process.stdout.write(
        `${isKept ? 'kept ' : 'WRONG'}  ${name}, ${after === 0 ? 'from the first byte' : `after ${after} requests`}: exit ${code}, ${(ms / 1000).toFixed(1)} s, ${megabytes.toFixed(0)} MB${isKept ? '' : `\n${said.split('\n').slice(0, 6).join('\n')}`}\n`,
      );
    }
  process.stdout.write(
    `${kinds.length} kinds, each from the first byte and after ${AFTER} requests: ${wrong} not kept; the slowest ${(slowest / 1000).toFixed(1)} s of ${(maxMs / 1000).toFixed(1)}, the largest ${largest.toFixed(0)} MB of ${MAX_MEGABYTES}\n`,
  );
} finally {
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
}
process.exitCode = wrong === 0 ? 0 : 1;
