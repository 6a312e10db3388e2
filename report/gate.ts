// The reports of a gate's runs as one: what `gate --json` writes, its schema, and the table that ends its output.

import { z } from 'zod';
import { figure, micros } from './format.ts';
import type { NamedReport, ReportVerdict } from './shape.ts';
import { reportSchema } from './schema.ts';
import { plainPalette, type Palette } from './text.ts';
import { verdictNames, worstOf } from './words.ts';

export interface GateReport {
  format: 'memtape-gate-report/1';
  /** The worst: fail, aborted, invalid, insufficient, pass. */
  verdict: ReportVerdict;
  /** In the order of the file. */
  runs: NamedReport[];
  /** Names of the runs that did not begin: an earlier one failed, or the gate was interrupted. */
  skipped: string[];
}

/** @param isWhole false: it was interrupted, and cannot have passed */
export function makeGateReport(
  runs: readonly NamedReport[],
  skipped: readonly string[],
  isWhole: boolean,
): GateReport {
  const worst = worstOf(runs);
  return {
    format: 'memtape-gate-report/1',
    verdict: isWhole || worst === 'fail' ? worst : 'aborted',
    runs: [...runs],
    skipped: [...skipped],
  };
}

export const gateReportSchema: z.ZodType<GateReport> = z
  .object({
    format: z.literal('memtape-gate-report/1'),
    verdict: z.enum(['pass', 'fail', 'insufficient', 'invalid', 'aborted']),
    runs: z.array(z.object({ name: z.string(), report: reportSchema })),
    skipped: z.array(z.string()).meta({ description: 'names of runs that did not begin' }),
  })
  .meta({ title: 'memtape-gate-report/1', description: 'What memtape gate writes with --json' });

/** As JSON Schema (draft 2020-12). */
export function gateReportJsonSchema(): Record<string, unknown> {
  return z.toJSONSchema(gateReportSchema, { io: 'input' });
}

const columns = ['run', 'verdict', 'exchanges', 'violations', 'drift', 'p99', 'time'] as const;

/** A line for each run, aligned. Names are the gate file's own. */
export function renderSummary({ runs, skipped }: GateReport, palette: Palette = plainPalette): string {
  const rows = [
    ...runs.map(({ name, report: { verdict, exchanges, latencyMicros, schedule } }) => ({
      verdict,
      cells: [
        name,
        verdictNames[verdict],
        figure(exchanges.sent),
        figure(exchanges.violations),
        figure(exchanges.drift),
        micros(latencyMicros.fromIntended.p99),
        `${schedule.durationSeconds.toFixed(2)} s`,
      ],
    })),
    ...skipped.map((name) => ({
      verdict: undefined,
      cells: [name, 'Not run', ...columns.slice(2).map(() => '–')],
    })),
  ];
  const widths = columns.map((column, n) =>
    Math.max(column.length, ...rows.map(({ cells }) => cells[n]!.length)),
  );
  const line = (cells: readonly string[]): string =>
    `  ${cells.map((cell, n) => (n < 2 ? cell.padEnd(widths[n]!) : cell.padStart(widths[n]!))).join('  ')}`;
  const colors: Readonly<Record<ReportVerdict, (text: string) => string>> = {
    pass: palette.good,
    fail: palette.bad,
    insufficient: palette.warn,
    invalid: palette.warn,
    aborted: palette.warn,
  };
  return [
    palette.dim(line(columns)),
    ...rows.map(({ verdict, cells }) => (verdict === undefined ? palette.dim : colors[verdict])(line(cells))),
    '',
  ].join('\n');
}
