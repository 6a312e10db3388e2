// A soak: `node dist/scripts/soak.js [MINUTES] [SVG]` replays through a recording proxy to memcached, at half the rate that
// the three reach here, for 30 minutes unless told otherwise. Each second it samples the memory of both processes of
// memtape, the delay of their event loops, late and failed requests, and it draws them. Ends with 1 where memory grows (as
// growth.ts tells it, in a soak of 10 minutes or more), a request fails, an answer is wrong, or an exchange is not recorded.
// Needs memcached.

import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startMemcached } from '../embedded/memcached.ts';
import { writeModel, type ModelRow } from '../fixtures/model.ts';
import { encodeRequest } from '../protocol/frame.ts';
import { Opcode } from '../protocol/opcode.ts';
import { Random } from '../synth/laws/random.ts';
import { NEVER } from '../trace/batch.ts';
import { megabytesOf, start, type Started } from './attack.ts';
import { MAX_GROWTH_MEGABYTES, MAX_STEPS_MEGABYTES, growthOf } from './growth.ts';
import { startRecording } from './recorder.ts';

const MINUTES = Number(process.argv[2] ?? 30);
const SVG = process.argv[3];
const CONNECTIONS = 50;
const KEYS = 2_000;
const REQUESTS = 200_000;
/** What a shorter soak shows of memory is the warming up. */
const MIN_MINUTES_OF_GROWTH = 10;
/**
 * Every thread of both processes throws its garbage away so often: V8 lets a thread that needs little memory of its own
 * collect up to 64 MB of buffers before it looks, which takes it up to an hour, and looks like a leak until then.
 */
