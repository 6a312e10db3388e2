// `memtape demo`: the whole way in under a minute. Real memjs clients run through the recording proxy; the trace is
// replayed against a healthy release, and against one that corrupts answers.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import pc from 'picocolors';
import { diff } from '../diff/diff.ts';
import { runClients, settled, type Counts } from '../fixtures/clients.ts';
import { parseFault } from '../fixtures/fault.ts';
import { startServer, type EmbeddedServer } from '../fixtures/server.ts';
import { startProxy } from '../recorder/proxy.ts';
import { replay } from '../replayer/replay.ts';
import { makeReport, type Report } from '../report/report.ts';
import { renderText } from '../report/text.ts';
import { parseThreshold } from '../report/threshold.ts';
import { ResultsReader, TraceReader } from '../trace/file.ts';
import { CliError } from './error.ts';
import { palette } from './replay.ts';
import { formatBytes, formatCount, plural } from './text.ts';

const CLIENTS = 6;
const EXCHANGES = 5_000;
const SECONDS = 5;
const FAULT = 'corrupt=1/500,seed=1';

export function demoCommand(): Command {
  return new Command('demo')
    .description('Record, replay, and catch a sick release: all embedded, in under a minute.')
    .addHelpText('after', '\nExamples:\n  memtape demo')
    .action(async () => {
      const folder = mkdtempSync(join(tmpdir(), 'memtape-demo-'));
      const servers: EmbeddedServer[] = [];
      try {
        await run(folder, servers);
      } finally {
        await Promise.all(servers.map(async (server) => server.stop()));
        rmSync(folder, { recursive: true, force: true });
      }
    });
}

async function run(folder: string, servers: EmbeddedServer[]): Promise<void> {
  const trace = join(folder, 'demo.tape');
  const started = performance.now();
  step(
    1,
    'Production',
    `an embedded memcached, ${CLIENTS} memjs clients, and the recording proxy between them`,
  );
  await recordTraffic(trace, servers);

  step(2, 'A healthy release', 'the recorded traffic against a fresh server, at three speeds');
  for (const speed of [1, 10, 'max'] as const) {
    const { report } = await replayOnce(folder, trace, servers, speed);
    const { sent, matched, drift } = report.exchanges;
    const verdict =
      report.verdict === 'pass' ? palette.good('PASS') : palette.bad(report.verdict.toUpperCase());
    say(
      `${verdict}  ${(speed === 'max' ? 'max' : `${speed}×`).padEnd(4)} ${formatCount(sent)} requests in ${report.schedule.durationSeconds.toFixed(2).padStart(5)} s, ` +
        `${((matched / sent) * 100).toFixed(2)}% as recorded, ${plural(drift, 'legal difference')}, ${plural(report.exchanges.violations, 'violation')}`,
    );
    if (report.verdict !== 'pass') throw unexpected('a healthy release should pass', report);
  }

  step(3, 'A sick release', 'one answer in 500 has a wrong byte; a client would not notice');
  const { report, corrupted } = await replayOnce(folder, trace, servers, 10, FAULT);
  process.stdout.write(`\n${indent(renderText(report, palette))}\n`);
  if (report.verdict !== 'fail') throw unexpected('a sick release should fail', report);
  say(
    `The server corrupted ${plural(corrupted, 'answer')}; memtape found ${plural(report.exchanges.violations, 'violation')}, and says where.`,
  );
  say(pc.dim(`${((performance.now() - started) / 1000).toFixed(1)} s in all. Next: memtape record --help`));
}

async function recordTraffic(trace: string, servers: EmbeddedServer[]): Promise<void> {
  const production = await startServer();
  servers.push(production);
  const proxy = await startProxy({ listen: ['127.0.0.1:0'], upstream: [production.address], output: trace });
  const calls: Counts = {};
  await runClients({
    address: proxy.addresses[0]!,
    seed: 7,
    clients: CLIENTS,
    exchanges: EXCHANGES,
    seconds: SECONDS,
    calls,
  });
  await settled(() => proxy.open === 0);
  const { exchanges, connections, fileBytes } = await proxy.stop();
  const issued = Object.entries(calls)
    .map(
      ([name, outcomes]) => [name, Object.values(outcomes).reduce((sum, count) => sum + count, 0)] as const,
    )
    .toSorted(([, a], [, b]) => b - a);
  say(issued.map(([name, count]) => `${name} ${formatCount(count)}`).join(', '));
  say(
    `${palette.good('recorded')}  ${plural(exchanges, 'exchange')} on ${plural(connections, 'connection')} in ${formatBytes(fileBytes)}: ${(fileBytes / exchanges).toFixed(1)} bytes each`,
  );
}

async function replayOnce(
  folder: string,
  trace: string,
  servers: EmbeddedServer[],
  speed: number | 'max',
  fault?: string,
): Promise<{ report: Report; corrupted: number }> {
  const target = await startServer(fault === undefined ? {} : { fault: parseFault(fault) });
  servers.push(target);
  const results = join(folder, `${servers.length}.results`);
  const { survey } = await replay({ trace, results, targets: [target.address], speed });
  const tape = await TraceReader.open(trace);
  const seen = await ResultsReader.open(results);
  try {
    const judged = await diff(tape, seen, { survey });
    const thresholds = [parseThreshold('violations == 0')];
    const report = makeReport({ diff: judged, meta: seen.meta, end: seen.end, thresholds });
    return { report, corrupted: target.counters.corrupted };
  } finally {
    await tape.close();
    await seen.close();
  }
}

function unexpected(what: string, report: Report): CliError {
  return new CliError(`the demo went wrong: ${what}, got ${report.verdict}\n${renderText(report)}`, 1);
}

function step(number: number, title: string, text: string): void {
  process.stdout.write(`\n${pc.bold(`${number}. ${title}`)}  ${pc.dim(text)}\n`);
}

function say(text: string): void {
  process.stdout.write(`   ${text}\n`);
}

function indent(text: string): string {
  return text.replaceAll(/^(?=.)/gm, '   ');
}
