// Drills: what is done to servers during a replay, and what the report says of each of them.

import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test, afterEach } from 'vitest';
import { ConfigError } from '../../config/error.ts';
import { startMemcached } from '../../embedded/memcached.ts';
import { Drills } from '../../replayer/drill.ts';
import { parseDrills } from '../../replayer/drillfile.ts';
import { replayedTape } from '../support/replay.ts';
import { batchOf, temporary, writeTape, type ExchangeInit } from '../support/tape.ts';

const running: { stop(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of running.splice(0)) await one.stop();
});

/** A set and a get of 40 keys, again and again, for two seconds. */
function traffic(): ExchangeInit[] {
  return Array.from({ length: 2000 }, (_, n): ExchangeInit => {
    const key = `key:${(n >> 1) % 40}`;
    const at = n * 1000;
    return n % 2 === 0 ? { op: 'set', key, value: 'v', at } : { op: 'get', key, answer: 'v', at };
  });
}

/** An independent watcher: when a server that refused connections answers again, ms since 1970. */
async function backAt(port: number): Promise<number> {
  let wasGone = false;
  for (;;) {
    // On a busy machine a server may be slow: only a connection that is refused, or reset, says that it is gone.
    const isThere = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => socket.write('version\r\n'));
      socket.once('data', () => resolve(true)).once('error', () => resolve(false));
      socket.once('data', () => socket.destroy()).once('end', () => resolve(false));
    });
    if (!isThere) wasGone = true;
    else if (wasGone) return Date.now();
    await sleep(5);
  }
}

test('a server that is stopped, and one that comes back', async () => {
  const servers = await Promise.all([startMemcached(), startMemcached(), startMemcached()]);
  running.push(...servers);
  const [steady, killed, restarted] = servers;
  const tape = temporary('drill.tape');
  await writeTape(tape, [batchOf(traffic())]);
  const [pid, began] = [temporary('pid'), temporary('began')];
  running.push({
    stop: async () => void process.kill(Number(readFileSync(pid, 'utf8'))),
  });
  const drills = parseDrills(
    `
- {at: 300ms, name: stop one, run: kill -9 ${killed.process.pid}}
- at: 400ms
  name: restart one
  run: date +%s%3N > ${began}; kill -9 ${restarted.process.pid}; sleep 0.3; memcached -u nobody -l 127.0.0.1 -p ${restarted.port} -U 0 & echo $! > ${pid}
- {at: 1h, run: echo never}
`,
    'drill.yaml',
  );
  const watched = backAt(restarted.port);
  const report = await replayedTape(tape, {
    targets: servers.map(({ address }) => address),
    route: 'ketama',
    drills,
  });
  const [stopped, again, never] = report.drills;
  expect([stopped!.name, stopped!.exitCode, again!.exitCode]).toEqual(['stop one', 0, 0]);
  // On a busy machine everything is late, by as much as the event loop was, or the start of a shell took.
  const lateSeconds = report.schedule.eventLoopDelayMicros.max! / 1e6;
  expect(stopped!.atSeconds).toBeGreaterThan(0.298);
  expect(stopped!.atSeconds).toBeLessThan(0.35 + lateSeconds);
  expect(never).toMatchObject({ exitCode: null, output: 'the replay ended before its time' });
  const of = (address: string, drill = again!) => drill.servers.find(({ server }) => server === address);
  expect(of(steady.address, stopped)).toMatchObject({ errors: 0, lost: 0, recovered: true });
  expect(of(killed.address, stopped)).toMatchObject({ recovered: false, recoverySeconds: null });
  expect(of(killed.address, stopped)!.errors).toBeGreaterThan(50);
  const recovered = of(restarted.address)!;
  expect(recovered).toMatchObject({ recovered: true });
  expect(recovered.errors).toBeGreaterThan(0);
  expect(recovered.firstErrorSeconds).toBeLessThan(recovered.recoverySeconds!);
  const seenSeconds = ((await watched) - Number(readFileSync(began, 'utf8'))) / 1000;
  const shellSeconds = again!.tookSeconds - 0.3;
  expect(recovered.recoverySeconds! - seenSeconds).toBeGreaterThan(-0.05 - lateSeconds);
  expect(recovered.recoverySeconds! - seenSeconds).toBeLessThan(0.25 + shellSeconds + lateSeconds);
  expect(recovered.hitRateAfter).toBe(1);
}, 20_000);

test('a command that fails, one that hangs, and one that leaves something behind', async () => {
  const drills = new Drills(
    parseDrills(
      '[{at: 0s, run: echo oh; exit 3}, {at: 1ms, run: sleep 100, timeout: 100ms}, {at: 1ms, run: sleep 100 &}]',
      'x',
    ),
  );
  drills.start(0);
  await sleep(50);
  await drills.stop();
  expect(drills.runs.map(({ exitCode, output }) => [exitCode, output])).toEqual([
    [3, 'oh\n'],
    [null, '(stopped after 100 ms)'],
    [0, ''],
  ]);
});

test.each([
  ['- at: 1s', /x\.yaml:1:3: \[0\]\.run: expected string, got nothing/],
  ['- {at: 1s, run: a, sever: b}', /x\.yaml:1:20: unknown field "sever"; did you mean server\?/],
  ['- {at: soon, run: a}', /x\.yaml:1:4: \[0\]\.at: expected a duration such as .*, got "soon"/],
  ['- {at: 1s, run: a', /x\.yaml:1:\d+: this is no YAML/],
  ['[]', /x\.yaml:1:1: the document: expected at least 1 items?, got \[\]/],
  ['a: &a [1]\nb: [*a, *a]', /x\.yaml:1:1: the document: expected array/],
])('a drill file with a mistake: %s', (text, message) => {
  expect(() => parseDrills(text, 'x.yaml')).toThrow(message);
  expect(() => parseDrills(text, 'x.yaml')).toThrow(ConfigError);
});
