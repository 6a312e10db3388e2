// `memtape record`: a capture, or live traffic through the recording proxy, into a trace file.

import { statSync } from 'node:fs';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Option, type Command } from 'commander';
import { given } from '../config/given.ts';
import { parseCount, parseDuration, parsePercent, parseSample, parseSize } from '../config/units.ts';
import { checkApart, checkOutput } from '../recorder/claim.ts';
import { RecorderError } from '../recorder/error.ts';
import { recordCapture, type CaptureRecorded } from '../recorder/record.ts';
import { captureLive } from '../recorder/tcpdump.ts';
import { CliError, DEFECT, Verdict } from './error.ts';
import { expandFiles } from './file.ts';
import { expectKind } from './kind.ts';
import { createLoad } from './load.ts';
import { upstreamLine } from './loss.ts';
import { Progress } from './progress.ts';
import { checkLoss, nothing, report } from './recorded.ts';
import {
  collect,
  liveOptions,
  openProxy,
  parseKeepRoute,
  parsePorts,
  parseRotate,
  parseTrigger,
  portsOf,
  recordingOf,
  selectionOf,
  type RecordOptions,
} from './recording.ts';
import type { Shell } from './shell.ts';
import { INTERRUPTED, onInterrupt } from './signal.ts';
import { formatBytes, formatCount, plural } from './text.ts';

const examples = `
Examples:
  memtape record capture.pcap -o capture.tape
  memtape record capture.pcapng.zst --port 11211,11300-11303 -o capture.tape
  memtape record web.pcap0 web.pcap1 web.pcap2 -o web.tape         what tcpdump -C or -G wrote, as one recording
  tcpdump -i eth0 -w - tcp port 11211 | memtape record - -o live.tape
  memtape record --interface eth0 -o live.tape --duration 10m --max-size 1GB
  memtape record capture.pcap -o sample.tape --sample 1/16         one key in sixteen, with its whole history
  memtape record capture.pcap -o safe.tape --values hash --keys masked --mask-key-file secret.key
                                    no key and no value leaves the machine; the replay still compares exactly
  memtape record --listen 127.0.0.1:11311 --upstream 127.0.0.1:11211 -o live.tape
                                    clients connect to port 11311; Ctrl-C finishes the trace
  memtape record --interface eth0 -o live.tape --rotate 1h --keep 24
                                    live-20261130T030000Z.tape, live-20261130T040000Z.tape, … of the last day
  memtape record --interface eth0 -o live.tape --ring 10m --trigger 100/1s
                                    keeps the last ten minutes; writes them on SIGUSR1, and as soon as 100 answers
                                    within a second are errors`;

export function recordCommand(command: Command, shell: Shell): void {
  command
    .requiredOption('-o, --output <file>', 'the trace to write; one that is there is refused', shell.path)
    .option('--force', 'replace a trace that is there');
  liveOptions(command, shell)
    .option(
      '--server <addr>',
      'record only what these servers are asked: 10.0.0.2, 10.0.0.2:11211 (repeatable)',
      collect,
      [],
    )
    .option('--vxlan-port <n[,n…]>', 'UDP ports of VXLAN, besides 4789 and 8472 (repeatable)', parsePorts)
    .option('--sample <1/n>', 'keep one key in n, by its hash, with its whole history', parseSample, 1)
    .addOption(
      new Option('--values <mode>', 'values as they are, as keyed hash and size, or as size')
        .choices(['full', 'hash', 'size'])
        .default('full'),
    )
    .option('--keep-numbers', 'with hash or size: keep counters and short numbers as they are')
    .addOption(
      new Option('--keys <mode>', 'keys as they are, or others of the same length')
        .choices(['clear', 'masked'])
        .default('clear'),
    )
    .option('--mask-key-file <file>', 'the secret of the masks: at least 16 bytes', shell.path)
    .option('--keep-prefix <bytes>', 'with masked keys: leave so many first bytes as they are', parseCount)
    .option(
      '--keep-route <route=host:port,…>',
      'with masked keys: each stays on the server that this route gives it, for instance ketama=a:11211,b:11211',
      parseKeepRoute,
    )
    .option('--rotate <size|time>', 'begin a new trace at this size, or this often', parseRotate)
    .option('--keep <n>', 'with --rotate: so many traces stay, and the oldest goes', parseCount)
    .option('--ring <time>', 'keep only the last stretch; written on SIGUSR1 and at the end', parseDuration)
    .option(
      '--trigger <n/time>',
      'with --ring: write it when so many errors come within the time',
      parseTrigger,
    )
    .option(
      '--max-loss <percent>',
      'end with exit code 3 where more of the packets or of the bytes is missing',
      parsePercent,
    )
    .option('--max-size <size>', 'stop once the trace has this size', parseSize)
    .option('--quiet', 'no progress')
    .addHelpText('after', examples)
    .action(async (sources: string[]) =>
      record(shell, sources.map(shell.path), command.opts<RecordOptions>()),
    );
}

