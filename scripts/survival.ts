// A recording that dies is readable up to its last whole block: `node dist/scripts/survival.js [ROUNDS]` kills a recording
// proxy under load at random moments with SIGKILL, then fills a disk of a few megabytes under another, and reads what is
// there. Ends with 1 where anything written was lost.

import { randomBytes } from 'node:crypto';
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startMemcached } from '../fixtures/memcached.ts';
import { FrameDecoder } from '../protocol/decoder.ts';
import { encodeRequest, storeExtras } from '../protocol/frame.ts';
import { Magic } from '../protocol/header.ts';
import { Opcode } from '../protocol/opcode.ts';
import { Random } from '../synth/random.ts';
import { TraceReader } from '../trace/file.ts';

const ROUNDS = Number(process.argv[2] ?? 50);
const command = new URL('../cli/main.js', import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), 'memtape-survival-'));
const random = new Random(17);

interface Proxy {
  child: ChildProcess;
  address: string;
  said: () => string;
}

function startRecording(upstream: string, output: string): Promise<Proxy> {
  const args = [
    command,
    'record',
    '--listen',
    '127.0.0.1:0',
    '--upstream',
    upstream,
    '-o',
    output,
    '--quiet',
  ];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  child.stderr.on('data', (text: Buffer) => (said += text.toString()));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.stdout.on('data', (text: Buffer) => {
      const address = /listening on (\S+)/.exec(text.toString())?.[1];
      if (address !== undefined) resolve({ child, address, said: () => said });
    });
  });
}

/** Exchanges that can be read; throws where a block that is whole cannot. */
async function readable(path: string): Promise<{ exchanges: number; blocks: number }> {
  const trace = await TraceReader.open(path);
  let exchanges = 0;
  for await (const batch of trace.batches()) exchanges += batch.count;
  const blocks = trace.blocks.length;
  await trace.close();
  return { exchanges, blocks };
}

/** Sets and gets on four connections until they end or the time is over; how many answers came. */
async function load(address: string, seconds: number, valueBytes: number): Promise<number> {
  let answers = 0;
  const decoderOf = (): FrameDecoder =>
    new FrameDecoder({ frame: () => void answers++ }, { magic: Magic.response });
  const sockets = Array.from({ length: 4 }, () => {
    const socket = connect(Number(address.split(':')[1]), '127.0.0.1');
    const decoder = decoderOf();
    socket.on('data', (data: Buffer) => decoder.push(data, 0, data.length, 0)).on('error', () => undefined);
    return socket;
  });
  const until = performance.now() + seconds * 1000;
  for (let n = 0; performance.now() < until && !sockets.every(({ destroyed }) => destroyed); n++) {
    const key = Buffer.from(`key${n % 500}`);
    const value = randomBytes(random.int(valueBytes));
    for (const socket of sockets) {
      if (socket.destroyed) continue;
      socket.write(
        encodeRequest({ opcode: Opcode.set, extras: storeExtras(0, 0), key, value, opaque: n * 2 }),
      );
      socket.write(encodeRequest({ opcode: Opcode.get, key, opaque: n * 2 + 1 }));
    }
    await sleep(5);
  }
  await sleep(100);
  for (const socket of sockets) socket.destroy();
  return answers;
}

let lost = 0;
let empty = 0;
const server = await startMemcached(['-I', '2m']);
try {
  for (let round = 0; round < ROUNDS; round++) {
    const output = join(folder, 'killed.tape');
    rmSync(output, { force: true });
    const { child, address } = await startRecording(server.address, output);
    const done = load(address, 7, 20_000);
    // Values of 10 kB on average: a block every second or so, so that many die while one is written.
    await sleep(500 + random.float() * 6_000);
    const gone = new Promise((resolve) => child.once('close', resolve));
    child.kill('SIGKILL');
    await gone;
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
    const { child, address, said } = await startRecording(server.address, output);
    let calls = 0;
    for (let n = 0; n < 12 && !said().includes('the recording stops'); n++)
      calls += await load(address, 3, 20_000);
    const after = await load(address, 1, 1000);
    const { exchanges } = await readable(output);
    child.kill('SIGINT');
    await new Promise((resolve) => child.once('close', resolve));
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
