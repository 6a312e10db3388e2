// The library as its users have it: by the package's name, as it was built (`npm test` builds first); its example, its
// declarations under strict settings, and what its functions say where something is wrong.

import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import type { Exchange } from '../../index.ts';
import { NEVER } from '../../trace/batch.ts';
import { batchOf, temporary, writeTape } from '../support/tape.ts';
import { memjsPort } from '../convert/support.ts';

/** By its name, and thus from dist/; checked against the sources, so that checking needs no build. */
const name: string = 'memtape';
const memtape = (await import(name)) as typeof import('../../index.ts');
const root = new URL('../..', import.meta.url).pathname;
const run = promisify(execFile);

async function recorded(): Promise<string> {
  const trace = temporary('capture.tape');
  const { exchanges } = await memtape.record(`${root}fixtures/captures/memjs.pcap`, trace, {
    ports: [memjsPort],
  });
  expect(exchanges).toBe(5004);
  return trace;
}

test('the example runs', async () => {
  const { stdout } = await run(process.execPath, [`${root}examples/library.mjs`]);
  expect(stdout).toMatch(/^recorded 5004 exchanges on 6 connections\n\d+ objects were missed\n+FAIL/);
  expect(stdout).toContain('wrong-value');
  expect(stdout).toMatch(/etc against a healthy server: pass\n$/);
});

test('exchanges are what the batches say, one at a time', async () => {
  const tape = await memtape.openTrace(await recorded());
  try {
    expect([tape.exchangeCount, tape.isTruncated, tape.meta.source]).toEqual([5004, false, 'memjs.pcap']);
    const all: Exchange[] = [];
    for await (const exchange of tape) all.push(exchange);
    expect(all.map(({ index }) => index)).toEqual(all.map((_, n) => n));
    let n = 0;
    for await (const batch of tape.batches())
      for (let row = 0; row < batch.count; row++) {
        const { connection, opcode, key, value, answer, answerNs, requestNs } = all[n++]!;
        expect([connection.id, opcode, requestNs, answerNs ?? NEVER]).toEqual([
          batch.connection[row],
          memtape.opcodeName(batch.opcode[row]!),
          batch.requestNs[row],
          batch.answerNs[row],
        ]);
        expect(key.equals(batch.key(row)) && value.equals(batch.value(row))).toBe(true);
        if (answer !== null) expect(answer.value.equals(batch.answerValue(row))).toBe(true);
      }
    const some: string[] = [];
    for await (const { key } of tape.exchanges({ key: /^object:/, connection: 3 })) some.push(key.toString());
    expect(some).toEqual(
      all
        .filter(({ connection, key }) => connection.id === 3 && key.toString().startsWith('object:'))
        .map(({ key }) => key.toString()),
    );
    expect((await tape.summary()).exchanges).toBe(5004);
  } finally {
    await tape.close();
  }
});

test('a model: the trace that is written has the exchanges that are iterated', async () => {
  const path = temporary('etc.tape');
  const options = { seed: 3, requests: 6000, rate: 20_000, scenarios: ['hotKey'] };
  const { exchanges } = await memtape.synth('etc', path, options);
  const tape = await memtape.openTrace(path);
  let n = 0;
  const written = tape.exchanges();
  for (const made of memtape.synthesize('etc', options)) {
    const { value } = (await written.next()) as { value: Exchange };
    expect([value.opcode, value.key, value.requestNs, value.outcome]).toEqual([
      made.opcode,
      made.key,
      made.requestNs,
      made.outcome,
    ]);
    n++;
  }
  expect(n).toBe(exchanges);
  await tape.close();
});

test('a verdict: at once, again from its results, beside a baseline, and rendered', async () => {
  const trace = temporary('a.tape');
  const results = temporary('a.results');
  await writeTape(trace, [
    batchOf([
      { op: 'set', key: 'a', value: 'one' },
      { op: 'get', key: 'a', answer: 'one' },
    ]),
  ]);
  const cluster = await memtape.startCluster({ fault: { name: 'corrupt', share: 1, seed: 1 } });
  const healthy = await memtape.startCluster();
  const how = { trace, speed: 'max', timeoutMs: 5000 } as const;
  try {
    const report = await memtape.verify({ ...how, targets: cluster.addresses, results });
    expect([report.verdict, report.violations]).toEqual(['fail', { 'wrong-value': 1 }]);
    const baseline = temporary('b.results');
    await memtape.verify({ ...how, targets: healthy.addresses, results: baseline });
    const again = await memtape.judge(trace, results, { thresholds: ['violations < 2'], baseline });
    expect([again.verdict, again.baseline?.verdict, again.findings]).toEqual([
      'pass',
      'pass',
      report.findings,
    ]);
    const named = [{ name: 'a', report }];
    expect(memtape.renderText(report)).toContain('FAIL');
    expect(memtape.renderHtml(named)).toContain('<!doctype html>');
    expect(memtape.renderJunit(named)).toContain('<testsuite');
    expect(memtape.renderMarkdown(named)).toContain('wrong-value');
    expect(memtape.reportSchema.parse(report)).toBeTruthy();
    const other = temporary('other.tape');
    await writeTape(other, [batchOf([{ op: 'get', key: 'b', answer: '' }])]);
    await expect(memtape.judge(other, results)).rejects.toMatchObject({
      name: 'LibraryError',
      code: 'OTHER_TRACE',
    });
  } finally {
    await cluster.stop();
    await healthy.stop();
  }
});

