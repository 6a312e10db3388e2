// `memtape coverage`: which backends the keys of a trace reach, and keys that reach each backend, made to order.

import type { Command } from 'commander';
import { createRoute, parseTarget, type Target } from '../replayer/target.ts';
import { TraceReader } from '../trace/file.ts';
import { CliError, Verdict } from './error.ts';
import { expectKind } from './kind.ts';
import type { Shell } from './shell.ts';
import { parseRoute, parseTargets, routeMapOf, type RouteOption } from './target.ts';
import { formatCount, plural, printable } from './text.ts';
import { parseCount } from '../config/units.ts';

interface CoverageOptions {
  target: string[];
  route: RouteOption;
  min: number;
  make?: number;
  prefix: string;
  json?: true;
}

interface BackendCoverage {
  address: string;
  exchanges: number;
  keys: number;
  /** The exchanges are at least as many as asked for. */
  covered: boolean;
  /** Keys that reach it, with --make. */
  made?: string[];
}

const NOT_ENOUGH = 3;
/** Keys tried for each that is wanted; a backend that none of them reaches has next to nothing of the ring. */
const TRIES = 10_000;

const examples = `
Examples:
  memtape coverage capture.tape --target a:11211,b:11211,c:11211 --route ketama
  memtape coverage capture.tape --target a:11211,b:11211 --route modula --min 1000
  memtape coverage --target a:11211,b:11211,c:11211 --route ketama --make 3      monitoring keys, three for each backend`;

export function coverageCommand(command: Command, shell: Shell): void {
  command
    .requiredOption('--target <address,…>', 'the backends, as clients or the proxy name them', parseTargets)
    .requiredOption(
      '--route <route>',
      'how keys are spread over them: ketama, modula, jump, memjs, map=FILE, …',
      (text) => parseRoute(text, shell),
    )
    .option(
      '--min <n>',
      'exchanges that each backend must have; fewer are exit code 3',
      (text) => parseCount(text, 0),
      1,
    )
    .option('--make <k>', 'make keys of which k reach each backend', (text) => parseCount(text))
    .option('--prefix <text>', 'with --make: what the keys begin with', 'memtape:')
    .option('--json', 'print JSON')
    .addHelpText('after', examples)
    .action(async (trace: string | undefined, options: CoverageOptions) => run(shell, trace, options));
}

async function run(shell: Shell, path: string | undefined, options: CoverageOptions): Promise<void> {
  const { min, make, prefix, route } = options;
  if (path === undefined && make === undefined)
    throw new CliError('expected a trace, or --make to make keys without one', 2);
  const targets = options.target.map(parseTarget);
  const { ofKey } = createRoute(route.name, targets, targets.length, routeMapOf(route));
  if (ofKey === undefined)
    throw new CliError(`expected a route by key such as ketama or modula, got ${route.name}`, 2);
  const backends = targets.map(({ address }): BackendCoverage => ({
    address,
    exchanges: 0,
    keys: 0,
    covered: true,
  }));
  if (path !== undefined) await count(shell.path(path), ofKey, backends);
  for (const backend of backends) backend.covered = path === undefined || backend.exchanges >= min;
  if (make !== undefined) makeKeys(targets, ofKey, make, prefix, backends);
  if (options.json === true) shell.stdout.write(`${JSON.stringify({ backends }, null, 2)}\n`);
  else print(shell, backends, path !== undefined);
  if (backends.some(({ covered }) => !covered)) throw new Verdict(NOT_ENOUGH);
}

async function count(
  path: string,
  ofKey: (buffer: Buffer, at: number, length: number) => number,
  backends: BackendCoverage[],
): Promise<void> {
  expectKind(path, 'trace');
  const trace = await TraceReader.open(path);
  const keys = backends.map(() => new Set<string>());
  try {
    for await (const batch of trace.batches())
      for (let row = 0; row < batch.count; row++) {
        const length = batch.keyLength[row]!;
        if (length === 0) continue;
        const at = ofKey(batch.heap, batch.keyAt[row]!, length);
        backends[at]!.exchanges++;
        keys[at]!.add(batch.key(row).toString('latin1'));
      }
  } finally {
    await trace.close();
  }
  for (const [n, backend] of backends.entries()) backend.keys = keys[n]!.size;
}

function makeKeys(
  targets: readonly Target[],
  ofKey: (buffer: Buffer, at: number, length: number) => number,
  wanted: number,
  prefix: string,
  backends: BackendCoverage[],
): void {
  const made = targets.map((): string[] => []);
  for (let n = 0; n < TRIES * wanted * targets.length && made.some((keys) => keys.length < wanted); n++) {
    const key = `${prefix}${n}`;
    const bytes = Buffer.from(key);
    const keys = made[ofKey(bytes, 0, bytes.length)]!;
    if (keys.length < wanted) keys.push(key);
  }
  for (const [n, backend] of backends.entries()) {
    backend.made = made[n]!;
    if (made[n]!.length < wanted) backend.covered = false;
  }
}

function print({ stdout, palette }: Shell, backends: readonly BackendCoverage[], hasTrace: boolean): void {
  const width = Math.max(...backends.map(({ address }) => address.length));
  for (const { address, exchanges, keys, covered, made } of backends) {
    const counts = hasTrace
      ? `  ${formatCount(exchanges).padStart(11)} exchanges  ${plural(keys, 'key')}`
      : '';
    const line = `${address.padEnd(width)}${counts}${covered ? '' : '  not evaluated'}`;
    stdout.write(`${covered ? line : palette.bad(line)}\n`);
    for (const key of made ?? []) stdout.write(`  ${printable(Buffer.from(key))}\n`);
  }
}
