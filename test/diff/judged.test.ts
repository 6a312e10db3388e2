// The whole judgement, from two files' rows to findings, against the brute force of the oracle's test: what the search would
// find must not get lost on the way to it. JUDGED_RUNS says how many histories (`npm run proof oracle`), and ORACLE_SEED
// where they begin.

import { expect, test } from 'vitest';
import { diff } from '../../diff/diff.ts';
import { Random } from '../../synth/laws/random.ts';
import type { ResultsReader } from '../../trace/file.ts';
import { emptyEnd } from '../../trace/meta.ts';
import type { Trace } from '../../trace/source.ts';
import { isLegal } from '../support/brute.ts';
import {
  cutOff,
  isRead,
  mutate,
  randomHistory,
  rowsOf,
  settleTokens,
  type Played,
} from '../support/histories.ts';
import { connectionOf, testMeta } from '../support/tape.ts';

const RUNS = Number(process.env['JUDGED_RUNS'] ?? 80);
const SEED = Number(process.env['ORACLE_SEED'] ?? 1);

async function* rows<Rows>(all: Rows): AsyncGenerator<Rows> {
  yield all;
}

/** The kinds of violations in one history, on a target that was empty, and may lose any key. */
async function judged(steps: readonly Played[]): Promise<string[]> {
  const { batch, results } = rowsOf(steps);
  const connections = new Set(steps.map(({ connection }) => connection));
  batch.connections = Array.from({ length: Math.max(...connections) + 1 }, (_, id) => connectionOf(id));
  results.intendedNs.set(results.sentNs);
  const trace = { meta: testMeta, exchangeCount: batch.count, batches: () => rows(batch) };
  const replay = {
    meta: {
      format: 'memtape-results/1',
      writer: 'memtape test',
      trace: 'test',
      startTime: '2023-11-14T22:13:20.000Z',
      speed: 1,
      order: 'none',
      route: 'single',
      prefill: 'none',
      targets: ['127.0.0.1:11211'],
      timeoutMs: 1000,
    },
    end: {
      ...emptyEnd(),
      leftover: 0,
      // Others work on it.
      accounts: [
        {
          target: 0,
          before: { pid: '1' },
          after: { pid: '1', cmd_get: '1000' },
          asked: { sets: 0, gets: 0 },
        },
      ],
    },
    batches: () => rows(results),
  };
  const { counts, total, matched } = await diff(
    trace as unknown as Trace,
    replay as unknown as ResultsReader,
  );
  const { drift, violation, untestable } = counts;
  const classed = [drift, violation, untestable].flatMap((kinds) => Object.values(kinds));
  // Each exchange is in one class.
  expect(classed.reduce((sum, count) => sum + count, matched)).toBe(total);
  expect(untestable['undecided']).toBeUndefined();
  // That of a request without an answer is known beforehand.
  return Object.keys(violation).filter((kind) => kind !== 'closed');
}

/** What is wrong without a history, which the brute force does not know: an answer where silence is due, a CAS id that is missing. */
function isMisshapen({ op, quiet, silent, open, status, cas, recorded }: Played): boolean {
  if (silent === true || open === true) return false;
  if (quiet && (isRead(op) ? status === 1 : status === 0)) return true;
  return status === 0 && cas === 0 && recorded.cas !== 0;
}

test('what some order allows passes, and what none allows is a violation, from rows to findings', async () => {
  const counts = { legal: 0, illegal: 0 };
  for (let run = 0; run < RUNS; run++) {
    const random = new Random(SEED * 1_000_033 + run);
    const { steps, initial } = randomHistory(random, false);
    if (initial !== null) continue;
    if (random.chance(0.15)) cutOff(steps, random);
    const changed: string[] = [];
    for (let times = random.pick([0, 1, 1, 1, 2]); times > 0; times--)
      changed.push(mutate(steps, random) ?? '');
    if (!settleTokens(steps) || steps.some(isMisshapen)) continue;
    // A recording that shows one CAS id alone does not show that ids mark versions.
    if (new Set(steps.map(({ recorded }) => recorded.cas).filter((cas) => cas !== 0)).size === 1) continue;
    const isRight = isLegal(steps, null);
    counts[isRight ? 'legal' : 'illegal']++;
    const kinds = await judged(steps);
    const about = `seed ${SEED} run ${run}: ${kinds.join(', ')}; changed: ${changed.join(', ')}`;
    expect(kinds.length === 0, about).toBe(isRight);
  }
  expect(counts.legal).toBeGreaterThan(RUNS / 20);
  expect(counts.illegal).toBeGreaterThan(RUNS / 20);
});
