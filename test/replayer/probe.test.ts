// A target that is down: it is asked whether it is back, and traffic goes on as soon as it is.

import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { startHostile, type Harm } from '../../fixtures/hostile.ts';
import { startServer } from '../../embedded/server.ts';
import { replay, type Replayed } from '../../replayer/replay.ts';
import { startMemcached } from '../support/memcached.ts';
import { batchOf, temporary, writeTape, type ExchangeInit } from '../support/tape.ts';

/** Reads of four connections, one every 4 ms. */
async function start(
  seconds: number,
  address: string,
): Promise<{ answered: () => number; failed: () => number; ended: Promise<Replayed> }> {
  const exchanges = Array.from({ length: seconds * 250 }, (_, n): ExchangeInit => {
    return { op: 'get', key: 'absent', status: 1, connection: n % 4, at: n * 4000 };
  });
  const trace = temporary('probe.tape');
  await writeTape(trace, [batchOf(exchanges)]);
  const seen = { answered: 0, failed: 0 };
  const ended = replay({
    trace,
    results: temporary('probe.results'),
    targets: [address],
    timeoutMs: 150,
    onProgress: ({ answered, failed }) => Object.assign(seen, { answered, failed }),
  });
  while (seen.answered < 20) await sleep(10);
  return { answered: () => seen.answered, failed: () => seen.failed, ended };
}

test.concurrent('a server that comes back after 2.3 s is asked again at once', async () => {
  const first = await startServer();
  const { ended } = await start(4, first.address);
  await first.stop();
  await sleep(2300);
  const again = await startServer({ port: first.port });
  const began = performance.now();
  while (again.counters.connections < 2) await sleep(2);
  expect(performance.now() - began).toBeLessThan(250);
  const { end } = await ended;
  expect(end.aborted).toBeNull();
  await again.stop();
});

test.concurrent('a memcached that was stopped for 2.5 s: few requests are lost to it, and traffic goes on', async () => {
  const memcached = await startMemcached();
  try {
    const { answered, failed, ended } = await start(5, memcached.address);
    memcached.process.kill('SIGSTOP');
    await sleep(2500);
    // What was under way on each connection; what was due meanwhile is not sent at all.
    expect(failed()).toBeLessThan(50);
    const before = answered();
    memcached.process.kill('SIGCONT');
    // Progress is told every 100 ms.
    await sleep(300);
    expect(answered() - before).toBeGreaterThan(10);
    await ended;
  } finally {
    await memcached.stop();
  }
});

test.concurrent.each<[string, (socket: Socket) => void]>([
  ['is closed', (socket) => socket.destroy()],
  ['gets garbage', (socket) => socket.write('ERROR\r\n')],
])(
  'each connection %s for 0.9 s: the target is left alone, and asked whether it is back',
  async (_, harm) => {
    const server = await startServer();
    let isSick = false;
    // It hands on what the server answers, also once it is sick, but for that.
    const sickly: Harm = {
      request: ({ socket }) => {
        if (isSick) harm(socket);
      },
      answer: ({ socket }, frame) => {
        if (!isSick) socket.write(frame);
      },
    };
    const target = await startHostile(server.address, sickly, 0);
    try {
      const { answered, ended } = await start(2.5, target.address);
      isSick = true;
      await sleep(600);
      // At first each request breaks its connection; in the last stretch there are probes only, some ten a second.
      const before = target.connections();
      await sleep(300);
      expect(target.connections() - before).toBeLessThan(15);
      isSick = false;
      const [seen, from] = [answered(), performance.now()];
      while (answered() < seen + 10 && performance.now() < from + 1000) await sleep(10);
      expect(answered() - seen).toBeGreaterThanOrEqual(10);
      await ended;
    } finally {
      await target.stop();
      await server.stop();
    }
  },
);
