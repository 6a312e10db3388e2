// From a capture file to a trace file.

import type { Readable } from 'node:stream';
import { checkApart } from './claim.ts';
import { RecorderError } from './error.ts';
import { readCapture, type CaptureResult } from './capture.ts';
import type { PrivacyOptions } from './mask.ts';
import { notesOf } from './notes.ts';
import { Recording, type Recorded } from './recording.ts';
import type { RingOptions } from './ring.ts';
import type { Rotation } from './tapes.ts';

export interface RecordOptions {
  /** The trace to write. It comes into being with the first exchange. */
  output: string;
  /** Server ports. */
  ports: readonly number[];
  /** UDP ports of VXLAN besides 4789 and 8472. */
  vxlanPorts?: readonly number[];
  /** Only what these servers are asked: `10.0.0.2`, `10.0.0.2:11211`. All if absent. */
  servers?: readonly string[];
  /** What the trace says that it was made from. */
  source: string;
  onProgress?: (bytes: number, packets: number, exchanges: number) => void;
  /** Whether a file that is there may be replaced. Default: it may, unless it is the input. */
  overwrite?: boolean;
  /** One key in so many. Default 1: all. */
  sample?: number;
  /** Default: everything as it is. */
  privacy?: PrivacyOptions;
  /** One file after the other. */
  rotate?: Rotation;
  /** Only the last stretch is kept; `writeNow` is told how to write it. */
  ring?: RingOptions;
  onRing?: (path: string) => void;
  writeNow?: (write: () => Promise<string | undefined>) => void;
  /** Stops once the trace has this many bytes. */
  maxBytes?: number;
  /**
   * For live sources: what is complete goes to the disk this often, in milliseconds; and times go by whether or not
   * packets come.
   */
  flushMs?: number;
  /** Asked when the packets have ended: how many the kernel dropped. */
  kernelDropped?: () => Promise<number | null>;
  /** Stops reading; the trace is finished with what was read. */
  signal?: AbortSignal;
}

export interface CaptureRecorded extends Recorded {
  /** What the capture file held; its counts stop at `broken`. */
  source: CaptureResult | undefined;
  /** A capture could not be read to its end, or its source failed: why. What came before is in the trace. */
  broken: RecorderError | undefined;
  /** Which of several, from 0. */
  brokenSource: number;
}

/**
 * Records the memcached exchanges of a capture, from a file or a stream, or of several as one.
 * @throws RecorderError where nothing could be read, BAD_OUTPUT · TraceError WRITE
 */
export async function recordCapture(
  input: Readable | string | readonly (Readable | string)[],
  options: RecordOptions,
): Promise<CaptureRecorded> {
  const { output, ports, source, onProgress, maxBytes = Infinity } = options;
  for (const one of [input].flat()) if (typeof one === 'string') checkApart(one, output);
  const recording = new Recording(output, {
    sample: options.sample ?? 1,
    ...pick(options, 'privacy', 'rotate', 'ring', 'onRing', 'overwrite'),
  });
  options.writeNow?.(() => recording.writeRing());
  const full = new AbortController();
  const signal = options.signal === undefined ? full.signal : AbortSignal.any([options.signal, full.signal]);
  let trouble: Error | undefined;
  let zeroMs: number | undefined;
  const flush = async (): Promise<void> => {
    try {
      // Time that passed, and not the time of day, which may be set. Packets that are still on their way are later than
      // that by nothing that counts.
      if (zeroMs !== undefined) await recording.settle((performance.now() - zeroMs) * 1e6);
      await recording.flush();
    } catch (error) {
      trouble = error as Error;
    }
  };
  const timer = options.flushMs === undefined ? undefined : setInterval(() => void flush(), options.flushMs);
  let broken: RecorderError | undefined;
  let read: CaptureResult | undefined;
  try {
    read = await readCapture(input, {
      ports,
      factory: recording.exchanges,
      capture: recording.capture,
      ...pick(options, 'vxlanPorts', 'servers'),
      onStart: ({ startNs }) => {
        recording.meta = { startNs, source, ports: [...ports] };
        zeroMs = performance.now();
      },
      drained: async () => {
        if (trouble !== undefined) throw trouble;
        await recording.settle(recording.exchanges.lastNs);
        if (recording.bytesWritten >= maxBytes) full.abort();
      },
      onProgress: (bytes) => onProgress?.(bytes, recording.capture.packets, recording.seen),
      signal,
    });
  } catch (error) {
    if (!(error instanceof RecorderError) || recording.seen === 0) {
      await recording.abort();
      throw error;
    }
    broken = error;
  } finally {
    clearInterval(timer);
  }
  const first = read?.troubles[0];
  broken ??= first?.error;
  if (read !== undefined) recording.notes.push(...notesOf(read, ports));
  try {
    const dropped = await options.kernelDropped?.();
    if (dropped !== undefined && dropped !== null) recording.capture.kernelDropped = dropped;
  } catch (error) {
    if (!(error instanceof RecorderError)) throw error;
    broken ??= error;
  }
  return { ...(await recording.finish()), source: read, broken, brokenSource: first?.source ?? 0 };
}

/** The members that are there. */
function pick<T extends object, K extends keyof T>(from: T, ...names: K[]): Partial<Pick<T, K>> {
  return Object.fromEntries(
    names.filter((name) => from[name] !== undefined).map((name) => [name, from[name]]),
  ) as Partial<Pick<T, K>>;
}
