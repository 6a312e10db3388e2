// Judging, measured beside recording: `node dist/bench/judging.js [EXCHANGES] [SVG]`. Three sorts of traffic, each of so many
// exchanges and of a half, a quarter and an eighth: clean (as recorded), racing (50 connections on 20 keys, order none, as
// fast as it goes), evicting (a target with a fraction of the memory). Each is captured by tcpdump, recorded from the
// capture, judged by itself (`memtape audit`), replayed, and judged from the files by `memtape diff`; CPU is that of the whole
// process, user and system. Needs
// memcached, tcpdump, GNU time. The drawing shows CPU against exchanges: a straight line, where nothing is quadratic.

import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startMemcached } from '../embedded/memcached.ts';
import type { Report } from '../report/shape.ts';
import { captured, command, inFolder, isMain, say, timed, type Cost } from './measure.ts';

/** Drift may be more than the default thresholds allow: what is measured is the time. */
const CODES = [0, 1];

interface Traffic {
  name: string;
  color: string;
  /** The YAML of a tenant in a model. */
  tenant: string;
  /** Memory of the target, as memcached takes it. */
  megabytes: number;
  order: 'key' | 'none';
}

const tenant = (space: number, sizes: string, mix: string): string =>
  `{ name: all, keys: { space: ${space} }, values: { size: ${sizes} }, mix: ${mix}, popularity: { kind: zipf, alpha: 0.7 }, onMiss: none, connections: { count: 50 } }`;

const traffics: readonly Traffic[] = [
  {
    name: 'clean',
    color: '#2a7',
    tenant: tenant(100_000, '{ kind: uniform, min: 100, max: 900 }', '{ get: 0.8, set: 0.15, delete: 0.05 }'),
    megabytes: 1024,
    order: 'key',
  },
  {
    name: 'racing',
    color: '#d63',
    tenant: tenant(
      20,
      '{ kind: uniform, min: 10, max: 100 }',
      '{ get: 0.5, set: 0.15, add: 0.05, delete: 0.05, append: 0.05, incr: 0.1, cas: 0.1 }',
    ),
    megabytes: 1024,
    order: 'none',
  },
  {
    name: 'evicting',
    color: '#36c',
    tenant: tenant(
      100_000,
      '{ kind: uniform, min: 500, max: 1500 }',
      '{ get: 0.7, set: 0.25, delete: 0.05 }',
    ),
    megabytes: 32,
    order: 'key',
  },
];

function memtape(folder: string, args: readonly string[]): Cost {
  return timed(folder, [process.execPath, command, ...args], { codes: CODES });
}

/** Captures the traffic to a server that has room for all of it; returns the server's port. */
async function capture(
  folder: string,
  { tenant: text }: Traffic,
  exchanges: number,
  path: string,
): Promise<number> {
  const server = await startMemcached(['-m', '1024']);
  const model = join(folder, 'model.yaml');
  writeFileSync(
    model,
    `format: memtape-model/1\nname: bench\nstart: warm\nrequests: ${exchanges}\ntenants: [${text.replace('{ name', '{ arrivals: { rate: 20000 }, name')}]\n`,
  );
  const asked = `replay ${model} --requests ${exchanges} --target ${server.address} --speed max --pipeline 1`;
  await captured(path, server.port, () => void memtape(folder, asked.split(' ')));
  await server.stop();
  return server.port;
}

export interface Measured {
  exchanges: number;
  record: Cost;
  audit: Cost;
  judge: Cost;
  said: Report['exchanges'];
}

async function measure(folder: string, traffic: Traffic, exchanges: number): Promise<Measured> {
  const [pcap, tape] = [join(folder, 'x.pcap'), join(folder, 'x.tape')];
  const [results, report] = [join(folder, 'x.results'), join(folder, 'report.json')];
  const port = await capture(folder, traffic, exchanges, pcap);
  rmSync(tape, { force: true });
  const record = memtape(folder, ['record', pcap, '--port', String(port), '-o', tape, '--quiet']);
  const audit = memtape(folder, ['audit', tape, '--json', report, '--quiet']);
  const target = await startMemcached(['-m', String(traffic.megabytes)]);
  try {
    const asked = `--target ${target.address} --order ${traffic.order} --speed max --allow recorded-target`;
    memtape(folder, ['replay', tape, ...asked.split(' '), '--results', results, '--force', '--quiet']);
  } finally {
    await target.stop();
  }
  const judge = memtape(folder, ['diff', tape, results, '--json', report]);
  const { exchanges: said } = JSON.parse(readFileSync(report, 'utf8')) as Report;
  return { exchanges: said.sent, record, audit, judge, said };
}

