// `memtape demo`: the whole way in under a minute. Real memjs clients run through the recording proxy; the trace is
// replayed against a healthy release, and against one that corrupts answers.

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { runClients, settled, type Counts } from '../fixtures/clients.ts';
import { startCluster } from '../embedded/cluster.ts';
import { parseFault } from '../embedded/fault.ts';
import { startFaultProxy } from '../embedded/proxy.ts';
import { startServer } from '../embedded/server.ts';
import type { NamedServer } from '../protocol/distribution.ts';
import { startProxy } from '../recorder/proxy.ts';
import { diffOf, withFiles } from '../library/replayed.ts';
import { replay } from '../replayer/replay.ts';
import { makeReport } from '../report/report.ts';
import type { Report } from '../report/shape.ts';
import { renderText } from '../report/text.ts';
import { defaultThresholds } from '../report/threshold.ts';
import { parseHostPort } from '../trace/address.ts';
import { CliError } from './error.ts';
import type { Shell } from './shell.ts';
import { formatBytes, formatCount, plural } from './text.ts';

const CLIENTS = 6;
const EXCHANGES = 5_000;
const SECONDS = 5;
const FAULT = 'corrupt=1/500,seed=1';
const BACKENDS = 4;
const RESTARTED = 2;

/** What is to be stopped at the end. */
interface Running {
  stop(): Promise<void>;
}

const RESTART_MS = 1000;

export function demoCommand(command: Command, shell: Shell): void {
  command.addHelpText('after', '\nExamples:\n  memtape demo').action(async () => {
    const folder = shell.temporaryFolder('memtape-demo-');
    const running: Running[] = [];
    try {
      await run({ shell, folder, running });
    } finally {
      await Promise.all(running.map(async (one) => one.stop()));
      shell.remove(folder);
    }
  });
}

interface Demo {
  shell: Shell;
  folder: string;
  running: Running[];
}

async function run(demo: Demo): Promise<void> {
  const { shell, folder } = demo;
  const { palette } = shell;
  const trace = join(folder, 'demo.tape');
  const started = performance.now();
  step(
    shell,
    1,
    'Production',
    `an embedded memcached, ${CLIENTS} memjs clients, and the recording proxy between them`,
  );
  await recordTraffic(demo, trace);

  step(shell, 2, 'A healthy release', 'the recorded traffic against a fresh server, at three speeds');
  for (const speed of [1, 10, 'max'] as const) {
    const { report } = await replayOnce(demo, trace, speed);
    const { sent, matched, drift } = report.exchanges;
    const verdict =
      report.verdict === 'pass' ? palette.good('PASS') : palette.bad(report.verdict.toUpperCase());
    say(
      shell,
      `${verdict}  ${(speed === 'max' ? 'max' : `${speed}×`).padEnd(4)} ${formatCount(sent)} requests in ${report.schedule.durationSeconds.toFixed(2).padStart(5)} s, ` +
        `${((matched / sent) * 100).toFixed(2)}% as recorded, ${plural(drift, 'legal difference')}, ${plural(report.exchanges.violations, 'violation')}`,
    );
    if (report.verdict !== 'pass') throw unexpected('a healthy release should pass', report);
  }

  step(shell, 3, 'A sick release', 'one answer in 500 has a wrong byte; a client would not notice');
  const { report, corrupted } = await replayOnce(demo, trace, 10, FAULT);
  shell.stdout.write(`\n${indent(renderText(report, palette))}\n`);
  if (report.verdict !== 'fail') throw unexpected('a sick release should fail', report);
  say(
    shell,
    `The server corrupted ${plural(corrupted, 'answer')}; memtape found ${plural(report.exchanges.violations, 'violation')}, and says where.`,
  );
  await theIncident(demo, trace);
  say(
    shell,
    palette.dim(`${((performance.now() - started) / 1000).toFixed(1)} s in all. Next: memtape record --help`),
  );
}

