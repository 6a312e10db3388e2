// `memtape replay --shard` and `memtape report`: what each is asked for, how it ends, and what it leaves.

import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { startServer } from '../../embedded/server.ts';
import { memtape, runMemtape, type Ran } from '../support/cli.ts';
import { batchOf, madeOnce, temporary, writeTape } from '../support/tape.ts';

const tape = async (): Promise<string> =>
  madeOnce('some.tape', async (path) =>
    writeTape(path, [
      batchOf(
        Array.from({ length: 60 }, (_, n) => ({
          op: n < 20 ? 'set' : 'get',
          key: `k${n % 20}`,
          connection: n % 4,
          ...(n < 20 ? { value: `v${n}` } : { answer: `v${n % 20}` }),
        })),
      ),
    ]),
  );

describe('what cannot be asked of a part of a replay', () => {
  const wanted = 'expected a part of at most 4096, such as 1/8 for the first of eight';
  test.each([
    [['--shard', '0/8'], `--shard: ${wanted}, got "0/8"`],
    [['--shard', '9/8'], `--shard: ${wanted}, got "9/8"`],
    [['--shard', 'a/b'], `--shard: ${wanted}, got "a/b"`],
    [['--shard', '1/9999'], `--shard: ${wanted}, got "1/9999"`],
    [['--shard', '1/2', '--run', 'two words'], '--run: expected a name of 1 to 200 letters'],
    [['--run', 'monday'], 'expected --shard with it'],
    [['--shard', '1/2', '--allow', 'flush'], 'FLUSH acts on the keys of all shards'],
    [
      ['--shard', '1/2', '--target', '127.0.0.1:1', '--flush-before'],
      '--flush-before expects a replay that is whole',
    ],
    [['--shard', '1/2', '--baseline', '127.0.0.1:1'], '--baseline expects a replay that is whole'],
  ])('%j', async (options, message) => {
    const { code, stderr } = await memtape('replay', await tape(), ...options);
    expect([code, stderr]).toEqual([2, expect.stringContaining(message)]);
    expect(stderr.trim().split('\n').length).toBeLessThanOrEqual(2);
  });
});

describe('the results of shards', () => {
  let trace = '';
  let folder = '';

  async function replayed(of: number, ...options: string[]): Promise<string[]> {
    trace = await tape();
    folder = dirname(temporary('x'));
    const server = await startServer();
    const paths: string[] = [];
    for (let n = 1; n <= of; n++) {
      const path = join(folder, `${n}.results`);
      const args = ['--target', server.address, '--speed', 'max', '--quiet', '--shard', `${n}/${of}`];
      const { code, stdout } = await memtape('replay', trace, ...args, '--results', path, ...options);
      expect([code, stdout]).toEqual([0, expect.stringContaining(`shard ${n}/${of} alone`)]);
      paths.push(path);
    }
    await server.stop();
    return paths;
  }

  const report = async (...args: string[]): Promise<Ran> => runMemtape(['report', trace, ...args, '--quiet']);

  test('are one report, in every form, and results of one replay', async () => {
    await replayed(3, '--run', 'monday');
    const [json, html, all] = ['report.json', 'report.html', 'all.results'].map((name) => join(folder, name));
    const files = [
      '--json',
      json!,
      '--html',
      html!,
      '--results',
      all!,
      '--markdown',
      join(folder, 'report.md'),
    ];
    const { code, stdout } = await report(join(folder, '*.results'), ...files);
    expect([code, stdout]).toEqual([
      0,
      expect.stringMatching(/PASS {2}60 requests .*, by 3 shards that began within /),
    ]);
    const { shards, exchanges } = JSON.parse(readFileSync(json!, 'utf8'));
    expect([shards.of, shards.run, shards.only, exchanges.matched]).toEqual([3, 'monday', null, 60]);
    expect(existsSync(html!)).toBe(true);
    const again = await memtape('diff', trace, all!, '--quiet');
    expect([again.code, again.stdout.split('\n')[0]]).toEqual([0, stdout.split('\n')[0]]);
  });

  test('with one missing: aborted, exit 5, with the shard', async () => {
    const [first, , third] = await replayed(3, '--run', 'monday');
    const { code, stdout } = await report(first!, third!);
    expect([code, stdout]).toEqual([
      5,
      expect.stringContaining('1 shard of 3 is lost. Shard 2/3 is missing.'),
    ]);
  });

  test('twice the same, other results, another trace: exit 2, in a line', async () => {
    const [first, second] = await replayed(2, '--run', 'monday');
    const whole = join(folder, 'whole.results');
    await memtape('replay', trace, '--speed', 'max', '--quiet', '--results', whole);
    const other = join(folder, 'other.tape');
    await writeTape(other, [batchOf([{ op: 'set', key: 'a', value: '1' }])]);
    const ends: [readonly string[], string][] = [
      [[first!, first!], 'are both shard 1/2: expected each once'],
      [[first!, whole], 'got those of a whole replay'],
      [[first!, trace], 'expected a results file, got a trace'],
      [[first!, join(folder, 'none.results')], 'there is no such file'],
      [[first!, second!, '--results', first!], 'would overwrite'],
    ];
    for (const [args, message] of ends) {
      const { code, stderr } = await report(...args);
      expect([code, stderr]).toEqual([2, expect.stringContaining(message)]);
    }
    const stranger = await runMemtape(['report', other, first!, second!]);
    expect([stranger.code, stranger.stderr]).toEqual([2, expect.stringContaining('made from another trace')]);
  });

  test('of no named run, that did not run at the same time: refused', async () => {
    const paths = await replayed(2);
    const { code, stderr } = await report(...paths);
    expect([code, stderr]).toEqual([2, expect.stringContaining('or --run NAME, the same for all')]);
  });

  test('of a model', async () => {
    const folderOf = dirname(temporary('x'));
    const server = await startServer();
    const model = ['etc', '--requests', '300', '--rate', '30k'];
    for (const n of [1, 2]) {
      const path = join(folderOf, `${n}.results`);
      const args = ['--target', server.address, '--quiet', '--shard', `${n}/2`, '--run', 'm'];
      await memtape('replay', ...model, ...args, '--results', path);
    }
    await server.stop();
    const { code, stdout } = await memtape(
      'report',
      'etc',
      join(folderOf, '1.results'),
      join(folderOf, '2.results'),
      '--quiet',
    );
    expect([code, stdout]).toEqual([0, expect.stringMatching(/PASS {2}\d+ requests at 1× .*, by 2 shards/)]);
  });
});
