// `memtape record`: a capture, or live traffic through the recording proxy, into a trace file.

import { statSync } from 'node:fs';
import { SocketAddress, isIP } from 'node:net';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Command, Option } from 'commander';
import pc from 'picocolors';
import { createDistribution, distributionNames, type Distribution } from '../protocol/distribution.ts';
import { checkOutput } from '../recorder/claim.ts';
import { RecorderError } from '../recorder/error.ts';
import type { Remark } from '../recorder/exchanges.ts';
import { maskKeyOf, type PrivacyOptions } from '../recorder/mask.ts';
import { portRanges, type PortSeen } from '../recorder/ports.ts';
import { startProxy, type ProxyOptions } from '../recorder/proxy.ts';
import { linkTypesRead } from '../recorder/link.ts';
import { captureLive } from '../recorder/tcpdump.ts';
import { recordCapture, type CaptureRecorded } from '../recorder/record.ts';
import type { Recorded, RecordingOptions } from '../recorder/recording.ts';
import type { RingOptions } from '../recorder/ring.ts';
import type { Rotation } from '../recorder/tapes.ts';
import { parseHostPort } from '../trace/address.ts';
import { lossOf } from '../trace/loss.ts';
import { CliError, Verdict } from './error.ts';
import { expandFiles, isSameFile, readSmall } from './file.ts';
import { createLoad } from './load.ts';
import { cutLine, formatShare, lossLines, lossWarning, sidesLine, upstreamLine } from './loss.ts';
import { Progress } from './progress.ts';
import { onInterrupt } from './signal.ts';
import { formatBytes, formatCount, plural } from './text.ts';
import { parseCount, parseDuration, parsePercent, parseSample, parseSize } from '../config/units.ts';

interface RecordOptions {
  output: string;
  port?: number[];
  vxlanPort?: number[];
  server: string[];
  listen: string[];
  upstream: string[];
  interface?: string;
  filter?: string;
  sample: number;
  values: 'full' | 'hash' | 'size';
  keys: 'clear' | 'masked';
  keepNumbers?: true;
  maskKeyFile?: string;
  keepRoute?: Distribution;
  keepPrefix?: number;
  rotate?: Rotation;
  keep?: number;
  force?: true;
  maxLoss?: number;
  ring?: number;
  trigger?: NonNullable<RingOptions['trigger']>;
  tlsCert?: string;
  tlsKey?: string;
  upstreamTls?: true;
  upstreamCa?: string;
  duration?: number;
  maxSize?: number;
  quiet?: true;
}

const REMARKS_SHOWN = 5;

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

export function recordCommand(): Command {
  return new Command('record')
    .description('Record memcached binary traffic into a trace file.')
    .argument(
      '[sources...]',
      '.pcap or .pcapng files (also .gz, .zst), which are one recording; or - for standard input',
    )
    .requiredOption('-o, --output <file>', 'the trace to write; one that is there is refused')
    .option('--force', 'replace a trace that is there')
    .option('--port <n[,n…][,n-m]>', 'server ports to record (repeatable; default: 11211)', parsePorts)
    .option(
      '--server <addr>',
      'record only what these servers are asked: 10.0.0.2, 10.0.0.2:11211 (repeatable)',
      collect,
      [],
    )
    .option('--vxlan-port <n[,n…]>', 'UDP ports of VXLAN, besides 4789 and 8472 (repeatable)', parsePorts)
    .option('--listen <addr>', 'recording proxy: where clients connect (repeatable)', collect, [])
    .option('--upstream <addr>', 'recording proxy: the server behind it (repeatable)', collect, [])
    .option('--interface <name>', 'capture live, through tcpdump')
    .option('--filter <bpf>', 'what tcpdump captures; default: the ports')
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
    .option('--mask-key-file <file>', 'the secret of the masks: at least 16 bytes')
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
    .option('--tls-cert <file>', 'recording proxy: clients speak TLS, with this certificate')
    .option('--tls-key <file>', 'recording proxy: the key of --tls-cert')
    .option('--upstream-tls', 'recording proxy: the servers speak TLS')
    .option('--upstream-ca <file>', 'recording proxy: the authority of their certificates')
    .option('--duration <time>', 'live: stop after this long', parseDuration)
    .option(
      '--max-loss <percent>',
      'end with exit code 3 where more of the packets or of the bytes is missing',
      parsePercent,
    )
    .option('--max-size <size>', 'stop once the trace has this size', parseSize)
    .option('--quiet', 'no progress')
    .addHelpText('after', examples)
    .action(async (sources: string[], _options, command: Command) =>
      record(sources, command.opts<RecordOptions>()),
    );
}

