// When requests leave, seen from outside: `node dist/bench/timing.js [SECONDS] [SVG]`. 20,000 requests/s at random times on
// 50 connections to memcached are captured with tcpdump and recorded; the recording is replayed at 1× and captured again.
// The difference between the two captures' send offsets is what a replay adds. Beside it: the same schedule by a timer
// for each request. Then `--rate 50k`, and the gaps between its requests. Needs memcached and tcpdump.

import { execFileSync, spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startMemcached } from '../embedded/memcached.ts';
import { writeModel, type ModelRow } from '../fixtures/model.ts';
import { Random } from '../synth/laws/random.ts';
import { NEVER } from '../trace/batch.ts';
import { TraceReader } from '../trace/file.ts';
import { captured, command, inFolder, isMain, say } from './measure.ts';

const RATE = 20_000;
const CONNECTIONS = 50;
const KEYS = 2_000;
/** Timers are tried for so long at most. */
const TIMER_SECONDS = 5;

/** Requests at random times; each connection has keys of its own, so that it is known again. */
async function writeTape(path: string, seconds: number): Promise<void> {
  const random = new Random(3);
  const value = Buffer.alloc(100, 'v');
  const rows = function* (): Generator<ModelRow> {
    let at = 0;
    for (let sent = 0; sent < RATE * seconds; sent++) {
      at += (-Math.log(1 - random.float()) / RATE) * 1e9;
      const connection = random.int(CONNECTIONS);
      const key = Buffer.from(`c${connection}:${random.int(KEYS)}`);
      yield { connection, at, answeredAt: at, isSet: random.chance(1 / 11), key, value, joins: false };
    }
  };
  const connections = Array.from({ length: CONNECTIONS }, () => ({ openNs: 0, closeNs: NEVER }));
  await writeModel(path, connections, rows());
}