const COLLECT_EVERY_MS = 20_000;
const collecting = {
  NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(
    `import { setFlagsFromString } from 'node:v8';
     import { runInNewContext } from 'node:vm';
     setFlagsFromString('--expose-gc');
     setInterval(runInNewContext('gc'), ${COLLECT_EVERY_MS}).unref();`,
  )}`,
};
const folder = mkdtempSync(join(tmpdir(), 'memtape-soak-'));
const tape = join(folder, 'a.tape');
const json = join(folder, 'report.json');
const say = (line: string): void => void process.stdout.write(`${line}\n`);

interface Sample {
  seconds: number;
  proxyMegabytes: number;
  replayMegabytes: number;
  /** A NOOP through the proxy: what its event loop lets wait, and the server. */
  noopMs: number;
  /** The latest request by our own fault since the sample before. */
  lateMs: number;
  failed: number;
}

interface Report {
  verdict: string;
  exchanges: { sent: number; answered: number; violations: number };
  schedule: {
    achievedRate: number;
    lagMicros: { p99: number; max: number };
    eventLoopDelayMicros: { p99: number };
  };
}

/** One set to ten gets of a value that was set, of 100 bytes. */
async function writeTape(): Promise<void> {
  const random = new Random(5);
  const value = Buffer.alloc(100, 'v');
  const rows = function* (): Generator<ModelRow> {
    for (let sent = 0; sent < REQUESTS; sent++) {
      const connection = random.int(CONNECTIONS);
      const key = Buffer.from(`c${connection}:${random.int(KEYS)}`);
      const at = sent * 50_000;
      yield { connection, at, answeredAt: at, isSet: random.chance(1 / 11), key, value, joins: false };
    }
  };
  const connections = Array.from({ length: CONNECTIONS }, () => ({ openNs: 0, closeNs: NEVER }));
  await writeModel(tape, connections, rows());
}

function replay(target: string, more: readonly string[]): Started {
  return start(
    ['replay', tape, '--target', target, '--timeout', '20s', '--json', json, ...more],
    [],
    collecting,
  );
}

/** Where a replay has its metrics. */
function metricsOf({ child, said, ended }: Started): Promise<string> {
  return new Promise((resolve, reject) => {
    child.stderr.on('data', () => {
      const url = /metrics on (\S+)/.exec(said())?.[1];
      if (url !== undefined) resolve(url);
    });
    void ended.then(({ code }) => reject(new Error(`the replay ended with ${code}: ${said()}`)));
  });
}

const reportOf = (): Report => JSON.parse(readFileSync(json, 'utf8')) as Report;

/** How long a NOOP takes on this connection. */
function noop(socket: ReturnType<typeof connect>): Promise<number> {
  const from = performance.now();
  return new Promise((resolve) => {
    socket.once('data', () => resolve(performance.now() - from));
    socket.write(encodeRequest({ opcode: Opcode.noop }));
  });
}

/** Each second until the replay has sent everything. */
async function watch(replaying: Started, proxy: { pid: number; address: string }): Promise<Sample[]> {
  const samples: Sample[] = [];
  const { child } = replaying;
  const url = await metricsOf(replaying);
  const socket = connect(Number(proxy.address.split(':')[1]), '127.0.0.1');
  let from = 0;
  while (child.exitCode === null && child.signalCode === null) {
    await sleep(1000);
    const text = await fetch(url).then(
      async (answer) => answer.text(),
      () => '',
    );
    const figure = (name: string): number =>
      Number(new RegExp(`^memtape_replay_${name} (\\S+)`, 'm').exec(text)?.[1] ?? NaN);
    const [done, total] = [figure('exchanges_done_total'), figure('exchanges')];
    if (total > 0 && done >= total) break;
    if (!(done > 0)) continue;
    if (samples.length === 0) from = performance.now();
    samples.push({
      seconds: (performance.now() - from) / 1000,
      proxyMegabytes: megabytesOf(proxy.pid),
      replayMegabytes: megabytesOf(child.pid!),
      noopMs: await noop(socket),
      lateMs: figure('lag_seconds') * 1000,
      failed: figure('requests_failed_total'),
    });
  }
  socket.destroy();
  return samples;
}

interface Panel {
  title: string;
  lines: readonly [name: string, color: string, of: (sample: Sample) => number][];
}

const panels: readonly Panel[] = [
  {
    title: 'Memory, MB',
    lines: [
      ['recording proxy', '#2a7', ({ proxyMegabytes }) => proxyMegabytes],
      ['replay', '#d63', ({ replayMegabytes }) => replayMegabytes],
    ],
  },
  { title: 'A NOOP through the proxy, ms', lines: [['', '#2a7', ({ noopMs }) => noopMs]] },
  { title: 'Latest request of the replay, ms', lines: [['', '#d63', ({ lateMs }) => lateMs]] },
  { title: 'Requests without an answer', lines: [['', '#d63', ({ failed }) => failed]] },
];

function draw(path: string, samples: readonly Sample[]): void {
  const [width, height, left, gap] = [640, 110, 50, 50];
  const end = samples.at(-1)!.seconds;
  const drawn = panels.map(({ title, lines }, n) => {
    const top = 30 + n * (height + gap);
    const most = Math.max(1, ...lines.flatMap(([, , of]) => samples.map(of)));
    const x = (seconds: number): number => left + (seconds / end) * width;
    const y = (value: number): number => top + height - (value / most) * height;
    const axes = `<text x="${left}" y="${top - 8}">${title}</text><text x="${left - 6}" y="${top + 4}" text-anchor="end">${most.toFixed(0)}</text><text x="${left - 6}" y="${top + height + 4}" text-anchor="end">0</text><path d="M${left} ${top}V${top + height}H${left + width}" fill="none" stroke="#8888"/><text x="${left + width}" y="${top + height + 16}" text-anchor="end">${(end / 60).toFixed(1)} min</text>`;
    const curves = lines.map(([name, color, of], line) => {
      const points = samples.map((sample) => `${x(sample.seconds).toFixed(1)},${y(of(sample)).toFixed(1)}`);
      return `<polyline fill="none" stroke="${color}" stroke-width="1.5" points="${points.join(' ')}"/><text x="${left + 120 + line * 120}" y="${top - 8}" fill="${color}">${name}</text>`;
    });
    return [axes, ...curves].join('\n');
  });
  writeFileSync(
    path,
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width + left + 20} ${panels.length * (height + gap) + 30}" font-family="sans-serif" font-size="12" fill="#777"><title>Memory, delays and failures of recording and replaying for ${(end / 60).toFixed(0)} minutes</title>\n${drawn.join('\n')}\n</svg>\n`,
  );
}

