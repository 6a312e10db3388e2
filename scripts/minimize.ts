// A needle found: `node dist/scripts/minimize.js [EXCHANGES]`. A trace of so many exchanges, of which three bring out a
// fault and a fourth shows it, is minimized against the embedded server that has the fault. Ends with 1 where more than
// ten are left, or what is left does not show it again.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeNeedle } from '../fixtures/needle.ts';
import { TraceReader } from '../trace/file.ts';

const EXCHANGES = Number(process.argv[2] ?? 100_000);
const MOST = 10;
const FINDING = ['--finding', '1', '--fault', 'forget-after=append+touch'];
const memtape = new URL('../cli/main.js', import.meta.url).pathname;

async function exchangesOf(path: string): Promise<number> {
  const trace = await TraceReader.open(path);
  await trace.close();
  return trace.exchangeCount;
}

const folder = mkdtempSync(join(tmpdir(), 'memtape-minimize-'));
try {
  const tape = join(folder, 'needle.tape');
  const small = join(folder, 'small.tape');
  await writeNeedle(tape, { exchanges: EXCHANGES });
  const began = performance.now();
  const { status } = spawnSync(
    process.execPath,
    [memtape, 'minimize', tape, '-o', small, '--timeout', '5s', ...FINDING],
    { stdio: 'inherit' },
  );
  const seconds = (performance.now() - began) / 1000;
  const left = status === 0 ? await exchangesOf(small) : EXCHANGES;
  process.stdout.write(
    `\n${EXCHANGES} exchanges to ${left} in ${seconds.toFixed(1)} s, exit code ${status}\n`,
  );
  if (left > MOST) process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
