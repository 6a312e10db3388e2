// Reads packets or pcap bytes as the recorder does and keeps all that the sinks heard, for tests to compare.

import { Readable } from 'node:stream';
import { readCapture, type CaptureOptions, type CaptureResult } from '../../recorder/capture.ts';
import type { StreamFactory, StreamInfo } from '../../recorder/stream.ts';
import { connectionEndNames } from '../../trace/batch.ts';
import { emptyCapture, type Capture } from '../../trace/meta.ts';
import { pcapBytes, type CapturedPacket, type PcapInit } from '../support/packets.ts';

/** What one sink heard. */
export interface Heard {
  info: StreamInfo;
  /** Each direction's bytes as latin1 text, a gap as `<5>`. */
  client: string;
  server: string;
  /** In order: `> text`, `< text`, `> gap 5`, `end client`. */
  events: string[];
  /** Times of the events. */
  ns: number[];
  end: string | undefined;
}

export class Listener implements StreamFactory {
  readonly streams: Heard[] = [];
  /** Of all streams, in the order in which they were told: `0 > text`. */
  readonly told: string[] = [];

  open(info: StreamInfo): ReturnType<StreamFactory['open']> {
    const heard: Heard = { info, client: '', server: '', events: [], ns: [], end: undefined };
    const number = this.streams.push(heard) - 1;
    const add = (fromClient: boolean, text: string, event: string, ns: number): void => {
      if (heard.end !== undefined) throw new Error(`${event} after the end`);
      if (ns < (heard.ns.at(-1) ?? info.firstNs)) throw new Error(`time went back at ${event}`);
      if (fromClient) heard.client += text;
      else heard.server += text;
      heard.events.push(`${fromClient ? '>' : '<'} ${event}`);
      this.told.push(`${number} ${heard.events.at(-1)!}`);
      heard.ns.push(ns);
    };
    return {
      data: (fromClient, data, start, end, ns) => {
        if (start >= end || end > data.length) throw new Error(`empty range ${start}-${end}`);
        const text = data.toString('latin1', start, end);
        add(fromClient, text, text, ns);
      },
      gap: (fromClient, bytes, ns) => {
        if (!(bytes > 0)) throw new Error(`gap of ${bytes}`);
        add(fromClient, `<${bytes}>`, `gap ${bytes}`, ns);
      },
      lost: () => add(false, '<lost>', 'lost', heard.ns.at(-1) ?? info.firstNs),
      end: (how, ns) => {
        add(true, '', `end ${connectionEndNames[how]}`, ns);
        heard.events[heard.events.length - 1] = `end ${connectionEndNames[how]}`;
        heard.end = connectionEndNames[how];
      },
    };
  }
}

export interface Reading {
  streams: Heard[];
  told: string[];
  capture: Capture;
  result: CaptureResult;
}

export type ListenOptions = Partial<Omit<CaptureOptions, 'factory'>> & { chunkBytes?: number };

/** Reads a pcap file's bytes, in one chunk or in many. */
export async function listenToBytes(file: Buffer, options: ListenOptions = {}): Promise<Reading> {
  const { chunkBytes = Math.max(1, file.length), ...rest } = options;
  const chunks: Buffer[] = [];
  for (let at = 0; at < file.length; at += chunkBytes) chunks.push(file.subarray(at, at + chunkBytes));
  const listener = new Listener();
  const capture = options.capture ?? emptyCapture();
  const result = await readCapture(Readable.from(chunks), {
    ports: [11211],
    ...rest,
    factory: listener,
    capture,
  });
  return { streams: listener.streams, told: listener.told, capture, result };
}

/** Reads packets as a pcap file of them. */
export function listen(
  packets: readonly CapturedPacket[],
  options: ListenOptions & PcapInit = {},
): Promise<Reading> {
  return listenToBytes(pcapBytes(packets, options), options);
}
