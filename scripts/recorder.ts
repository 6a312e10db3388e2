// A recording proxy as the proofs attack it: the command that runs it, the traffic that goes through it, and what can be
// read of what it wrote.

import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { FrameDecoder } from '../protocol/decoder.ts';
import { encodeRequest, storeExtras } from '../protocol/frame.ts';
import { Magic } from '../protocol/header.ts';
import { Opcode } from '../protocol/opcode.ts';
import type { Random } from '../synth/laws/random.ts';
import { TraceReader } from '../trace/file.ts';
import { start, type Started } from './attack.ts';

export interface Proxy {
  child: Started['child'];
  address: string;
  said: () => string;
  /** The exit code, once it has ended; null where a signal ended it. */
  ended: Promise<number | null>;
}

/** @param wrap what the command is run by: a program and its arguments */
export function startRecording(
  upstream: string,
  output: string,
  more: readonly string[] = [],
  wrap: readonly string[] = [],
  env: NodeJS.ProcessEnv = {},
): Promise<Proxy> {
  const words = [
    'record',
    '--listen',
    '127.0.0.1:0',
    '--upstream',
    upstream,
    '-o',
    output,
    '--quiet',
    ...more,
  ];
  const started = start(words, wrap, env);
  const { child, said } = started;
  const ended = started.ended.then(({ code }) => code);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    void ended.then((code) => reject(new Error(`the proxy ended with ${code}: ${said()}`)));
    child.stdout.on('data', (text: Buffer) => {
      const address = /listening on (\S+)/.exec(text.toString())?.[1];
      if (address !== undefined) resolve({ child, address, said, ended });
    });
  });
}

/** Exchanges that can be read; throws where a block that is whole cannot. */
export async function readable(
  path: string,
): Promise<{ exchanges: number; blocks: number; isCut: boolean; seconds: number }> {
  const trace = await TraceReader.open(path);
  try {
    let exchanges = 0;
    let lastNs = 0;
    for await (const batch of trace.batches()) {
      exchanges += batch.count;
      for (let row = 0; row < batch.count; row++) {
        if (batch.requestNs[row]! < lastNs) throw new Error(`${path}: the time of a request goes back`);
        lastNs = batch.requestNs[row]!;
      }
    }
    return { exchanges, blocks: trace.blocks.length, isCut: trace.truncated, seconds: lastNs / 1e9 };
  } finally {
    await trace.close();
  }
}

export interface LoadOptions {
  random: Random;
  seconds: number;
  /** Values are of so many bytes at most. */
  valueBytes: number;
  connections?: number;
  /** Told how many answers there were so far. */
  onAnswer?: (answers: number) => void;
}

/** Sets and gets on some connections until they end or the time is over; how many answers came. */
export async function load(
  address: string,
  { random, seconds, valueBytes, connections = 4, onAnswer }: LoadOptions,
): Promise<number> {
  let answers = 0;
  const sockets = Array.from({ length: connections }, () => {
    const socket = connect(Number(address.split(':')[1]), '127.0.0.1');
    const decoder = new FrameDecoder(
      {
        frame: () => {
          answers++;
          onAnswer?.(answers);
        },
      },
      { magic: Magic.response },
    );
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
