// Who is named where connections break: one hang-up fails whatever is under way then, and is no pattern.

import type { Socket } from 'node:net';
import { expect, test } from 'vitest';
import { Attribution } from '../../diff/attribution.ts';
import { HangUps, sessionOf } from '../../diff/hangups.ts';
import { Status } from '../../protocol/status.ts';
import type { Incident } from '../../trace/meta.ts';
import { replayed } from '../support/replay.ts';
import { startScripted } from '../support/target.ts';
import { batchOf, connectionOf, type ExchangeInit } from '../support/tape.ts';

const CONNECTIONS = 10;
const REQUESTS = 400;
const KEYS = 50;
const PIPELINE = 50;

const exchanges: ExchangeInit[] = Array.from({ length: CONNECTIONS * REQUESTS }, (_, n) => {
  const connection = n % CONNECTIONS;
  const key = `${connection}:${Math.floor(n / CONNECTIONS) % KEYS}`;
  return { op: 'get', connection, key, status: Status.notFound, answer: '' };
});

const connections = Array.from({ length: CONNECTIONS }, (_, id) => ({
  ...connectionOf(id),
  tenant: `tenant-${id}`,
}));

/** Reads of keys that are not there, all sent at once; each connection is a tenant's, with keys of its own. */
async function named(hangsUp: (key: string, number: number) => boolean): Promise<string[]> {
  const mute = new WeakSet<Socket>();
  const target = await startScripted(({ key }, socket, number) => {
    if (hangsUp(key.toString(), number) && !mute.has(socket)) {
      mute.add(socket);
      setTimeout(() => socket.destroy(), 30);
    }
    return mute.has(socket) ? undefined : { status: Status.notFound };
  });
  try {
    const { attribution, violations } = await replayed([batchOf(exchanges, connections)], {
      targets: [target.address],
      speed: 'max',
      order: 'none',
      pipeline: PIPELINE,
    });
    expect(violations['closed']).toBeGreaterThan(40);
    return attribution.map(({ factor, value }) => `${factor} ${value}`);
  } finally {
    await target.stop();
  }
}

test('one hang-up, which cuts off all that a connection asks for: nobody', async () => {
  let left = 1;
  expect(await named((key) => key === '3:5' && left-- > 0)).toEqual([]);
});

test('a server that hangs up on one tenant whenever it asks: the tenant', async () => {
  expect(await named((key) => key.startsWith('3:'))).toContain('tenant tenant-3');
});

test('requests that rest for a while are no hang-ups: each that was cut off weighs as much as without the rest', () => {
  const at = { connection: 3, target: 0, note: '' };
  const lost = { ...at, kind: 'lost', atNs: 5 } as const;
  const rest = { ...at, kind: 'rest', atNs: 6 } as const;
  const cutOff = new Map([[sessionOf(3, 0), 10]]);
  const weight = (incidents: Incident[]): number =>
    new HangUps(incidents, cutOff, new Attribution()).weightOf(3, 0);
  expect([weight([lost]), weight([lost, rest]), weight([lost, lost])]).toEqual([0.1, 0.1, 0.2]);
});
