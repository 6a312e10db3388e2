// `memtape info`: what a trace holds, in figures.

import { InvalidArgumentError, type Command } from 'commander';
import { parseCount } from '../config/units.ts';
import { TraceReader } from '../trace/file.ts';
import { MOST_TOP_KEYS, summarise, type Summary } from '../trace/summary.ts';
import { cutLine, lossLines, lossWarning, sidesLine, upstreamLine } from './loss.ts';
import { expectKind } from './kind.ts';
import { Progress } from './progress.ts';
import type { Shell } from './shell.ts';
import { statusLabel } from '../protocol/status.ts';
import { micros } from '../report/format.ts';
import { formatBytes, formatCount, formatDuration, plural, printable, safeJson, safeLine } from './text.ts';

const examples = `
Examples:
  memtape info capture.tape
  memtape info capture.tape --top 50
  memtape info capture.tape --json`;

export function infoCommand(command: Command, shell: Shell): void {
  command
    .option('--json', 'as JSON')
    .option('--top <n>', `how many of the most frequent keys (at most ${MOST_TOP_KEYS})`, parseTop, 10)
    .option('--quiet', 'no progress')
    .addHelpText('after', examples)
    .action(async (file: string, options: { json?: true; top: number; quiet?: true }) => {
      const summary = await read(shell, file, options.top, options.quiet === true);
      shell.stdout.write(options.json === true ? `${safeJson(summary, 2)}\n` : render(file, summary, shell));
    });
}

async function read(shell: Shell, file: string, top: number, quiet: boolean): Promise<Summary> {
  const path = shell.path(file);
  expectKind(path, 'trace');
  const trace = await TraceReader.open(path);
  const progress = new Progress(shell, trace.exchangeCount, { label: 'reading', unit: 'exchanges', quiet });
  try {
    return await summarise(trace, (done) => progress.update(done, done), top);
  } finally {
    progress.stop();
    await trace.close();
  }
}

const BAR_CELLS = 30;

function render(file: string, summary: Summary, shell: Shell): string {
  const { exchanges, bytes, capture, hits, misses } = summary;
  const rate = summary.durationSeconds > 0 ? exchanges / summary.durationSeconds : 0;
  const lines = [
    `${file}: ${safeLine(summary.source)}${summary.truncated ? ' (cut: the end of the file is missing)' : ''}`,
    '',
    `  recorded    ${summary.startTime}, ${formatDuration(summary.durationSeconds)}`,
    `  exchanges   ${formatCount(exchanges)} on ${plural(summary.connections, 'connection')}, ${formatCount(Math.round(rate))}/s`,
    `  keys        ${formatCount(summary.keys)}`,
    `  reads       ${plural(hits, 'hit')}, ${plural(misses, 'miss', 'misses')}${hits + misses > 0 ? ` (hit rate ${percent(hits, hits + misses)})` : ''}`,
    `  bytes       ${formatBytes(bytes.requests)} of requests and ${formatBytes(bytes.responses)} of responses in ${formatBytes(bytes.file)}`,
    `  key bytes   ${percentiles(summary.keyBytes)}`,
    `  value bytes ${percentiles(summary.valueBytes)}`,
    `  latency     ${latencies(summary.latencyMicros)}`,
    ...sparkline(summary.rate),
    `  privacy     ${privacyLine(summary.privacy)}`,
    ...(capture.packets === 0
      ? []
      : [
          `  capture     ${plural(capture.packets, 'packet')}, ${formatCount(capture.retransmitted)} retransmitted, ${plural(capture.gaps, 'hole')}, ${formatCount(capture.midstream)} midstream, ${formatCount(capture.notBinary)} not binary`,
        ]),
    ...lossNotes(capture, shell),
    ...summary.notes.map((note) => `  note        ${printable(Buffer.from(note))}`),
    '',
    ...table('operation', summary.operations, exchanges),
    ...table('outcome', summary.outcomes, exchanges),
    ...table(
      'status',
      Object.fromEntries(
        Object.entries(summary.statuses).map(([status, count]) => [statusLabel(Number(status)), count]),
      ),
      exchanges,
    ),
    ...table(
      'tenant',
      Object.fromEntries(
        summary.tenants.map(({ tenant, exchanges }) => [tenant === '' ? '(none)' : tenant, exchanges]),
      ),
      exchanges,
    ),
    ...table(
      'server',
      Object.fromEntries(summary.servers.map((server) => [server.address, server.exchanges])),
      exchanges,
    ),
    ...topKeys(summary),
  ];
  return `${lines.join('\n')}\n`;
}

