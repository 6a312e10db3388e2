// Judging, measured beside recording: `node dist/bench/judging.js [EXCHANGES] [SVG]`. Three sorts of traffic, each of so many
// exchanges and of a half, a quarter and an eighth: clean (as recorded), racing (50 connections on 20 keys, order none, as
// fast as it goes), evicting (a target with a fraction of the memory). Each is captured by tcpdump, recorded from the
// capture, replayed, and judged from the files by `memtape diff`; CPU is that of the whole process, user and system. Needs
// memcached, tcpdump, GNU time. The drawing shows CPU against exchanges: a straight line, where nothing is quadratic.

import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startMemcached } from '../fixtures/memcached.ts';
import type { Report } from '../report/report.ts';

const EXCHANGES = Number(process.argv[2] ?? 1_000_000);
const SIZES = [8, 4, 2, 1].map((part) => Math.round(EXCHANGES / part));
const command = new URL('../cli/main.js', import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), 'memtape-bench-'));
const say = (line: string): void => void process.stdout.write(`${line}\n`);

interface Traffic {
  name: string;
  color: string;
  /** Of a tenant in a model. */
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

interface Cost {
  cpu: number;
  megabytes: number;
}

function timed(args: readonly string[]): Cost {
  const times = join(folder, 'times');
  const { status, stderr } = spawnSync(
    '/usr/bin/time',
    ['-o', times, '-f', '%U %S %M', process.execPath, command, ...args],
    { encoding: 'utf8', stdio: ['ignore', 'ignore', 'pipe'], maxBuffer: 1 << 28 },
  );
  // Drift may be more than the default thresholds allow: what is measured is the time.
  if (status !== 0 && status !== 1) throw new Error(`${args[0]} ended with ${status}: ${stderr}`);
  const [user, system, kilobytes] = readFileSync(times, 'utf8')
    .trim()
    .split('\n')
    .at(-1)!
    .split(' ')
    .map(Number);
  return { cpu: user! + system!, megabytes: kilobytes! / 1024 };
}

async function capture({ tenant: text }: Traffic, exchanges: number, path: string): Promise<number> {
  const server = await startMemcached(['-m', '1024']);
  const filter = `tcp port ${server.port}`;
  const args = ['-i', 'lo', '-s', '0', '-B', '262144', '-Z', 'root', '-w', path, filter];
  const dump = spawn('tcpdump', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  dump.stderr.on('data', (line: Buffer) => (said += line.toString()));
  while (!said.includes('listening')) await sleep(50);
  const model = join(folder, 'model.yaml');
  writeFileSync(
    model,
    `format: memtape-model/1\nname: bench\nstart: warm\nrequests: ${exchanges}\ntenants: [${text.replace('{ name', '{ arrivals: { rate: 20000 }, name')}]\n`,
  );
  timed([
    'replay',
    model,
    '--requests',
    String(exchanges),
    '--target',
    server.address,
    '--speed',
    'max',
    '--pipeline',
    '1',
  ]);
  await sleep(1500);
  const gone = new Promise((resolve) => dump.on('close', resolve));
  dump.kill('SIGINT');
  await gone;
  await server.stop();
  return server.port;
}

interface Measured {
  exchanges: number;
  record: Cost;
  judge: Cost;
  said: Report['exchanges'];
}

async function measure(traffic: Traffic, exchanges: number): Promise<Measured> {
  const [pcap, tape] = [join(folder, 'x.pcap'), join(folder, 'x.tape')];
  const [results, report] = [join(folder, 'x.results'), join(folder, 'report.json')];
  const port = await capture(traffic, exchanges, pcap);
  rmSync(tape, { force: true });
  const record = timed(['record', pcap, '--port', String(port), '-o', tape, '--quiet']);
  const target = await startMemcached(['-m', String(traffic.megabytes)]);
  try {
    const asked = [
      '--target',
      target.address,
      '--order',
      traffic.order,
      '--speed',
      'max',
      '--allow',
      'recorded-target',
    ];
    timed(['replay', tape, ...asked, '--results', results, '--force', '--quiet']);
  } finally {
    await target.stop();
  }
  const judge = timed(['diff', tape, results, '--json', report]);
  const { exchanges: said } = JSON.parse(readFileSync(report, 'utf8')) as Report;
  return { exchanges: said.sent, record, judge, said };
}

/** CPU seconds against exchanges, a line for each traffic, dashed for recording. */
function draw(
  path: string,
  lines: readonly { name: string; color: string; dash: string; points: [number, number][] }[],
): void {
  const [width, height, left, top] = [640, 300, 60, 20];
  const most = Math.max(...lines.flatMap(({ points }) => points.map(([, cpu]) => cpu)));
  const x = (exchanges: number): number => left + (exchanges / (EXCHANGES * 1.1)) * width;
  const y = (cpu: number): number => top + height - (cpu / (most * 1.1)) * height;
  const axes = [
    ...SIZES.map(
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

try {
  say(
    '| traffic | exchanges | recording: CPU s, MB | judging: CPU s, MB | matched | drift | violations | untestable |',
  );
  say('|---|---|---|---|---|---|---|---|');
  const lines = [];
  for (const traffic of traffics) {
    const all: Measured[] = [];
    for (const size of SIZES) {
      const one = await measure(traffic, size);
      all.push(one);
      const { matched, drift, violations, untestable } = one.said;
      const cost = ({ cpu, megabytes }: Cost): string => `${cpu.toFixed(1)}, ${megabytes.toFixed(0)}`;
      say(
        `| ${traffic.name} | ${one.exchanges} | ${cost(one.record)} | ${cost(one.judge)} | ${matched} | ${drift} | ${violations} | ${untestable} |`,
      );
    }
    const points = (of: 'record' | 'judge'): [number, number][] =>
      all.map((one) => [one.exchanges, one[of].cpu]);
    lines.push(
      { name: `judging, ${traffic.name}`, color: traffic.color, dash: '', points: points('judge') },
      { name: `recording, ${traffic.name}`, color: traffic.color, dash: '4 4', points: points('record') },
    );
  }
  if (process.argv[3] !== undefined) draw(process.argv[3], lines);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
