// `memtape info`: what a trace holds, in figures.

import { Command } from 'commander';
import { TraceReader } from '../trace/file.ts';
import { summarise, type Summary } from '../trace/summary.ts';
import { Progress } from './progress.ts';
import { statusLabel } from '../protocol/status.ts';
import { formatBytes, formatCount, formatDuration } from './text.ts';

const examples = `
Examples:
  memtape info capture.tape
  memtape info capture.tape --json`;

export function infoCommand(): Command {
  return new Command('info')
    .description('Show what a trace holds: operations, outcomes, servers, hits, sizes.')
    .argument('<file>', 'a trace')
    .option('--json', 'as JSON')
    .option('--quiet', 'no progress')
    .addHelpText('after', examples)
    .action(async (file: string, options: { json?: true; quiet?: true }) => {
      const summary = await read(file, options.quiet === true);
      process.stdout.write(
        options.json === true ? `${JSON.stringify(summary, null, 2)}\n` : render(file, summary),
      );
    });
}

async function read(file: string, quiet: boolean): Promise<Summary> {
  const trace = await TraceReader.open(file);
  const progress = new Progress(trace.exchangeCount, { label: 'reading', unit: 'exchanges', quiet });
  try {
    return await summarise(trace, (done) => progress.update(done, done));
  } finally {
    progress.stop();
    await trace.close();
  }
}

const BAR_CELLS = 30;

function render(file: string, summary: Summary): string {
  const { exchanges, bytes, capture, hits, misses } = summary;
  const rate = summary.durationSeconds > 0 ? exchanges / summary.durationSeconds : 0;
  const lines = [
    `${file}: ${summary.source}${summary.truncated ? ' (cut: the end of the file is missing)' : ''}`,
    '',
    `  recorded    ${summary.startTime}, ${formatDuration(summary.durationSeconds)}`,
    `  exchanges   ${formatCount(exchanges)} on ${formatCount(summary.connections)} connections, ${formatCount(Math.round(rate))}/s`,
    `  keys        ${formatCount(summary.keys)}`,
    `  reads       ${formatCount(hits)} hits, ${formatCount(misses)} misses${hits + misses > 0 ? ` (hit rate ${percent(hits, hits + misses)})` : ''}`,
    `  bytes       ${formatBytes(bytes.requests)} of requests and ${formatBytes(bytes.responses)} of responses in ${formatBytes(bytes.file)}`,
    `  privacy     values ${summary.privacy.values}, keys ${summary.privacy.keys}`,
    `  capture     ${formatCount(capture.packets)} packets, ${formatCount(capture.retransmitted)} retransmitted, ${formatCount(capture.gaps)} holes, ${formatCount(capture.midstream)} midstream, ${formatCount(capture.notBinary)} not binary`,
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
      'server',
      Object.fromEntries(summary.servers.map((server) => [server.address, server.exchanges])),
      exchanges,
    ),
  ];
  return `${lines.join('\n')}\n`;
}

function table(title: string, counts: Record<string, number>, total: number): string[] {
  const rows = Object.entries(counts)
    .filter(([, count]) => count > 0)
    .toSorted(([, a], [, b]) => b - a);
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