/** Replays against a fresh memcached under tcpdump; the trace of what was captured, and the report. */
async function replayed(
  folder: string,
  tape: string,
  name: string,
  args: readonly string[],
): Promise<{
  tape: string;
  report: { schedule: { achievedRate: number; lagMicros: Record<string, number> } };
}> {
  const server = await startMemcached(['-m', '256', '-t', '1']);
  const pcap = join(folder, `${name}.pcap`);
  const json = join(folder, `${name}.json`);
  await captured(pcap, server.port, async () => {
    const asked = ['--target', server.address, '--quiet', '--json', json, ...args];
    const child = spawn(process.execPath, [command, 'replay', tape, ...asked], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    await new Promise((resolve) => child.on('exit', resolve));
  });
  await server.stop();
  const seen = join(folder, `${name}.tape`);
  execFileSync(
    process.execPath,
    [command, 'record', pcap, '--port', String(server.port), '-o', seen, '--force', '--quiet'],
    {
      stdio: ['ignore', 'ignore', 'inherit'],
    },
  );
  return { tape: seen, report: JSON.parse(readFileSync(json, 'utf8')) };
}

/** Send times, ns, of the requests of each connection of the bench, in order; the prefill's connection apart. */
async function sendTimes(path: string): Promise<Map<string, number[]>> {
  const trace = await TraceReader.open(path);
  const times = new Map<number, number[]>();
  const names = new Map<number, Set<string>>();
  for await (const batch of trace.batches())
    for (let row = 0; row < batch.count; row++) {
      const id = batch.connection[row]!;
      if (!times.has(id)) {
        times.set(id, []);
        names.set(id, new Set());
      }
      if (batch.keyLength[row] === 0) continue;
      times.get(id)!.push(batch.requestNs[row]!);
      names.get(id)!.add(batch.key(row).toString().split(':')[0]!);
    }
  await trace.close();
  const known = [...names].filter(([, of]) => of.size === 1);
  return new Map(known.map(([id, of]) => [[...of][0]!, times.get(id)!]));
}

/** The difference of the offsets, µs, ascending; the request that is earliest by comparison is 0. */
async function differences(recorded: string, replay: string): Promise<Float64Array> {
  const [before, after] = [await sendTimes(recorded), await sendTimes(replay)];
  const all: number[] = [];
  for (const [name, times] of before) {
    const again = after.get(name);
    if (again?.length !== times.length)
      throw new Error(`connection ${name}: ${times.length} requests recorded, ${again?.length} replayed`);
    for (const [n, time] of times.entries()) all.push((again[n]! - time) / 1000);
  }
  const sorted = Float64Array.from(all).toSorted();
  // One early request would make all others late.
  const start = sorted[Math.floor(sorted.length / 1000)]!;
  return sorted.map((difference) => Math.abs(difference - start)).toSorted();
}

/** A timer for each request of the schedule: how late each fires, µs, ascending. */
async function naive(tape: string): Promise<Float64Array> {
  const due = [...(await sendTimes(tape)).values()].flat().toSorted((a, b) => a - b);
  const late: number[] = [];
  const start = performance.now() + 100;
  const first = due[0]!;
  await new Promise<void>((resolve) => {
    const tried = due.slice(0, RATE * TIMER_SECONDS);
    for (const time of tried) {
      const intended = start + (time - first) / 1e6;
      setTimeout(() => {
        late.push((performance.now() - intended) * 1000);
        if (late.length === tried.length) resolve();
      }, intended - performance.now());
    }
  });
  return Float64Array.from(late, Math.abs).toSorted();
}

export const at = (sorted: Float64Array, share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!;
const POINTS = [0.5, 0.9, 0.99, 0.999, 1] as const;
const line = (name: string, sorted: Float64Array): string =>
  `| ${name} | ${POINTS.map((point) => at(sorted, point).toFixed(0)).join(' | ')} |`;

/** Both distributions: the share of requests that are at most so far off, on a logarithmic axis from 1 µs to 100 ms. */
function draw(path: string, curves: readonly [string, string, Float64Array][]): void {
  const [width, height, left, top] = [640, 300, 60, 30];
  const x = (micros: number): number => left + (Math.log10(Math.max(1, micros)) / 5) * width;
  const y = (share: number): number => top + height - share * height;
  const grid = [0, 1, 2, 3, 4, 5].map(
    (power) =>
      `<line x1="${x(10 ** power)}" y1="${top}" x2="${x(10 ** power)}" y2="${top + height}" stroke="#8884"/><text x="${x(10 ** power)}" y="${top + height + 18}" text-anchor="middle">${['1 µs', '10 µs', '100 µs', '1 ms', '10 ms', '100 ms'][power]}</text>`,
  );
  const shares = [0, 0.5, 0.9, 1].map(
    (share) =>
      `<line x1="${left}" y1="${y(share)}" x2="${left + width}" y2="${y(share)}" stroke="#8884"/><text x="${left - 8}" y="${y(share) + 4}" text-anchor="end">${share * 100}%</text>`,
  );
  const lines = curves.map(([name, color, sorted], n) => {
    const points = Array.from({ length: 201 }, (_, step) => 10 ** (step / 40)).map((micros) => {
      let low = 0;
      let high = sorted.length;
      while (low < high) {
        const middle = (low + high) >>> 1;
        if (sorted[middle]! <= micros) low = middle + 1;
        else high = middle;
      }
      return `${x(micros).toFixed(1)},${y(low / sorted.length).toFixed(1)}`;
    });
    return `<polyline fill="none" stroke="${color}" stroke-width="2" points="${points.join(' ')}"/><text x="${left + 12}" y="${top + 18 + n * 18}" fill="${color}">${name}</text>`;
  });
  writeFileSync(
    path,
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width + left + 40} ${height + top + 40}" font-family="sans-serif" font-size="12" fill="#777"><title>Share of requests that left at most so far from their time</title>\n${[...grid, ...shares, ...lines].join('\n')}\n</svg>\n`,
  );
}

export interface Timing {
  /** How far requests left from their time, µs, ascending: a replay's, and a timer's for each. */
  replay: Float64Array;
  timers: Float64Array;
}

/** @param rate asked for with --rate, besides; its gaps in µs, ascending */
export async function measureTiming(
  seconds: number,
  rate?: number,
): Promise<Timing & { steady?: { rate: number; reported: number; seconds: number; gaps: Float64Array } }> {
  return inFolder(async (folder) => {
    const model = join(folder, 'model.tape');
    await writeTape(model, seconds);
    const recorded = await replayed(folder, model, 'recorded', []);
    const again = await replayed(folder, recorded.tape, 'replayed', []);
    const timing: Timing = {
      replay: await differences(recorded.tape, again.tape),
      timers: await naive(recorded.tape),
    };
    if (rate === undefined) return timing;
    const loops = String(Math.ceil((rate * 30) / (RATE * seconds)));
    const { tape, report } = await replayed(folder, model, 'steady', [
      '--rate',
      String(rate),
      '--loop',
      loops,
    ]);
    const sent = [...(await sendTimes(tape)).values()].flat().toSorted((a, b) => a - b);
    const took = (sent.at(-1)! - sent[0]!) / 1e9;
    return {
      ...timing,
      steady: {
        rate: (sent.length - 1) / took,
        reported: report.schedule.achievedRate,
        seconds: took,
        gaps: Float64Array.from(sent.slice(1), (time, n) => (time - sent[n]!) / 1000).toSorted(),
      },
    };
  });
}

if (isMain(import.meta)) {
  const { replay, timers, steady } = await measureTiming(Number(process.argv[2] ?? 20), 50_000);
  say(`| off by, µs | p50 | p90 | p99 | p99.9 | max |\n|---|---|---|---|---|---|`);
  say(line('memtape, at 1×, seen by tcpdump', replay));
  say(line('a timer for each request', timers));
  if (process.argv[3] !== undefined)
    draw(process.argv[3], [
      ['memtape', '#2a7', replay],
      ['a timer for each request', '#d63', timers],
    ]);
  const { rate, reported, seconds, gaps } = steady!;
  say(
    `\n--rate 50k for ${seconds.toFixed(1)} s: ${rate.toFixed(1)} requests/s by the capture (${reported} by the report)`,
  );
  say(
    `\n| gap, µs | p50 | p90 | p99 | p99.9 | max |\n|---|---|---|---|---|---|\n${line('between requests', gaps)}`,
  );
}