async function record(shell: Shell, sources: string[], options: RecordOptions): Promise<void> {
  const isProxy = options.listen.length > 0 || options.upstream.length > 0;
  const kinds = [isProxy, sources.length > 0, options.interface !== undefined].filter(Boolean).length;
  if (kinds !== 1)
    throw new CliError(
      'expected one of: a capture file, --interface, or --listen with --upstream; see memtape record --help',
      2,
    );
  if (options.ring !== undefined && options.rotate !== undefined)
    throw new CliError('expected --ring or --rotate, got both', 2);
  if (options.keep !== undefined && options.rotate === undefined)
    throw new CliError('--keep expects --rotate: there is one trace otherwise', 2);
  if (options.trigger !== undefined && options.ring === undefined)
    throw new CliError('--trigger expects --ring: there is nothing to write otherwise', 2);
  if (isProxy) await recordProxy(shell, options);
  else if (options.interface !== undefined) await recordInterface(shell, options.interface, options);
  else await recordFiles(shell, expandFiles(sources), options);
}

/** How often what is complete goes to the disk in a live recording. */
const FLUSH_MS = 5_000;
/** How often tcpdump is asked for what the kernel has dropped. */
const ASK_MS = 5_000;

async function recordInterface(shell: Shell, name: string, options: RecordOptions): Promise<void> {
  const ports = portsOf(options);
  const { output, filter, quiet, maxSize, duration } = options;
  // Before anything is captured: what the recording itself refuses comes too late for whoever started it and left.
  checkOutput(output, options.force === true || options.rotate !== undefined);
  const live = await captureLive({ interface: name, ports, ...given({ filter }) });
  const interrupt = onInterrupt(shell);
  const progress = new Progress(shell, 0, { label: 'recording', unit: 'packets', quiet: quiet === true });
  shell.stderr.write(`capturing from ${name}; Ctrl-C finishes the trace\n`);
  const stop = (): void => live.stop();
  interrupt.signal.addEventListener('abort', stop);
  const timer = duration === undefined ? undefined : setTimeout(stop, duration);
  const asking = quiet === true ? undefined : setInterval(() => live.ask(), ASK_MS);
  const load = createLoad();
  let recorded: CaptureRecorded;
  try {
    recorded = await recordCapture(live.packets, {
      output,
      ports,
      ...selectionOf(options),
      ...recordingOf(shell, options),
      writeNow: (write) => onSignal(shell, write),
      source: `interface ${name}`,
      flushMs: options.trigger === undefined ? FLUSH_MS : TRIGGER_FLUSH_MS,
      onProgress: (_bytes, packets, exchanges) =>
        progress.update(
          0,
          packets,
          `${plural(exchanges, 'exchange')}, ${formatCount(live.droppedSoFar ?? 0)} dropped, ${load()}`,
        ),
      kernelDropped: async () => {
        // After --max-size nobody has told it yet.
        live.stop();
        return live.dropped();
      },
      ...given({ maxBytes: maxSize }),
    });
  } finally {
    live.stop();
    clearTimeout(timer);
    clearInterval(asking);
    progress.stop();
    interrupt.ignore();
  }
  const { broken } = recorded;
  if (recorded.exchanges === 0) throw broken ?? nothing(shell, name, recorded, ports);
  report(shell, recorded, output);
  if (broken !== undefined) throw new CliError(`${broken.message}; the trace is finished`, 2);
  checkLoss(shell, recorded, options);
}

