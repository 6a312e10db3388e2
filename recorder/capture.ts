// Reads capture files: bytes from a file or a pipe, unpacked where they are compressed, through the reader of their
// format to the tap. Reads no faster than the sinks drain.

import { createReadStream } from 'node:fs';
import type { Readable } from 'node:stream';
import { RecorderError } from './error.ts';
import type { CaptureFormat, PacketHandler } from './format.ts';
import type { LinkReader } from './link.ts';
import { unpack } from './packed.ts';
import { Pcap } from './pcap.ts';
import { Pcapng } from './pcapng.ts';
import type { Skipped } from './packet.ts';
import type { PortSeen } from './ports.ts';
import { Tap, type TapOptions } from './tap.ts';

export interface CaptureOptions extends TapOptions {
  /** Called before the first stream opens; not at all for a capture without packets. */
  onStart?: (start: { startNs: string; linkType: number }) => void;
  /** Asked between slabs of at most some hundred KiB; reading goes on when its promise resolves. */
  drained?: () => Promise<void> | undefined;
  /** Called about as often as drained, with the bytes read so far. */
  onProgress?: (bytes: number) => void;
  /** Stops reading; what was read until then counts as the whole capture. */
  signal?: AbortSignal;
}

export interface CaptureResult {
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
export async function readCapture(
  source: Readable | string,
  options: CaptureOptions,
): Promise<CaptureResult> {
  const { signal } = options;
  const stream = typeof source === 'string' ? createReadStream(source, { highWaterMark: 262_144 }) : source;
  const intake = new Intake(options);
  let format: CaptureFormat | undefined;
  let bytes = 0;
  const stop = (): void => void stream.destroy();
  if (signal?.aborted === true) stop();
  signal?.addEventListener('abort', stop);
  const isStopped = (): boolean => signal?.aborted === true;
  try {
    const read = chunks(stream, isStopped, (count) => (bytes += count));
    for await (const chunk of atLeast(MAGIC_BYTES, unpack(read))) {
      format ??= formatOf(chunk);
      for (const slab of format.slabs(chunk)) {
        intake.feed(format, slab);
        options.onProgress?.(bytes);
        const wait = options.drained?.();
        if (wait !== undefined) await wait;
        if (isStopped()) break;
      }
    }
  } finally {
    signal?.removeEventListener('abort', stop);
  }
  format ??= new Pcap();
  const truncatedAt = isStopped() ? null : format.end();
  return { ...intake.finish(format), bytes: format.offset, truncatedAt };
}

const MAGIC_BYTES = 4;

/** The chunks, of which the first has so many bytes unless there are no more. */
async function* atLeast(bytes: number, chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let head: Buffer = Buffer.alloc(0);
  let isWhole = false;
  for await (const chunk of chunks) {
    if (isWhole) {
      yield chunk;
      continue;
    }
    head = head.length === 0 ? chunk : Buffer.concat([head, chunk]);
    isWhole = head.length >= bytes;
    if (isWhole) yield head;
  }
  if (!isWhole && head.length > 0) yield head;
}

/** pcapng begins with the type of its section header, which reads the same in both byte orders. */
function formatOf(chunk: Buffer): CaptureFormat {
  return chunk.toString('hex', 0, 4) === '0a0d0d0a' ? new Pcapng() : new Pcap();
}

/** The stream's chunks; a stop ends them, and trouble of the stream's own comes as a RecorderError. */
async function* chunks(
  stream: Readable,
  isStopped: () => boolean,
  count: (bytes: number) => void,
): AsyncGenerator<Buffer> {
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
      count(chunk.length);
      yield Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk as Uint8Array);
    }
  } finally {
    stream.destroy();
  }
}

/** What the packets of a capture go through, whatever its format: their times are made relative, and the tap gets them. */
class Intake implements PacketHandler {
  readonly #tap: Tap;
  readonly #options: CaptureOptions;
  #format: CaptureFormat | undefined;
  #packets = 0;
  #zeroSeconds = 0;
  #zeroNanos = 0;
  #firstNs = -1;
  #lastNs = -1;

  constructor(options: CaptureOptions) {
    this.#tap = new Tap(options);
    this.#options = options;
  }

  feed(format: CaptureFormat, slab: Buffer): void {
    this.#format = format;
    format.read(slab, this);
  }

  finish(format: CaptureFormat): Omit<CaptureResult, 'bytes' | 'truncatedAt'> {
    this.#tap.finish();
    return {
      startNs: this.#startNs(),
      firstNs: this.#firstNs,
      lastNs: this.#lastNs,
      packets: this.#packets,
      linkType: format.linkType,
      portsSeen: this.#tap.portsSeen,
      skipped: this.#tap.skipped,
      evicted: this.#tap.evicted,
    };
  }

  packet(link: LinkReader, seconds: number, nanos: number, data: Buffer, wireBytes: number): void {
    if (this.#packets++ === 0) {
      this.#zeroSeconds = seconds;
      this.#zeroNanos = nanos;
      this.#firstNs = 0;
      this.#lastNs = 0;
      this.#options.onStart?.({ startNs: this.#startNs(), linkType: this.#format!.linkType });
    }
    // Differences first: ns since 1970 pass what a number holds exactly.
    const ns = (seconds - this.#zeroSeconds) * 1_000_000_000 + (nanos - this.#zeroNanos);
    if (ns < this.#firstNs) this.#firstNs = ns;
    if (ns > this.#lastNs) this.#lastNs = ns;
    this.#tap.packet(link, data, ns, wireBytes);
  }

  dropped(packets: number): void {
    const { capture } = this.#options;
    capture.kernelDropped = (capture.kernelDropped ?? 0) + packets;
  }

  #startNs(): string {
    return (BigInt(this.#zeroSeconds) * 1_000_000_000n + BigInt(this.#zeroNanos)).toString();
  }
}
