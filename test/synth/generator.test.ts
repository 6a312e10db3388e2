// What generators make: the same for the same seed everywhere, in the order of time, with answers that a real cache gives.

import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { startCluster } from '../../embedded/cluster.ts';
import { startMemcached } from '../../embedded/memcached.ts';
import { startFaultProxy } from '../../embedded/proxy.ts';
import { opcodeName } from '../../protocol/opcode.ts';
import { builtinModels } from '../../synth/model/builtin.ts';
import { hashOf } from '../../fixtures/digest.ts';
import { ModelGenerator } from '../../synth/generate/generator.ts';
import { Permutation } from '../../synth/laws/hash.ts';
import { checkModel, type ModelInput } from '../../synth/model/model.ts';
import { applyScenario, listScenarios } from '../../synth/scenarios/scenario.ts';
import { writeTrace } from '../../synth/generate/write.ts';
import { NEVER, Outcome, RowFlag } from '../../trace/batch.ts';
import { replayedTape } from '../support/replay.ts';
import { temporary } from '../support/tape.ts';

const running: { stop(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of running.splice(0).toReversed()) await one.stop();
});

const golden = JSON.parse(readFileSync('fixtures/golden/models.json', 'utf8')) as Record<string, string>;

test.each([...builtinModels.keys()])('%s: the same as ever', (name) => {
  const generator = new ModelGenerator(checkModel(builtinModels.get(name)!), { requests: 20_000 });
  expect(hashOf(generator)).toBe(golden[name]);
});

test('golden hashes are of the models there are', () => {
  expect(Object.keys(golden)).toEqual([...builtinModels.keys()]);
});

type TenantInput = ModelInput['tenants'][number];

/** Everything that a tenant can do, in one. */
const busy: TenantInput = {
  keys: { space: 500, length: { kind: 'uniform', min: 10, max: 40 } },
  values: {
    size: { kind: 'lognormal', mean: 200, sigma: 1, max: 5000 },
    correlation: 0.5,
    compressible: 0.5,
  },
  flags: 7,
  ttl: [
    { ttl: '0s', share: 0.5 },
    { ttl: '1h', share: 0.3 },
    { ttl: '60d', share: 0.2 },
  ],
  mix: {
    get: 0.4,
    gets: 0.05,
    set: 0.1,
    add: 0.05,
    replace: 0.05,
    delete: 0.05,
    append: 0.05,
    prepend: 0.02,
    incr: 0.05,
    decr: 0.03,
    touch: 0.03,
    gat: 0.02,
    cas: 0.08,
    noop: 0.02,
  },
  popularity: { kind: 'zipf', alpha: 0.9 },
  oneHit: 0.05,
  multiget: { share: 0.2, keys: { kind: 'uniform', min: 2, max: 9 } },
  pipeline: 2,
  quiet: 0.2,
  arrivals: { rate: 4000, gaps: { kind: 'h2', cv2: 4 } },
  connections: { count: 8, lifetime: '1s' },
};

function modelOf(...tenants: TenantInput[]): ModelInput {
  return { format: 'memtape-model/1', duration: '3s', tenants };
}

interface Row {
  ns: number;
  tenant: string;
  op: string;
  key: string;
  value: string;
}

function rowsOf(input: ModelInput): Row[] {
  const tenants: string[] = [];
  const rows: Row[] = [];
  for (const batch of new ModelGenerator(checkModel(input)).batches()) {
    for (const { id, tenant } of batch.connections) tenants[id] = tenant;
    for (let row = 0; row < batch.count; row++)
      rows.push({
        ns: batch.requestNs[row]!,
        tenant: tenants[batch.connection[row]!]!,
        op: opcodeName(batch.opcode[row]!),
        key: batch.key(row).toString('latin1'),
        value: batch.value(row).toString('latin1'),
      });
  }
  return rows;
}

test('times never decrease, and another tenant changes nothing of the first', () => {
  const alone = rowsOf(modelOf({ ...busy, name: 'one' }));
  expect(alone.length).toBeGreaterThan(5000);
  for (const [n, { ns }] of alone.entries()) expect(ns).toBeGreaterThanOrEqual(alone[n - 1]?.ns ?? 0);
  const both = rowsOf(modelOf({ ...busy, name: 'one' }, { ...busy, name: 'two' }));
  expect(both.filter(({ tenant }) => tenant === 'one')).toEqual(alone);
  expect(new Set(both.map(({ key }) => key.split(':')[0]))).toEqual(new Set(['one', 'two', '']));
});