describe('what is wrong is said by the layer that knows', () => {
  test.each([
    ['no such trace', async () => memtape.openTrace('/none.tape'), 'TraceError', /cannot read/],
    ['no such capture', async () => memtape.record('/none.pcap', temporary('x')), 'RecorderError', /none/],
    ['no such model', async () => memtape.synth('ect', temporary('x')), 'LibraryError', /did you mean etc/],
    [
      'a bad threshold, before the replay',
      async () => memtape.verify({ trace: '/none', targets: [], thresholds: ['speed > 3'] }),
      'ThresholdError',
      /speed/,
    ],
    [
      'no target',
      async () => memtape.verify({ trace: await recorded(), targets: ['127.0.0.1:1'] }),
      'ReplayError',
      /cannot reach/,
    ],
  ])('%s', async (_, act, name, message) => {
    await expect(act()).rejects.toMatchObject({ name, message: expect.stringMatching(message) as string });
  });
});

const consumer = `
import { judge, openTrace, record, replay, synth, synthesize, verify } from 'memtape';
import type { Batch, Exchange, JudgeOptions, Report, ReportVerdict } from 'memtape';

export async function use(path: string): Promise<ReportVerdict> {
  const { exchanges }: { exchanges: number } = await record(path, 'a.tape', { ports: [11211], sample: 16 });
  const tape = await openTrace('a.tape');
  for await (const { key, answer, cas } of tape.exchanges({ key: /^a/, tenant: 'alice' })) {
    const status: number | undefined = answer?.status;
    const words: [string, bigint, number | undefined] = [key.toString(), cas, status];
    void words;
  }
  for await (const batch of tape.batches()) take(batch);
  await tape.close();
  const made = await synth({ format: 'memtape-model/1', tenants: [] } as never, 'b.tape', { seed: 1 });
  const some: Exchange[] = [...synthesize('etc', { requests: made.requests + exchanges })];
  const options: JudgeOptions = { thresholds: ['violations == 0'], examples: some.length };
  const { survey } = await replay({ trace: 'a.tape', results: 'r', targets: ['a:1'], speed: 'max' });
  const report: Report = await judge('a.tape', 'r', { ...options, survey });
  // @ts-expect-error targets are needed
  await verify({ trace: 'a.tape' });
  return report.verdict;
}

function take(batch: Batch): number {
  return batch.count;
}
`;

test.each([true, false])(
  'the declarations compile for a strict user, skipLibCheck %s',
  async (skipLibCheck) => {
    const config = temporary('tsconfig.json');
    const folder = dirname(config);
    mkdirSync(join(folder, 'node_modules'));
    symlinkSync(root, join(folder, 'node_modules', 'memtape'), 'dir');
    writeFileSync(join(folder, 'use.ts'), consumer);
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
    const compilerOptions = {
      target: 'es2022',
      module: 'nodenext',
      strict: true,
      noUncheckedIndexedAccess: true,
      exactOptionalPropertyTypes: true,
      noPropertyAccessFromIndexSignature: true,
      isolatedModules: true,
      noEmit: true,
      types: ['node'],
      typeRoots: [`${root}node_modules/@types`],
      skipLibCheck,
    };
    writeFileSync(config, JSON.stringify({ compilerOptions, files: ['use.ts'] }));
    const compiled = run(`${root}node_modules/.bin/tsc`, ['-p', config]);
    await expect(compiled.catch(({ stdout }: { stdout: string }) => ({ stdout }))).resolves.toMatchObject({
      stdout: '',
    });
  },
);

test('every public function says what it throws', () => {
  const exported = readFileSync(`${root}index.ts`, 'utf8');
  for (const [, names, file] of exported.matchAll(/export \{([^}]+)\} from '\.\/(library\/[^']+)'/g)) {
    const text = readFileSync(`${root}${file}`, 'utf8');
    for (const name of names!.split(',').map((word) => word.trim())) {
      const declared = new RegExp(
        `(/\\*\\*(?:(?!\\*/)[\\s\\S])*\\*/)\\nexport (?:async )?function ${name}\\b`,
      );
      if (text.includes(`function ${name}(`)) expect(declared.exec(text)?.[1], name).toContain('@throws');
    }
  }
});
