// A recording that dies is readable up to its last whole block: `node dist/scripts/survival.js [ROUNDS]` kills a recording
// proxy under load at random moments with SIGKILL, then fills a disk of a few megabytes under another, and reads what is
// there. Ends with 1 where anything written was lost.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startMemcached } from '../embedded/memcached.ts';
import { Random } from '../synth/laws/random.ts';
import { load, readable, startRecording } from './recorder.ts';

const ROUNDS = Number(process.argv[2] ?? 50);
const folder = mkdtempSync(join(tmpdir(), 'memtape-survival-'));
const random = new Random(17);

let lost = 0;
let empty = 0;
const server = await startMemcached(['-I', '2m']);
try {
  for (let round = 0; round < ROUNDS; round++) {
    const output = join(folder, 'killed.tape');
    rmSync(output, { force: true });
    const { child, address, ended } = await startRecording(server.address, output);
    const done = load(address, { random, seconds: 7, valueBytes: 20_000 });
    // Values of 10 kB on average: a block every second or so, so that many die while one is written.
    await sleep(500 + random.float() * 6_000);
    child.kill('SIGKILL');
    await ended;
    await done;
    try {
      const { exchanges, blocks } = await readable(output);
      if (exchanges === 0) empty++;
      process.stdout.write(`killed ${round}: ${exchanges} exchanges in ${blocks} blocks read back\n`);
    } catch (error) {
      const isEmpty = (error as { code?: string }).code === 'READ' || statSync(output).size < 100;
      if (isEmpty) empty++;
      else {
        lost++;
        process.stdout.write(`killed ${round}: ${(error as Error).message}\n`);
      }
    }
  }
  process.stdout.write(`${ROUNDS} kills: ${empty} before the first block, ${lost} unreadable\n`);
  const disk = join(folder, 'disk');
  mkdirSync(disk);
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', disk], { stdio: 'pipe' });
  } catch (error) {
    throw new Error('expected the right to mount a tmpfs of 8 MB (run it as root)', { cause: error });
  }
  try {
    const output = join(disk, 'full.tape');
    const { child, address, said, ended } = await startRecording(server.address, output);
    let calls = 0;
    for (let n = 0; n < 12 && !said().includes('the recording stops'); n++)
      calls += await load(address, { random, seconds: 3, valueBytes: 20_000 });
    const after = await load(address, { random, seconds: 1, valueBytes: 1000 });
    const { exchanges } = await readable(output);
    child.kill('SIGINT');
    await ended;
    process.stdout.write(
      `full disk after ${calls} calls: ${exchanges} exchanges read back; ${after} calls after it were answered; it said: ${said().trim()}\n`,
    );
    if (exchanges === 0 || after === 0 || !said().includes('ENOSPC')) lost++;
  } finally {
    execFileSync('umount', [disk]);
  }
} finally {
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
}
process.exitCode = lost === 0 ? 0 : 1;
