// Scenarios on recorded traces: what changes and what does not, and that what is expected is what a cache answers.

import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { mergeTraces } from '../../convert/merge.ts';
import { startProxy } from '../../recorder/proxy.ts';
import { recordCapture } from '../../recorder/record.ts';
import { runAside } from '../../fixtures/aside.ts';
import { runClients, settled } from '../../fixtures/clients.ts';
import { runQuiet } from '../../fixtures/quiet.ts';
import { storeExtras } from '../../protocol/frame.ts';
import { uint32 } from '../../protocol/header.ts';
import { Status } from '../../protocol/status.ts';
import { checkModel } from '../../synth/model/model.ts';
import { ModelGenerator } from '../../synth/generate/generator.ts';
import { applyToTrace, listScenarios } from '../../synth/scenarios/scenario.ts';
import { writeTrace } from '../../synth/generate/write.ts';
import { Outcome, RowFlag } from '../../trace/batch.ts';
import { TraceReader } from '../../trace/file.ts';
import { memjsTape, tapeOf } from '../convert/support.ts';
import { startMemcached } from '../support/memcached.ts';
import { replayedTape } from '../support/replay.ts';
import { runs } from '../support/scale.ts';
import { batchOf, connectionOf, madeOnce, temporary, type ExchangeInit } from '../support/tape.ts';
import { disorder, randomTape, toldOf, wronglyExpected, type Told } from './support.ts';

async function applied(tape: string, ...scenarios: string[]): Promise<string> {
  const output = temporary('with.tape');
  await applyToTrace(tape, output, scenarios, { seed: 3 });
  return output;
}

const names = listScenarios().map(({ name }) => name);

/** The first seconds of it. */
async function beginningOf(tape: string, name: string, seconds = 1.5): Promise<string> {
  return madeOnce(`${name} ${seconds}`, async (output) =>
    mergeTraces([tape], output, { filter: { toNs: seconds * 1e9 } }),
  );
}

describe('every scenario', () => {
  test.each(names)('%s keeps the order of times, and the same seed makes the same bytes', async (name) => {
    const tape = await beginningOf(await memjsTape(), 'beginning of memjs');
    const [first, second] = [await applied(tape, name), await applied(tape, name)];
    expect(readFileSync(first).equals(readFileSync(second))).toBe(true);
    const all = await toldOf(first);
    expect(disorder(all)).toEqual([]);
    const other = temporary('other.tape');
    await applyToTrace(tape, other, [name], { seed: 4 });
    // What draws nothing is the same with every seed; which connection flushes is drawn, and may be the same.
    const drawsNothing = ['ttlAvalanche', 'sizeShift', 'popularityShift', 'diurnal'].includes(name);
    const isSame = JSON.stringify(await toldOf(first)) === JSON.stringify(await toldOf(other));
    if (name !== 'flushAll') expect(isSame).toBe(drawsNothing);
  });

  const tapes = [1, 3].map((seed) => ({ seed, exchanges: 1200, refills: seed === 3 }));

  test('none: a cache answers as is expected', async () => {
    for (const init of tapes) expect(await wronglyExpected(await randomTape(init))).toEqual([]);
  });

  // What expires does so within a second of its time: ttlAvalanche has a test of its own.
  test.each(names.filter((name) => name !== 'ttlAvalanche'))(
    '%s: a cache answers as is expected',
    async (name) => {
      for (const init of tapes)
        expect(await wronglyExpected(await applied(await randomTape(init), name))).toEqual([]);
    },
    60_000,
  );

  test('in any order, together', async () => {
    const some = fc.constantFrom(
      ...names.filter((name) => name !== 'ttlAvalanche' && name !== 'poisonSizes'),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 1000 }),
        fc.array(some, { minLength: 2, maxLength: 4 }),
        async (seed, chosen) => {
          const tape = await randomTape({ seed, exchanges: 800, refills: seed % 2 === 0 });
          const output = await applied(tape, ...chosen);
          expect(disorder(await toldOf(output))).toEqual([]);
          expect(await wronglyExpected(output)).toEqual([]);
        },
      ),
      { numRuns: runs(8) },
    );
  }, 120_000);
});