/** What the recording lacks; loudly where that is much. */
function lossNotes(capture: Summary['capture'], { palette }: Shell): string[] {
  const lines = [
    ...lossLines(capture),
    cutLine(capture) ?? '',
    sidesLine(capture) ?? '',
    upstreamLine(capture) ?? '',
  ].filter((line) => line !== '');
  const warning = lossWarning(capture);
  // Of a capture it is worth a word that nothing is missing.
  if (lines.length === 0 && capture.packets > 0) return ['  missing     nothing'];
  return [
    ...lines.map((line, n) => `  ${n === 0 ? 'missing    ' : '           '} ${line}`),
    ...(warning === undefined ? [] : [`  ${palette.bad(warning)}`]),
  ];
}

function percentiles({ count, mean, p50, p90, p99, max }: Summary['keyBytes']): string {
  if (count === 0) return '–';
  return `p50 ${formatCount(p50)}, p90 ${formatCount(p90)}, p99 ${formatCount(p99)}, max ${formatCount(max)}, mean ${formatCount(mean)}`;
}

function latencies({ count, mean, p50, p90, p99, max }: Summary['latencyMicros']): string {
  if (count === 0) return '–';
  return `p50 ${micros(p50)}, p90 ${micros(p90)}, p99 ${micros(p99)}, max ${micros(max)}, mean ${micros(mean)}`;
}

function parseTop(text: string): number {
  const top = parseCount(text, 0);
  if (top <= MOST_TOP_KEYS) return top;
  throw new InvalidArgumentError(`expected at most ${MOST_TOP_KEYS} keys`);
}

const LEVELS = '▁▂▃▄▅▆▇█';

/** Exchanges a second over the trace's time, and the most of them. */
function sparkline({ intervalSeconds, exchanges }: Summary['rate']): string[] {
  const most = Math.max(...exchanges);
  if (most === 0) return [];
  const cells = exchanges.map((count) =>
    count === 0 ? ' ' : LEVELS[Math.ceil((count / most) * LEVELS.length) - 1]!,
  );
  return [`  rate        ${cells.join('')} up to ${formatCount(Math.round(most / intervalSeconds))}/s`];
}

const KEY_CELLS = 60;

function topKeys({ topKeys, topKeysMissing }: Summary): string[] {
  if (topKeys.length === 0) return [];
  const keys = topKeys.map(({ key }) => printable(Buffer.from(key, 'latin1'), KEY_CELLS));
  const width = Math.max(...keys.map((key) => key.length));
  return [
    topKeysMissing === 0
      ? '  top keys'
      : `  top keys (counts are too low by ${formatCount(topKeysMissing)} at most)`,
    ...topKeys.map(
      ({ exchanges, share }, n) =>
        `    ${keys[n]!.padEnd(width)} ${formatCount(exchanges).padStart(13)} ${percent(share, 1).padStart(6)}`,
    ),
    '',
  ];
}

/** What stands in the trace itself, and what a reader makes of it. */
function privacyLine({ values, keys }: Summary['privacy']): string {
  const made = values === 'full' ? '' : ' (cat and convert show bytes that are derived from them)';
  return safeLine(`values ${values}${made}, keys ${keys}`);
}

/** @param counts by names, which are anybody's */
function table(title: string, counts: Record<string, number>, total: number): string[] {
  const rows = Object.entries(counts)
    .filter(([, count]) => count > 0)
    .toSorted(([, a], [, b]) => b - a)
    .map(([name, count]): [string, number] => [safeLine(name), count]);
  if (rows.length === 0) return [];
  const most = rows[0]?.[1] ?? 1;
  const width = Math.max(title.length, ...rows.map(([name]) => name.length));
  return [
    `  ${title}`,
    ...rows.map(
      ([name, count]) =>
        `    ${name.padEnd(width)} ${formatCount(count).padStart(13)} ${percent(count, total).padStart(6)}  ${'█'.repeat(Math.max(1, Math.round((count / most) * BAR_CELLS)))}`,
    ),
    '',
  ];
}

function percent(part: number, whole: number): string {
  return whole === 0 ? '–' : `${((part / whole) * 100).toFixed(1)}%`;
}
