// What is typed wrongly is told with its option, with what was expected and got, and with the way out: the nearest name, the
// command that takes such a file, the option that a TLS error asks for.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer, type TlsOptions } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeCertificate } from '../../fixtures/secure.ts';
import { startServer, type EmbeddedServer } from '../../embedded/server.ts';
import { memtape, runMemtape } from '../support/cli.ts';
import { batchOf, writeTape } from '../support/tape.ts';

const folder = mkdtempSync(join(tmpdir(), 'memtape-test-'));
const capture = new URL('../../fixtures/captures/memjs.pcap', import.meta.url).pathname;

beforeAll(async () => {
  await writeTape(join(folder, 'my.tape'), [batchOf([{ op: 'set', key: 'a', value: '1' }])]);
  const put = (name: string, text: string): void => writeFileSync(join(folder, name), text);
  put('my.gate.yaml', 'format: memtape-gate/1\nruns: [{name: one, trace: my.tape, speed: max}]\n');
  put('my.drills.yaml', '- at: 1s\n  run: "true"\n');
  const made = await runIn(
    'replay',
    'my.tape',
    '--speed',
    'max',
    '--results',
    'my.results',
    '--json',
    'my.json',
  );
  expect([made.code, made.stderr]).toEqual([0, expect.stringContaining('embedded')]);
  put('my.yaml', (await memtape('synth', 'show', 'ycsb-c')).stdout);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function runIn(...args: string[]): ReturnType<typeof memtape> {
  return runMemtape(args, { cwd: folder });
}

test.each([
  [['cat', 'x', '--from', '1'], '--from: expected a duration such as 500ms, 30s, 10m or 2h, got "1"'],
  [['replay', 'x', '--to', 'soon'], '--to: expected a duration such as'],
  [['replay', 'x', '--speed', 'fast'], '--speed: expected a number above 0, or max, got "fast"'],
  [['replay', 'x', '--rate', '10k..'], '--rate: expected a rate'],
  [['replay', 'x', '--loop', '1.5'], '--loop: expected a whole number of at least 1, got "1.5"'],
  [
    ['replay', 'x', '--order', 'keys'],
    '--order: expected one of key, connection, none; got "keys"; did you mean key?',
  ],
  [['replay', 'x', '--route', 'ketema'], '--route: expected one of single, index, ketama'],
  [['replay', 'x', '--allow', 'flsh'], '--allow: expected one of'],
  [['replay', 'x', '--backends', '[::,:'], '--backends: expected HOST:PORT'],
  [['record', 'x', '-o', 'y', '--keep-route', 'ketama=[::,:'], '--keep-route: expected HOST:PORT'],
  [['record', 'x', '-o', 'y', '--keep-route', 'ketama'], '--keep-route: expected ROUTE=HOST:PORT'],
  [['record', 'x', '-o', 'y', '--port', '0'], '--port: expected ports from 1 to 65535'],
  [['record', 'x', '-o', 'y', '--max-size', '1q'], '--max-size: expected a size such as 64MB'],
  [['record', 'x', '-o', 'y', '--trigger', '0/1s'], '--trigger: expected a trigger such as 100/1s'],
  [
    ['record', 'x', '-o', 'y', '--max-loss', '200%'],
    '--max-loss: expected a share from 0% to 100%, got "200%"',
  ],
  [['filter', 'x', '-o', 'y', '--sample', '2'], '--sample: expected a sample such as 1/16'],
  [
    ['filter', 'x', '-o', 'y', '--opcode', 'gte'],
    '--opcode: expected opcode names such as get,set,getkq; got "gte"',
  ],
  [
    ['minimize', 'x', '-o', 'y', '--finding', 'lots'],
    '--finding: expected the number of a finding, or one of',
  ],
  [['serve', '--port', '70000'], '--port: expected a port from 0 to 65535, got "70000"'],
  [['completion', 'tcsh'], '<shell>: expected one of bash, zsh, fish; got "tcsh"'],
  [
    ['replay', 'x', '--threshold', 'hitRate > 1'],
    'did you mean servers.hitRate, or tenants.hitRate, or operations.hitRate?',
  ],
  [
    ['replay', 'x', '--threshold', 'latency.p99 < 2ms'],
    'did you mean latency.fromIntended.p99, or latency.fromSent.p99',
  ],
  [
    ['replay', 'x', '--threshold', 'drift.lst < 1'],
    '--threshold: unknown metric "drift.lst" in "drift.lst < 1"; did you mean drift.lost?',
  ],
  [['replay', 'x', '--threshold', 'colour < 1'], 'latency.fromSent.p999'],
] as const)('%j', async (args, message) => {
  const { code, stdout, stderr } = await runIn(...args);
  expect(stderr).toContain(message);
  expect([code, stdout, stderr]).toEqual([2, '', expect.not.stringMatching(/^ {4}at /m)]);
});

test.each([
  [['replay', 'etcc'], 'there is no such file; did you mean etc?'],
  [['diff', 'etcc', 'my.results'], 'there is no such file; did you mean etc?'],
  [['synth', 'etcc', '-o', 'y'], 'did you mean etc?'],
  [['synth', 'check', 'etcc', 'my.tape'], 'did you mean etc?'],
  [['info', 'my.tap'], `did you mean ${folder}/my.tape?`],
  [['gate', 'my.gat.yaml'], `did you mean ${folder}/my.gate.yaml?`],
  [['replay', 'my.tape', '--expect', 'my.result'], `did you mean ${folder}/my.results?`],
  [['inf', 'my.tape'], 'Did you mean info?'],
  [['replay', 'my.tape', '--targett', 'a:1'], 'Did you mean --target?'],
])('what is not there: %j', async (args, message) => {
  const { code, stderr } = await runIn(...args);
  expect([code, stderr]).toEqual([2, expect.stringContaining(message)]);
});

test('results of another trace are known before anything is sent', async () => {
  await writeTape(join(folder, 'other.tape'), [batchOf([{ op: 'get', key: 'b' }])]);
  const { code, stderr } = await runIn(
    'replay',
    'other.tape',
    '--target',
    '127.0.0.1:1',
    '--expect',
    'my.results',
  );
  expect([code, stderr]).toEqual([
    2,
    expect.stringMatching(/my\.results was made from another trace than .*other\.tape/),
  ]);
});

describe('a file of another kind', () => {
  /** What each kind of file is called, and the command that it is told to belong to. */
  const kinds: Record<string, [name: string, way: string]> = {
    capture: ['a capture', 'memtape record'],
    'my.tape': ['a trace', 'memtape replay'],
    'my.results': ['a results file', 'memtape diff TRACE'],
    'my.yaml': ['a model', 'memtape synth'],
    'my.gate.yaml': ['a gate file', 'memtape gate'],
    'my.drills.yaml': ['a list of drills', '--drill'],
    'my.json': ['a report as JSON', 'memtape diff TRACE RESULTS'],
  };
  const takers: [words: (file: string) => string[], ...takes: string[]][] = [
    [(file) => ['info', file], 'my.tape'],
    [(file) => ['cat', file], 'my.tape'],
    [(file) => ['filter', 'my.tape', file, '-o', 'out'], 'my.tape'],
    [(file) => ['convert', file, 'out.csv', '--from-format', 'tape'], 'my.tape'],
    [(file) => ['coverage', file, '--target', 'a:1,b:2', '--route', 'ketama'], 'my.tape'],
    [(file) => ['minimize', file, '--finding', '1', '-o', 'out'], 'my.tape'],
    [(file) => ['replay', file, '--target', '127.0.0.1:1'], 'my.tape', 'my.yaml'],
    [(file) => ['replay', 'my.tape', '--target', '127.0.0.1:1', '--expect', file], 'my.results'],
    [(file) => ['replay', 'my.tape', '--target', '127.0.0.1:1', '--drill', file], 'my.drills.yaml'],
    [(file) => ['diff', file, 'my.results'], 'my.tape', 'my.yaml'],
    [(file) => ['diff', 'my.tape', file], 'my.results'],
    [(file) => ['gate', file, '--dry-run'], 'my.gate.yaml'],
    [(file) => ['synth', file, '-o', 'out'], 'my.tape', 'my.yaml'],
    [(file) => ['synth', 'fit', file, '-o', 'out'], 'my.tape'],
    [(file) => ['synth', 'scale', file, '-o', 'out'], 'my.tape'],
    [(file) => ['synth', 'check', file, 'my.tape'], 'my.tape', 'my.yaml'],
    [(file) => ['record', file, '-o', 'out'], 'capture'],
  ];
  test.each(takers.map(([words, ...takes]) => [words('FILE').join(' '), words, takes] as const))(
    '%s',
    async (_words, words, takes) => {
      for (const [file, [name, way]] of Object.entries(kinds)) {
        if (takes.includes(file)) continue;
        const { code, stderr } = await runIn(...words(file === 'capture' ? capture : file));
        expect(stderr).toMatch(new RegExp(`${file}.*: expected .*, got ${name}: .*${way}`));
        expect(code).toBe(2);
      }
    },
  );
});

describe('TLS', () => {
  let server: EmbeddedServer;
  let plain: string;
  const stops: (() => void)[] = [];

  beforeAll(async () => {
    server = await startServer();
    plain = server.address;
    stops.push(() => void server.stop());
  });
  afterAll(() => stops.forEach((stop) => stop()));

  /** The server behind TLS. */
  async function startTls(options: TlsOptions = {}): Promise<string> {
    const keys = join(folder, 'keys');
    mkdirSync(keys, { recursive: true });
    const front = createServer({ ...makeCertificate(keys), ...options }, (client) => {
      const behind = connect(server.port, server.host);
      client.pipe(behind).pipe(client);
      for (const socket of [client, behind]) socket.on('error', () => undefined);
    });
    front.on('tlsClientError', (_error, socket) => socket.destroy());
    await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve));
    stops.push(() => front.close());
    return `127.0.0.1:${(front.address() as AddressInfo).port}`;
  }

  test('each error says which option is wanted', async () => {
    const secure = await startTls();
    for (const [args, hint] of [
      [['--target', secure, '--tls'], 'say who signed the certificate with --tls-ca FILE'],
      [['--target', plain, '--tls'], 'leave out --tls'],
      [['--target', secure], 'it may speak TLS (--tls)'],
    ] as const) {
      const { code, stderr } = await runIn('replay', 'my.tape', '--quiet', ...args);
      expect([code, stderr]).toEqual([5, expect.stringContaining(hint)]);
    }
  });
});
