// `memtape audit`, as a user types it: a recording of a healthy server, one of a sick one, and traffic that is judged while it
// goes on.

import { EventEmitter } from 'node:events';
import { existsSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { startCluster } from '../../embedded/cluster.ts';
import { startFaultProxy } from '../../embedded/proxy.ts';
import { encodeRequest, storeExtras } from '../../protocol/frame.ts';
import { Opcode } from '../../protocol/opcode.ts';
import type { Report } from '../../report/shape.ts';
import { reportSchema } from '../../report/schema.ts';
import { Random } from '../../synth/laws/random.ts';
import { parseHostPort } from '../../trace/address.ts';
import { memjsPort } from '../convert/support.ts';
import { memtape, runMemtape } from '../support/cli.ts';
import { batchOf, temporary, writeTape } from '../support/tape.ts';

const root = new URL('../..', import.meta.url).pathname;

/** Stores and reads, so many times, of a client that does not mind what it is answered. */
async function ask(address: string, seed: number, times: number): Promise<void> {
  const { host, port } = parseHostPort(address, 11_211);
  const socket = connect({ host, port, noDelay: true });
  socket.on('data', () => undefined).on('error', () => undefined);
  const random = new Random(seed);
  for (let n = 0; n < times; n++) {
    const key = Buffer.from(`key:${random.int(100)}`);
    const opaque = n + 1;
    if (random.chance(0.3)) {
      const value = Buffer.from(`value ${n} of ${seed}`);
      socket.write(encodeRequest({ opcode: Opcode.set, key, value, extras: storeExtras(0, 0), opaque }));
    } else socket.write(encodeRequest({ opcode: Opcode.get, key, opaque }));
    await sleep(4);
  }
  socket.end();
}

const readReport = (path: string): Report => JSON.parse(readFileSync(path, 'utf8')) as Report;

async function recorded(): Promise<string> {
  const tape = temporary('memjs.tape');
  const capture = `${root}fixtures/captures/memjs.pcap`;
  await memtape('record', capture, '--port', String(memjsPort), '-o', tape, '--quiet');
  return tape;
}

test('a recording of a real client on real memcached passes, and says how many nines are sure', async () => {
  const tape = await recorded();
  const json = temporary('report.json');
  const { code, stdout } = await memtape('audit', tape, '--json', json, '--threshold', 'consistency > 99%');
  expect({ code, stdout }).toMatchObject({ code: 0 });
  expect(stdout).toMatch(/^PASS {2}5,004 recorded exchanges over [\d.]+ s, judged by the recording itself/);
  expect(stdout).toMatch(
    /consistency: ([\d,]+) of \1 reads that could be judged were right: at least 99\.\d+%/,
  );
  const report = readReport(json);
  expect(reportSchema.parse(report)).toEqual(report);
  expect(report.audit?.all.judged).toBeGreaterThan(500);
  expect(report.audit?.all.wrong).toBe(0);
});

test.each([['hash'], ['size'], ['hash', '--keep-numbers']])(
  'a recording without values, %s %s, is judged as far as it tells, and no answer is called wrong',
  async (mode, ...more) => {
    const tape = temporary('masked.tape');
    const capture = `${root}fixtures/captures/memjs.pcap`;
    const key = temporary('mask.key');
    writeFileSync(key, 'a secret of sixteen bytes at least');
    const masked = ['--values', mode, ...more, '--keys', 'masked', '--mask-key-file', key];
    await memtape('record', capture, '--port', String(memjsPort), '-o', tape, '--quiet', ...masked);
    const { code, stdout } = await memtape('audit', tape);
    expect({ code, stdout }).toMatchObject({ code: 0 });
  },
);

test('one answer that contradicts the others fails, with the key, in every format', async () => {
  const tape = temporary('stale.tape');
  await writeTape(tape, [
    batchOf([
      { op: 'set', key: 'user:1', value: 'old old old', answerCas: 1n },
      { op: 'set', key: 'user:1', value: 'new new new', answerCas: 2n },
      { op: 'get', key: 'user:1', answer: 'old old old', answerCas: 1n },
    ]),
  ]);
  const [json, junit, markdown, html] = ['r.json', 'r.xml', 'r.md', 'r.html'].map(temporary) as [
    string,
    string,
    string,
    string,
  ];
  const outputs = ['--json', json, '--junit', junit, '--markdown', markdown, '--html', html];
  const { code, stdout } = await memtape('audit', tape, ...outputs);
  expect(code).toBe(1);
  expect(stdout).toMatch(/violation: stale-value ×1\n {4}get user:1 at 0\.000 s/);
  expect(stdout).not.toMatch(/expected {2}/);
  expect(readReport(json).violations).toEqual({ 'stale-value': 1 });
  for (const path of [junit, markdown, html]) expect(readFileSync(path, 'utf8')).toContain('stale-value');
});

test('several traces are one recording; what is none is refused, with the way out', async () => {
  const tape = await recorded();
  const halves = ['first.tape', 'second.tape'].map(temporary) as [string, string];
  await memtape('filter', tape, '-o', halves[0], '--to', '500ms');
  await memtape('filter', tape, '-o', halves[1], '--from', '500ms');
  const both = await memtape('audit', ...halves);
  expect(both.code).toBe(0);
  expect(both.stdout).toMatch(/[45],\d\d\d recorded exchanges/);
  const capture = await memtape('audit', `${root}fixtures/captures/memjs.pcap`);
  expect(capture).toMatchObject({ code: 2 });
  expect(capture.stderr).toMatch(/expected a trace, got a capture: memtape record/);
  expect(await memtape('audit')).toMatchObject({ code: 2 });
  expect(await memtape('audit', tape, '--metrics', ':0')).toMatchObject({ code: 2 });
  expect(await memtape('audit', tape, '--trigger', 'violation')).toMatchObject({ code: 2 });
  expect(await memtape('audit', tape, '--threshold', 'consistency > 1ms')).toMatchObject({ code: 2 });
});

test('nothing that could be judged is not enough evidence', async () => {
  const tape = temporary('blind.tape');
  await writeTape(tape, [batchOf([{ op: 'get', key: 'k', outcome: 4 }])]);
  expect(await memtape('audit', tape)).toMatchObject({ code: 3 });
});

test('judged while it goes on, the sick backend is named, and the windows around it are kept', async () => {
  const backends = await startCluster({ backends: 4 });
  const names = ['a', 'b', 'c', 'd'].map((host) => ({ host, port: 1 }));
  const faults = [{ name: 'stale-read' as const, backend: 1, share: 1 }];
  const release = await startFaultProxy({ backends: backends.addresses, names, faults });
  const [json, kept] = [temporary('live.json'), temporary('wrong.tape')];
  let clients: Promise<unknown> | undefined;
  const signals = new EventEmitter();
  const args = ['--listen', '127.0.0.1:0', '--upstream', release.address, '--backends', 'a:1,b:1,c:1,d:1'];
  const live = [
    '--window',
    '500ms',
    '--duration',
    '3s',
    '--trigger',
    'violation',
    '-o',
    kept,
    '--json',
    json,
  ];
  try {
    const { code, stderr } = await runMemtape(['audit', ...args, ...live, '--metrics', '127.0.0.1:0'], {
      signals,
      onPrint: (text) => {
        const found = /judging what passes (\S+) for/.exec(text);
        if (found === null || clients !== undefined) return;
        // Whoever stops it does so once the clients have what they want.
        clients = Promise.all([1, 2, 3, 4].map(async (seed) => ask(found[1]!, seed, 500))).finally(() =>
          signals.emit('SIGINT'),
        );
      },
    });
    await clients;
    expect({ code, stderr }).toMatchObject({ code: 1 });
    expect(stderr).toMatch(/exchanges, [\d,]+ reads judged, [\d,]+ violations, \d+ lost/);
    const report = readReport(json);
    expect(reportSchema.parse(report)).toEqual(report);
    expect(report.violations['stale-value']).toBeGreaterThan(0);
    const place = report.attribution.find(({ factor }) => factor === 'partition');
    expect(place?.value).toMatch(/^b:1/);
    const folder = dirname(kept);
    const files = readdirSync(folder).filter((name) => name.startsWith('wrong-'));
    expect(files.length).toBeGreaterThan(0);
    for (const name of files) expect(statSync(join(folder, name)).mode & 0o777).toBe(0o600);
    expect(existsSync(kept)).toBe(false);
  } finally {
    await release.stop();
    await backends.stop();
  }
});
