// Recording for callers from code: a capture becomes a trace.

import { basename } from 'node:path';
import type { Readable } from 'node:stream';
import { recordCapture, type CaptureRecorded, type RecordOptions } from '../recorder/record.ts';

const PORT = 11_211;

/** `ports` is 11211 and `source` the name of the file, unless they are said. */
export type RecordInput = Omit<RecordOptions, 'output' | 'ports' | 'source'> &
  Partial<Pick<RecordOptions, 'ports' | 'source'>>;

/**
 * Records the memcached exchanges of a capture (pcap or pcapng, also packed with gzip or zstd) into a trace. The capture
 * is read as a stream; memory is bounded whatever its length.
 * @param capture the path of a file, or a stream
 * @param output the trace to write. Without any exchange there is none: `fileBytes` is then 0
 * @returns what was recorded; `broken` where the capture could not be read to its end, and what came before was kept
 * @throws RecorderError where nothing could be read · TraceError WRITE
 */
export async function record(
  capture: string | Readable,
  output: string,
  options: RecordInput = {},
): Promise<CaptureRecorded> {
  const source = typeof capture === 'string' ? basename(capture) : 'a stream';
  return recordCapture(capture, { ports: [PORT], source, ...options, output });
}