function misses(all: readonly Told[]): number {
  return all.filter(
    ({ op, ns, status }) => op === 'get' && status === Status.notFound && ns > 3.5e9 && ns < 4.5e9,
  ).length;
}

function reads(all: readonly Told[]): number {
  return all.filter(({ op, ns }) => op === 'get' && ns >= 1e9).length;
}

function conditional(all: readonly Told[]): number {
  return all.filter(({ outcome }) => outcome === Outcome.conditional).length;
}

function isNew({ key }: Told): boolean {
  return key.startsWith('v2:');
}

function withoutLine({ line: _line, ...rest }: Told): object {
  return rest;
}

function withoutTime({ ns: _ns, answerNs: _answerNs, line, ...rest }: Told): object {
  return { ...rest, client: line.client };
}

function reading(refills: boolean): ExchangeInit[] {
  return Array.from({ length: 40 }, (_, n): ExchangeInit[] => [
    { op: 'get', key: `k${n}`, status: Status.notFound, answer: 'Not found', at: n * 1000 },
    ...(refills ? [{ op: 'set', key: `k${n}`, value: `v${n}`, at: n * 1000 + 200 }] : []),
    { op: 'set', key: 'kept', value: 'kept', at: n * 1000 + 300 },
    { op: 'get', key: 'kept', answer: 'kept', at: n * 1000 + 400 },
  ]).flat();
}

function named({ op, key, ns }: Told): string {
  return `${op} ${key} ${ns}`;
}

async function beforeAndAfter(
  scenario: string,
  seconds = 3,
): Promise<{ before: Told[]; after: Told[]; added: Told[] }> {
  const tape = await randomTape({ seed: 7, exchanges: seconds * 1000 });
  const before = await toldOf(tape);
  const after = await toldOf(await applied(tape, scenario));
  const known = new Set(before.map(named));
  return { before, after, added: after.filter((one) => !known.has(named(one))) };
}