const wrong: string[] = [];
const server = await startMemcached(['-m', '512']);
try {
  await writeTape();
  const output = join(folder, 'recorded.tape');
  const proxy = await startRecording(
    server.address,
    output,
    ['--rotate', '1m', '--keep', '2'],
    [],
    collecting,
  );
  const first = replay(proxy.address, ['--speed', 'max']);
  if ((await first.ended).code !== 0) throw new Error('a replay at full speed does not pass');
  const most = reportOf().schedule.achievedRate;
  const rate = Math.round(most / 2);
  const loops = Math.max(1, Math.round((rate * 60 * MINUTES) / REQUESTS));
  say(`at most ${Math.round(most)} requests/s through the proxy; ${rate}/s for ${MINUTES} min`);
  const steady = ['--rate', String(rate), '--loop', String(loops), '--metrics', '127.0.0.1:0'];
  const replaying = replay(proxy.address, steady);
  const samples = await watch(replaying, { pid: proxy.child.pid!, address: proxy.address });
  const { code } = await replaying.ended;
  proxy.child.kill('SIGINT');
  const proxyCode = await proxy.ended;
  const { verdict, exchanges, schedule } = reportOf();
  if (code !== 0 || proxyCode !== 0) wrong.push(`replay: exit ${code}, ${verdict}; proxy: exit ${proxyCode}`);
  if (exchanges.answered !== exchanges.sent) wrong.push(`${exchanges.answered} answers of ${exchanges.sent}`);
  for (const [name, of] of panels[0]!.lines.map(([name, , of]) => [name, of] as const)) {
    const sampled = samples.map(of);
    const mean = sampled.reduce((sum, megabytes) => sum + megabytes, 0) / sampled.length;
    say(`${name}: ${mean.toFixed(0)} MB on average, at most ${Math.max(...sampled).toFixed(0)}`);
    if (MINUTES < MIN_MINUTES_OF_GROWTH) continue;
    const { megabytes, stepsUp } = growthOf(
      samples.map((sample) => ({ seconds: sample.seconds, megabytes: of(sample) })),
    );
    say(
      `${name}: grows by ${megabytes.toFixed(1)} MB in the last part, and by ${stepsUp.toFixed(1)} MB in steps`,
    );
    if (megabytes > MAX_GROWTH_MEGABYTES || stepsUp > MAX_STEPS_MEGABYTES)
      wrong.push(`the memory of the ${name} grows`);
  }
  say(
    `${exchanges.sent} requests at ${schedule.achievedRate.toFixed(0)}/s, all of them answered: ${exchanges.answered === exchanges.sent}; late by our own fault: p99 ${(schedule.lagMicros.p99 / 1000).toFixed(1)} ms, at most ${(schedule.lagMicros.max / 1000).toFixed(1)} ms; event loop p99 ${(schedule.eventLoopDelayMicros.p99 / 1000).toFixed(1)} ms; NOOP through the proxy at most ${Math.max(...samples.map(({ noopMs }) => noopMs)).toFixed(1)} ms`,
  );
  say(`rotated traces left: ${readdirSync(folder).filter((name) => name.startsWith('recorded-')).length}`);
  if (SVG !== undefined) draw(SVG, samples);
} finally {
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
}
for (const line of wrong) say(`WRONG  ${line}`);
process.exitCode = wrong.length === 0 ? 0 : 1;
