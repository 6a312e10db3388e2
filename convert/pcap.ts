// A trace as a capture that Wireshark opens: each connection from its SYN to its FIN, requests and answers as the
// segments of it, at their times to the nanosecond. What a trace does not hold is not in the capture either: the bytes of
// SASL (zeros of their length stand there), values that were masked (the derived ones do), the bytes of holes.

import { HEADER_BYTES, Magic, putHeader } from '../protocol/header.ts';
import { ConnectionEnd, NEVER, Outcome, RowFlag, type Batch, type Connection } from '../trace/batch.ts';
import type { TraceReader } from '../trace/file.ts';
import { Clock } from './clock.ts';
import { Endpoints, type Endpoint } from './endpoint.ts';
import { ConvertError } from './error.ts';
import { Output } from './output.ts';
import { MAX_SEGMENT_BYTES, TcpFlag, packetBytes, putPacket } from './packet.ts';
import { TimeQueue } from './queue.ts';

export interface PcapWritten {
  packets: number;
  fileBytes: number;
}

/** @throws TraceError · ConvertError WRITE, UNSUPPORTED */
export async function writePcap(
  trace: TraceReader,
  path: string,
  onProgress?: (exchanges: number) => void,
): Promise<PcapWritten> {
  const output = await Output.create(path);
  try {
    const capture = new CaptureWriter(output, trace.meta);
    for await (const batch of trace.batches()) {
      for (const connection of batch.connections) capture.meet(connection);
      for (let row = 0; row < batch.count; row++) {
        if (batch.outcome[row] !== Outcome.conditional) capture.exchange(batch, row);
        if ((row & 0xff) === 0) await output.drained();
      }
      onProgress?.(batch.firstIndex + batch.count);
    }
    capture.sendUntil(Infinity);
    await output.finish();
    return { packets: capture.packets, fileBytes: output.bytes };
  } catch (error) {
    await output.abort();
    throw error;
  }
}

const FILE_HEADER_BYTES = 24;
const RECORD_HEADER_BYTES = 16;
/** Nanoseconds, in the byte order of the writer. */
const NANOSECOND_MAGIC = 0xa1b23c4d;
const SNAP_BYTES = 262_144;
const ETHERNET = 1;
const CLIENT_SEQUENCE = 1_000_000;
const SERVER_SEQUENCE = 2_000_000;
const noData = Buffer.alloc(0);

type Step = 'open' | 'request' | 'answer' | 'close';

interface Event {
  ns: number;
  link: Link;
  step: Step;
  frames: Buffer[];
}

/** A connection, and how far its two streams are. */
class Link {
  client: Endpoint;
  server: Endpoint;
  clientSequence = CLIENT_SEQUENCE;
  serverSequence = SERVER_SEQUENCE;
  end: ConnectionEnd = ConnectionEnd.open;
  isOpen = false;
  isClosing = false;
  /** Streams are in order: nothing is sent before what was sent last. */
  requestNs = 0;
  answerNs = 0;
  /** Events in the queue. */
  pending = 0;
  /** The latest request that nobody has sent yet. */
  group: Event | undefined;

  constructor(client: Endpoint, server: Endpoint) {
    this.client = client;
    this.server = server;
  }
}

class CaptureWriter {
  packets = 0;
  readonly #output: Output;
  readonly #clock: Clock;
  readonly #endpoints: Endpoints;
  readonly #links = new Map<number, Link>();
  /** Pairs of ends with a connection now: two at once need two ports. */
  readonly #inUse = new Set<string>();
  readonly #queue = new TimeQueue<Event>();
  #lastNs = -Infinity;

  constructor(output: Output, meta: TraceReader['meta']) {
    this.#output = output;
    this.#clock = new Clock(meta);
    this.#endpoints = new Endpoints(meta.ports[0] ?? 11_211);
    const { data, at } = output.room(FILE_HEADER_BYTES);
    data.fill(0, at, at + FILE_HEADER_BYTES);
    data.writeUInt32LE(NANOSECOND_MAGIC, at);
    data.writeUInt16LE(2, at + 4);
    data.writeUInt16LE(4, at + 6);
    data.writeUInt32LE(SNAP_BYTES, at + 16);
    data.writeUInt32LE(ETHERNET, at + 20);
  }

