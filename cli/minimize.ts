// `memtape minimize`: the smallest trace that still shows a finding.

import { InvalidArgumentError, type Command } from 'commander';
import { given } from '../config/given.ts';
import { nearest } from '../config/nearest.ts';
import { parseCount, parseDuration } from '../config/units.ts';
import { drifts, untestables, violations, type Finding } from '../diff/verdict.ts';
import { parseFault } from '../embedded/fault.ts';
import { parseProxyFault } from '../embedded/proxy/fault.ts';
import { permissions, type Permission } from '../replayer/gate.ts';
import { refuseRecorded } from '../replayer/replay.ts';
import { parseTarget, resolveTarget } from '../replayer/target.ts';
import type { Connection } from '../trace/batch.ts';
import { TraceReader } from '../trace/file.ts';
import { textHead, textLine } from './cat.ts';
import { addPermission, paceOptions, parseSpeed } from './pace.ts';
import { CliError, Verdict } from './error.ts';
import { expectKind } from './kind.ts';
import { Place, forceOption, replacing } from './place.ts';
import { Progress } from './progress.ts';
import { checkEmbedded } from './needs.ts';
import { Reduction, type ReductionOptions, type Sought, type Wanted } from './reduction.ts';
import type { Shell } from './shell.ts';
import { INTERRUPTED, onInterrupt } from './signal.ts';
import { EMBEDDED_PORT, embedded, flushed, reset, type Subject } from './subject.ts';
import { targetOptions, targetsOf, type TargetOptions } from './target.ts';
import { formatCount, formatDuration, plural } from './text.ts';

interface Options extends TargetOptions {
  finding: Wanted;
  output: string;
  force?: true;
  reset?: string;
  allow: Permission[];
  backends: number;
  fault: string[];
  proxy?: true;
  speed: number | 'max';
  order: 'key' | 'connection' | 'none';
  prefill: 'auto' | 'none';
  timeout: number;
  compress?: number;
  maxTries: number;
  maxTime: number;
  quiet?: true;
}

/** Exchanges of the result that are printed. */
const LINES = 50;

const examples = `
Examples:
  memtape minimize capture.tape --finding 1 --target staging:11211 --allow flush -o small.tape
  memtape minimize capture.tape --finding wrong-value --target staging:11211 --reset 'ssh staging systemctl restart memcached' -o small.tape
  memtape minimize capture.tape --finding lost --target proxy:11211 --reset ./empty.sh --max-time 10m -o small.tape
  memtape minimize capture.tape --finding stale-value --fault forget-after=append+touch -o small.tape
  memtape minimize capture.tape --finding 1 --backends 4 --proxy --fault stale-read,backend=2 -o small.tape

The finding is that of \`memtape replay\` with the same options, at --speed max. Every try begins with an empty target.
Exit codes: 0 minimized · 2 bad usage · 3 the finding was not seen · 5 the target could not be reached or emptied
130 interrupted: the best so far is written.`;

export function minimizeCommand(command: Command, shell: Shell): void {
  command
    .requiredOption(
      '--finding <n|kind>',
      'which: its number in the report of a replay, from 1, or its kind, such as wrong-value or lost',
      parseWanted,
    )
    .requiredOption('-o, --output <file>', 'the trace to write', shell.path)
    .option(...forceOption);
  paceOptions(targetOptions(command, shell))
    .option('--reset <command>', 'a shell command that empties the targets; run before each try')
    .option(
      '--allow <what>',
      `flush: empty the targets with FLUSH before each try; and as replay has it: ${permissions.join(', ')} (repeatable)`,
      addPermission,
      [],
    )
    .option('--backends <n>', 'without --target: how many embedded servers', (text) => parseCount(text), 1)
    .option('--proxy', 'without --target: a proxy in front of them, as serve --proxy')
    .option(
      '--fault <spec>',
      'without --target: what is wrong, as serve --fault (repeatable with --proxy)',
      (text: string, before: string[]) => [...before, text],
      [],
    )
    .option(
      '--speed <n|max>',
      'times the recorded speed; what takes its time to show needs one',
      parseSpeed,
      'max',
    )
    .option('--compress <time>', 'shorten the pauses of the trace to this', parseDuration)
    .option('--max-tries <n>', 'end after so many tries', (text) => parseCount(text), Infinity)
    .option('--max-time <time>', 'end after this time', parseDuration, Infinity)
    .option('--quiet', 'no progress');
  command
    .addHelpText('after', examples)
    .action(async (trace: string, options: Options) => minimize(shell, shell.path(trace), options));
}

