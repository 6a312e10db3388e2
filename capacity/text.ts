// The search for a person at a terminal: what was found and why, and a line for each rate.

import { figure, micros, visible } from '../report/format.ts';
import { plainPalette, type Palette } from '../report/text.ts';
import { rateOf, type CapacityReport } from './report.ts';
import type { Step } from './step.ts';

/** What each outcome is called. */
export const outcomeNames = {
  holds: 'holds',
  fails: 'does not hold',
  void: 'void',
  thin: 'not enough evidence',
} as const;

/** `Capacity: 8,120 requests a second` */
export function headlineOf({ ceiling, verdict, limitedBy }: CapacityReport): string {
  if (ceiling === null) return verdict === 'aborted' ? 'No capacity was found' : 'No rate holds';
  const isOpen =
    limitedBy === 'max' || verdict === 'invalid' || verdict === 'aborted' || limitedBy === 'memtape';
  return `Capacity: ${isOpen ? 'at least ' : ''}${rateOf(ceiling)}`;
}

export function renderCapacity(report: CapacityReport, palette: Palette = plainPalette): string {
  const { environment, reason, thresholds, atLeast, ceiling, settings } = report;
  const color = { pass: palette.good, fail: palette.bad }[report.verdict as 'pass' | 'fail'] ?? palette.warn;
  return [
    color(headlineOf(report)),
    `  ${reason}`,
    ...(atLeast === null
      ? []
      : [
          `  ${(ceiling ?? 0) >= atLeast ? palette.good('ok') : palette.bad('short')}  it has to be at least ${rateOf(atLeast)}`,
        ]),
    '',
    palette.dim(
      `  ${visible(environment.source)} to ${environment.targets.map(visible).join(', ')}; ${settings.stepSeconds} s each after ${settings.warmupSeconds} s of warm-up; latency from the intended time`,
    ),
    palette.dim(`  has to hold: ${thresholds.join(', ')}`),
    '',
    ...table(report, palette),
    '',
  ].join('\n');
}

function table({ steps, environment }: CapacityReport, palette: Palette): string[] {
  const hasBaseline = environment.baseline.length > 0;
  const columns = ['rate/s', 'answered/s', 'p50', 'p99', 'p99.9', 'violations'];
  const head = columns.map((name) => name.padStart(11)).join('');
  return [
    palette.dim(
      `${head}${hasBaseline ? `${'base p99'.padStart(11)}${'worse in'.padStart(11)}` : ''}  outcome`,
    ),
    ...sorted(steps).map((step) => {
      const line = `${cells(step).join('')}${hasBaseline ? besides(step) : ''}  ${outcomeNames[step.outcome]}`;
      const why = step.reasons.length === 0 ? '' : `: ${step.reasons.join('; ')}`;
      if (step.outcome === 'holds') return line;
      return `${step.outcome === 'fails' ? palette.bad(line) : palette.warn(line)}${why}`;
    }),
  ];
}

function cells({ rate, achievedRate, latencyMicros: { fromIntended }, violations }: Step): string[] {
  const wrong = Object.values(violations).reduce((sum, n) => sum + n, 0);
  return [
    figure(rate),
    figure(Math.round(achievedRate)),
    micros(fromIntended.p50),
    micros(fromIntended.p99),
    micros(fromIntended.p999),
    figure(wrong),
  ].map((text) => text.padStart(11));
}

function besides({ baseline }: Step): string {
  if (baseline === undefined) return ''.padStart(22);
  const { latencyMicros, regressions } = baseline;
  return `${micros(latencyMicros.fromIntended.p99).padStart(11)}${(regressions === 0 ? '–' : figure(regressions)).padStart(11)}`;
}

/** By rate; those of one rate as they were done. */
export function sorted(steps: readonly Step[]): Step[] {
  return steps.toSorted((a, b) => a.rate - b.rate);
}