describe('what each does', () => {
  test('what adds leaves what was recorded, and its answers where nothing it reads was changed', async () => {
    for (const scenario of [
      'hotKey',
      'scan',
      'multigetIncast',
      'pipelineFlood',
      'tenantSurge',
      'poisonSizes',
    ]) {
      const { before, after, added } = await beforeAndAfter(scenario);
      expect(added.length, scenario).toBeGreaterThan(10);
      expect(after.length).toBe(before.length + added.length);
      const of = new Map(after.map((one) => [named(one), one]));
      for (const one of before) {
        const { op, status, answer, answerCas } = of.get(named(one))!;
        expect([op, status, answer, answerCas]).toEqual([one.op, one.status, one.answer, one.answerCas]);
      }
    }
  });

  test('hotKey asks for a key of the trace, most at first', async () => {
    const { added } = await beforeAndAfter('hotKey:at=1s,share=0.6,halfLife=500ms');
    expect(new Set(added.map(({ key }) => key)).size).toBe(1);
    expect(added.every(({ op, ns }) => op === 'get' && ns >= 1e9)).toBe(true);
    const early = added.filter(({ ns }) => ns < 2e9).length;
    expect(early).toBeGreaterThan(1.5 * (added.length - early));
  });

  test('thunderingHerd deletes the most popular key, and all store it again', async () => {
    const { after, added } = await beforeAndAfter('thunderingHerd:at=1s,clients=40');
    const at = after.findIndex(({ op, ns }) => op === 'delete' && ns === 1e9);
    const { key } = after[at]!;
    const reads = added.filter(({ op }) => op === 'get');
    expect(reads.filter((one) => one.key === key && one.status === Status.notFound)).toHaveLength(40);
    expect(added.filter(({ op, flags }) => op === 'set' && (flags & RowFlag.refill) !== 0)).toHaveLength(40);
  });

  test('ttlAvalanche: what is stored in the stretch is gone at its end', async () => {
    const tape = await randomTape({ seed: 5, exchanges: 6000, refills: true });
    const before = await toldOf(tape);
    const after = await toldOf(await applied(tape, 'ttlAvalanche:at=2s,for=2s'));
    const stored = after.filter(
      ({ op, ns, extras }) => op === 'set' && ns >= 2e9 && ns < 4e9 && extras.length === 8,
    );
    expect(stored.length).toBeGreaterThan(100);
    for (const { ns, extras } of stored) {
      const endNs = ns + uint32(extras, 4) * 1e9;
      expect(Math.abs(endNs - 4e9)).toBeLessThanOrEqual(1e9);
    }
    expect(misses(after)).toBeGreaterThan(misses(before));
    // The others keep their expiry.
    expect(after.filter(({ op, ns, extras }) => op === 'set' && ns < 2e9 && uint32(extras, 4) !== 0)).toEqual(
      [],
    );
  });

  test('backendRestart ends connections, and goes on in others after the down time', async () => {
    const { before, after } = await beforeAndAfter('backendRestart:at=1s,down=300ms,jitter=400ms');
    const lines = new Map(after.map(({ line }) => [line.id, line]));
    expect(lines.size).toBe(10);
    expect(after.filter(({ ns }) => ns >= 1e9 && ns < 1.3e9)).toEqual([]);
    for (const { openNs, closeNs } of lines.values())
      if (openNs <= 0) expect([closeNs >= 1e9, closeNs < 1.01e9]).toEqual([true, true]);
      else expect(openNs >= 1.3e9 && openNs <= 1.7e9).toBe(true);
    const lost = before.filter(({ ns, line }) => {
      const next = [...lines.values()].find(
        ({ openNs, client }) => openNs > 0 && host(client) === host(line.client),
      );
      return ns >= 1e9 && ns < (next?.openNs ?? Infinity);
    });
    expect(after.length).toBe(before.length - lost.length);
  });

  test('connectionChurn changes connections, and nothing else', async () => {
    const { before, after } = await beforeAndAfter('connectionChurn:at=1s,for=1s,lifetime=50ms');
    expect(after.map(withoutLine)).toEqual(before.map(withoutLine));
    const opened = new Set(after.filter(({ ns }) => ns >= 1e9 && ns < 2e9).map(({ line }) => line.id));
    expect(opened.size).toBeGreaterThan(40);
    expect(after.every(({ line }, n) => host(line.client) === host(before[n]!.line.client))).toBe(true);
  });

  test('retryStorm sends a share again, so often, after so long', async () => {
    const { before, after } = await beforeAndAfter('retryStorm:at=1s,for=1s,share=1,retries=2,after=7ms');
    const inTime = before.filter(({ ns }) => ns >= 1e9 && ns < 2e9);
    expect(after.length).toBe(before.length + 2 * inTime.length);
    const times = new Map<string, number[]>();
    for (const { op, key, value, ns } of after) {
      const id = `${op} ${key} ${value.toString('latin1')}`;
      times.set(id, [...(times.get(id) ?? []), ns]);
    }
    for (const { op, key, value, ns } of inTime) {
      const seen = times.get(`${op} ${key} ${value.toString('latin1')}`)!;
      expect([seen.includes(ns + 7e6), seen.includes(ns + 14e6)]).toEqual([true, true]);
    }
  });

  test('deployColdCache: a growing share of the clients asks for keys of its own', async () => {
    const { before, after } = await beforeAndAfter('deployColdCache:at=1s,waves=2,every=1s');
    expect(after.filter((one) => one.ns < 1e9 && isNew(one))).toEqual([]);
    expect(after.filter((one) => one.ns >= 2e9 && !isNew(one))).toEqual([]);
    const hosts = (from: number, to: number): number =>
      new Set(
        after
          .filter((one) => one.ns >= from && one.ns < to && isNew(one))
          .map(({ line }) => host(line.client)),
      ).size;
    expect([hosts(2e9, 3e9), hosts(1e9, 2e9) < 5]).toEqual([5, true]);
    // What names a version that was not read is not sent.
    expect(before.length - after.length).toBeLessThan(30);
  });

  test('a long key has room for a version', async () => {
    const [one, two] = ['a', 'b'].map((end) => `${'k'.repeat(248)}${end}`) as [string, string];
    const tape = await tapeOf([
      batchOf([
        { op: 'set', key: one, value: '1', at: 0 },
        { op: 'set', key: two, value: '2', at: 1_000_000 },
        { op: 'get', key: one, answer: '1', at: 2_000_000 },
      ]),
    ]);
    const after = await toldOf(await applied(tape, 'deployColdCache:at=0s,waves=1'));
    const keys = new Set(after.map(({ key }) => key));
    expect(keys.size).toBe(2);
    for (const key of keys) expect([key.startsWith('v2:kkk'), key.length]).toEqual([true, 250]);
  });

  test('sizeShift changes what is stored from then on, and what reads of it bring; numbers stay', async () => {
    const { before, after } = await beforeAndAfter('sizeShift:at=1s,factor=3');
    expect(after.length).toBe(before.length);
    for (const [n, { op, value, ns }] of before.entries()) {
      const stores = /^(set|add|replace)q?$/.test(op);
      expect(after[n]!.value.length).toBe(ns >= 1e9 && stores ? value.length * 3 : value.length);
    }
    const longer = after.filter(
      ({ op, answer }, n) => op === 'get' && answer.length > before[n]!.answer.length,
    );
    expect(longer.length).toBeGreaterThan(100);
    expect(longer.some(({ key }) => key.startsWith('c'))).toBe(false);
  });

  test('popularityShift exchanges keys of one sort by their rank', async () => {
    const { before, after } = await beforeAndAfter('popularityShift:at=1s,by=1');
    const pairs = new Map<string, Set<string>>();
    const then = new Map(after.map((one) => [one.ns, one.key]));
    for (const { key, ns } of before) {
      const now = then.get(ns);
      if (now === undefined) continue;
      if (ns < 1e9) expect(now).toBe(key);
      else pairs.set(key, (pairs.get(key) ?? new Set()).add(now));
    }
    const targets = Array.from(pairs.values(), (now) => [...now]);
    expect(targets.every(({ length }) => length === 1)).toBe(true);
    expect(new Set(targets.flat()).size).toBe(targets.length);
    for (const [key, now] of pairs) expect([[...now][0]![0], [...now][0] === key]).toEqual([key[0], false]);
  });

  test('diurnal retimes, and nothing else', async () => {
    const { before, after } = await beforeAndAfter('diurnal:amplitude=4', 6);
    expect(after.map(withoutTime)).toEqual(before.map(withoutTime));
    const inThird = (third: number): number =>
      after.filter(({ ns }) => Math.floor(ns / 2e9) === third).length;
    expect(inThird(1)).toBeGreaterThan(1.5 * inThird(0));
    expect(Math.abs(after.at(-1)!.ns - before.at(-1)!.ns)).toBeLessThan(50e6);
  });

  test('writeBurst, invalidationStorm, counterContention and casConflict work on keys of the trace', async () => {
    const known = new Set((await beforeAndAfter('sizeShift')).before.map(({ key }) => key));
    for (const [scenario, ops] of [
      ['writeBurst', ['set']],
      ['invalidationStorm', ['delete']],
      ['counterContention', ['incr', 'decr']],
      ['casConflict', ['get', 'set']],
    ] as const) {
      const { added } = await beforeAndAfter(scenario);
      expect(added.length, scenario).toBeGreaterThan(100);
      for (const { op, key } of added)
        expect([ops.includes(op as never), known.has(key)]).toEqual([true, true]);
    }
    const { added } = await beforeAndAfter('casConflict:keys=1,rate=20k');
    const stores = added.filter(({ op }) => op === 'set');
    expect(stores.every(({ cas }) => cas !== 0)).toBe(true);
    const statuses = new Set(stores.map(({ status }) => status));
    expect([statuses.has(Status.ok), statuses.has(Status.exists)]).toEqual([true, true]);
  });

  test('flushAll: what was there is gone', async () => {
    const { after } = await beforeAndAfter('flushAll:at=1s');
    expect(after.filter(({ op }) => op === 'flush')).toHaveLength(1);
    const first = new Map<string, Told>();
    for (const one of after) if (one.ns > 1e9 && !first.has(one.key)) first.set(one.key, one);
    for (const { op, status } of first.values()) if (op === 'get') expect(status).toBe(Status.notFound);
  });

  test('tenantSurge: users of their own, with keys and connections of their own', async () => {
    const { before, added } = await beforeAndAfter('tenantSurge:at=1s,count=3,ramp=0s,weight=2,cold=0');
    expect(new Set(added.map(({ line }) => line.tenant))).toEqual(new Set(['surge-1', 'surge-2', 'surge-3']));
    expect(added.every(({ key, line }) => key.startsWith(line.tenant))).toBe(true);
    const late = before.filter(({ ns }) => ns >= 1e9).length;
    expect([reads(added), late > 1900]).toEqual([6 * reads(before), true]);
  });
});