test('what follows a request does not go to a connection that has ended', () => {
  const churning: TenantInput = {
    ...busy,
    onMiss: 'set',
    refillDelay: '20ms',
    connections: { count: 5, lifetime: '30ms' },
  };
  const generator = new ModelGenerator(checkModel(modelOf(churning)));
  const closeNs: number[] = [];
  /** Of reads that a refill may follow, by connection and key. */
  const followed = new Set<string>();
  let [late, replaced, refills, strange] = [0, 0, 0, 0];
  for (const batch of generator.batches()) {
    for (const connection of batch.connections) {
      closeNs[connection.id] = connection.closeNs === NEVER ? Infinity : connection.closeNs;
      replaced++;
    }
    for (let row = 0; row < batch.count; row++) {
      if (batch.requestNs[row]! >= closeNs[batch.connection[row]!]!) late++;
      const place = `${batch.connection[row]} ${batch.key(row).toString('latin1')}`;
      if ((batch.flags[row]! & RowFlag.refilled) !== 0) followed.add(place);
      if ((batch.flags[row]! & RowFlag.refill) === 0) continue;
      refills++;
      // A replay knows on the connection of the read only whether it missed.
      if (!followed.has(place)) strange++;
    }
  }
  expect(replaced).toBeGreaterThan(100);
  expect([late, strange]).toEqual([0, 0]);
  expect(refills).toBeGreaterThan(100);
});

test('an event happens once, however many streams its keys have, and no key is taken for one', () => {
  const stream = { name: 'more', arrivals: { rate: 10 } };
  const tenant: TenantInput = {
    keys: { space: 100 },
    arrivals: { rate: 10 },
    streams: [stream, { ...stream, name: 'most' }],
    events: [{ kind: 'herd', at: '1s', clients: 100 }],
  };
  expect(rowsOf(modelOf(tenant)).filter(({ op }) => op === 'delete')).toHaveLength(1);
  const retrying: TenantInput = {
    keys: { space: 100 },
    oneHit: 0.9,
    mix: { noop: 1 },
    arrivals: { rate: 100 },
    events: [{ kind: 'retries', at: '0s', for: '3s', share: 1, times: 1, after: '1ms' }],
  };
  expect(new Set(rowsOf(modelOf(retrying)).map(({ op }) => op))).toEqual(new Set(['noop']));
});

test('reads of what nobody stores miss and are not refilled; a warm start has the most popular only', () => {
  const tenant: TenantInput = {
    keys: { space: 1000, resident: 400 },
    mix: { get: 1 },
    popularity: { kind: 'scan' },
    oneHit: 0.1,
    absent: 0.25,
    arrivals: { rate: 1000 },
  };
  const model: ModelInput = { ...modelOf(tenant), start: 'warm', duration: '1s' };
  const seen = { k: [0, 0], x: [0, 0], o: [0, 0], filled: 0 };
  for (const batch of new ModelGenerator(checkModel(model)).batches())
    for (let row = 0; row < batch.count; row++) {
      if (batch.outcome[row] === Outcome.conditional) continue;
      const letter = batch.key(row).toString('latin1')[0] as 'k' | 'x' | 'o';
      if (opcodeName(batch.opcode[row]!) === 'set') seen.filled++;
      else seen[letter][batch.status[row] === 0 ? 0 : 1]!++;
    }
  expect(seen.x[0]! + seen.o[0]!).toBe(0);
  // Of once keys too, a quarter is absent: those are asked for under the letter of their own, and not stored.
  expect(seen.filled).toBeLessThan(seen.k[1]! + seen.o[1]!);
  expect(seen.filled).toBeGreaterThan(seen.k[1]! + 0.6 * seen.o[1]!);
  expect(seen.x[1]! / (seen.k[0]! + seen.k[1]! + seen.x[1]!)).toBeCloseTo(0.25, 1);
  // A scan of a thousand ranks, of which four hundred are there.
  expect(seen.k[0]! / (seen.k[0]! + seen.k[1]!)).toBeCloseTo(0.45, 1);
});