async function minimize(shell: Shell, trace: string, options: Options): Promise<void> {
  expectKind(trace, 'trace');
  const servers = await serversOf(trace);
  if (options.target === undefined) await checkEmbedded(trace);
  const subject = await subjectOf(shell, options, servers);
  const place = Place.take(shell, options.output, {
    option: '--output',
    replacing: replacing(options.force),
    inputs: [trace],
  });
  const folder = shell.temporaryFolder();
  const interrupt = onInterrupt(shell);
  const over = new AbortController();
  const timer = options.maxTime === Infinity ? undefined : setTimeout(() => over.abort(), options.maxTime);
  const progress = new Progress(shell, 0, {
    label: 'minimizing',
    unit: 'tries',
    quiet: options.quiet === true,
  });
  const began = performance.now();
  const run = runOf(options);
  const reduction = new Reduction({
    trace,
    folder,
    subject,
    run: { ...run, ...targetsOf(shell, options) },
    control: {
      subject: embedded({ backends: options.route?.name === 'index' ? servers.length : 1 }),
      run: { ...run, ...(options.route?.name === 'index' ? { route: 'index' } : {}) },
    },
    ...(options.compress === undefined ? {} : { maxPauseNs: options.compress * 1e6 }),
    maxTries: options.maxTries,
    signal: AbortSignal.any([interrupt.signal, over.signal]),
    onTry: (tries, left) => progress.update(tries, tries, `${plural(left, 'exchange')} left`),
  });
  try {
    const sought = await reduction.look(options.finding);
    if (interrupt.signal.aborted) throw new Verdict(INTERRUPTED);
    if (sought === undefined) throw notSeen(reduction, options.finding);
    progress.stop();
    tell(shell, sought, options);
    let isMinimal = false;
    let trouble: unknown;
    try {
      isMinimal = await reduction.reduce(sought);
    } catch (error) {
      // What was found until then is worth keeping.
      trouble = error;
    }
    await reduction.write(place.temporary);
    const made = await place.publish();
    progress.stop();
    const { tries, total, left } = reduction;
    const took = formatDuration((performance.now() - began) / 1000);
    const confirmed = isMinimal ? await reduction.confirm(made, sought) : undefined;
    shell.stdout.write(
      `${sought.class}: ${sought.kind}: ${plural(total, 'exchange')} → ${formatCount(left)}, in ${plural(tries, 'try', 'tries')} and ${took}; ${remark(confirmed)}\n`,
    );
    await print(shell, made);
    shell.stdout.write(`\nreplay it:\n${commandLines(options)}\n`);
    if (trouble !== undefined) throw trouble;
    if (interrupt.signal.aborted) throw new Verdict(INTERRUPTED);
    if (confirmed?.seen === 0) throw new Verdict(3);
  } finally {
    progress.stop();
    clearTimeout(timer);
    interrupt.ignore();
    place.discard();
    shell.remove(folder);
  }
}

function runOf({ speed, order, prefill, timeout, tenants, allow }: Options): ReductionOptions['run'] {
  return { speed, order, prefill, timeoutMs: timeout, tenants, allow: new Set(allow) };
}

async function subjectOf(shell: Shell, options: Options, servers: string[]): Promise<Subject> {
  const { target, allow, backends, fault, proxy } = options;
  if (target === undefined) {
    if (options.reset !== undefined)
      throw new CliError('--reset needs a --target; an embedded server is made anew for each try', 2);
    if (proxy === true)
      return embedded(
        { backends },
        fault.map((text) => checked(() => parseProxyFault(text))),
      );
    if (fault.length > 1) throw new CliError('without --proxy only one fault at a time', 2);
    const [spec] = fault.map((text) => checked(() => parseFault(text)));
    const wanted = options.route?.name === 'index' ? Math.max(backends, servers.length) : backends;
    return embedded({ backends: wanted, ...given({ fault: spec }) });
  }
  if (fault.length > 0 || proxy === true)
    throw new CliError('--fault and --proxy are of the embedded server: expected them without --target', 2);
  const { tls, credentialsOf } = targetsOf(shell, options);
  const targets = await Promise.all(
    target.map(async (text) => resolveTarget({ ...parseTarget(text), ...given({ tls }) })),
  );
  // Before anything is emptied.
  if (!allow.includes('recorded-target')) refuseRecorded(targets, { servers });
  if (options.reset !== undefined) return reset(target, options.reset);
  if (allow.includes('flush')) return flushed(targets, credentialsOf?.(''), options.timeout);
  throw new CliError(
    'each try begins with an empty target: expected --reset COMMAND, which empties it, or --allow flush, which lets memtape send FLUSH to it',
    2,
  );
}

async function serversOf(path: string): Promise<string[]> {
  const trace = await TraceReader.open(path);
  try {
    const servers = new Set<string>();
    for await (const batch of trace.batches())
      for (const { server } of batch.connections) servers.add(server);
    return [...servers];
  } finally {
    await trace.close();
  }
}

function notSeen({ findings, tries, total, isOver }: Reduction, wanted: Wanted): CliError {
  const what = 'kind' in wanted ? wanted.kind : `finding ${wanted.number}`;
  // The findings of a try that was interrupted are not all there are.
  if (isOver)
    return new CliError(`${what}: the search ended before it was seen; allow more tries, or more time`, 3);
  const others = findings.map((one, n) => `${n + 1} ${named(one)}`);
  const rest =
    others.length === 0 ? 'everything was as recorded' : `the last try showed ${others.join(', ')}`;
  return new CliError(
    `${what} was not seen in ${plural(tries, 'try', 'tries')} of ${plural(total, 'exchange')}; ${rest}`,
    3,
  );
}