async function recordFiles(shell: Shell, sources: readonly string[], options: RecordOptions): Promise<void> {
  const size = sources.includes('-') ? 0 : sources.reduce((sum, source) => sum + sizeOf(source), 0);
  for (const source of sources)
    if (source !== '-') {
      expectKind(source, 'capture', 'packed');
      checkApart(source, options.output);
    }
  const ports = portsOf(options);
  const progress = new Progress(shell, size, {
    label: 'recording',
    unit: 'packets',
    quiet: options.quiet === true,
  });
  const interrupt = onInterrupt(shell);
  const name = nameOf(sources[0]!);
  const all = sources.length === 1 ? name : `${name} and ${plural(sources.length - 1, 'other')}`;
  let recorded: CaptureRecorded;
  try {
    recorded = await recordCapture(
      sources.map((source) => (source === '-' ? shell.stdin : source)),
      {
        output: options.output,
        ports,
        ...selectionOf(options),
        ...recordingOf(shell, options),
        writeNow: (write) => onSignal(shell, write),
        ...(options.maxSize === undefined ? {} : { maxBytes: options.maxSize }),
        source: sourceOf(sources),
        onProgress: (bytes, packets, exchanges) =>
          progress.update(bytes, packets, plural(exchanges, 'exchange')),
        signal: interrupt.signal,
      },
    );
  } catch (error) {
    if (error instanceof RecorderError && error.code !== 'BAD_OUTPUT')
      throw new CliError(`${all}: ${error.message}`, 2, { cause: error });
    throw error;
  } finally {
    progress.stop();
    interrupt.ignore();
  }
  const { broken, brokenSource, source: read } = recorded;
  if (recorded.exchanges === 0 && broken === undefined) throw nothing(shell, all, recorded, ports);
  if (recorded.exchanges > 0) report(shell, recorded, options.output);
  const cutAt = read?.truncatedAt ?? null;
  const rest = `the trace holds ${sources.length === 1 ? 'what came before' : 'the rest'}`;
  if (broken !== undefined)
    throw new CliError(
      `${nameOf(sources[brokenSource]!)}: ${broken.message}; ${recorded.exchanges > 0 ? rest : 'nothing was recorded'}`,
      2,
      { cause: broken },
    );
  if (cutAt !== null)
    throw new CliError(
      `${nameOf(sources[read!.truncatedSource]!)}: the file ends in the middle of the packet at byte ${cutAt}; ${rest}`,
      2,
    );
  if (interrupt.signal.aborted) throw new Verdict(INTERRUPTED);
  checkLoss(shell, recorded, options);
}

function nameOf(source: string): string {
  return source === '-' ? 'standard input' : source;
}

/** What the trace says that it was made from. */
function sourceOf(sources: readonly string[]): string {
  const [first = '', ...others] = sources;
  const name = first === '-' ? 'from standard input' : basename(first);
  return `capture ${name}${others.length === 0 ? '' : ` and ${plural(others.length, 'other')}`}`;
}

async function recordProxy(shell: Shell, options: RecordOptions): Promise<void> {
  const { upstream, output, quiet } = options;
  const interrupt = onInterrupt(shell);
  const proxy = await openProxy(shell, options, output, recordingOf(shell, options), 'recording');
  for (const [n, address] of proxy.addresses.entries())
    shell.stdout.write(`listening on ${address} for ${upstream[n]}\n`);
  onSignal(shell, () => proxy.writeRing());
  const progress = new Progress(shell, 0, { label: 'recording', unit: 'exchanges', quiet: quiet === true });
  const load = createLoad();
  const timer = setInterval(
    () =>
      progress.update(
        0,
        proxy.exchanges,
        `${plural(proxy.connections, 'connection')}, ${formatBytes(proxy.bytesWritten)} written, ${load()}`,
      ),
    250,
  );
  const ends = [interrupt.arrived];
  if (options.duration !== undefined) ends.push(sleep(options.duration, undefined, { ref: false }));
  await Promise.race(ends);
  clearInterval(timer);
  progress.stop();
  // Clients do as they like; this process ends.
  const deadline = setTimeout(() => shell.quit(DEFECT), EXIT_MS);
  const recorded = await proxy.stop();
  clearTimeout(deadline);
  interrupt.ignore();
  if (recorded.exchanges > 0) {
    report(shell, recorded, output);
    return checkLoss(shell, recorded, options);
  }
  const failures = upstreamLine(recorded.capture);
  if (failures !== undefined) shell.stderr.write(`memtape: ${failures}\n`);
  const heard = proxy.connections === 0 ? 'no client connected' : 'no binary request came';
  throw new CliError(`${heard}: there is nothing to record, and no file was written`, 2);
}

/** The recording is finished long before, unless something hangs. */
const EXIT_MS = 10_000;

function sizeOf(path: string): number {
  try {
    const stat = statSync(path);
    if (stat.isDirectory()) throw new CliError(`${path}: expected a capture file, got a folder`, 2);
    return stat.size;
  } catch (cause) {
    if (cause instanceof CliError) throw cause;
    throw new CliError(`cannot read ${path}: ${(cause as Error).message}`, 2, { cause });
  }
}

/** With a trigger, errors are looked for this often. */
const TRIGGER_FLUSH_MS = 1_000;

/** SIGUSR1 writes the ring. */
function onSignal({ listen, stderr }: Shell, write: () => Promise<string | undefined>): void {
  listen('SIGUSR1', () => {
    write().then(
      (path) =>
        stderr.write(`memtape: ${path === undefined ? 'nothing to write yet' : `written: ${path}`}\n`),
      (error: unknown) => stderr.write(`memtape: ${(error as Error).message}\n`),
    );
  });
}