function host(client: string): string {
  return client.split(':')[0]!;
}

describe('clients that miss', () => {
  test('store again where the recording shows that they do, with what they had read', async () => {
    const tape = await tapeOf([batchOf(reading(true))]);
    const after = await toldOf(await applied(tape, 'deployColdCache:at=20ms,waves=1'));
    const missed = after.filter(
      ({ op, key, status }) => op === 'get' && key === 'v2:kept' && status !== Status.ok,
    );
    expect(missed).toEqual([]);
    const flushed = await toldOf(await applied(tape, 'flushAll:at=20.35ms'));
    const at = flushed.findIndex(({ op }) => op === 'flush');
    const next = flushed.slice(at + 1).filter(({ key }) => key === 'kept');
    expect(next[0]).toMatchObject({ op: 'get', status: Status.notFound });
    expect([next[1]!.op, next[1]!.value.toString(), next[1]!.flags]).toEqual(['set', 'kept', RowFlag.refill]);
  });

  test('with what was there, and never where the scenario says that they do not', async () => {
    const tape = await randomTape({ seed: 9, exchanges: 3000, refills: true });
    const known = new Set((await toldOf(tape)).map(({ ns }) => ns));
    for (const scenario of ['scan', 'pipelineFlood', 'hotKey:keys=12,share=0.8', 'multigetIncast']) {
      const added = (await toldOf(await applied(tape, scenario))).filter(({ ns }) => !known.has(ns));
      const stores = added.filter(({ op }) => op === 'set');
      expect(added.length, scenario).toBeGreaterThan(100);
      expect(stores.every(({ value }) => value.length > 0)).toBe(true);
      if (scenario === 'scan' || scenario === 'pipelineFlood') expect(stores).toEqual([]);
    }
  });

  test('and not where it shows that they do not', async () => {
    const tape = await tapeOf([batchOf(reading(false))]);
    const flushed = await toldOf(await applied(tape, 'flushAll:at=20.35ms'));
    expect(flushed.some(({ flags }) => (flags & RowFlag.refill) !== 0)).toBe(false);
  });

  test('of a generated trace have their refills already', async () => {
    const tape = temporary('model.tape');
    const model = checkModel({
      format: 'memtape-model/1',
      duration: '3s',
      tenants: [
        { keys: { space: 300 }, values: { size: 50 }, mix: { get: 0.9, set: 0.1 }, arrivals: { rate: 1000 } },
      ],
    });
    await writeTrace(new ModelGenerator(model), tape, 'test');
    const before = await toldOf(tape);
    for (const scenario of [
      'flushAll:at=1s',
      'deployColdCache',
      'backendRestart:down=10ms',
      'connectionChurn:lifetime=5ms',
    ]) {
      const output = await applied(tape, scenario);
      const after = await toldOf(output);
      expect(conditional(after), scenario).toBeLessThanOrEqual(conditional(before));
      expect(await wronglyExpected(output), scenario).toEqual([]);
    }
  });
});

