// `memtape cluster plan`: looks a trace over, measures a worker, and shows the arithmetic.

import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { given } from '../config/given.ts';
import { demandOf, planOf, type Demand, type Plan } from '../cluster/plan.ts';
import { replay } from '../replayer/replay.ts';
import { openSource, type Source } from '../trace/source.ts';
import { CliError, Verdict } from './error.ts';
import { Progress } from './progress.ts';
import type { Shell } from './shell.ts';
import { checkSource, isModel, sourcePath, type SynthOptions } from './source.ts';
import { formatCount } from './text.ts';

export interface PlanCommandOptions extends Omit<SynthOptions, 'rate'> {
  rate: number;
  measured?: number;
  headroom: number;
  targets: number;
  json?: true;
  quiet?: true;
}

/** Requests of a model that says no number itself: enough to see how its keys divide. */
const MODEL_REQUESTS = 200_000;

export async function plan(shell: Shell, name: string, options: PlanCommandOptions): Promise<void> {
  const path = sourcePath(shell, name);
  checkSource(path);
  const source = isModel(path) ? await modelOf(path, options) : path;
  const demand = await looked(shell, source, options);
  if (demand.exchanges === 0) throw new CliError(`${name}: expected exchanges to plan by, got none`, 2);
  const measured = options.measured ?? (await measure(shell, source, demand));
  const { rate, headroom, targets } = options;
  const made = planOf(demand, { rate, measured, headroom, targets });
  shell.stdout.write(
    options.json === true ? `${JSON.stringify(made, null, 2)}\n` : render(name, made, options),
  );
  // What was asked for cannot be: that is no verdict on anything.
  throw new Verdict(made.workers === null ? 2 : 0);
}

async function modelOf(name: string, options: PlanCommandOptions): Promise<Source> {
  const { sourceOf } = await import('./model.ts');
  const {
    seed,
    duration,
    requests = duration === undefined ? MODEL_REQUESTS : undefined,
    scenario,
  } = options;
  return sourceOf(name, {
    ...given({ seed, duration, requests }),
    scenario,
  }).source;
}

async function looked(shell: Shell, source: Source, { quiet }: PlanCommandOptions): Promise<Demand> {
  const trace = await openSource(source);
  const progress = new Progress(shell, trace.exchangeCount, {
    label: 'reading',
    unit: 'exchanges',
    quiet: quiet === true,
  });
  try {
    return await demandOf(trace, (done) => progress.update(done, done));
  } finally {
    progress.stop();
    await trace.close();
  }
}

/** Requests a second that one worker sends, as fast as it goes, to an embedded server in a process of its own. */
async function measure(shell: Shell, trace: Source, { sampleNs }: Demand): Promise<number> {
  const folder = shell.temporaryFolder();
  // Tests run the sources, and processes the build.
  const isSource = import.meta.url.endsWith('.ts');
  const program = fileURLToPath(new URL(isSource ? '../dist/cli/main.js' : './main.js', import.meta.url));
  const server = spawn(process.execPath, [program, 'serve', '--json', '--memory', '1GB'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  try {
    const line = await new Promise<string>((resolve, reject) => {
      server.once('error', reject);
      server.once('exit', (code) => reject(new Error(`it ended with ${code}`)));
      createInterface({ input: server.stdout }).once('line', resolve);
    });
    const { backends } = JSON.parse(line) as { backends: string[] };
    const { survey, end } = await replay({
      trace,
      results: join(folder, 'results'),
      targets: backends,
      route: 'single',
      speed: 'max',
      allow: new Set(['recorded-target']),
      ...(sampleNs === Infinity ? {} : { toNs: sampleNs }),
    });
    return survey.exchanges / Math.max(end.durationNs / 1e9, 1e-3);
  } catch (cause) {
    throw new CliError(`cannot measure a worker here: ${(cause as Error).message}; say --measured RATE`, 5, {
      cause,
    });
  } finally {
    server.kill();
    shell.remove(folder);
  }
}

function whole(value: number): string {
  return formatCount(Math.round(value));
}

function line(what: string, text: string): string {
  return `  ${what.padEnd(12)} ${text}`;
}

function render(name: string, plan: Plan, { measured }: PlanCommandOptions): string {
  const { rate, perWorker, headroom, workers, why, fullest, connections, bandwidth, trace, speed } = plan;
  const bits = (value: number, bytes: number): string =>
    `${whole(rate)}/s × (${bytes.toFixed(0)} + 66) bytes × 8 = ${formatBits(value)}`;
  return `${[
    `${whole(rate)} requests a second, out of ${name}`,
    '',
    line(
      'trace',
      `${whole(trace.exchanges)} exchanges in ${trace.seconds.toFixed(1)} s, ${whole(trace.connections)} connections at once, ${whole(trace.keys)} keys; ${speed.toFixed(1)} times its own rate`,
    ),
    line(
      'a worker',
      `${measured === undefined ? 'measured here' : 'as you say'} ${whole(plan.measured)}/s as fast as it goes; × ${headroom} = ${whole(perWorker)}/s with its times kept`,
    ),
    ...(workers === null || fullest === null
      ? [line('workers', `no number of them is enough: ${why}`)]
      : [
          line(
            'workers',
            `${workers}: ${whole(rate)} / ${whole(perWorker)} = ${(rate / perWorker).toFixed(2)}, and the fullest of ${workers} shards has ${(fullest.share * 100).toFixed(2)}% of the requests (the hottest key ${(trace.hottest * 100).toFixed(2)}%), ${whole(fullest.rate)}/s`,
          ),
          line(
            'connections',
            `${whole(connections!)} at most: ${whole(trace.connections)} × ${workers} workers × ${whole(connections! / trace.connections / workers)} targets`,
          ),
        ]),
    line('requests', bits(bandwidth.requests, trace.requestBytes)),
    line('answers', bits(bandwidth.answers, trace.answerBytes)),
    line(
      'make ready',
      `${plan.readySeconds.toFixed(1)} s at least: each worker reads the trace twice, at ${whole(trace.readRate)} exchanges a second`,
    ),
    ...(workers === null
      ? []
      : [
          '',
          `memtape cluster run ${name} --rate ${rate} --workers ${workers} --redis redis://HOST:6379 --target …`,
        ]),
  ].join('\n')}\n`;
}

function formatBits(bits: number): string {
  const units = [
    [1e12, 'Tbit/s'],
    [1e9, 'Gbit/s'],
    [1e6, 'Mbit/s'],
  ] as const;
  const [size, unit] = units.find(([least]) => bits >= least) ?? [1e3, 'kbit/s'];
  return `${(bits / size).toFixed(2)} ${unit}`;
}