  /** What the trace tells of a connection. */
  meet({ id, client, server, openNs, closeNs, end }: Connection): void {
    let link = this.#links.get(id);
    if (link === undefined) {
      const ends = this.#endpoints.pair(client, server);
      link = new Link(ends.client, ends.server);
      this.#links.set(id, link);
      if (openNs !== NEVER) this.#open(link, openNs);
    }
    if (closeNs === NEVER || link.isClosing) return;
    if (!link.isOpen) this.#open(link, closeNs);
    link.isClosing = true;
    link.end = end;
    this.#push({ ns: closeNs, link, step: 'close', frames: [] });
  }

  exchange(batch: Batch, row: number): void {
    const link = this.#links.get(batch.connection[row]!);
    if (link === undefined)
      throw new ConvertError(
        'UNSUPPORTED',
        `row ${batch.firstIndex + row} names connection ${batch.connection[row]}, which the trace does not tell of`,
      );
    const ns = Math.max(batch.requestNs[row]!, link.requestNs);
    // Nothing that is still to come is earlier than this request.
    this.sendUntil(batch.requestNs[row]!);
    if (!link.isOpen) this.#open(link, ns);
    this.#request(link, batch, row, ns);
    if (batch.outcome[row] !== Outcome.answered) return;
    link.answerNs = Math.max(batch.answerNs[row]!, link.answerNs, link.requestNs);
    this.#push({ ns: link.answerNs, link, step: 'answer', frames: answerBytes(batch, row) });
  }

  /** Writes the packets of everything before `ns`. */
  sendUntil(ns: number): void {
    while (this.#queue.firstNs < ns) {
      const event = this.#queue.pop()!;
      event.link.pending--;
      if (event.link.group === event) event.link.group = undefined;
      this.#lastNs = Math.max(this.#lastNs, event.ns);
      this.#send(event);
    }
  }

  #push(event: Event): void {
    event.link.pending++;
    this.#queue.push(event);
  }

  #open(link: Link, ns: number): void {
    link.isOpen = true;
    link.requestNs = ns;
    this.#push({ ns, link, step: 'open', frames: [] });
  }

  #request(link: Link, batch: Batch, row: number, ns: number): void {
    const frame = requestBytes(batch, row);
    const endNs = Math.max(batch.requestEndNs[row]!, ns);
    const shares = (batch.flags[row]! & RowFlag.sharesSegment) !== 0;
    if (shares && link.group?.ns === ns && endNs === ns) {
      link.group.frames.push(frame);
      return;
    }
    link.requestNs = endNs;
    if (endNs === ns) {
      link.group = { ns, link, step: 'request', frames: [frame] };
      this.#push(link.group);
      return;
    }
    // Its last byte came later than its first: two segments at least.
    const cut = Math.min(
      frame.length - 1,
      frame.length > MAX_SEGMENT_BYTES ? MAX_SEGMENT_BYTES : HEADER_BYTES,
    );
    link.group = undefined;
    this.#push({ ns, link, step: 'request', frames: [frame.subarray(0, cut)] });
    this.#push({ ns: endNs, link, step: 'request', frames: [frame.subarray(cut)] });
  }

  #send({ link, step, frames }: Event): void {
    switch (step) {
      case 'open':
        this.#claim(link);
        this.#segment(link, true, TcpFlag.syn, noData);
        this.#segment(link, false, TcpFlag.syn | TcpFlag.ack, noData);
        this.#segment(link, true, TcpFlag.ack, noData);
        return;
      case 'close':
        // What was asked and answered comes before the end, were it told to be at the same time.
        if (link.pending === 0) this.#close(link);
        else this.#push({ ns: Math.max(this.#lastNs, link.requestNs, link.answerNs), link, step, frames });
        return;
      default: {
        const data = frames.length === 1 ? frames[0]! : Buffer.concat(frames);
        for (let at = 0; at < data.length; at += MAX_SEGMENT_BYTES) {
          const part = data.subarray(at, at + MAX_SEGMENT_BYTES);
          const isLast = at + MAX_SEGMENT_BYTES >= data.length;
          this.#segment(link, step === 'request', TcpFlag.ack | (isLast ? TcpFlag.push : 0), part);
        }
      }
    }
  }

  #close(link: Link): void {
    this.#inUse.delete(nameOf(link));
    if (link.end === ConnectionEnd.reset) {
      this.#segment(link, true, TcpFlag.reset | TcpFlag.ack, noData);
      return;
    }
    const byClient = link.end !== ConnectionEnd.server;
    this.#segment(link, byClient, TcpFlag.fin | TcpFlag.ack, noData);
    this.#segment(link, !byClient, TcpFlag.fin | TcpFlag.ack, noData);
    this.#segment(link, byClient, TcpFlag.ack, noData);
  }

  /** Merged traces may have two connections at once between the same ends: the later one gets another port. */
  #claim(link: Link): void {
    const { client } = link;
    for (let port = client.port; this.#inUse.has(nameOf(link));)
      link.client = { ...client, port: (port = port >= 65_535 ? 1024 : port + 1) };
    this.#inUse.add(nameOf(link));
  }

  #segment(link: Link, fromClient: boolean, flags: number, data: Buffer): void {
    const segment = {
      from: fromClient ? link.client : link.server,
      to: fromClient ? link.server : link.client,
      sequence: fromClient ? link.clientSequence : link.serverSequence,
      acknowledgement: fromClient ? link.serverSequence : link.clientSequence,
      flags,
      data,
    };
    // A SYN and a FIN take a number each.
    const taken = data.length + ((flags & (TcpFlag.syn | TcpFlag.fin)) === 0 ? 0 : 1);
    if (fromClient) link.clientSequence = (link.clientSequence + taken) >>> 0;
    else link.serverSequence = (link.serverSequence + taken) >>> 0;
    const bytes = packetBytes(segment);
    const second = this.#clock.second(this.#lastNs);
    if (second > 0xffffffff)
      throw new ConvertError('UNSUPPORTED', `expected times of 32 bits, as pcap has them; got ${second} s`);
    const { data: out, at } = this.#output.room(RECORD_HEADER_BYTES + bytes);
    out.writeUInt32LE(second, at);
    out.writeUInt32LE(this.#clock.nanosecond(this.#lastNs), at + 4);
    out.writeUInt32LE(bytes, at + 8);
    out.writeUInt32LE(bytes, at + 12);
    putPacket(out, at + RECORD_HEADER_BYTES, segment);
    this.packets++;
  }
}