describe('what is not in the trace stays out of it', () => {
  const values = ['hash', 'size'] as const;
  test.each(values)(
    'values %s: tokens become tokens, and keys stay masked',
    async (kept) => {
      const capture = new URL('../../fixtures/captures/memjs.pcap', import.meta.url).pathname;
      const { port } = JSON.parse(readFileSync(capture.replace('.pcap', '.json'), 'utf8')) as {
        port: number;
      };
      const tape = temporary('masked.tape');
      await recordCapture(capture, {
        output: tape,
        ports: [port],
        source: 'memjs',
        privacy: { values: kept, maskKey: Buffer.alloc(32, 7) },
      });
      const clear = new Set((await toldOf(await memjsTape())).map(({ key }) => key));
      const short = await beginningOf(tape, `beginning of memjs, ${kept}`);
      for (const scenario of names) {
        const output = await applied(short, scenario);
        const reader = await TraceReader.open(output);
        expect(reader.meta.privacy).toMatchObject({ values: kept, keys: 'masked' });
        // Every value can be derived: a replay of it sends and compares.
        for await (const batch of reader.batches()) expect(batch.count).toBeGreaterThanOrEqual(0);
        await reader.close();
        const told = await toldOf(output);
        expect(disorder(told), scenario).toEqual([]);
        expect(
          told.filter(({ key }) => key.length > 8 && clear.has(key)),
          scenario,
        ).toEqual([]);
        for (const { op, value } of told)
          if (op.startsWith('set') && value.length > 0)
            expect([value.length === 13, value[0]! <= 2]).toEqual([true, true]);
      }
    },
    120_000,
  );
});

