// Reads captures: the packets of one source, or of several in the order of their time, go to the tap, each with a time
// that its source's clock has been checked for. Reads no faster than the sinks drain.

import type { Readable } from 'node:stream';
import { MAX_TRACE_NS, type Capture } from '../trace/meta.ts';
import { Clock, type ClockEvent } from './clock.ts';
import { RecorderError } from './error.ts';
import type { PacketHandler } from './format.ts';
import type { Proxy } from './hops.ts';
import type { LinkReader } from './link.ts';
import { readInTurn } from './parts.ts';
import type { Move } from './placing.ts';
import type { PortSeen } from './ports.ts';
import type { Skipped } from './packet.ts';
import { Reading, type Slab } from './reading.ts';
import { Tap, type TapOptions } from './tap.ts';
import type { Pair } from './twice.ts';

export interface CaptureOptions extends TapOptions {
  /**
   * Called before the first stream opens; not at all for a capture without packets. And again where the clock turns out
   * to have been wrong at first.
   */
  onStart?: (start: { startNs: string; linkType: number }) => void;
  /** Asked between slabs of at most some hundred KiB; reading goes on when its promise resolves. */
  drained?: () => Promise<void> | undefined;
  /** Called about as often as drained, with the bytes read so far. */
  onProgress?: (bytes: number) => void;
  /** Stops reading; what was read until then counts as the whole capture. */
  signal?: AbortSignal;
}

interface UnreadLink {
  /** -1: of an interface that the capture does not describe. */
  linkType: number;
  packets: number;
}

/** What was wrong with one of several sources, by its place in the list. */
export interface SourceTrouble {
  source: number;
  error: RecorderError;
}

export interface CaptureResult {
  /** The trace's zero, the time of the first packet: ns since 1970, decimal; '0' without packets. */
  startNs: string;
  /** Earliest and latest packet time, ns since zero. -1 without packets. */
  firstNs: number;
  lastNs: number;
  packets: number;
  /** Bytes of the files in whole records, headers included. */
  bytes: number;
  /** -1: the file ended before it said. */
  linkType: number;
  /** TCP traffic, and memcached's over UDP where it is not recorded, by server port, the busiest first. */
  portsSeen: PortSeen[];
  /** Where the record begins that the end of a file cut, and of which source; null where none was. */
  truncatedAt: number | null;
  truncatedSource: number;
  /** Of several sources, those that could not be read, or not to their end. */
  troubles: SourceTrouble[];
  /** Packets that belong to no stream, by reason. */
  skipped: Skipped;
  /** Packets of link types that are not read here, the most frequent first. */
  unread: UnreadLink[];
  /** Connections given up because there were too many at once. */
  evicted: number;
  /** Connections that were captured twice, and counted once. */
  copies: { connections: number; packets: number; pairs: readonly Pair[] };
  /** Hosts that pass requests on which were captured before and behind them: under one address, or under two. */
  proxies: Proxy[];
  forwarders: readonly Proxy[];
  /** Connections to other servers than those that were asked for. */
  otherServers: number;
  /** How often a clock was corrected, and the first few times of each source. */
  corrections: number;
  clockEvents: (ClockEvent & { source: number })[];
  /** Of several sources, those whose clocks could not be right beside the others', and what was done. */
  moves: readonly Move[];
}

/**
 * Feeds the connections on the recorded ports of captures to sinks, then ends them all.
 * @throws RecorderError; the sinks then have heard everything before the trouble, and no end. Of several sources, one that
 * is broken leaves the others to be read: `troubles` has it.
 */
export async function readCapture(
  source: Readable | string | readonly (Readable | string)[],
  options: CaptureOptions,
): Promise<CaptureResult> {
  const sources = Array.isArray(source) ? (source as (Readable | string)[]) : [source as Readable | string];
  const intake = new Intake(options);
  const only = sources[0];
  if (sources.length === 1 && only !== undefined) await readOne(new Reading(only, options.signal), intake);
  else await readInTurn(sources, intake, options);
  return intake.finish();
}

async function readOne(reading: Reading, intake: Intake): Promise<void> {
  const clock = new Clock(intake.tell);
  intake.take(0, reading, clock, 0);
  for await (const slab of reading.slabs()) {
    intake.read(slab, clock, true);
    await intake.pause();
  }
  clock.finish();
  intake.truncated(0, reading.end());
}

/** Where formats put packets: the clock of their source, which changes from slab to slab. */
class Handler implements PacketHandler {
  clock: Clock | undefined;
  isCounted = true;
  readonly #capture: Capture;

  constructor(capture: Capture) {
    this.#capture = capture;
  }