async function record(sources: string[], options: RecordOptions): Promise<void> {
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
  if (isProxy) await recordProxy(options);
  else if (options.interface !== undefined) await recordInterface(options.interface, options);
  else await recordFiles(expandFiles(sources), options);
}

/** How often what is complete goes to the disk in a live recording. */
const FLUSH_MS = 5_000;
/** How often tcpdump is asked for what the kernel has dropped. */
const ASK_MS = 5_000;

async function recordInterface(name: string, options: RecordOptions): Promise<void> {
  const ports = portsOf(options);
  const { output, filter, quiet, maxSize, duration } = options;
  // Before anything is captured: what the recording itself refuses comes too late for whoever started it and left.
  checkOutput(output, options.force === true || options.rotate !== undefined);
  const live = await captureLive({ interface: name, ports, ...(filter === undefined ? {} : { filter }) });
  const interrupt = onInterrupt();
  const progress = new Progress(0, { label: 'recording', unit: 'packets', quiet: quiet === true });
  process.stderr.write(`capturing from ${name}; Ctrl-C finishes the trace\n`);
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
      ...recordingOf(options),
      writeNow: (write) => onSignal(write),
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
      ...(maxSize === undefined ? {} : { maxBytes: maxSize }),
    });
  } finally {
    live.stop();
    clearTimeout(timer);
    clearInterval(asking);
    progress.stop();
    interrupt.ignore();
  }
  const { broken } = recorded;
  if (recorded.exchanges === 0) throw broken ?? nothing(name, recorded, ports);
  report(recorded, output);
  if (broken !== undefined) throw new CliError(`${broken.message}; the trace is finished`, 2);
  checkLoss(recorded, options);
}

