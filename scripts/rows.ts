// Several fidelity tables as one, for the proofs.

import type { FidelityRow } from '../synth/fidelity/fidelity.ts';

/** The mean of each number; ok by the mean difference. */
export function meanRows(runs: readonly (readonly FidelityRow[])[]): FidelityRow[] {
  return runs[0]!.map((row, at) => {
    const mean = (field: 'a' | 'b' | 'difference'): number =>
      runs.reduce((sum, rows) => sum + rows[at]![field], 0) / runs.length;
    const difference = mean('difference');
    return Object.assign({}, row, { a: mean('a'), b: mean('b'), difference, ok: difference <= row.goal });
  });
}

export function differenceOf(rows: readonly FidelityRow[], metric: string): number {
  return rows.find((row) => row.metric.startsWith(metric))!.difference;
}
