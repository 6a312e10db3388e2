// Every bench in one table, beside the tools that users would pick instead: `node dist/bench/all.js [SCALE]`. SCALE makes all
// of it smaller or larger (default 1: a million requests, a quarter of an hour on two slow cores). CPU is that of whole
// commands, user and system, in seconds; each row's tools ran in turn, in one run. memtier_benchmark is named where it is
// missing, and left out; the others are needed.

import { join } from 'node:path';
import { measureJudging } from './judging.ts';
import { measureLoad, missingPeers } from './load.ts';
import { command, inFolder, say, table, timed } from './measure.ts';
import { measureRecord } from './record.ts';
import { measureGeneration } from './synth.ts';
import { at, measureTiming } from './timing.ts';

const SCALE = Number(process.argv[2] ?? 1);
const ROUNDS = 3;

/** What is measured, of memtape, of whom beside it, and how many times as much memtape takes. */
type Row = [what: string, ours: string, peer: string, theirs: string, ratio: string];

const rows: Row[] = [];

function add(what: string, ours: number, peer: string, theirs: number, digits = 2): void {
  const shown = (value: number): string =>
    value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits });
  rows.push([what, shown(ours), peer, shown(theirs), `${(ours / theirs).toFixed(2)}×`]);
}

async function recording(): Promise<void> {
  const seen = await measureRecord(Math.round(400_000 * SCALE), ROUNDS);
  const what = `recording ${seen.packets.toLocaleString('en-US')} packets, CPU s`;
  add(what, seen.record.cpu, 'tshark, the same fields', seen.tshark.cpu);
  add(what, seen.record.cpu, 'tcpdump -r, which only reads', seen.tcpdump.cpu);
  add('memory of it, MB', seen.record.megabytes, 'tshark', seen.tshark.megabytes, 0);
  add('a trace of 100 MB of capture, MB', seen.traceBytes / 1e6, 'zstd -19 --long=27', seen.zstdBytes / 1e6);
}

async function loading(depth: number): Promise<void> {
  const runs = await measureLoad(Math.round(1e6 * SCALE), depth, ROUNDS);
  for (const order of ['key', 'none']) {
    const ours = runs.get(`memtape, order ${order}`)!;
    for (const [peer, theirs] of runs) {
      if (peer.startsWith('memtape')) continue;
      const what = (of: string): string => `replaying in order ${order}, depth ${depth}, ${of}`;
      add(what('CPU s a million'), ours.cpuPerMillion, peer, theirs.cpuPerMillion);
      add(what('requests/s'), ours.rate, peer, theirs.rate, 0);
    }
  }
}

async function pacing(): Promise<void> {
  const { replay, timers } = await measureTiming(Math.max(5, 10 * SCALE));
  for (const share of [0.5, 0.99])
    add(
      `off the recorded time at 20,000/s, p${100 * share}, µs`,
      at(replay, share),
      'a timer for each request',
      at(timers, share),
      0,
    );
}

async function judging(): Promise<void> {
  for (const [name, { exchanges, judge, record }] of await measureJudging(Math.round(200_000 * SCALE)))
    add(
      `judging ${exchanges.toLocaleString('en-US')} exchanges, ${name}, CPU s`,
      judge.cpu,
      'recording them',
      record.cpu,
    );
}

/** Generating, reading and replaying ten times as much: what a million cost should stay the same. */
async function growing(): Promise<void> {
  const name = 'etc';
  const sizes = [1e4, 1e5, 1e6, 1e7].map((size) => size * SCALE);
  const costs = sizes.map((size) => measureGeneration(name, size, 1).cpuPerMillion);
  for (const [n, size] of sizes.entries())
    if (n > 0)
      add(
        `generating ${size.toLocaleString('en-US')} requests of ${name}, CPU s a million`,
        costs[n]!,
        `${sizes[n - 1]!.toLocaleString('en-US')} requests`,
        costs[n - 1]!,
      );
  await inFolder(async (folder) => {
    const replayed = sizes.slice(0, -1).map((size) => {
      const tape = join(folder, 'x.tape');
      const memtape = (args: string): number =>
        timed(folder, [process.execPath, command, ...args.split(' ')], { codes: [0, 1, 3] }).cpu;
      memtape(`synth ${name} --requests ${size} -o ${tape} --force --quiet`);
      return (memtape(`replay ${tape} --speed max --quiet`) / size) * 1e6;
    });
    for (const [n, cost] of replayed.entries())
      if (n > 0)
        add(
          `replaying and judging ${sizes[n]!.toLocaleString('en-US')}, embedded server and all, CPU s a million`,
          cost,
          `${sizes[n - 1]!.toLocaleString('en-US')} requests`,
          replayed[n - 1]!,
        );
    return Promise.resolve();
  });
}

const missing = missingPeers();
say(`missing peers: ${missing.length === 0 ? 'none' : missing.join(', ')}\n`);
const parts: [string, () => Promise<void>][] = [
  ['recording', recording],
  ...[1, 16, 64].map((depth): [string, () => Promise<void>] => [
    `replaying, depth ${depth}`,
    async () => loading(depth),
  ]),
  ['pacing', pacing],
  ['judging', judging],
  ['growing', growing],
];
for (const [n, [name, run]] of parts.entries()) {
  process.stderr.write(`${n + 1} of ${parts.length}: ${name}\n`);
  await run();
}
say(table(['What', 'memtape', 'Beside it', 'takes', 'memtape takes'], rows));