/** The release that memtape was made for: a proxy that keeps its sockets to a backend that restarted. */
async function theIncident({ shell, folder, running }: Demo, trace: string): Promise<void> {
  const { palette } = shell;
  step(
    shell,
    4,
    'The incident',
    `a proxy with ${BACKENDS} backends behind it, of which one restarts during the replay`,
  );
  for (const isSick of [false, true]) {
    const cluster = await startCluster({ backends: BACKENDS });
    running.push(cluster);
    const release = await startFaultProxy({
      backends: cluster.addresses,
      faults: isSick ? [{ name: 'stale-sockets' }] : [],
    });
    try {
      // A second into the replay the backend goes, and comes back empty on its port.
      const restarts = sleep(RESTART_MS).then(async () => cluster.restart(RESTARTED));
      const backends = cluster.addresses.map((address) => parseHostPort(address, 0));
      const report = await judgedReplay(folder, trace, release.address, 2, backends);
      await restarts;
      if (!isSick) {
        say(
          shell,
          `${palette.good('PASS')}  the fixed release: ${plural(report.drift['lost'] ?? 0, 'miss', 'misses')} where the backend had lost its keys, which is legal, and no violation`,
        );
        if (report.verdict !== 'pass') throw unexpected('the fixed release should pass', report);
        continue;
      }
      shell.stdout.write(`\n${indent(renderText(report, palette))}\n`);
      const [first] = report.attribution;
      const address = cluster.addresses[RESTARTED]!;
      if (report.verdict !== 'fail' || first?.value.startsWith(address) !== true)
        throw unexpected(`the sick release should fail, and ${address} be named`, report);
      const monitors = Array.from({ length: 10 }, (_, n) => `monitor:${n}`);
      const seeing = monitors.filter((key) => release.backendOf(key) === RESTARTED);
      say(
        shell,
        `Backend ${address} is named. Of ten monitoring keys, ${seeing.length === 0 ? 'none' : seeing.join(', ')} would have seen it.`,
      );
    } finally {
      await release.stop();
    }
  }
}

async function judgedReplay(
  folder: string,
  trace: string,
  target: string,
  speed: number | 'max',
  backends: readonly NamedServer[] = [],
): Promise<Report> {
  const results = join(folder, 'last.results');
  const { survey } = await replay({ trace, results, targets: [target], speed });
  const judged = await withFiles(trace, results, async (files) => diffOf(files, { survey, backends }));
  return makeReport({ ...judged, thresholds: defaultThresholds() });
}

async function recordTraffic({ shell, running }: Demo, trace: string): Promise<void> {
  const production = await startServer();
  running.push(production);
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
  say(shell, issued.map(([name, count]) => `${name} ${formatCount(count)}`).join(', '));
  say(
    shell,
    `${shell.palette.good('recorded')}  ${plural(exchanges, 'exchange')} on ${plural(connections, 'connection')} in ${formatBytes(fileBytes)}: ${(fileBytes / exchanges).toFixed(1)} bytes each`,
  );
}

async function replayOnce(
  { folder, running }: Demo,
  trace: string,
  speed: number | 'max',
  fault?: string,
): Promise<{ report: Report; corrupted: number }> {
  const target = await startServer(fault === undefined ? {} : { fault: parseFault(fault) });
  running.push(target);
  const report = await judgedReplay(folder, trace, target.address, speed);
  return { report, corrupted: target.counters.corrupted };
}

function unexpected(what: string, report: Report): CliError {
  return new CliError(`the demo went wrong: ${what}, got ${report.verdict}\n${renderText(report)}`, 1);
}

function step({ stdout, palette }: Shell, number: number, title: string, text: string): void {
  stdout.write(`\n${palette.strong(`${number}. ${title}`)}  ${palette.dim(text)}\n`);
}

function say({ stdout }: Shell, text: string): void {
  stdout.write(`   ${text}\n`);
}

function indent(text: string): string {
  return text.replaceAll(/^(?=.)/gm, '   ');
}
