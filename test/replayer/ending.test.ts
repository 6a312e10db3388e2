// Nothing is waited for without an end: sockets of a replay go, whatever their target does with its side of them.

import { createServer, type AddressInfo, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { FrameDecoder } from '../../protocol/decoder.ts';
import { encodeResponse } from '../../protocol/frame.ts';
import { Magic, opaqueAt, opcodeAt } from '../../protocol/header.ts';
import { Opcode } from '../../protocol/opcode.ts';
import { flush } from '../../replayer/flush.ts';
import { parseTarget } from '../../replayer/target.ts';
import { replayed } from '../support/replay.ts';

const stops: (() => void)[] = [];
afterEach(() => {
  for (const stop of stops.splice(0)) stop();
});

/** What a target does with a request: the socket, and an answer that says that all is well. */
type Behaviour = (socket: Socket, answer: Buffer) => void;

interface Odd {
  address: string;
  /** Connections that are there, and how many there were. */
  open: number;
  seen: number;
}

/** A target that never closes its side of a connection, and now and then sends something on it. */
async function startOdd(behave: Behaviour): Promise<Odd> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    odd.open++;
    odd.seen++;
    const decoder = new FrameDecoder(
      {
        frame: (data, at) => {
          const [opcode, opaque] = [opcodeAt(data, at), opaqueAt(data, at)];
          behave(socket, encodeResponse({ opcode, opaque, status: opcode === Opcode.get ? 1 : 0 }));
        },
      },
      { magic: Magic.request },
    );
    socket.on('data', (data: Buffer) => decoder.push(data, 0, data.length, 0));
    socket.on('error', () => undefined);
    socket.once('end', () => {
      // A side that is gone, and not just ended, answers this with a reset.
      const timer = setInterval(() => socket.write(Buffer.alloc(10)), 20);
      socket.once('close', () => clearInterval(timer));
    });
    socket.once('close', () => odd.open--);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  stops.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const odd: Odd = {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    open: 0,
    seen: 0,
  };
  return odd;
}

const well: Behaviour = (socket, answer) => void socket.write(answer);

describe('a target that never closes its side', () => {
  test('of the connections of a replay', async () => {
    const odd = await startOdd(well);
    const report = await replayed(
      [
        { op: 'get', key: 'k', status: 1 },
        { op: 'get', key: 'k', status: 1, connection: 1 },
      ],
      { targets: [odd.address] },
    );
    expect(report.verdict).toBe('pass');
    await sleep(200);
    expect([odd.seen > 2, odd.open]).toEqual([true, 0]);
  });

  test('of the connection of a flush', async () => {
    const odd = await startOdd(well);
    await flush(parseTarget(odd.address), undefined, 500);
    await sleep(200);
    expect([odd.seen, odd.open]).toEqual([1, 0]);
  });
});

/** A byte every 50 ms, for ever: it is never silent, and never answers. */
const trickle: Behaviour = (socket, answer) => {
  let sent = 0;
  const timer = setInterval(() => socket.write(sent < 20 ? answer.subarray(sent, ++sent) : '\0'), 50);
  socket.once('close', () => clearInterval(timer));
};

test('a target that trickles: the replay does not begin, and the flush is given up', async () => {
  const big = Buffer.alloc(24);
  big.set([0x81, 0x0a]);
  big.writeUInt32BE(1_000_000, 8);
  const odd = await startOdd((socket) => trickle(socket, big));
  const began = performance.now();
  const run = { targets: [odd.address], timeoutMs: 100 };
  await expect(replayed([{ op: 'get', key: 'k', status: 1 }], run)).rejects.toMatchObject({
    code: 'UNREACHABLE',
  });
  await expect(flush(parseTarget(odd.address), undefined, 100)).rejects.toMatchObject({
    code: 'UNREACHABLE',
  });
  expect(performance.now() - began).toBeLessThan(3000);
});