/** By the name of the traffic: recording and judging so many exchanges, once each. */
export async function measureJudging(exchanges: number): Promise<Map<string, Measured>> {
  return inFolder(async (folder) => {
    const all = new Map<string, Measured>();
    for (const traffic of traffics) all.set(traffic.name, await measure(folder, traffic, exchanges));
    return all;
  });
}

/** CPU seconds against exchanges, a line for each traffic, dashed for recording. */
function draw(
  path: string,
  sizes: readonly number[],
  lines: readonly { name: string; color: string; dash: string; points: [number, number][] }[],
): void {
  const [width, height, left, top] = [640, 300, 60, 20];
  const most = Math.max(...lines.flatMap(({ points }) => points.map(([, cpu]) => cpu)));
  const x = (exchanges: number): number => left + (exchanges / (sizes.at(-1)! * 1.1)) * width;
  const y = (cpu: number): number => top + height - (cpu / (most * 1.1)) * height;
  const axes = [
    ...sizes.map(
      (n) =>
        `<text x="${x(n)}" y="${top + height + 18}" text-anchor="middle">${(n / 1000).toFixed(0)}k</text>`,
    ),
    ...[0.25, 0.5, 0.75, 1].map(
      (share) =>
        `<line x1="${left}" y1="${y(most * share)}" x2="${left + width}" y2="${y(most * share)}" stroke="#8884"/><text x="${left - 8}" y="${y(most * share) + 4}" text-anchor="end">${(most * share).toFixed(0)} s</text>`,
    ),
  ];
  const drawn = lines.map(
    ({ name, color, dash, points }, n) =>
      `<polyline fill="none" stroke="${color}" stroke-width="2" stroke-dasharray="${dash}" points="${[[0, 0] as [number, number], ...points].map(([at, cpu]) => `${x(at).toFixed(1)},${y(cpu).toFixed(1)}`).join(' ')}"/><text x="${left + 12}" y="${top + 18 + n * 16}" fill="${color}">${name}</text>`,
  );
  writeFileSync(
    path,
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width + left + 40} ${height + top + 40}" font-family="sans-serif" font-size="12" fill="#777"><title>CPU seconds of judging and recording, by exchanges</title>\n${[...axes, ...drawn].join('\n')}\n</svg>\n`,
  );
}

function cost({ cpu, megabytes }: Cost): string {
  return `${cpu.toFixed(1)}, ${megabytes.toFixed(0)}`;
}

if (isMain(import.meta)) {
  const exchanges = Number(process.argv[2] ?? 1_000_000);
  const sizes = [8, 4, 2, 1].map((part) => Math.round(exchanges / part));
  say(
    '| traffic | exchanges | recording: CPU s, MB | judged by itself: CPU s, MB | judging a replay: CPU s, MB | matched | drift | violations | untestable |',
  );
  say('|---|---|---|---|---|---|---|---|---|');
  const measured: Map<string, Measured>[] = [];
  for (const size of sizes) {
    const all = await measureJudging(size);
    measured.push(all);
    for (const [name, { exchanges: sent, record, audit, judge, said }] of all) {
      const { matched, drift, violations, untestable } = said;
      say(
        `| ${name} | ${sent} | ${cost(record)} | ${cost(audit)} | ${cost(judge)} | ${matched} | ${drift} | ${violations} | ${untestable} |`,
      );
    }
  }
  const points = (name: string, of: 'record' | 'judge'): [number, number][] =>
    measured.map((all) => [all.get(name)!.exchanges, all.get(name)![of].cpu]);
  const lines = traffics.flatMap(({ name, color }) => [
    { name: `judging, ${name}`, color, dash: '', points: points(name, 'judge') },
    { name: `recording, ${name}`, color, dash: '4 4', points: points(name, 'record') },
  ]);
  if (process.argv[3] !== undefined) draw(process.argv[3], sizes, lines);
}
