// What stands in a trace's or a results file's opening and closing blocks, as JSON.

import type { Shard } from './shard.ts';

/** The latest time that a trace can tell, ns since its zero: 104 days; beyond, numbers do not hold each nanosecond. */
export const MAX_TRACE_NS = 2 ** 53 - 1;

/** The longest time from a request's first byte to its last, or to its answer: half of that, since a sign is told with it. */
export const MAX_DURATION_NS = 2 ** 52 - 1;

/** The opening block of a trace. */
export interface TraceMeta {
  format: 'memtape/1';
  /** Version of memtape that wrote the file. */
  writer: string;
  /** The trace's time zero: ns since 1970-01-01 UTC, a decimal string, since it passes 2^53. */
  startNs: string;
  /** Where the traffic came from, for people: `pcap pylibmc.pcap`, `proxy 127.0.0.1:11311 -> 127.0.0.1:11211`. */
  source: string;
  /** Server ports that were recorded. */
  ports: number[];
  /** `numbers`: where values are not full, whether short decimal numbers are. */
  privacy: {
    values: 'full' | 'hash' | 'size';
    keys: 'clear' | 'masked';
    numbers?: 'clear' | 'masked';
    /** So many first bytes of the keys are not masked. */
    prefix?: number;
  };
}

/** What the recorder counted besides exchanges: the closing block of a trace. */
export interface Capture {
  packets: number;
  /** Segments, or parts of them, that repeated bytes already seen. */
  retransmitted: number;
  outOfOrder: number;
  /** Holes: stretches of a stream that the capture lacks. */
  gaps: number;
  /** Connections that were open before the capture began. */
  midstream: number;
  /** Connections on the recorded ports that do not speak the binary protocol. */
  notBinary: number;
  /** Connections given up because their bytes could not be framed any more. */
  desynchronised: number;
  /** Response frames that answer no request seen. */
  orphans: number;
  /** Connections of which only the client's bytes are in the capture, or only the server's. */
  requestsOnly: number;
  answersOnly: number;
  /** Packets that the snap length cut, the bytes of streams that it cut off, and the largest packet that it left. */
  cutPackets: number;
  cutBytes: number;
  snapLength: number | null;
  /** Requests and answers whose value the capture lacks, wholly or in part. */
  cutValues: number;
  /** Bytes of the recorded streams, and bytes of them that the capture lacks, whatever the reason. */
  streamBytes: number;
  missingBytes: number;
  /** Connections of the recording proxy to a server that were refused, reset, or failed otherwise. */
  upstreamRefused: number;
  upstreamReset: number;
  upstreamFailed: number;
  /** Packets that the kernel dropped before the recorder saw them; null where that is not known. */
  kernelDropped: number | null;
}

export interface TraceEnd {
  capture: Capture;
  /** What the recorder had to say of its source, in sentences. Absent: nothing. */
  notes?: string[];
  /** Exchanges whose request has a CAS; a replay of a trace without any needs no token map. */
  casRequests: number;
}

/** What was counted since an earlier moment. */
export function captureSince(now = emptyCapture(), before = emptyCapture()): Capture {
  const since = { ...now };
  for (const name of Object.keys(since) as (keyof Capture)[]) {
    const count = now[name];
    since[name] = count === null ? (null as never) : count - (before[name] ?? 0);
  }
  return { ...since, snapLength: now.snapLength };
}

export function emptyCapture(): Capture {
  return {
    packets: 0,
    retransmitted: 0,
    outOfOrder: 0,
    gaps: 0,
    midstream: 0,
    notBinary: 0,
    desynchronised: 0,
    orphans: 0,
    requestsOnly: 0,
    answersOnly: 0,
    cutPackets: 0,
    cutBytes: 0,
    snapLength: null,
    cutValues: 0,
    streamBytes: 0,
    missingBytes: 0,
    upstreamRefused: 0,
    upstreamReset: 0,
    upstreamFailed: 0,
    kernelDropped: null,
  };
}