  packet(
    link: LinkReader,
    seconds: number,
    nanos: number,
    data: Buffer,
    wireBytes: number,
    id: number,
  ): void {
    this.clock!.packet(link, seconds, nanos, data, wireBytes, id);
  }

  dropped(packets: number): void {
    if (this.isCounted) this.#capture.kernelDropped = (this.#capture.kernelDropped ?? 0) + packets;
  }
}

/** What the packets of all sources come to. */
export class Intake {
  readonly #tap: Tap;
  readonly #options: CaptureOptions;
  readonly #readings: Reading[] = [];
  readonly #clocks: { source: number; clock: Clock; addedNs: number }[] = [];
  readonly #handler: Handler;
  readonly troubles: SourceTrouble[] = [];
  readonly moves: Move[] = [];
  #packets = 0;
  #startNs = '0';
  #firstNs = -1;
  #lastNs = -1;
  #truncatedAt: number | null = null;
  #truncatedSource = 0;
  /** Takes a packet with its time since zero. */
  readonly tell: (link: LinkReader, data: Buffer, ns: number, wireBytes: number) => void;

  constructor(options: CaptureOptions) {
    const tap = new Tap(options);
    this.#tap = tap;
    this.#handler = new Handler(options.capture);
    this.#options = options;
    this.tell = (link, data, time, wireBytes) => {
      const ns = Math.min(time, MAX_TRACE_NS);
      if (this.#packets++ === 0) this.#begin(ns);
      if (ns < this.#firstNs) this.#firstNs = ns;
      if (ns > this.#lastNs) this.#lastNs = ns;
      tap.packet(link, data, ns, wireBytes);
    };
  }

  /** Another source, whose clock is that one, to which so much is added; the first one's is that of the trace. */
  take(source: number, reading: Reading, clock: Clock, addedNs: number): void {
    this.#readings.push(reading);
    this.#clocks.push({ source, clock, addedNs });
  }

  /** @param isCounted what the capture says that the kernel dropped is new */
  read({ format, data }: Slab, clock: Clock, isCounted: boolean): void {
    this.#handler.clock = clock;
    this.#handler.isCounted = isCounted;
    format.read(data, this.#handler);
  }

  /** Between slabs: lets the sinks drain. */
  async pause(): Promise<void> {
    this.#tellStart();
    this.#options.onProgress?.(this.#bytesRead);
    const wait = this.#options.drained?.();
    if (wait !== undefined) await wait;
  }

  truncated(source: number, at: number | null): void {
    if (at === null || this.#truncatedAt !== null) return;
    this.#truncatedAt = at;
    this.#truncatedSource = source;
  }

  finish(): CaptureResult {
    this.#tellStart();
    this.#tap.finish();
    return {
      startNs: this.#startNs,
      firstNs: this.#firstNs,
      lastNs: this.#lastNs,
      packets: this.#packets,
      bytes: this.#readings.reduce((sum, { format }) => sum + format.offset, 0),
      linkType: this.#linkType,
      portsSeen: this.#tap.portsSeen,
      truncatedAt: this.#truncatedAt,
      truncatedSource: this.#truncatedSource,
      troubles: this.troubles,
      skipped: this.#tap.skipped,
      unread: Array.from(this.#tap.unread, ([linkType, packets]) => ({ linkType, packets })).toSorted(
        (a, b) => b.packets - a.packets,
      ),
      evicted: this.#tap.evicted,
      copies: {
        connections: this.#tap.copies.connections,
        packets: this.#tap.copiedPackets,
        pairs: this.#tap.copies.pairs,
      },
      proxies: this.#tap.hops.proxies,
      forwarders: this.#tap.forwarders.proxies,
      otherServers: this.#tap.otherServers,
      corrections: this.#clocks.reduce((sum, { clock }) => sum + clock.corrections, 0),
      clockEvents: this.#clocks.flatMap(({ source, clock }) =>
        clock.events.map((event) => ({ ...event, source })),
      ),
      moves: this.moves,
    };
  }

  get #bytesRead(): number {
    return this.#readings.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  get #linkType(): number {
    return this.#readings[0]?.format.linkType ?? -1;
  }

  #begin(ns: number): void {
    this.#firstNs = ns;
    this.#lastNs = ns;
    this.#tellStart();
  }

  #tellStart(): void {
    const first = this.#clocks[0];
    if (first?.clock.startNs === undefined) return;
    const startNs = (first.clock.startNs + BigInt(first.addedNs)).toString();
    if (startNs === this.#startNs || this.#packets === 0) return;
    this.#startNs = startNs;
    this.#options.onStart?.({ startNs, linkType: this.#linkType });
  }
}
