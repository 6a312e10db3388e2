// What the recording proxy adds: `node dist/bench/proxy.js [CONNECTIONS] [RATE]`. The same paced gets on as many connections
// to memcached directly and through the proxy, a few seconds of each in turn, in one run.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'hdr-histogram-js';
import { startMemcached } from '../embedded/memcached.ts';
import { FrameDecoder } from '../protocol/decoder.ts';
import { encodeRequest } from '../protocol/frame.ts';
import { Magic, opaqueAt } from '../protocol/header.ts';
import { Opcode } from '../protocol/opcode.ts';
import { command, say } from './measure.ts';

const CONNECTIONS = Number(process.argv[2] ?? 1000);
const RATE = Number(process.argv[3] ?? 5000);
const SECONDS = 4;
const ROUNDS = 3;
const folder = mkdtempSync(join(tmpdir(), 'memtape-bench-'));

interface Percentiles {
  p50: number;
  p99: number;
  answers: number;
}

async function measure(address: string): Promise<Percentiles> {
  const histogram = build();
  const sent = new Float64Array(RATE * SECONDS);
  let answers = 0;
  const sockets = await Promise.all(
    Array.from(
      { length: CONNECTIONS },
      () =>
        new Promise<Socket>((resolve, reject) => {
          const socket = connect({ port: Number(address.split(':')[1]), host: '127.0.0.1', noDelay: true });
          const decoder = new FrameDecoder(
            {
              frame: (data, at) => {
                answers++;
                histogram.recordValue(Math.round((performance.now() - sent[opaqueAt(data, at)]!) * 1000));
              },
            },
            { magic: Magic.response },
          );
          socket.on('data', (data: Buffer) => decoder.push(data, 0, data.length, 0));
          socket.on('error', reject).once('connect', () => resolve(socket));
        }),
    ),
  );
  const began = performance.now();
  let next = 0;
  await new Promise<void>((resolve) => {
    const tick = (): void => {
      const due = Math.min(sent.length, Math.floor(((performance.now() - began) / 1000) * RATE));
      for (; next < due; next++) {
        sent[next] = performance.now();
        sockets[next % CONNECTIONS]!.write(
          encodeRequest({ opcode: Opcode.get, key: Buffer.from(`key${next % 1000}`), opaque: next }),
        );
      }
      if (next === sent.length) setTimeout(resolve, 300);
      else setImmediate(tick);
    };
    tick();
  });
  for (const socket of sockets) socket.destroy();
  return { p50: histogram.getValueAtPercentile(50), p99: histogram.getValueAtPercentile(99), answers };
}

const server = await startMemcached(['-c', String(CONNECTIONS * 3)]);
const output = join(folder, 'x.tape');
const proxy = spawn(
  process.execPath,
  [command, 'record', '--listen', '127.0.0.1:0', '--upstream', server.address, '-o', output, '--quiet'],
  {
    stdio: ['ignore', 'pipe', 'inherit'],
  },
);
try {
  const address = await new Promise<string>((resolve) =>
    proxy.stdout.on('data', (text: Buffer) => resolve(/on (\S+)/.exec(text.toString())![1]!)),
  );
  for (let round = 0; round < ROUNDS; round++)
    for (const [name, to] of [
      ['direct', server.address],
      ['proxy', address],
    ] as const) {
      const { p50, p99, answers } = await measure(to);
      say(
        `${name.padEnd(7)} ${CONNECTIONS} connections, ${RATE}/s, ${answers} answers: p50 ${p50} µs, p99 ${p99} µs`,
      );
    }
} finally {
  const gone = new Promise((resolve) => proxy.on('close', resolve));
  proxy.kill('SIGINT');
  await gone;
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
}