/** The opening block of a results file. */
export interface ResultsMeta {
  format: 'memtape-results/1';
  writer: string;
  /** SHA-256 of the trace that was replayed, in hexadecimal; of a model: of what decides what it makes. */
  trace: string;
  /** Of a model: how the same traffic can be asked for again. */
  asked?: Readonly<Record<string, unknown>>;
  /** Time of the replay's start, ISO 8601. */
  startTime: string;
  /** A number, or 'max'. */
  speed: number | 'max';
  order: 'none' | 'connection' | 'key';
  route: string;
  prefill: 'auto' | 'none';
  targets: string[];
  timeoutMs: number;
  /** The stretch of the trace that was replayed, ns, and how often; all of it, once, where absent. */
  fromNs?: number;
  toNs?: number;
  loops?: number;
  /** What was recorded in parts left in two. Absent: everything left whole. */
  split?: 'recorded';
  /** As `--rate` was given. */
  rate?: string;
  /** Requests a second that it asks for, where that is one number. */
  targetRate?: number;
  /** Whether tenants shared their keys. Absent: they did. */
  tenants?: 'isolated' | 'shared';
  /** Which part of the replay these are results of: the rows are those of the shard alone. Absent: all of it. */
  shard?: Shard & {
    /** What the shards of one replay have in common; empty where it was not told. */
    run: string;
  };
}

/** What results that were put together of those of a replay's shards say of one of them. */
export interface MergedShard {
  index: number;
  /** Exchanges of which it has results. */
  exchanges: number;
  /** Since the first of them began; null where that is not known. */
  startSeconds: number | null;
  /** How sure its clock was of that, where it was measured. */
  uncertaintySeconds?: number;
  /** Of one whose end is not known: until the last that it tells. */
  durationSeconds: number | null;
  /** Why there are not all results of it, as what follows `shard 2/8`; null: there are. */
  lost: string | null;
}

/** The closing block of a results file: what happened that belongs to no exchange. */
export interface ResultsEnd {
  durationNs: number;
  /** Set where the run ended early, with the reason. */
  aborted: string | null;
  prefilled: number;
  prefillFailed: number;
  /** Other keys of the trace that the targets held before the replay; null where nobody asked. */
  leftover: number | null;
  /** Answers that nobody asked for, with the first few of them. */
  orphans: {
    connection: number;
    target: number;
    atNs: number;
    /** Of the exchange that it answers once more, where that is known. */
    index?: number;
    note: string;
  }[];
  orphanCount: number;
  /** Trouble with connections, capped. */
  incidents: Incident[];
  incidentCount: number;
  /** When targets were down, as probes found them; toNs is null where none was answered. Absent: never. */
  outages?: Outage[];
  eventLoopDelayNs: { p50: number; p99: number; max: number };
  /** Of a shard: when its first request was due. */
  started?: Started;
  /** Of results that were put together of those of all shards: by number. */
  shards?: { run: string; all: MergedShard[] };
  /** What was done to the targets meanwhile. Absent: nothing. */
  drills?: DrillRun[];
  /** Of the targets that answer STAT as memcached does. Absent: none of them does. */
  accounts?: Account[];
}

/**
 * What it was: the connection is gone (refused, reset, hung up, a broken frame, a time-out), requests are not sent for a
 * while, or an order that the trace asks for was given up.
 */
export const incidentKinds = ['lost', 'rest', 'disorder'] as const;
export type IncidentKind = (typeof incidentKinds)[number];

export interface Incident {
  /** Absent in results of earlier versions. */
  kind?: IncidentKind;
  connection: number;
  target: number;
  atNs: number;
  note: string;
}

/** A moment that several machines tell each other: Unix time, and how sure the clock is, where that was measured. */
export interface Started {
  unixMs: number;
  uncertaintyMs?: number;
}

/** From the failure that said so to the first answer after it, ns since the start; the target as an index in `targets`. */
export interface Outage {
  target: number;
  fromNs: number;
  toNs: number | null;
}

/** What a target said of itself before a replay and after it: names and values of its STAT that bear on a replay. */
export interface Account {
  /** Index in `targets` of the opening block. */
  target: number;
  /** Before the first key was set. */
  before: Record<string, string>;
  /** null: it gave none in time. */
  after: Record<string, string> | null;
  /** Requests in between that are not in the trace: keys that were set, and keys that were asked for, beforehand. */
  asked: { sets: number; gets: number };
}

/** A command that ran during a replay, to see what its servers make of it. */
export interface DrillRun {
  name: string;
  run: string;
  /** The server that it is about, as people call it; null: all of them. */
  server: string | null;
  /** Since the replay's start. */
  atSeconds: number;
  tookSeconds: number;
  /** null: it was stopped, or never ran. */
  exitCode: number | null;
  /** The last of what it printed, or why it did not run. */
  output: string;
}

/** Of a run in which nothing happened yet. */
export function emptyEnd(): ResultsEnd {
  return {
    durationNs: 0,
    aborted: null,
    prefilled: 0,
    prefillFailed: 0,
    leftover: null,
    orphans: [],
    orphanCount: 0,
    incidents: [],
    incidentCount: 0,
    eventLoopDelayNs: { p50: 0, p99: 0, max: 0 },
  };
}
