// Order under contention: `node dist/scripts/order.js [EXCHANGES]`. Fifty connections race on twenty keys of a real
// memcached (get, set, CAS, incr, append, delete), a tcpdump records them, and the recording is replayed with `--order
// key` at 1×, 10× and max speed, with one worker and with three, against a fresh memcached each time: no violation, and
// hardly any drift. Ends with 1 where there is more.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startMemcached } from '../embedded/memcached.ts';
import { FrameDecoder } from '../protocol/decoder.ts';
import { counterExtras, encodeRequest, readFrame, storeExtras, type FrameInit } from '../protocol/frame.ts';
import { Magic } from '../protocol/header.ts';
import { Opcode } from '../protocol/opcode.ts';
import { recordCapture } from '../recorder/record.ts';
import type { ReplayOptions } from '../replayer/replay.ts';
import { Random } from '../synth/laws/random.ts';
import { judged } from './judged.ts';

const EXCHANGES = Number(process.argv[2] ?? 100_000);
const CONNECTIONS = 50;
const KEYS = 20;
const MAX_DRIFT = 0.001;
const folder = mkdtempSync(join(tmpdir(), 'memtape-order-'));

/** A connection that sends one request after the other. */
class Caller {
  readonly #socket: Socket;
  #answered: ((cas: bigint) => void) | undefined;

  constructor(port: number) {
    const decoder = new FrameDecoder(
      { frame: (data, at, end) => this.#answered?.(readFrame(data, at, end).cas) },
      { magic: Magic.response },
    );
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true });
    this.#socket.on('data', (data: Buffer) => decoder.push(data, 0, data.length, 0));
  }

  /** Resolves with the answer's CAS. */
  async call(request: FrameInit): Promise<bigint> {
    return new Promise((resolve) => {
      this.#answered = resolve;
      this.#socket.write(encodeRequest(request));
    });
  }

  close(): void {
    this.#socket.end();
  }
}

async function race(port: number, number: number): Promise<void> {
  const random = new Random(11, number);
  const caller = new Caller(port);
  for (let n = 0; n < EXCHANGES / CONNECTIONS; n++) {
    const name = random.int(KEYS);
    const key = Buffer.from(`object:${name}`);
    const value = Buffer.from(`${number}/${n}/${'x'.repeat(random.int(60))}`);
    const kind = random.int(20);
    if (kind < 8) await caller.call({ opcode: Opcode.get, key });
    else if (kind < 11) await caller.call({ opcode: Opcode.set, key, value, extras: storeExtras(number, 0) });
    else if (kind < 14) {
      const cas = await caller.call({ opcode: Opcode.get, key });
      if (cas !== 0n) await caller.call({ opcode: Opcode.set, key, value, cas, extras: storeExtras(0, 0) });
    } else if (kind < 17) {
      const counter = Buffer.from(`counter:${name}`);
      await caller.call({ opcode: Opcode.incr, key: counter, extras: counterExtras(1n, 0n, 0) });
    } else if (kind < 19) await caller.call({ opcode: Opcode.append, key, value: Buffer.from(`+${number}`) });
    else await caller.call({ opcode: Opcode.delete, key });
  }
  caller.close();
}

async function record(): Promise<string> {
  const server = await startMemcached(['-m', '64', '-t', '2']);
  const pcap = join(folder, 'race.pcap');
  const dump = spawn(
    'tcpdump',
    ['-i', 'lo', '-s', '0', '-B', '65536', '-Z', 'root', '-w', pcap, `tcp port ${server.port}`],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let said = '';
  dump.stderr.on('data', (text: Buffer) => (said += text.toString()));
  while (!said.includes('listening')) await sleep(50);
  await Promise.all(Array.from({ length: CONNECTIONS }, async (_, n) => race(server.port, n)));
  await sleep(1000);
  const gone = new Promise((resolve) => dump.on('close', resolve));
  dump.kill('SIGINT');
  await gone;
  await server.stop();
  const tape = join(folder, 'race.tape');
  await recordCapture(pcap, { output: tape, ports: [server.port], source: 'race.pcap' });
  return tape;
}

const sum = (of: Record<string, number>): number => Object.values(of).reduce((all, n) => all + n, 0);

async function check(
  tape: string,
  options: Pick<ReplayOptions, 'speed' | 'workers' | 'order'>,
): Promise<boolean> {
  const server = await startMemcached(['-m', '64', '-t', '2']);
  const results = join(folder, 'results');
  try {
    const { diff } = await judged({
      trace: tape,
      results,
      targets: [server.address],
      timeoutMs: 5000,
      ...options,
    });
    const { counts, total, matched } = diff;
    const [drift, violations] = [sum(counts.drift), sum(counts.violation)];
    process.stdout.write(
      `order ${options.order}, speed ${options.speed}, ${options.workers} workers: ${matched} of ${total} matched, drift ${drift} (${((drift / total) * 100).toFixed(3)}%) ${JSON.stringify(counts.drift)}, violations ${violations} ${JSON.stringify(counts.violation)}, untestable ${JSON.stringify(counts.untestable)}\n`,
    );
    return violations === 0 && (options.order !== 'key' || drift <= MAX_DRIFT * total);
  } finally {
    await server.stop();
  }
}

try {
  const tape = await record();
  let ok = true;
  for (const workers of [1, 3])
    for (const speed of [1, 10, 'max'] as const)
      ok = (await check(tape, { speed, workers, order: 'key' })) && ok;
  for (const order of ['connection', 'none'] as const)
    ok = (await check(tape, { speed: 'max', workers: 2, order })) && ok;
  if (!ok) process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