function named({ class: of, kind, count }: Finding): string {
  return `${of} ${kind} ×${formatCount(count)}`;
}

/** What to think of the result. */
function remark(confirmed: Awaited<ReturnType<Reduction['confirm']>> | undefined): string {
  if (confirmed === undefined) return 'the search ended early, fewer may do';
  const { seen, tries } = confirmed;
  if (seen === 0) return `it does not show it again in ${tries} more: too flaky for this`;
  return `without any one of them it is not seen, with them in ${seen} of ${tries} more`;
}

/** What is looked for, and what there is to know about it beforehand. */
function tell(shell: Shell, sought: Sought, { quiet }: Options): void {
  if (quiet === true) return;
  const { tries, seen, repeats, isEverywhere } = sought;
  const lines = [`looking for ${named(sought)}`];
  if (seen < tries)
    lines.push(
      `it is flaky: seen in ${seen} of ${tries} tries; a part is given up after ${repeats} tries without it`,
    );
  if (isEverywhere)
    lines.push(
      'a healthy embedded server shows it too: it may say more about the trace than about the target',
    );
  shell.stderr.write(`${lines.join('\n')}\n`);
}

async function print(shell: Shell, path: string): Promise<void> {
  const trace = await TraceReader.open(path);
  try {
    let text = `\n${textHead()}\n`;
    let left = LINES;
    const connections = new Map<number, Connection>();
    for await (const batch of trace.batches()) {
      for (const connection of batch.connections) connections.set(connection.id, connection);
      for (let row = 0; row < batch.count && left > 0; row++, left--)
        text += `${textLine(batch, row, connections.get(batch.connection[row]!), trace.meta)}\n`;
    }
    if (trace.exchangeCount > LINES)
      text += `… and ${formatCount(trace.exchangeCount - LINES)} more: memtape cat ${quoted(path)}\n`;
    shell.stdout.write(text);
  } finally {
    await trace.close();
  }
}

/** What shows the finding again: the embedded server where there is no target, and the replay. */
function commandLines(options: Options): string {
  const { target, route, output, speed, order, prefill, timeout, tenants } = options;
  const lines: string[] = [];
  let address = target?.join(',');
  const { backends, fault, proxy } = options;
  if (address === undefined && (fault.length > 0 || proxy === true || backends > 1)) {
    const words = [
      ...(backends > 1 ? [`--backends ${backends}`] : []),
      `--port ${EMBEDDED_PORT}`,
      ...(proxy === true ? ['--proxy'] : []),
      ...fault.map((spec) => `--fault ${quoted(spec)}`),
    ];
    lines.push(`memtape serve ${words.join(' ')}`);
    const ports = Array.from({ length: backends }, (_, n) => `127.0.0.1:${EMBEDDED_PORT + n}`);
    // The proxy says where it listens.
    address = proxy === true ? 'PROXY' : ports.join(',');
  }
  const given: [name: string, value: string | undefined][] = [
    ['--target', address],
    [
      '--route',
      route === undefined ? undefined : route.file === undefined ? route.name : `map=${route.file}`,
    ],
    ['--auth-file', options.authFile],
    ['--mask-key-file', options.maskKeyFile],
    ['--tenants', tenants === 'auto' ? undefined : tenants],
    ['--tls-ca', options.tlsCa],
    ['--tls-cert', options.tlsCert],
    ['--tls-key', options.tlsKey],
    ['--tls-server-name', options.tlsServerName],
    ['--speed', String(speed)],
    ['--order', order === 'key' ? undefined : order],
    ['--prefill', prefill === 'auto' ? undefined : prefill],
    ['--timeout', timeout === 1000 ? undefined : `${timeout}ms`],
    ...options.allow.map((what): [string, string] => ['--allow', what]),
  ];
  const words = given.flatMap(([name, value]) => (value === undefined ? [] : [`${name} ${quoted(value)}`]));
  if (options.tls === true) words.push('--tls');
  if (options.tlsInsecure === true) words.push('--tls-insecure');
  lines.push(`memtape replay ${quoted(output)} ${words.join(' ')}`);
  if (options.reset !== undefined) lines.unshift(options.reset);
  return lines.map((line) => `  ${line}`).join('\n');
}

/** As one word of a shell. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

function parseWanted(text: string): Wanted {
  if (/^\d+$/.test(text)) return { number: parseCount(text) };
  const kinds: readonly string[] = [...violations, ...drifts, ...untestables];
  if (kinds.includes(text)) return { kind: text };
  const meant = nearest(text, kinds);
  throw new InvalidArgumentError(
    `expected the number of a finding, or one of ${kinds.join(', ')}${meant === undefined ? '' : `; did you mean ${meant}?`}`,
  );
}

function checked<T>(parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    throw new CliError((cause as Error).message, 2, { cause });
  }
}
