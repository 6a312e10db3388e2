// minimize: a needle in a haystack, and what it says where there is nothing to find.

import { EventEmitter } from 'node:events';
import { existsSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { startServer, type EmbeddedServer } from '../../embedded/server.ts';
import { writeNeedle } from '../../fixtures/needle.ts';
import { Opcode } from '../../protocol/opcode.ts';
import { Random } from '../../synth/laws/random.ts';
import { TraceReader } from '../../trace/file.ts';
import { memtape, runMemtape, type Ran } from '../support/cli.ts';
import { batchOf, temporary, writeTape } from '../support/tape.ts';
import { startScripted } from '../support/target.ts';

async function minimize(tape: string, ...args: string[]): Promise<Ran & { output: string }> {
  const output = temporary('small.tape');
  return { ...(await memtape('minimize', tape, '-o', output, '--timeout', '5s', ...args)), output };
}

async function needle(exchanges = 1000): Promise<string> {
  const tape = temporary('needle.tape');
  await writeNeedle(tape, { exchanges });
  return tape;
}

/** `append set get` */
function operations(stdout: string): string {
  return Array.from(stdout.matchAll(/#\d+ +\S+ +(\w+)/g), ([, name]) => name).join(' ');
}

const forgetful = ['--fault', 'forget-after=append+touch'];

test('three exchanges of a thousand bring it out, and a fourth shows it', async () => {
  const { code, stdout, stderr, output } = await minimize(await needle(1200), '--finding', '1', ...forgetful);
  expect([code, stderr]).toEqual([0, expect.stringContaining('looking for violation stale-value')]);
  expect(stdout).toMatch(/1,200 exchanges → 4, in \d+ tries/);
  expect(stdout).toContain('without any one of them it is not seen, with them in 3 of 3 more');
  expect(operations(stdout)).toBe('append touch set get');
  expect(stdout).toContain(`memtape serve --port 11311 ${forgetful.join(' ')}\n`);
  expect(stdout).toContain(`memtape replay ${output} --target 127.0.0.1:11311 --speed max --timeout 5000ms`);
  const trace = await TraceReader.open(output);
  const connections = new Set<string>();
  for await (const batch of trace.batches())
    for (const { client } of batch.connections) connections.add(client);
  await trace.close();
  expect(connections.size).toBe(4);
});

test('without prefill, the key has to be set first', async () => {
  const { code, stdout } = await minimize(
    await needle(300),
    '--finding',
    'stale-value',
    '--prefill',
    'none',
    '--compress',
    '1ms',
    ...forgetful,
  );
  expect([code, operations(stdout)]).toEqual([0, 'set append touch set get']);
  // A request each 1 ms after the answer before it, which took 50 µs.
  expect(Array.from(stdout.matchAll(/^ +(\d\.\d+) /gm), ([, seconds]) => Number(seconds))).toEqual(
    [0, 0.00015, 0.0012, 0.00225, 0.0033].map((seconds) => expect.closeTo(seconds, 3) as number),
  );
});

describe('against a target', () => {
  let server: EmbeddedServer;
  let target: string[];

  beforeEach(async () => {
    server = await startServer({ fault: { name: 'forget-after', steps: ['append', 'touch'] } });
    target = ['--finding', '1', '--target', server.address];
  });

  afterEach(async () => server.stop());

  test('how it is emptied has to be said', async () => {
    const { code, stderr } = await minimize(await needle(10), ...target);
    expect([code, stderr]).toEqual([2, expect.stringMatching(/expected --reset COMMAND.*or --allow flush/)]);
    const broken = await minimize(await needle(10), ...target, '--reset', 'echo no such host; exit 7');
    expect([broken.code, broken.stderr]).toEqual([5, expect.stringContaining('exit code 7: no such host')]);
    const idle = await minimize(await needle(10), ...target, '--reset', 'true');
    expect([idle.code, idle.stderr]).toEqual([
      2,
      expect.stringMatching(
        /the target held \d+ keys? of the trace at the beginning of a try: expected --reset/,
      ),
    ]);
  });

  test('by FLUSH', { timeout: 60_000 }, async () => {
    const { code, stdout } = await minimize(await needle(30), ...target, '--allow', 'flush');
    expect([code, operations(stdout)]).toEqual([0, 'append touch set get']);
    expect(stdout).toContain(`--target ${server.address} --speed max --timeout 5000ms --allow flush`);
  });

  test('by a command', { timeout: 60_000 }, async () => {
    const head = `\\200\\010${'\\0'.repeat(22)}`;
    const flush = `exec 3<>/dev/tcp/${server.host}/${server.port}; printf '${head}' >&3; head -c 24 <&3 >/dev/null`;
    const { code, stdout } = await minimize(await needle(20), ...target, '--reset', `bash -c "${flush}"`);
    expect([code, operations(stdout)]).toEqual([0, 'append touch set get']);
  });
});

test('a fault of the proxy, on the keys of one backend', async () => {
  const { code, stdout } = await minimize(
    await needle(400),
    '--finding',
    'lost',
    '--backends',
    '2',
    '--proxy',
    '--fault',
    'eviction-storm,backend=1',
  );
  expect(code).toBe(0);
  expect(stdout).toMatch(/drift: lost: 400 exchanges → 1,/);
  expect(operations(stdout)).toBe('get');
  expect(stdout).toContain(
    'memtape serve --backends 2 --port 11311 --proxy --fault eviction-storm,backend=1\n',
  );
});

test('a target that is wrong now and then: parts get as many tries as that takes', async () => {
  const random = new Random(3);
  const target = await startScripted(({ opcode }) =>
    opcode === Opcode.get
      ? { extras: Buffer.alloc(4), value: random.chance(0.15) ? 'wrong' : 'right' }
      : undefined,
  );
  const tape = temporary('flaky.tape');
  const get = { op: 'get', key: 'a', answer: 'right' };
  await writeTape(tape, [batchOf([get, get, get, get, get])]);
  try {
    const { code, stdout, stderr } = await minimize(
      tape,
      '--finding',
      'wrong-value',
      '--target',
      target.address,
      '--reset',
      'true',
    );
    expect(stderr).toMatch(
      /it is flaky: seen in [12] of 3 tries; a part is given up after [38] tries without it/,
    );
    expect(stdout).toMatch(/5 exchanges → [1-4],/);
    expect(stdout).toMatch(code === 0 ? /in [1-9]\d* of (9|24) more/ : /too flaky for this/);
    expect([0, 3]).toContain(code);
  } finally {
    await target.stop();
  }
});

describe('what ends it', () => {
  test('a number of tries: what was found by then is written, and shows it', async () => {
    const { code, stdout, output } = await minimize(
      await needle(300),
      '--finding',
      '1',
      '--max-tries',
      '6',
      ...forgetful,
    );
    expect([code, stdout]).toEqual([0, expect.stringContaining('the search ended early, fewer may do')]);
    expect(stdout).toMatch(/in 6 tries/);
    expect(existsSync(output)).toBe(true);
  });

  test('an interrupt: as well, with exit code 130', async () => {
    const output = temporary('small.tape');
    const words = ['minimize', await needle(2000), '-o', output, '--finding', '1', ...forgetful];
    const signals = new EventEmitter();
    const onPrint = (text: string): void => {
      if (text.includes('looking for')) signals.emit('SIGINT');
    };
    const { code } = await runMemtape(words, { signals, onPrint });
    expect([code, existsSync(output)]).toEqual([130, true]);
  });

  test('nothing to find', async () => {
    const tape = temporary('a.tape');
    await writeTape(tape, [batchOf([{ op: 'set', key: 'a', value: '1' }])]);
    const seen = await minimize(tape, '--finding', '1');
    expect([seen.code, seen.stderr]).toEqual([
      3,
      'memtape: finding 1 was not seen in 3 tries of 1 exchange; everything was as recorded\n',
    ]);
    const other = await minimize(await needle(300), '--finding', 'lost', ...forgetful);
    expect([other.code, other.stderr]).toEqual([
      3,
      expect.stringMatching(/^memtape: lost was not seen .* the last try showed 1 violation stale-value ×/),
    ]);
  });

  test('the time, before it was seen', async () => {
    const { code, stderr } = await minimize(await needle(300), '--finding', '1', '--max-time', '1ms');
    expect([code, stderr]).toEqual([3, expect.stringContaining('the search ended before it was seen')]);
  });

  test.each([
    [['--finding', 'wrong-vale'], 2, /did you mean wrong-value\?/],
    [['--finding', '0'], 2, /at least 1/],
    [['--finding', '1', '--reset', 'true'], 2, /--reset needs a --target/],
    [['--finding', '1', '--fault', 'nonsense'], 2, /bad fault "nonsense"/],
    [['--finding', '1', '--target', '127.0.0.1:1', '--proxy'], 2, /without --target/],
    [['--finding', '1', '--target', '127.0.0.1:1', '--allow', 'flush'], 5, /cannot empty 127\.0\.0\.1:1/],
    [['--finding', '1', '--target', '127.0.0.1:1', '--reset', 'true'], 5, /cannot reach 127\.0\.0\.1:1/],
    [['--finding', '1', '--target', '10.0.0.1:11211', '--allow', 'flush'], 2, /was recorded from/],
  ])('%j', async (args, code, message) => {
    const result = await minimize(await needle(10), ...args);
    expect([result.code, result.stderr]).toEqual([code, expect.stringMatching(message)]);
  });
});
