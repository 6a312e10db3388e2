// Reads classic pcap files: bytes from a file or a pipe, through the framing check and pcap-parser, to the tap. Reads
// no faster than the sinks drain.

import { EventEmitter } from 'node:events';
import { createReadStream } from 'node:fs';
import type { Readable } from 'node:stream';
import { parse, type CapturedPacket } from 'pcap-parser';
import { RecorderError } from './error.ts';
import { PcapFraming } from './framing.ts';
import { linkReader, type LinkReader } from './link.ts';
import type { Skipped } from './packet.ts';
import type { PortSeen } from './ports.ts';
import { Tap, type TapOptions } from './tap.ts';

export interface PcapOptions extends TapOptions {
  /** Called before the first stream opens; not at all for a capture without packets. */
  onStart?: (start: { startNs: string; linkType: number }) => void;
  /** Asked between slabs of at most some hundred KiB; reading goes on when its promise resolves. */
  drained?: () => Promise<void> | undefined;
  /** Called about as often as drained, with the bytes read so far. */
  onProgress?: (bytes: number) => void;
  /** Stops reading; what was read until then counts as the whole capture. */
  signal?: AbortSignal;
}

export interface PcapResult {
  /** The trace's zero, the time of the first packet: ns since 1970, decimal; '0' without packets. */
  startNs: string;
  /** Earliest and latest packet time, ns since zero; a first before zero is a packet out of order. -1 without packets. */
  firstNs: number;
  lastNs: number;
  packets: number;
  /** Bytes of the file in whole records, headers included. */
  bytes: number;
  /** -1: the file ended before it said. */
  linkType: number;
  /** TCP traffic by server port, the busiest first. */
  portsSeen: PortSeen[];
  /** Where the record begins that the end of the file cut; null where none was. */
  truncatedAt: number | null;
  /** Packets that belong to no stream, by reason. */
  skipped: Skipped;
  /** Connections given up because there were too many at once. */
  evicted: number;
}

/**
 * Feeds the connections on the recorded ports of a capture to sinks, then ends them all.
 * @throws RecorderError; the sinks then have heard everything before the trouble, and no end.
 */
export async function readPcap(source: Readable | string, options: PcapOptions): Promise<PcapResult> {
  const { signal } = options;
  const stream = typeof source === 'string' ? createReadStream(source, { highWaterMark: 262_144 }) : source;
  const framing = new PcapFraming();
  const intake = new Intake(options);
  const stop = (): void => void stream.destroy();
  if (signal?.aborted === true) stop();
  signal?.addEventListener('abort', stop);
  const isStopped = (): boolean => signal?.aborted === true;
  try {
    for await (const chunk of chunks(stream, isStopped)) {
      for (const slab of framing.slabs(chunk)) {
        intake.feed(slab);
        options.onProgress?.(framing.offset);
        const wait = options.drained?.();
        if (wait !== undefined) await wait;
        if (isStopped()) break;
      }
    }
  } finally {
    signal?.removeEventListener('abort', stop);
  }
  const truncatedAt = isStopped() ? null : framing.end();
  return { ...intake.finish(), bytes: framing.offset, truncatedAt };
}

/** The stream's chunks; a stop ends them, and trouble of the stream's own comes as a RecorderError. */
async function* chunks(stream: Readable, isStopped: () => boolean): AsyncGenerator<Buffer> {
  const iterator = stream[Symbol.asyncIterator]() as AsyncIterator<Uint8Array | string>;
  try {
    for (;;) {
      let next: IteratorResult<Uint8Array | string>;
      try {
        next = await iterator.next();
      } catch (cause) {
        if (isStopped()) return;
        const why = cause instanceof Error ? cause.message : String(cause);
        throw new RecorderError('UNREADABLE', `the capture cannot be read: ${why}`, { cause });
      }
      if (next.done === true || isStopped()) return;
      const chunk = next.value;
      yield Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk as Uint8Array);
    }
  } finally {
    stream.destroy();
  }
}

/** What pcap-parser takes for a stream; 'data' is emitted, and handled, within feed(). */
class Feed extends EventEmitter {
  pause(): void {
    // Whoever emits decides when.
  }

  resume(): void {
    // As above.
  }
}

/** The parser and the tap behind it, fed whole records. */
class Intake {
  readonly #feed = new Feed();
  readonly #tap: Tap;
  readonly #onStart: PcapOptions['onStart'];
  #link: LinkReader | undefined;
  #linkType = -1;
  #packets = 0;
  #zeroSeconds = 0;
  #zeroMicros = 0;
  #firstNs = -1;
  #lastNs = -1;

  constructor(options: PcapOptions) {
    this.#tap = new Tap(options);
    this.#onStart = options.onStart;
    const parser = parse(this.#feed);
    parser.on('globalHeader', (header) => {
      // The upper bits tell of frame check sequences, which fall away with the padding.
      this.#linkType = header.linkLayerType & 0xffff;
      this.#link = linkReader(this.#linkType);
    });
    parser.on('packet', (packet) => this.#packet(packet));
    parser.on('error', (cause) => {
      throw new RecorderError('CORRUPT', `the capture cannot be parsed: ${cause.message}`, { cause });
    });
  }

  feed(slab: Buffer): void {
    this.#feed.emit('data', slab);
  }

  finish(): Omit<PcapResult, 'bytes' | 'truncatedAt'> {
    this.#tap.finish();
    return {
      startNs: this.#startNs(),
      firstNs: this.#firstNs,
      lastNs: this.#lastNs,
      packets: this.#packets,
      linkType: this.#linkType,
      portsSeen: this.#tap.portsSeen,
      skipped: this.#tap.skipped,
      evicted: this.#tap.evicted,
    };
  }

  #packet({ header, data }: CapturedPacket): void {
    if (this.#packets++ === 0) {
      this.#zeroSeconds = header.timestampSeconds;
      this.#zeroMicros = header.timestampMicroseconds;
      this.#firstNs = 0;
      this.#lastNs = 0;
      this.#onStart?.({ startNs: this.#startNs(), linkType: this.#linkType });
    }
    // Differences first: ns since 1970 pass what a number holds exactly.
    const seconds = header.timestampSeconds - this.#zeroSeconds;
    const ns = seconds * 1_000_000_000 + (header.timestampMicroseconds - this.#zeroMicros) * 1000;
    if (ns < this.#firstNs) this.#firstNs = ns;
    if (ns > this.#lastNs) this.#lastNs = ns;
    this.#tap.packet(this.#link!, data, ns, header.originalLength);
  }

  #startNs(): string {
    return (BigInt(this.#zeroSeconds) * 1_000_000_000n + BigInt(this.#zeroMicros) * 1000n).toString();
  }
}
