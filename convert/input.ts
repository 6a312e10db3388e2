// An input that is read twice: once to check all of it and to count its seconds, once to make the trace. So nothing is
// written of an input that is broken, and the requests of a second can be spread over it without being held.

import { rm } from 'node:fs/promises';
import { Seconds, TapeMaker, type Request } from './tape.ts';

/** Bytes in, in any chunks; requests out. */
export interface Parser {
  /** @throws ConvertError MALFORMED */
  push(chunk: Buffer): void;
  /** The input is over. @throws ConvertError MALFORMED */
  end(): void;
}

export interface Input {
  /** The bytes, unpacked, from the beginning. */
  open(): AsyncIterable<Buffer>;
  /** The request is valid during the call only. */
  parser(take: (request: Request) => void): Parser;
  /** What the trace says that it was made from. */
  source: string;
}

export interface Made {
  exchanges: number;
  connections: number;
  fileBytes: number;
}

/** @throws ConvertError MALFORMED, UNSUPPORTED · TraceError WRITE */
export async function makeTape(
  input: Input,
  output: string,
  onProgress?: (requests: number, pass: 1 | 2) => void,
): Promise<Made> {
  const seconds = new Seconds();
  const counter = input.parser(({ second }) => seconds.add(second));
  for await (const chunk of input.open()) {
    counter.push(chunk);
    onProgress?.(seconds.requests, 1);
  }
  counter.end();
  const maker = await TapeMaker.create(output, input.source, seconds);
  try {
    const parser = input.parser((request) => maker.add(request));
    for await (const chunk of input.open()) {
      parser.push(chunk);
      await maker.drained();
      onProgress?.(maker.exchanges, 2);
    }
    parser.end();
    await maker.finish();
  } catch (error) {
    await maker.abort();
    await rm(output, { force: true });
    throw error;
  }
  return { exchanges: maker.exchanges, connections: maker.clients, fileBytes: maker.bytesWritten };
}