async function recordFiles(sources: readonly string[], options: RecordOptions): Promise<void> {
  const size = sources.includes('-') ? 0 : sources.reduce((sum, source) => sum + sizeOf(source), 0);
  for (const source of sources)
    if (source !== '-' && isSameFile(source, options.output))
      throw new CliError(`${source}: the trace would overwrite the capture; choose another --output`, 2);
  const ports = portsOf(options);
  const progress = new Progress(size, { label: 'recording', unit: 'packets', quiet: options.quiet === true });
  const interrupt = onInterrupt();
  const name = nameOf(sources[0]!);
  const all = sources.length === 1 ? name : `${name} and ${plural(sources.length - 1, 'other')}`;
  let recorded: CaptureRecorded;
  try {
    recorded = await recordCapture(
      sources.map((source) => (source === '-' ? process.stdin : source)),
      {
        output: options.output,
        ports,
        ...selectionOf(options),
        ...recordingOf(options),
        writeNow: (write) => onSignal(write),
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
  if (recorded.exchanges === 0 && broken === undefined) throw nothing(all, recorded, ports);
  if (recorded.exchanges > 0) report(recorded, options.output);
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
  if (interrupt.signal.aborted) throw new Verdict(130);
  checkLoss(recorded, options);
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

async function recordProxy(options: RecordOptions): Promise<void> {
  const { listen, upstream, output, quiet } = options;
  if (listen.length !== upstream.length)
    throw new CliError(
      `expected an --upstream for each --listen, got ${listen.length} and ${upstream.length}`,
      2,
    );
  const interrupt = onInterrupt();
  const proxy = await startProxy({
    listen,
    upstream,
    output,
    recording: recordingOf(options),
    ...tlsOf(options),
    onUpstreamFailure: (text) => process.stderr.write(`memtape: ${text}\n`),
    onRecordingError: (error) =>
      process.stderr.write(`memtape: ${error.message}; the recording stops here, the traffic goes on\n`),
  }).catch((cause: unknown) => {
    if (cause instanceof RecorderError) throw cause;
    throw new CliError(`cannot listen on ${listen.join(', ')}: ${(cause as Error).message}`, 2, { cause });
  });
  for (const [n, address] of proxy.addresses.entries())
    process.stdout.write(`listening on ${address} for ${upstream[n]}\n`);
  onSignal(() => proxy.writeRing());
  const progress = new Progress(0, { label: 'recording', unit: 'exchanges', quiet: quiet === true });
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
  if (options.duration !== undefined) ends.push(sleep(options.duration));
  await Promise.race(ends);
  clearInterval(timer);
  progress.stop();
  // Clients do as they like; this process ends.
  setTimeout(() => process.exit(process.exitCode ?? 5), EXIT_MS).unref();
  const recorded = await proxy.stop();
  interrupt.ignore();
  if (recorded.exchanges > 0) {
    report(recorded, output);
    return checkLoss(recorded, options);
  }
  const failures = upstreamLine(recorded.capture);
  if (failures !== undefined) process.stderr.write(`memtape: ${failures}\n`);
  const heard = proxy.connections === 0 ? 'no client connected' : 'no binary request came';
  throw new CliError(`${heard}: there is nothing to record, and no file was written`, 2);
}

/** The recording is finished long before, unless something hangs. */
const EXIT_MS = 10_000;

/** @throws Verdict 3 where more is missing than may be */
function checkLoss({ capture }: Recorded, { maxLoss }: RecordOptions): void {
  const { worst } = lossOf(capture);
  if (maxLoss === undefined || worst <= maxLoss) return;
  process.stderr.write(
    `memtape: expected at most ${formatShare(maxLoss)} of the traffic to be missing, got ${formatShare(worst)}\n`,
  );
  throw new Verdict(3);
}

function report(recorded: Recorded, output: string): void {
  const { exchanges, connections, fileBytes, capture, remarks } = recorded;
  const perExchange = (fileBytes / exchanges).toFixed(1);
  const { files } = recorded;
  const named = files.length > 1 ? `${files.length} files, the last of them ${files.at(-1)}` : output;
  process.stdout.write(
    `${named}: ${plural(exchanges, 'exchange')} on ${plural(connections, 'connection')}, ` +
      `${formatBytes(fileBytes)} (${perExchange} bytes each)\n`,
  );
  const notes = [
    ...lossLines(capture),
    cutLine(capture) ?? '',
    sidesLine(capture) ?? '',
    upstreamLine(capture) ?? '',
    capture.midstream > 0 ? `${plural(capture.midstream, 'connection')} open before the capture began` : '',
    capture.notBinary > 0
      ? `${plural(capture.notBinary, 'connection')} of another protocol, not recorded`
      : '',
    capture.desynchronised > 0 ? `${plural(capture.desynchronised, 'connection')} given up as broken` : '',
    capture.orphans > 0 ? `${plural(capture.orphans, 'answer')} without a request` : '',
  ].filter((note) => note !== '');
  for (const note of [...notes, ...recorded.notes]) process.stderr.write(`memtape: ${note}\n`);
  showRemarks(remarks);
  const warning = lossWarning(capture);
  if (warning !== undefined) process.stderr.write(`memtape: ${pc.bold(pc.red(warning))}\n`);
}

function showRemarks(remarks: readonly Remark[]): void {
  for (const { client, server, text } of remarks.slice(0, REMARKS_SHOWN))
    process.stderr.write(`memtape: ${client} to ${server} ${text}\n`);
  if (remarks.length > REMARKS_SHOWN)
    process.stderr.write(`memtape: and ${plural(remarks.length - REMARKS_SHOWN, 'connection')} more\n`);
}

function nothing(name: string, recorded: CaptureRecorded, ports: readonly number[]): CliError {
  showRemarks(recorded.remarks);
  const seen = recorded.source?.portsSeen ?? [];
  const wanted = `port${ports.length === 1 ? '' : 's'} ${portRanges(ports).join(', ')}`;
  const head = `${name}: expected memcached binary traffic on ${wanted}`;
  const { notBinary, answersOnly } = recorded.capture;
  if (notBinary > 0)
    return new CliError(
      `${head}, got ${plural(notBinary, 'connection')} ${otherProtocol(recorded.remarks)}`,
      2,
    );
  if (answersOnly > 0)
    return new CliError(
      `${head}, got packets of the server only: answers cannot be recorded without their requests; capture both directions, for instance with the filter ${JSON.stringify(`tcp port ${ports.join(' or tcp port ')}`)} and no src or dst in it`,
      2,
    );
  const cut = cutLine(recorded.capture);
  if (cut !== undefined && seen.some(({ port }) => ports.includes(port)))
    return new CliError(`${head}, got no whole request: ${cut}`, 2);
  if (recorded.capture.packets === 0) return new CliError(`${head}, got a capture without packets`, 2);
  const unread = recorded.source?.unread ?? [];
  if (seen.length === 0 && unread.length > 0)
    return new CliError(`${head}, got ${recorded.notes[0] ?? 'none that is read'}; ${linkTypesHint()}`, 2);
  if (seen.length === 0)
    return new CliError(
      `${head}, got ${plural(recorded.capture.packets, 'packet')} and no TCP among them`,
      2,
    );
  const binary = seen.filter((port) => port.binary && !ports.includes(port.port));
  const hint = binary.length > 0 ? `; try --port ${binary.map(({ port }) => port).join(',')}` : '';
  return new CliError(`${head}, got TCP on ${seen.slice(0, 5).map(describePort).join(', ')}${hint}`, 2);
}

/** What connections that are not binary speak, by the first that has a name. */
function otherProtocol(remarks: readonly Remark[]): string {
  const kind = otherKinds.find(([kind]) => remarks.some((remark) => remark.kind === kind));
  return kind?.[1] ?? 'of another protocol';
}

const otherKinds: readonly [kind: Remark['kind'], words: string][] = [
  [
    'tls',
    'of TLS, which a capture cannot show; the recording proxy takes it: memtape record --listen ADDR --upstream ADDR --tls-cert FILE --tls-key FILE',
  ],
  ['couchbase', "of Couchbase's dialect (flexible framing), which memtape does not record"],
  ['ascii', 'of the ASCII protocol, which memtape does not record'],
];

function linkTypesHint(): string {
  return `link types that are read: ${linkTypesRead()}`;
}

function describePort({ port, packets, binary }: PortSeen): string {
  return `port ${port} (${formatCount(packets)} packets${binary ? ', memcached binary by its looks' : ''})`;
}

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

const DEFAULT_PORT = 11_211;

function portsOf({ port }: RecordOptions): number[] {
  return port ?? [DEFAULT_PORT];
}

/** What of the traffic is looked at, beside the ports. */
function selectionOf({ vxlanPort, server }: RecordOptions): { vxlanPorts?: number[]; servers?: string[] } {
  return {
    ...(vxlanPort === undefined ? {} : { vxlanPorts: vxlanPort }),
    ...(server.length === 0 ? {} : { servers: server.map(canonicalServer) }),
  };
}

/** As recordings write addresses: IPv6 shortened, in brackets. */
function canonicalServer(text: string): string {
  const match = /^\[?([0-9a-fA-F.:]+?)\]?(?::(\d{1,5}))?$/.exec(text);
  const parts = isIP(text) === 6 ? [text] : [match?.[1] ?? '', match?.[2]];
  const [host = '', port] = parts;
  const version = isIP(host);
  if (version === 0)
    throw new CliError(
      `expected --server with an address such as 10.0.0.2 or 10.0.0.2:11211, got ${JSON.stringify(text)}`,
      2,
    );
  const short = version === 6 ? `[${new SocketAddress({ family: 'ipv6', address: host }).address}]` : host;
  return port === undefined ? short : `${short}:${port}`;
}

/** `11211`, `11211,11213`, `11211-11214`, or several of them: each option adds to those before it. */
function parsePorts(text: string, before: number[] = []): number[] {
  const ports = new Set(before);
  for (const part of text.split(',')) {
    const match = /^\s*(\d{1,5})(?:\s*-\s*(\d{1,5}))?\s*$/.exec(part);
    const from = Number(match?.[1] ?? 0);
    const to = Number(match?.[2] ?? from);
    if (from < 1 || to > 65_535 || to < from)
      throw new CliError(
        `expected ports from 1 to 65535 such as 11211,11213 or 11211-11214, got ${JSON.stringify(part)}`,
        2,
      );
    for (let port = from; port <= to; port++) ports.add(port);
  }
  return [...ports];
}

/** With a trigger, errors are looked for this often. */
const TRIGGER_FLUSH_MS = 1_000;

function recordingOf(options: RecordOptions): RecordingOptions {
  const { sample, rotate, keep, ring, trigger } = options;
  return {
    sample,
    privacy: privacyOf(options),
    overwrite: options.force === true,
    ...(rotate === undefined ? {} : { rotate: keep === undefined ? rotate : { ...rotate, keep } }),
    ...(ring === undefined
      ? {}
      : { ring: { ns: ring * 1e6, ...(trigger === undefined ? {} : { trigger }) } }),
    onRing: (path) => process.stderr.write(`memtape: a burst of errors: the last stretch is in ${path}\n`),
  };
}

/** SIGUSR1 writes the ring. */
function onSignal(write: () => Promise<string | undefined>): void {
  process.on('SIGUSR1', () => {
    write().then(
      (path) =>
        process.stderr.write(
          `memtape: ${path === undefined ? 'nothing to write yet' : `written: ${path}`}\n`,
        ),
      (error: unknown) => process.stderr.write(`memtape: ${(error as Error).message}\n`),
    );
  });
}

function tlsOf({
  tlsCert,
  tlsKey,
  upstreamTls,
  upstreamCa,
}: RecordOptions): Pick<ProxyOptions, 'tls' | 'upstreamTls'> {
  if ((tlsCert === undefined) !== (tlsKey === undefined))
    throw new CliError('expected --tls-cert and --tls-key together, got one of them', 2);
  if (upstreamCa !== undefined && upstreamTls === undefined)
    throw new CliError('--upstream-ca expects --upstream-tls', 2);
  return {
    ...(tlsCert === undefined
      ? {}
      : { tls: { cert: readSmall(tlsCert, 'the certificate'), key: readSmall(tlsKey!, 'the key') } }),
    ...(upstreamTls === undefined
      ? {}
      : { upstreamTls: upstreamCa === undefined ? {} : { ca: readSmall(upstreamCa, 'the certificate') } }),
  };
}

function parseRotate(text: string): Rotation {
  if (/^[\d.]+ ?(ms|s|m|h|d)$/.test(text.trim())) return { ns: parseDuration(text) * 1e6 };
  return { bytes: parseSize(text) };
}

function parseTrigger(text: string): NonNullable<RingOptions['trigger']> {
  const match = /^(\d{1,6})\/(\S+)$/.exec(text.trim());
  if (match === null || Number(match[1]) < 1)
    throw new CliError(`expected a trigger such as 100/1s, got ${JSON.stringify(text)}`, 2);
  return { errors: Number(match[1]), withinNs: parseDuration(match[2]!) * 1e6 };
}

function privacyOf({
  values,
  keys,
  keepNumbers,
  maskKeyFile,
  keepPrefix = 0,
  keepRoute,
}: RecordOptions): PrivacyOptions {
  const privacy: PrivacyOptions = { values, keepNumbers: keepNumbers === true };
  if (keys === 'clear') return privacy;
  if (maskKeyFile === undefined)
    throw new CliError(
      '--keys masked expects --mask-key-file; make one with: head -c 32 /dev/urandom > secret.key',
      2,
    );
  const maskKey = maskKeyOf(readSmall(maskKeyFile, 'the mask key'), maskKeyFile);
  return { ...privacy, maskKey, keepPrefix, ...(keepRoute === undefined ? {} : { keepRoute }) };
}

/** `ketama=10.0.0.1:11211,10.0.0.2:11211` */
function parseKeepRoute(text: string): Distribution {
  const [route, servers = ''] = text.split('=', 2);
  const name = distributionNames.find((known) => known === route);
  if (name === undefined || servers === '')
    throw new CliError(
      `expected ROUTE=HOST:PORT,… with a route of ${distributionNames.join(', ')}; got ${JSON.stringify(text)}`,
      2,
    );
  return createDistribution(
    name,
    servers.split(',').map((server) => parseHostPort(server, 11_211)),
  );
}

function collect(text: string, before: string[]): string[] {
  return [...before, ...text.split(',').map((part) => part.trim())];
}