test('exchanges of unknown outcome stay so, and what they leave is not known', async () => {
  const tape = await tapeOf([
    batchOf([
      { op: 'set', key: 'a', value: '1', at: 0 },
      { op: 'set', key: 'a', value: '2', at: 1_000, outcome: Outcome.unanswered },
      { op: 'get', key: 'a', answer: '2', at: 2_000 },
      { op: 'get', key: 'b', at: 3_000, outcome: Outcome.gap },
      { op: 'get', key: 'a', answer: '2', at: 9_000 },
    ]),
  ]);
  const after = await toldOf(await applied(tape, 'retryStorm:at=0s,for=1s,share=1,retries=1,after=500us'));
  const outcomes = after.map(({ op, key, outcome, ns }) => `${ns / 1000} ${op} ${key} ${outcome}`);
  expect(outcomes).toContain('1000 set a 2');
  expect(outcomes).toContain('3000 get b 4');
  expect(after.filter(({ op }) => op === 'get')).toHaveLength(6);
});

test('multi-gets stay together, and a client that said goodbye says nothing more', async () => {
  const segment = RowFlag.sharesSegment;
  const group = (at: number): ExchangeInit[] => [
    { op: 'getkq', key: 'a', at, answer: 'A', answerKey: 'a' },
    { op: 'getkq', key: 'b', at, flags: segment, outcome: Outcome.silent },
    { op: 'noop', at, flags: segment },
  ];
  const tape = await tapeOf([
    batchOf(
      [
        { op: 'set', key: 'a', value: 'A', at: 0 },
        ...group(1_000),
        ...group(2_000),
        { op: 'quit', at: 2_600 },
        { op: 'set', key: 'c', value: 'C', at: 9_000, connection: 1 },
      ],
      [connectionOf(0), connectionOf(1)],
    ),
  ]);
  const after = await toldOf(await applied(tape, 'retryStorm:at=0s,for=1s,share=1,retries=1,after=700us'));
  expect(disorder(after)).toEqual([]);
  const at = after.filter(({ ns }) => ns === 1_700_000);
  expect(at.map(({ op, outcome }) => [op, outcome])).toEqual([
    ['getkq', Outcome.answered],
    ['getkq', Outcome.silent],
    ['noop', Outcome.answered],
  ]);
  const quit = after.findIndex(({ op }) => op === 'quit');
  expect(after.slice(quit + 1).every(({ line }) => line.id !== after[quit]!.line.id)).toBe(true);
  expect(after.filter(({ ns }) => ns === 2_700_000)).toHaveLength(3);
});

