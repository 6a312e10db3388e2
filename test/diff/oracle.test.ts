// The oracle against brute force: small concurrent histories of one key, in which every order that the intervals allow is
// tried. ORACLE_RUNS says how many (`npm run proof:oracle`: 100,000).

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { KeyHistory, type Change } from '../../diff/history.ts';

const RUNS = Number(process.env['ORACLE_RUNS'] ?? 3_000);

interface Op {
  kind: 'set' | 'delete' | 'append' | 'incr';
  from: number;
  lasts: number;
  /** It took effect for sure, or may have. */
  definite: boolean;
  value: string;
}

const SELF = 99;

function changeOf({ kind, from, lasts, definite, value }: Op, index: number): Change {
  return {
    index,
    connection: index,
    family: kind,
    fromNs: from,
    toNs: definite ? from + lasts : Infinity,
    definite,
    removes: kind === 'delete',
    value: kind === 'set' ? value : undefined,
    flags: 0,
    operand: kind === 'append' ? value : '',
    delta: kind === 'incr' ? 1n : 0n,
    initial: undefined,
    ttl: 0,
    livesNs: 0,
    recordedFromNs: from,
    recordedToNs: from + lasts,
  };
}

/** What the operation makes of the state; undefined: it cannot have succeeded there. */
function applied(state: string | null, { kind, value }: Op): string | null | undefined {
  if (kind === 'set') return value;
  // It may also have found nothing.
  if (kind === 'delete') return null;
  if (state === null) return undefined;
  if (kind === 'append') return state + value;
  return /^\d+$/.test(state) ? String(BigInt(state) + 1n) : undefined;
}

/** Is there an order of the changes, and a place in it, at which a read of this interval sees the value? */
function brute(ops: readonly Op[], value: string, from: number, to: number): boolean {
  const endOf = (op: Op): number => (op.definite ? op.from + op.lasts : Infinity);
  const visit = (left: readonly Op[], state: string | null, wasRead: boolean): boolean => {
    // Nothing may be placed before what was over before it began.
    const earliestEnd = Math.min(...left.map(endOf), wasRead ? Infinity : to);
    if (
      !wasRead &&
      from <= Math.min(...left.map(endOf), Infinity) &&
      state === value &&
      visit(left, state, true)
    )
      return true;
    if (left.every(({ definite }) => !definite)) {
      if (wasRead) return true;
    }
    return left.some((op, n) => {
      if (op.from > earliestEnd) return false;
      const rest = left.filter((_other, m) => m !== n);
      const next = applied(state, op);
      if (next !== undefined && visit(rest, next, wasRead)) return true;
      return !op.definite && visit(rest, state, wasRead);
    });
  };
  return visit(ops, null, false);
}

const value = fc.constantFrom('1', '2', '3', 'x');
const opOf = (kinds: Op['kind'][]): fc.Arbitrary<Op> =>
  fc.record({
    kind: fc.constantFrom(...kinds),
    from: fc.nat(20),
    lasts: fc.nat(8),
    definite: fc.boolean(),
    value,
  });
/** Of a value that is stored, if anything is. */
const plainRead = fc.record({ from: fc.nat(24), lasts: fc.nat(8), value });
const read = fc.record({
  from: fc.nat(24),
  lasts: fc.nat(8),
  value: fc.constantFrom('1', '2', '3', 'x', '11', '1x', 'x2', '4', '12'),
});

function explained(ops: readonly Op[], wanted: { value: string; from: number; lasts: number }): string {
  const history = new KeyHistory(false);
  for (const [index, op] of ops.entries()) history.add(changeOf(op, index));
  return history.explain(wanted.value, 0, wanted.from, wanted.from + wanted.lasts, SELF);
}

test('stores and removals: what the oracle calls live is what some order allows, and nothing else', () => {
  const ops = fc.array(opOf(['set', 'set', 'delete']), { maxLength: 5 });
  fc.assert(
    fc.property(ops, plainRead, (all, wanted) => {
      const legal = brute(all, wanted.value, wanted.from, wanted.from + wanted.lasts);
      expect(explained(all, wanted) === 'live').toBe(legal);
    }),
    { numRuns: RUNS },
  );
});

test('concatenations and counters among them: nothing that some order allows is called wrong', () => {
  const ops = fc.array(opOf(['set', 'set', 'delete', 'append', 'incr']), { maxLength: 5 });
  fc.assert(
    fc.property(ops, read, (all, wanted) => {
      const legal = brute(all, wanted.value, wanted.from, wanted.from + wanted.lasts);
      const said = explained(all, wanted);
      if (legal) expect(['live', 'unknown']).toContain(said);
    }),
    { numRuns: RUNS },
  );
});