function nameOf({ client, server }: Link): string {
  return `${client.address.toString('hex')} ${client.port} ${server.address.toString('hex')} ${server.port}`;
}

function requestBytes(batch: Batch, row: number): Buffer {
  const extrasLength = batch.extrasLength[row]!;
  const keyLength = batch.keyLength[row]!;
  const valueLength = batch.valueLength[row]!;
  const frame = Buffer.allocUnsafe(HEADER_BYTES + extrasLength + keyLength + valueLength);
  const body = putHeader(
    frame,
    0,
    Magic.request,
    batch.opcode[row]!,
    extrasLength,
    keyLength,
    valueLength,
    batch.vbucket[row]!,
    batch.opaque[row]!,
    batch.casHigh[row]!,
    batch.casLow[row]!,
  );
  frame[5] = batch.datatype[row]!;
  batch.extras(row).copy(frame, body);
  batch.key(row).copy(frame, body + extrasLength);
  batch.value(row).copy(frame, body + extrasLength + keyLength);
  return frame;
}

function answerBytes(batch: Batch, row: number): Buffer[] {
  // Of several frames the value holds everything, headers included.
  if (batch.frames[row]! > 1) return [Buffer.from(batch.answerValue(row))];
  const extrasLength = batch.answerExtrasLength[row]!;
  const keyLength = batch.answerKeyLength[row]!;
  const valueLength = batch.answerValueLength[row]!;
  const frame = Buffer.allocUnsafe(HEADER_BYTES + extrasLength + keyLength + valueLength);
  const body = putHeader(
    frame,
    0,
    Magic.response,
    batch.opcode[row]!,
    extrasLength,
    keyLength,
    valueLength,
    batch.status[row]!,
    batch.opaque[row]!,
    batch.answerCasHigh[row]!,
    batch.answerCasLow[row]!,
  );
  batch.answerExtras(row).copy(frame, body);
  batch.answerKey(row).copy(frame, body + extrasLength);
  batch.answerValue(row).copy(frame, body + extrasLength + keyLength);
  return [frame];
}
