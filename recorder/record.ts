// From a capture file to a trace file.

import type { Readable } from 'node:stream';
import { RecorderError } from './error.ts';
import { readCapture, type CaptureResult } from './capture.ts';
import { Recording, type Recorded } from './recording.ts';

export interface RecordOptions {
  /** The trace to write. It comes into being with the first exchange. */
  output: string;
  /** Server ports. */
  ports: readonly number[];
  /** What the trace says that it was made from. */
  source: string;
  onProgress?: (bytes: number, packets: number, exchanges: number) => void;
  /** Stops reading; the trace is finished with what was read. */
  signal?: AbortSignal;
}

export interface CaptureRecorded extends Recorded {
  /** What the capture file held; its counts stop at `broken`. */
  source: CaptureResult | undefined;
  /** The capture could not be read to its end: why. What came before is in the trace. */
  broken: RecorderError | undefined;
}

/**
 * Records the memcached exchanges of a capture, from a file or a stream.
 * @throws RecorderError where nothing could be read · TraceError WRITE
 */
export async function recordCapture(
  input: Readable | string,
  options: RecordOptions,
): Promise<CaptureRecorded> {
  const { output, ports, source, onProgress, signal } = options;
  const recording = new Recording(output);
  let broken: RecorderError | undefined;
  let read: CaptureResult | undefined;
  try {
    read = await readCapture(input, {
      ports,
      factory: recording.exchanges,
      capture: recording.capture,
      onStart: ({ startNs }) => {
        recording.meta = { startNs, source, ports: [...ports] };
      },
      drained: () => recording.settle(recording.exchanges.lastNs),
      onProgress: (bytes) => onProgress?.(bytes, recording.capture.packets, recording.seen),
      ...(signal === undefined ? {} : { signal }),
    });
  } catch (error) {
    if (!(error instanceof RecorderError) || recording.seen === 0) {
      await recording.abort();
      throw error;
    }
    broken = error;
  }
  return { ...(await recording.finish()), source: read, broken };
}