test('a CAS names what its client reads now; where that reads nothing, it is not sent', async () => {
  const extras = storeExtras(0, 0);
  const tape = await tapeOf([
    batchOf([
      { op: 'set', key: 'a', value: '1', at: 0, answerCas: 5n, extras },
      { op: 'get', key: 'a', answer: '1', at: 3_000, answerCas: 5n },
      { op: 'set', key: 'a', value: '2', at: 4_000, cas: 5n, answerCas: 6n, extras },
      { op: 'get', key: 'z', status: 1, answer: 'Not found', at: 5_000 },
    ]),
  ]);
  const deployed = await toldOf(await applied(tape, 'deployColdCache:at=2ms,waves=1'));
  expect(deployed.some(({ cas }) => cas !== 0)).toBe(false);
  const repeated = await toldOf(await applied(tape, 'retryStorm:at=0s,for=1s,share=1,retries=1,after=200us'));
  const stores = repeated.filter(({ cas }) => cas !== 0);
  expect(stores.map(({ status }) => status)).toEqual([Status.ok, Status.exists]);
  expect(
    await wronglyExpected(await applied(tape, 'retryStorm:at=0s,for=1s,share=1,retries=1,after=200us')),
  ).toEqual([]);
});

test.each([
  ['hotkey', /did you mean hotKey/],
  ['hotKey:shar=1', /unknown parameter "shar"/],
  ['hotKey:at=9', /at: expected a duration/],
  ['retryStorm:retries=1000000', /retries: /],
  ['thunderingHerd:key=100000', /expected a rank below \d+/],
  ['diurnal:period=0s', /expected a duration above 0/],
  ['tenantSurge:weight=-1', /weight: /],
])('%s is refused, and nothing is left behind', async (scenario, message) => {
  const tape = await randomTape({ seed: 1, exchanges: 100 });
  const output = temporary('never.tape');
  await expect(applyToTrace(tape, output, [scenario])).rejects.toThrow(message);
  expect(() => readFileSync(output)).toThrow(/ENOENT/);
});

test('traces with little in them', async () => {
  const single = await tapeOf([batchOf([{ op: 'get', key: 'a', status: 1, answer: 'Not found' }])]);
  const keyless = await tapeOf([batchOf([{ op: 'noop' }, { op: 'version', answer: '1.6' }])]);
  for (const name of names) {
    expect(disorder(await toldOf(await applied(single, name))), name).toEqual([]);
    try {
      await applied(keyless, name);
    } catch (error) {
      expect((error as Error).name, name).toBe('ConfigError');
    }
  }
  const nothing = await tapeOf([]);
  await expect(applied(nothing, 'hotKey')).rejects.toThrow(/expected exchanges, got none/);
});

test('recorded of real clients, and replayed against a real memcached: nothing is wrong, and nearly all as expected', async () => {
  const production = await startMemcached();
  const tape = temporary('recorded.tape');
  const proxy = await startProxy({ listen: ['127.0.0.1:0'], upstream: [production.address], output: tape });
  const [address] = proxy.addresses as [string];
  await Promise.all([
    runClients({ address, seed: 5, clients: 3, keys: 60, exchanges: 900, seconds: 1.5, calls: {} }),
    runAside({ address, seed: 5, clients: 3, reads: 900, seconds: 1.5, pages: 100, ttl: 600 }),
    runQuiet(address, 60),
  ]);
  await settled(() => proxy.open === 0);
  await proxy.stop();
  await production.stop();
  // Side by side: most of it is waiting for the time of the next request.
  const together = [
    ['tenantSurge', 'sizeShift', 'backendRestart:down=100ms,jitter=100ms'],
    ['deployColdCache', 'invalidationStorm', 'retryStorm:share=0.3', 'diurnal'],
    ['popularityShift', 'casConflict', 'thunderingHerd:clients=50', 'connectionChurn:lifetime=30ms'],
  ].map(async (scenarios) => {
    const target = await startMemcached(['-c', '4096']);
    try {
      const report = await replayedTape(await applied(tape, ...scenarios), {
        targets: [target.address],
        timeoutMs: 10_000,
      });
      expect(report.violations, scenarios.join(' ')).toEqual({});
      expect(report.exchanges.matched).toBeGreaterThan(0.97 * report.exchanges.sent);
    } finally {
      await target.stop();
    }
  });
  await Promise.all(together);
}, 90_000);
