// Shards of a trace: every exchange is in one, all of a key's in the same, and each is found again in the whole.

import { describe, expect, test } from 'vitest';
import { Random } from '../../synth/laws/random.ts';
import { cutTrace } from '../../trace/cut.ts';
import { TraceReader } from '../../trace/file.ts';
import { isSampled } from '../../trace/sample.ts';
import { Sharding, parseShard } from '../../trace/shard.ts';
import { TraceView } from '../../trace/view.ts';
import { randomBatches, shardsOf } from '../support/divided.ts';
import { runs } from '../support/scale.ts';
import { batchOf, temporary, writeTape } from '../support/tape.ts';

test.each(Array.from({ length: runs(5) }, (_, n) => n))(
  'seed %i: as the rule says, row by row',
  async (seed) => {
    const random = new Random(seed);
    const path = temporary('some.tape');
    await writeTape(path, randomBatches(random, 2 + random.int(2000)));
    const of = 1 + random.int(9);
    const fromNs = random.chance(0.5) ? random.int(3e6) : 0;
    const loops = 1 + random.int(2);
    const expected = await shardsOf(path, of, { fromNs });
    const trace = await TraceReader.open(path);
    const whole: string[] = [];
    for await (const batch of new TraceView(trace, { fromNs }).batches())
      for (let row = 0; row < batch.count; row++) whole.push(told(batch, row));
    const spanNs = await new TraceView(trace, { fromNs }).survey('auto').then(({ lastNs }) => lastNs + 1000);
    const first = trace.exchangeCount - whole.length;
    for (let index = 1; index <= of; index++) {
      const view = new TraceView(trace, { fromNs, loops, shard: { index, of } });
      const survey = await view.survey('auto');
      const own = [...expected.keys()].filter((row) => expected[row] === index - 1);
      expect([survey.exchanges, survey.allExchanges]).toEqual([own.length * loops, whole.length * loops]);
      const seen: [string, number][] = [];
      for await (const batch of view.batches()) {
        expect(batch.firstIndex).toBe(seen.length);
        for (let row = 0; row < batch.count; row++)
          seen.push([told(batch, row), view.indexInTrace(seen.length)]);
      }
      const cut = temporary('cut.tape');
      await cutTrace(path, { fromNs, loops, shard: { index, of } }, cut);
      const alone = await TraceReader.open(cut);
      const copied = new TraceView(alone, { loops });
      copied.adopt(survey);
      const inCopy: [string, number][] = [];
      for await (const batch of copied.batches())
        for (let row = 0; row < batch.count; row++)
          inCopy.push([told(batch, row), view.indexInTrace(inCopy.length)]);
      await alone.close();
      expect(inCopy).toEqual(seen);
      const turn = own.map((place) => [whole[place], first + place]);
      expect(seen.slice(0, turn.length)).toEqual(turn);
      // Later turns come after the whole stretch, and not after what of it is the shard's.
      if (loops > 1 && turn.length > 0) {
        const [first2] = seen[turn.length]!;
        const [was, now] = [turn[0]![0] as string, first2].map((text) => Number(text.split(' ')[0]));
        expect(now! - was!).toBe(spanNs);
      }
    }
    await trace.close();
  },
);

function told(batch: Parameters<Sharding['shardsOf']>[0], row: number): string {
  return `${batch.requestNs[row]} ${batch.answerNs[row]} ${batch.connection[row]} ${batch.opcode[row]} ${batch.opaque[row]} ${batch.key(row).toString('latin1')} ${batch.value(row).toString('latin1')}`;
}

describe('the hash of shards', () => {
  test('spreads the keys of a sample, and those that one server has', () => {
    const keys = Array.from({ length: 40_000 }, (_, n) => `user:${n}:profile`).filter((key) =>
      isSampled(Buffer.from(key), 0, key.length, 16),
    );
    const batch = batchOf(keys.map((key) => ({ op: 'get', key })));
    for (const [row] of keys.entries()) batch.keyId[row] = row;
    batch.keyCount = keys.length;
    for (const of of [2, 8, 16]) {
      const counts = Array.from({ length: of }, () => 0);
      for (const shard of new Sharding(of).shardsOf(batch).subarray(0, keys.length)) counts[shard]!++;
      expect(Math.min(...counts)).toBeGreaterThan((0.7 * keys.length) / of);
      expect(Math.max(...counts)).toBeLessThan((1.3 * keys.length) / of);
    }
  });
});

test.each(['0/8', '9/8', 'a/b', '1', '1/', '/2', '-1/2', '1/2/3', '1.5/2', ' 1/2', '1/4097', '1/99999999'])(
  '%s is no shard',
  (text) => expect(parseShard(text)).toBeUndefined(),
);
test.each([
  ['1/1', { index: 1, of: 1 }],
  ['8/8', { index: 8, of: 8 }],
  ['2/4096', { index: 2, of: 4096 }],
])('%s is a shard', (text, shard) => expect(parseShard(text)).toEqual(shard));
