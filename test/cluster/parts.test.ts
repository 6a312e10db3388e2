// What a cluster is made of, each part against what can go wrong: the depot and the way to it, attempts that come late, workers of
// another version, a clock that is far off.

import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, connect, type Server } from 'node:net';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Attempt } from '../../cluster/attempt.ts';
import { measureClock, monotonicMs } from '../../cluster/clock.ts';
import { Depot } from '../../cluster/depot.ts';
import { fetchTrace, handIn } from '../../cluster/fetch.ts';
import { keys, type ShardJob, type TraceJob } from '../../cluster/job.ts';
import { openRedis, parseRedisUrl, placeOf } from '../../cluster/redis.ts';
import { runCluster } from '../../cluster/run.ts';
import { Shards } from '../../cluster/shards.ts';
import { startRedis, type RedisServer } from '../../fixtures/redis.ts';
import { hashFile } from '../../trace/file.ts';
import { temporary } from '../support/tape.ts';

const never = new AbortController().signal;

function sum(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Passes bytes on, and breaks each connection after so many of them. */
async function breaking(
  port: number,
  after: () => number,
): Promise<{ server: Server; port: number; broken: () => number }> {
  let broken = 0;
  const server = createServer((socket) => {
    const up = connect(port, '127.0.0.1');
    let left = after();
    socket.pipe(up);
    up.on('data', (chunk: Buffer) => {
      if (chunk.length < left) {
        left -= chunk.length;
        socket.write(chunk);
        return;
      }
      broken++;
      socket.write(chunk.subarray(0, left), () => socket.destroy());
      up.destroy();
    });
    up.on('end', () => socket.end());
    for (const one of [socket, up]) one.on('error', () => undefined);
    socket.on('close', () => up.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address() as { port: number };
  return { server, port: address.port, broken: () => broken };
}

describe('the depot', () => {
  const attempt = 'a'.repeat(32);
  let chosen = attempt;
  const taken: string[] = [];

  async function depot(bytes: Buffer): Promise<{ depot: Depot; trace: TraceJob; folder: string }> {
    const path = temporary('served.tape');
    writeFileSync(path, bytes);
    const folder = dirname(path);
    const started = await Depot.start({
      host: '127.0.0.1',
      port: 0,
      token: 'secret',
      trace: { path, bytes: bytes.length },
      folder,
      takes: (_index, given) => given === chosen,
      onResults: (_index, where) => taken.push(where),
    });
    // Nobody else has it under this path.
    const trace: TraceJob = {
      kind: 'trace',
      name: 'served.tape',
      path: '/nowhere/served.tape',
      bytes: bytes.length,
      sum: sum(bytes),
    };
    return { depot: started, trace, folder };
  }

  test('hands a trace out whole, though every connection breaks off', async () => {
    const bytes = randomBytes(900_000);
    const { depot: one, trace, folder } = await depot(bytes);
    const way = await breaking(one.port, () => 150_000 + Math.floor(Math.random() * 100_000));
    const place = { url: `http://127.0.0.1:${way.port}`, token: 'secret' };
    const path = await fetchTrace(trace, place, join(folder, 'copy.tape'), never, () => undefined);
    expect(readFileSync(path).equals(bytes)).toBe(true);
    expect(way.broken()).toBeGreaterThan(3);
    way.server.close();
    await one.stop();
  });

  test('a trace that changed is refused, and nothing of it is kept', async () => {
    const { depot: one, trace, folder } = await depot(randomBytes(50_000));
    const other = { ...trace, sum: sum(randomBytes(10)) };
    const copy = join(folder, 'copy.tape');
    const place = { url: one.url('127.0.0.1'), token: 'secret' };
    await expect(fetchTrace(other, place, copy, never, () => undefined)).rejects.toThrow(
      /changed while it was fetched/,
    );
    expect([existsSync(copy), existsSync(`${copy}.part`)]).toEqual([false, false]);
    await one.stop();
  });

  test('one that lies there under the same path is taken as it is, if it is the same', async () => {
    const { depot: one, trace, folder } = await depot(randomBytes(5_000));
    const path = join(folder, 'served.tape');
    const shared = { ...trace, path };
    const place = { url: one.url('127.0.0.1'), token: 'secret' };
    expect(await fetchTrace(shared, place, join(folder, 'copy.tape'), never, () => undefined)).toBe(path);
    await one.stop();
  });

  test('lets in who has the token, and takes results of the chosen attempt, once', async () => {
    const { depot: one, folder } = await depot(Buffer.from('x'));
    const results = join(folder, 'mine');
    writeFileSync(results, randomBytes(100_000));
    const url = one.url('127.0.0.1');
    const hand = async (token: string, by: string): Promise<boolean> =>
      handIn({ url, token }, 2, by, results, never, 0);
    expect(await hand('wrong', attempt)).toBe(false);
    expect(await hand('secret', 'b'.repeat(32))).toBe(false);
    taken.length = 0;
    expect(await hand('secret', attempt)).toBe(true);
    expect(taken).toEqual([join(folder, '2.results')]);
    expect(await hashFile(taken[0]!)).toBe(await hashFile(results));
    chosen = 'nobody';
    expect(await hand('secret', attempt)).toBe(false);
    chosen = attempt;
    for (const [path, status] of [
      ['/', 404],
      ['/results/2', 404],
      ['/results/../../x', 404],
      ['/trace', 200],
    ] as const) {
      const answer = await fetch(`${url}${path}`, { headers: { authorization: 'Bearer secret' } });
      expect([path, answer.status]).toEqual([path, status]);
      await answer.arrayBuffer();
    }
    expect((await fetch(`${url}/trace`)).status).toBe(403);
    await one.stop();
  });
});

describe('with Redis', () => {
  let redis: RedisServer;
  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(async () => redis.stop());

  test('its clock is known to less than a millisecond or so', async () => {
    const client = openRedis(new URL(redis.url));
    const { offsetMs, uncertaintyMs, wallMs } = await measureClock(client, 20);
    client.disconnect();
    // Redis is on this machine, and so is its clock.
    expect(Math.abs(monotonicMs() + offsetMs - Date.now())).toBeLessThan(uncertaintyMs + 50);
    expect(Math.abs(wallMs)).toBeLessThan(uncertaintyMs + 50);
    expect(uncertaintyMs).toBeLessThan(20);
  });

  test('a job of a run that is over is refused, and sends nothing', async () => {
    const url = new URL(redis.url);
    const [client, waiting] = [openRedis(url), openRedis(url)];
    const folder = join(dirname(temporary('x')), 'own');
    mkdirSync(folder);
    const job: ShardJob = {
      format: 'memtape-shard/1',
      run: 'yesterday',
      index: 1,
      of: 2,
      source: { kind: 'model', recipe: { name: 'etc', recipe: {}, asked: {} } },
      options: { targets: ['127.0.0.1:1'], allow: [] },
      url: 'http://127.0.0.1:1',
      token: 'x',
    };
    const attempt = new Attempt({
      job,
      attempt: 'a'.repeat(32),
      host: 'test',
      redis: client,
      waiting,
      folder,
      copies: folder,
      sender: '/nowhere.js',
      secrets: {},
      signal: never,
    });
    await expect(attempt.run()).rejects.toThrow('run yesterday is over: its shards are replayed no more');
    for (const one of [client, waiting]) one.disconnect();
  });

  test('too few workers, and some of another version: said', async () => {
    const client = openRedis(new URL(redis.url));
    await client.set(keys.worker('old'), JSON.stringify({ host: 'old-7', version: '0.0.1' }), 'EX', 20);
    const folder = dirname(temporary('x'));
    const running = runCluster({
      redis: new URL(redis.url),
      run: 'nobody',
      workers: 2,
      source: { kind: 'model', recipe: { name: 'etc', recipe: {}, asked: {} } },
      options: { targets: ['127.0.0.1:1'], allow: [] },
      folder,
      waitMs: 300,
      silenceMs: 1000,
      signal: never,
    });
    await expect(running).rejects.toThrow(
      /^0 of 2 workers came: start more of them .*; workers of another version are there: old-7 \(0\.0\.1\)$/,
    );
    client.disconnect();
  });
});

describe('what is known of shards', () => {
  const news = { host: 'h', attempt: 'one' };

  test('until attempts are chosen the latest counts; then the chosen one alone', () => {
    const shards = new Shards(1, 1000);
    shards.hear({ index: 1, ...news, kind: 'ready' });
    shards.hear({ index: 1, ...news, attempt: 'two', kind: 'ready' });
    expect([shards.areReady, shards.commit()]).toEqual([true, { 1: 'two' }]);
    expect([shards.takes(1, 'one'), shards.takes(1, 'two')]).toEqual([false, true]);
    shards.hear({ index: 1, ...news, kind: 'prepared', uncertaintyMs: 0, wallMs: 0 });
    expect(shards.arePrepared).toBe(false);
    shards.hear({ index: 1, ...news, attempt: 'two', kind: 'prepared', uncertaintyMs: 0, wallMs: 0 });
    expect(shards.arePrepared).toBe(true);
  });

  test('whoever was given up is not taken after all, and shards that do not exist are nobody', () => {
    const shards = new Shards(2, 1000);
    for (const index of [1, 2, 3, 0, -1]) shards.hear({ index, ...news, kind: 'ready' });
    shards.commit();
    shards.lose(1, 'is gone');
    expect([shards.takes(1, 'one'), shards.takes(2, 'one'), shards.takes(3, 'one')]).toEqual([
      false,
      true,
      false,
    ]);
    shards.hasResults(2, '/results');
    expect([shards.hasEnded, shards.all.map(({ state }) => state)]).toEqual([true, ['lost', 'done']]);
  });

  test('one that is silent before the choice is handed out again, once', () => {
    const shards = new Shards(1, -1);
    shards.hear({ index: 1, ...news, kind: 'working', phase: 'reading', done: 0, total: 1 });
    const [dead] = shards.dead();
    shards.again(dead!);
    expect([shards.dead(), dead!.jobs, dead!.state]).toEqual([[], 2, 'waiting']);
  });
});

test('a worker that died before it said anything: its job is what tells', () => {
  const shards = new Shards(2, 1000);
  shards.failed(1, 1, 'job stalled more than allowable limit');
  const [dead] = shards.dead();
  expect(dead?.index).toBe(1);
  shards.again(dead!);
  // The same job once more is old news.
  shards.failed(1, 1, 'job stalled more than allowable limit');
  expect(shards.dead()).toEqual([]);
});

describe('addresses of Redis', () => {
  test.each(['localhost', 'localhost:6379', 'http://redis:6379', 'redis://', '', ':pass@host'])(
    '%j is none',
    (text) => {
      expect(() => parseRedisUrl(text)).toThrow(/^expected Redis as redis:\/\/HOST:6379/);
    },
  );

  test('no message has the password', () => {
    expect(placeOf(parseRedisUrl('rediss://anna:open-sesame@queue:6380/2'))).toBe('rediss://queue:6380');
    expect(() => parseRedisUrl('http://anna:open-sesame@queue')).toThrow(/^(?!.*sesame)/);
  });
});