test('the newest are made by the operations that say so, and read soon', () => {
  const tenant: TenantInput = {
    keys: { space: 100 },
    mix: { get: 0.2, set: 0.8 },
    popularity: { kind: 'latest', alpha: 0, new: { set: 1 } },
    onMiss: 'none',
    arrivals: { rate: 1000 },
  };
  const rows = rowsOf({ ...modelOf(tenant), start: 'warm' });
  const stored = rows.flatMap(({ op, key }, n) => (op === 'set' ? [[key, n] as const] : []));
  const at = new Map(stored);
  expect(at.size).toBe(stored.length);
  const ages = rows.flatMap(({ op, key }, n) => (op === 'get' && at.has(key) ? [n - at.get(key)!] : []));
  expect(ages.length).toBeGreaterThan(400);
  expect(Math.max(...ages)).toBeLessThan(200);
  expect(Math.min(...ages)).toBeGreaterThan(0);
});

test('counters begin where they are told to', () => {
  const tenant: TenantInput = {
    keys: { space: 50 },
    values: { size: 4 },
    counters: { initial: 1000 },
    mix: { get: 0.5, incr: 0.5 },
    arrivals: { rate: 300 },
  };
  for (const batch of new ModelGenerator(checkModel({ ...modelOf(tenant), start: 'warm' })).batches())
    for (let row = 0; row < batch.count; row++) {
      expect(batch.status[row]).toBe(0);
      if (opcodeName(batch.opcode[row]!) === 'get')
        expect(Number(batch.answerValue(row).toString())).toBeGreaterThanOrEqual(1000);
    }
});

test('a permutation knows the rank of a number', () => {
  for (const n of [1, 2, 100, 4097, 10_483_642]) {
    const permutation = new Permutation(n, 5);
    for (let rank = 0; rank < n; rank += Math.ceil(n / 97))
      expect(permutation.rankOf(permutation.at(rank))).toBe(rank);
  }
});

test('quiet changes are silent where they succeed, and a NOOP proves it', () => {
  const [quiet, failed, unproven] = [new Set<string>(), new Set<string>(), new Set<string>()];
  let open: string | undefined;
  for (const batch of new ModelGenerator(checkModel(modelOf({ ...busy, multiget: undefined }))).batches())
    for (let row = 0; row < batch.count; row++) {
      const op = opcodeName(batch.opcode[row]!);
      if (open !== undefined && op !== 'noop') unproven.add(open);
      open = op.endsWith('q') ? op : undefined;
      if (open !== undefined) (batch.outcome[row] === Outcome.silent ? quiet : failed).add(op);
    }
  const changes = ['addq', 'appendq', 'decrq', 'deleteq', 'incrq', 'prependq', 'replaceq', 'setq'];
  expect([...quiet].toSorted()).toEqual(changes);
  expect([...failed].toSorted()).toEqual(['addq', 'deleteq', 'replaceq']);
  expect(unproven.size).toBe(0);
});

async function written(input: ModelInput, options: { requests?: number } = {}): Promise<string> {
  const tape = temporary('model.tape');
  await writeTrace(new ModelGenerator(checkModel(input), options), tape, 'test');
  return tape;
}

test('a real memcached answers all that was expected', async () => {
  const target = await startMemcached(['-m', '256']);
  running.push(target);
  const report = await replayedTape(await written(modelOf(busy)), {
    targets: [target.address],
    speed: 'max',
    timeoutMs: 10_000,
  });
  expect(report.violations).toEqual({});
  expect(report.exchanges.matched).toBeGreaterThan(0.99 * report.exchanges.total);
}, 30_000);

test('what a target evicted is stored again, and only that', async () => {
  const large: TenantInput = {
    keys: { space: 3000 },
    values: { size: 4000 },
    popularity: { kind: 'zipf', alpha: 0.6 },
    mix: { get: 1 },
    arrivals: { rate: 5000 },
  };
  const model: ModelInput = { ...modelOf(large), start: 'cold', duration: '1500ms' };
  const tape = await written(model);
  const small = await startMemcached(['-m', '4']);
  running.push(small);
  const report = await replayedTape(tape, { targets: [small.address], timeoutMs: 10_000 });
  expect(report.violations).toEqual({});
  const lost = report.drift['lost'] ?? 0;
  expect(lost).toBeGreaterThan(100);
  // Each miss, expected or not, is followed by one SET.
  const ample = await startMemcached(['-m', '64']);
  running.push(ample);
  const whole = await replayedTape(tape, { targets: [ample.address], timeoutMs: 10_000 });
  expect(whole.exchanges.matched).toBe(whole.exchanges.total);
  expect(Math.abs(report.exchanges.sent - whole.exchanges.sent - lost)).toBeLessThanOrEqual(lost / 10);
}, 30_000);

