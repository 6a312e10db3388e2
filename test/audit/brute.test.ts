// A recording judged by itself, against brute force that was written apart from it: random histories on one key, as a server
// answered them, or with answers changed. What some order allows, whatever the key held before, is never called wrong; of what
// none allows, whatever it held, most is. AUDIT_RUNS says how many (`npm run proof audit`), and AUDIT_SEED where they begin.

import { expect, test } from 'vitest';
import { audit } from '../../audit/audit.ts';
import { Random } from '../../synth/laws/random.ts';
import { NEVER, Outcome, type Batch } from '../../trace/batch.ts';
import { emptyCapture } from '../../trace/meta.ts';
import type { Trace } from '../../trace/source.ts';
import { isLegal } from '../support/brute.ts';
import { cutOff, isRead, mutate, randomHistory, rowsOf, type Played } from '../support/histories.ts';
import { connectionOf, testMeta } from '../support/tape.ts';

const RUNS = Number(process.env['AUDIT_RUNS'] ?? 500);
const SEED = Number(process.env['AUDIT_SEED'] ?? 1);

/** What was answered, as what was recorded. */
function recordingOf(steps: readonly Played[]): Batch {
  const { batch } = rowsOf(
    steps.map((step) => {
      const { status, silent = false, read, readFlags, cas = 0, result, to, token = 0 } = step;
      return {
        ...step,
        recordedTo: to,
        recordedToken: token,
        recorded: {
          status,
          silent,
          cas,
          ...(read === undefined ? {} : { read }),
          ...(readFlags === undefined ? {} : { readFlags }),
          ...(result === undefined ? {} : { result }),
        },
      };
    }),
  );
  for (const [row, { open }] of steps.entries()) {
    if (open !== true) continue;
    batch.outcome[row] = Outcome.unanswered;
    batch.answerNs[row] = NEVER;
    batch.frames[row] = 0;
  }
  const connections = Math.max(...steps.map(({ connection }) => connection)) + 1;
  batch.connections = Array.from({ length: connections }, (_, id) => connectionOf(id));
  return batch;
}

async function judged(batch: Batch): Promise<{ violations: string[]; unseen: number }> {
  const trace: Trace = {
    meta: testMeta,
    exchangeCount: batch.count,
    async *batches() {
      yield batch;
    },
    close: async () => undefined,
  };
  const { diff } = await audit(trace, '', { capture: emptyCapture(), timeoutMs: 100_000 });
  const { drift, violation, untestable } = diff.counts;
  const classed = [drift, violation, untestable].flatMap((kinds) => Object.values(kinds));
  // Each exchange is in one class.
  expect(classed.reduce((sum, count) => sum + count, diff.matched)).toBe(diff.total);
  return { violations: Object.keys(violation), unseen: untestable['unseen'] ?? 0 };
}

/** What the key may have held: anything that the history shows, or something that it does not. */
function initials(steps: readonly Played[]): ({ value: string; flags: number } | null)[] {
  const values = new Set(steps.flatMap(({ read }) => (read === undefined ? [] : [read])));
  const flags = new Set([
    0,
    ...steps.flatMap(({ readFlags }) => (readFlags === undefined ? [] : [readFlags])),
  ]);
  // What counters and concatenations were made from is not read itself: such histories are left out below.
  return [
    null,
    ...[...values, 'never read'].flatMap((value) => [...flags].map((one) => ({ value, flags: one }))),
  ];
}

const plain: ReadonlySet<Played['op']> = new Set([
  'get',
  'gat',
  'touch',
  'set',
  'add',
  'replace',
  'delete',
  'flush',
]);

/** What is wrong without a history, which the brute force does not know: an answer where silence is due, a CAS id that is missing. */
function isMisshapen({ op, quiet, silent, open, status, cas = 0 }: Played): boolean {
  if (silent === true || open === true) return false;
  if (quiet && (isRead(op) ? status === 1 : status === 0)) return true;
  return status === 0 && cas === 0 && op !== 'delete' && op !== 'flush';
}

test('what some order allows is never called wrong, and of what none allows most is', async () => {
  const counts = { legal: 0, illegal: 0, found: 0 };
  for (let run = 0; run < RUNS; run++) {
    const random = new Random(SEED * 1_000_039 + run);
    const { steps } = randomHistory(random, false);
    if (!steps.every(({ op }) => plain.has(op))) continue;
    if (random.chance(0.15)) cutOff(steps, random);
    const changed: string[] = [];
    for (let times = random.pick([0, 1, 1, 1, 2]); times > 0; times--)
      changed.push(mutate(steps, random) ?? '');
    if (steps.some(isMisshapen)) continue;
    const isRight = initials(steps).some((initial) => isLegal(steps, initial));
    const { violations, unseen } = await judged(recordingOf(steps));
    const about = `seed ${SEED} run ${run}: ${violations.join(', ')}; changed: ${changed.join(', ')} ${JSON.stringify(steps)}`;
    counts[isRight ? 'legal' : 'illegal']++;
    if (isRight) expect(violations, about).toEqual([]);
    else if (violations.length > 0 || unseen > 0) counts.found++;
  }
  expect(counts.legal).toBeGreaterThan(RUNS / 30);
  expect(counts.illegal).toBeGreaterThan(RUNS / 30);
  expect(counts.found / counts.illegal).toBeGreaterThan(0.8);
});
