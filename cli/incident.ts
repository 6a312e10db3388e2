// `memtape synth incident`: the incident that memtape was made for, out of a model. Two large tenants sign up, demand
// surges, one backend is slow, another runs out of memory and restarts; the release before it keeps its dead sockets.

import { Command } from 'commander';
import { given } from '../config/given.ts';
import { parseCount, parseDuration, parseRate } from '../config/units.ts';
import { exitCodes } from '../report/report.ts';
import type { NamedReport } from '../report/shape.ts';
import { startEmbedded } from './embedded.ts';
import { Verdict } from './error.ts';
import { checkOutputs, outputOptions, printReport, type OutputOptions } from './output.ts';
import { runReplay, type RunOptions } from './replaying.ts';
import type { Shell } from './shell.ts';
import { INTERRUPTED, onInterrupt } from './signal.ts';
import { parseTargets } from './target.ts';

interface IncidentOptions extends OutputOptions {
  target?: string[];
  duration: number;
  rate: number;
  release: 'sick' | 'fixed';
  seed?: number;
  scenario: string[];
  quiet?: true;
}

const examples = `
Examples:
  memtape synth incident                                       the sick release: it fails, and the backend is named
  memtape synth incident --release fixed                       the fixed one passes
  memtape synth incident --scenario hotKey --seed 2            and something else on top
  memtape synth incident --html incident.html
  memtape synth incident --target staging:11211 --duration 60s --rate 20k`;

const BACKENDS = 4;
const SLOW = 1;
const RESTARTED = 2;
/** Little enough that the surge makes backends evict. */
const MEMORY_BYTES = 1_500_000;

export function incidentCommand(shell: Shell): Command {
  const command = new Command('incident')
    .description('The incident: new tenants, a surge, a slow backend, restarts, and a release that minds.')
    .option(
      '--target <address,…>',
      'where to send it; default: an embedded cluster that has the faults',
      parseTargets,
    )
    .option('--duration <time>', 'how long', parseDuration, 9000)
    .option('--rate <rate>', 'requests a second, before the surge', parseRate, 1500)
    .option(
      '--release <sick|fixed>',
      'of the embedded proxy: keeps sockets to backends that restarted, or not',
      'sick',
    )
    .option('--seed <n>', 'other draws of the same traffic', (text) => parseCount(text, 0))
    .option(
      '--scenario <name...>',
      'what happens on top of it (repeatable)',
      (text: string, before: string[]) => [...before, text],
      [],
    )
    .option('--quiet', 'no progress');
  return outputOptions(command, shell)
    .addHelpText('after', examples)
    .action(async (options: IncidentOptions) => {
      checkOutputs(options, []);
      const interrupt = onInterrupt(shell);
      try {
        const named = await run(shell, options, interrupt.signal);
        const code = interrupt.signal.aborted ? INTERRUPTED : exitCodes[named.report.verdict];
        throw new Verdict(await printReport(shell, named, options, code));
      } finally {
        interrupt.ignore();
      }
    });
}

async function run(shell: Shell, options: IncidentOptions, signal: AbortSignal): Promise<NamedReport> {
  const { duration, rate, target, release, seed, scenario, quiet } = options;
  const replayed: RunOptions = {
    scenario: ['incident', ...scenario],
    ...given({ seed }),
    duration,
    rate: { plan: [{ from: rate, to: rate, seconds: Infinity }], text: String(rate) },
    tenants: 'auto',
    speed: 1,
    order: 'key',
    prefill: 'auto',
    timeout: 2000,
    workers: 1,
    allow: [],
    threshold: [],
    examples: 10,
    ...given({ quiet }),
  };
  if (target !== undefined) return runReplay(shell, 'app', { ...replayed, target }, signal);
  const third = duration / 3000;
  const cluster = await startEmbedded({
    backends: BACKENDS,
    proxy: true,
    memoryBytes: MEMORY_BYTES,
    faults: [
      `slow=0.2,backend=${SLOW},after=${third},until=${2 * third}`,
      `${release === 'sick' ? 'stale-sockets' : 'restart-empty'},backend=${RESTARTED},after=${2 * third}`,
    ],
  });
  let isBegun = false;
  try {
    return await runReplay(
      shell,
      'app',
      { ...replayed, target: cluster.targets, backends: cluster.backends },
      signal,
      ({ phase }) => {
        if (phase !== 'replaying' || isBegun) return;
        isBegun = true;
        cluster.begin();
      },
    );
  } finally {
    await cluster.stop();
  }
}
