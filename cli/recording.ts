// The options of `memtape record`, and what of the recorder each of them asks for.

import { SocketAddress, isIP } from 'node:net';
import type { Command } from 'commander';
import { given } from '../config/given.ts';
import { parseDuration, parseSize } from '../config/units.ts';
import { createDistribution, distributionNames, type Distribution } from '../protocol/distribution.ts';
import { maskKeyOf, type PrivacyOptions } from '../recorder/mask.ts';
import { RecorderError } from '../recorder/error.ts';
import type { ProxyOptions, RecordingProxy } from '../recorder/proxy.ts';
import type { RecordingOptions } from '../recorder/recording.ts';
import type { RingOptions } from '../recorder/ring.ts';
import type { Rotation } from '../recorder/tapes.ts';
import { parseHostPort } from '../trace/address.ts';
import { CliError } from './error.ts';
import { readSmall } from './file.ts';
import type { Shell } from './shell.ts';

/** Where traffic comes from while it goes on. */
export interface LiveOptions {
  port?: number[];
  listen: string[];
  upstream: string[];
  interface?: string;
  filter?: string;
  tlsCert?: string;
  tlsKey?: string;
  upstreamTls?: true;
  upstreamCa?: string;
  /** Milliseconds. */
  duration?: number;
}

export function liveOptions(command: Command, shell: Shell): Command {
  return command
    .option('--port <n[,n…][,n-m]>', 'server ports to record (repeatable; default: 11211)', parsePorts)
    .option('--interface <name>', 'capture live, through tcpdump')
    .option('--filter <bpf>', 'what tcpdump captures; default: the ports')
    .option('--listen <addr>', 'recording proxy: where clients connect (repeatable)', collect, [])
    .option('--upstream <addr>', 'recording proxy: the server behind it (repeatable)', collect, [])
    .option('--tls-cert <file>', 'recording proxy: clients speak TLS, with this certificate', shell.path)
    .option('--tls-key <file>', 'recording proxy: the key of --tls-cert', shell.path)
    .option('--upstream-tls', 'recording proxy: the servers speak TLS')
    .option('--upstream-ca <file>', 'recording proxy: the authority of their certificates', shell.path)
    .option('--duration <time>', 'live: stop after this long', parseDuration);
}

export interface RecordOptions extends LiveOptions {
  output: string;
  vxlanPort?: number[];
  server: string[];
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
  maxSize?: number;
  quiet?: true;
}

const DEFAULT_PORT = 11_211;

export function portsOf({ port }: LiveOptions): number[] {
  return port ?? [DEFAULT_PORT];
}

/** What of the traffic is looked at, beside the ports. */
export function selectionOf({ vxlanPort, server }: RecordOptions): {
  vxlanPorts?: number[];
  servers?: string[];
} {
  return {
    ...given({ vxlanPorts: vxlanPort }),
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
export function parsePorts(text: string, before: number[] = []): number[] {
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

export function recordingOf({ stderr }: Shell, options: RecordOptions): RecordingOptions {
  const { sample, rotate, keep, ring, trigger } = options;
  return {
    sample,
    privacy: privacyOf(options),
    overwrite: options.force === true,
    ...(rotate === undefined ? {} : { rotate: keep === undefined ? rotate : { ...rotate, keep } }),
    ...(ring === undefined ? {} : { ring: { ns: ring * 1e6, ...given({ trigger }) } }),
    onRing: (path) => stderr.write(`memtape: a burst of errors: the last stretch is in ${path}\n`),
  };
}

/** Starts the recording proxy of these options. @param what stops, where it fails @throws CliError, RecorderError */
export async function openProxy(
  shell: Shell,
  options: LiveOptions,
  output: string,
  recording: RecordingOptions,
  what: 'recording' | 'judging',
): Promise<RecordingProxy> {
  const { listen, upstream } = options;
  if (listen.length !== upstream.length)
    throw new CliError(
      `expected an --upstream for each --listen, got ${listen.length} and ${upstream.length}`,
      2,
    );
  // An audit of files, which has these options too, needs nothing of it.
  const { startProxy } = await import('../recorder/proxy.ts');
  return startProxy({
    listen,
    upstream,
    output,
    recording,
    ...tlsOf(options),
    onUpstreamFailure: (text) => shell.stderr.write(`memtape: ${text}\n`),
    onRecordingError: (error) =>
      shell.stderr.write(`memtape: ${error.message}; the ${what} stops here, the traffic goes on\n`),
  }).catch((cause: unknown) => {
    if (cause instanceof RecorderError) throw cause;
    throw new CliError(`cannot listen on ${listen.join(', ')}: ${(cause as Error).message}`, 2, { cause });
  });
}

function tlsOf({
  tlsCert,
  tlsKey,
  upstreamTls,
  upstreamCa,
}: LiveOptions): Pick<ProxyOptions, 'tls' | 'upstreamTls'> {
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

export function parseRotate(text: string): Rotation {
  if (/^[\d.]+ ?(ms|s|m|h|d)$/.test(text.trim())) return { ns: parseDuration(text) * 1e6 };
  return { bytes: parseSize(text) };
}

export function parseTrigger(text: string): NonNullable<RingOptions['trigger']> {
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
  return { ...privacy, maskKey, keepPrefix, ...given({ keepRoute }) };
}

/** `ketama=10.0.0.1:11211,10.0.0.2:11211` */
export function parseKeepRoute(text: string): Distribution {
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

export function collect(text: string, before: string[]): string[] {
  return [...before, ...text.split(',').map((part) => part.trim())];
}