test('faults are found under generated load, and the backend named', async () => {
  const cluster = await startCluster({ backends: 4 });
  running.push(cluster);
  const names = [0, 1, 2, 3].map((n) => ({ host: `backend-${n}`, port: 11_300 }));
  const proxy = await startFaultProxy({
    backends: cluster.addresses,
    names,
    faults: [{ name: 'corrupt', backend: 3, share: 0.2 }],
    spared: 1,
  });
  running.push(proxy);
  const tape = await written({ ...checkedEtc(), requests: 5000 });
  const report = await replayedTape(
    tape,
    { targets: [proxy.address], speed: 'max', timeoutMs: 10_000 },
    names,
  );
  expect(report.violations['wrong-value']).toBeGreaterThan(50);
  expect(report.attribution[0]?.value).toContain('backend-3:11300');
}, 30_000);

function checkedEtc(): ModelInput {
  const etc = builtinModels.get('etc')!;
  return {
    ...etc,
    tenants: Array.from(etc.tenants, (tenant) => ({
      ...tenant,
      keys: { ...tenant.keys, space: 2000 },
      popularity: { kind: 'zipf', alpha: 0.8 },
    })),
  };
}

describe('scenarios', () => {
  const base = checkModel({
    ...modelOf({
      keys: { space: 2000 },
      values: { size: 100 },
      mix: { get: 0.8, set: 0.2 },
      arrivals: { rate: 1000 },
    }),
    start: 'warm',
  });
  const counted = (
    text: string,
  ): { rows: number; bySecond: number[]; keys: Set<string>; connections: number; largest: number } => {
    const generator = new ModelGenerator(applyScenario(base, text, 3000));
    const bySecond = [0, 0, 0];
    const keys = new Set<string>();
    let [rows, connections, largest] = [0, 0, 0];
    for (const batch of generator.batches()) {
      connections += batch.connections.length;
      for (let row = 0; row < batch.count; row++) {
        if (batch.outcome[row] === Outcome.conditional) continue;
        rows++;
        bySecond[Math.floor(batch.requestNs[row]! / 1e9)]!++;
        keys.add(batch.key(row).toString('latin1'));
        largest = Math.max(largest, batch.valueLength[row]!);
      }
    }
    return { rows, bySecond, keys, connections, largest };
  };
  const plain = new ModelGenerator(base, { durationMs: 3000 });
  for (const _batch of plain.batches()) void _batch;

  test.each(listScenarios().map(({ name }) => name))('%s can be applied as it is', (name) => {
    expect(counted(name).rows).toBeGreaterThan(plain.requests / 2);
  });

  test('a surge on top of another one is of other tenants', () => {
    const once = applyScenario(base, 'tenantSurge', 3000);
    const twice = applyScenario(once, 'tenantSurge:count=1', 3000);
    expect(twice.tenants.map(({ name }) => name)).toEqual([undefined, 'surge-1', 'surge-2', 'surge-3']);
  });

  test('they do what they say', () => {
    expect(counted('hotKey:share=0.5').bySecond[1]).toBeGreaterThan(1300);
    expect(counted('tenantSurge:count=2,weight=1,ramp=100ms').bySecond[2]).toBeGreaterThan(2500);
    expect(counted('sizeShift:factor=10').largest).toBe(1000);
    expect(counted('connectionChurn:lifetime=20ms').connections).toBeGreaterThan(100);
    expect(counted('deployColdCache:waves=1').keys.size).toBeGreaterThan(
      1.2 * counted('sizeShift').keys.size,
    );
    expect(counted('poisonSizes:value=1MB').largest).toBeGreaterThan(500_000);
    const storm = counted('retryStorm:share=1,retries=2,at=1s,for=1s').bySecond;
    expect(storm[1]).toBeGreaterThan(2.5 * storm[0]!);
    expect(counted('diurnal:amplitude=4').bySecond[1]).toBeGreaterThan(
      1.5 * counted('diurnal:amplitude=4').bySecond[0]!,
    );
  });

  test.each([
    ['hotkey', /unknown scenario "hotkey"; did you mean hotKey\?/],
    ['hotKey:shar=1', /hotKey: unknown parameter "shar"; there are at, share/],
    ['hotKey:at=9', /hotKey: at: expected a duration/],
  ])('%s is refused', (text, message) => {
    expect(() => applyScenario(base, text, 3000)).toThrow(message);
  });
});
