// memcached over UDP: each datagram begins with a frame header of eight bytes: request id, number of the datagram in its
// message, datagrams of the message, and two that nobody looks at. A datagram without a message says that the server has
// nothing to answer. What two ports say to one another is taken for one connection; messages of
// several datagrams are put in order, and one that misses a datagram is a gap.

import { uint16 } from '../protocol/header.ts';
import { ConnectionEnd } from '../trace/batch.ts';
import { formatEndpoint } from './address.ts';
import type { Packet } from './packet.ts';
import type { Ports } from './ports.ts';
import type { StreamFactory, StreamSink } from './stream.ts';

const UDP_HEADER_BYTES = 8;
const FRAME_HEADER_BYTES = 8;
const MAX_FLOWS = 16_384;
/** Bytes of one message, and of all flows, that wait for earlier datagrams. */
const MAX_MESSAGE_BYTES = 2 * 1024 * 1024;
const MAX_HELD_BYTES = 32 * 1024 * 1024;

/** A message of which datagrams are missing. */
interface Message {
  id: number;
  total: number;
  parts: Map<number, Buffer>;
  bytes: number;
}

interface Flow {
  sink: StreamSink;
  ns: number;
  /** From the server; requests are of one datagram, others memcached refuses. */
  message: Message | undefined;
  /** The last request datagrams: their ids, and how many requests there were before and with each. */
  asked: { id: number; from: number; to: number }[];
}

/** Request datagrams of a flow that are remembered. */
const MAX_ASKED = 64;

export class UdpFlows {
  readonly #factory: StreamFactory;
  readonly #ports: Ports;
  readonly #flows = new Map<string, Flow>();
  #heldBytes = 0;

  constructor(factory: StreamFactory, ports: Ports) {
    this.#factory = factory;
    this.#ports = ports;
  }

  /** A packet that stands at its UDP header. True where it is of a recorded port. */
  datagram(packet: Packet): boolean {
    const { data, at, end } = packet;
    const body = at + UDP_HEADER_BYTES;
    if (body + FRAME_HEADER_BYTES > end) return false;
    packet.sourcePort = uint16(data, at);
    packet.targetPort = uint16(data, at + 2);
    if (!this.#ports.isRecorded(packet)) return false;
    const total = uint16(data, body + 4);
    const isEmpty = total === 0 && body + FRAME_HEADER_BYTES === end;
    const isFrame = isEmpty || uint16(data, body + 2) < total;
    if (!isFrame || uint16(data, at + 4) < UDP_HEADER_BYTES + FRAME_HEADER_BYTES) return false;
    packet.at = body + FRAME_HEADER_BYTES;
    packet.flags = 0;
    const fromClient = this.#ports.isFromClient(packet);
    const flow = this.#flow(packet, fromClient);
    flow.ns = Math.max(flow.ns, packet.ns);
    const id = uint16(data, body);
    if (!fromClient && flow.message !== undefined && flow.message.id !== id) this.#giveUp(flow);
    if (isEmpty) {
      if (!fromClient) this.#silent(flow, id);
    } else if (fromClient || total <= 1) this.#whole(flow, packet, fromClient, id);
    else if (packet.end < packet.wireEnd) flow.sink.gap(false, Infinity, flow.ns);
    else this.#part(flow, packet, id, uint16(data, body + 2), total);
    return true;
  }

  /** A message in one datagram. */
  #whole(flow: Flow, packet: Packet, fromClient: boolean, id: number): void {
    const { sink, ns } = flow;
    const from = sink.requests ?? 0;
    if (packet.end > packet.at) sink.data(fromClient, packet.data, packet.at, packet.end, ns);
    if (packet.end < packet.wireEnd) sink.gap(fromClient, packet.wireEnd - packet.end, ns, true);
    if (!fromClient) return;
    if (flow.asked.length === MAX_ASKED) flow.asked.shift();
    flow.asked.push({ id, from, to: sink.requests ?? 0 });
  }

  #silent({ asked, sink, ns }: Flow, id: number): void {
    const of = asked.findLast((datagram) => datagram.id === id);
    if (of !== undefined) sink.silent?.(of.from, of.to, ns);
  }

  /** The capture is over. */
  finish(): void {
    for (const flow of this.#flows.values()) {
      this.#giveUp(flow);
      flow.sink.end(ConnectionEnd.open, flow.ns);
    }
    this.#flows.clear();
  }

  #flow(packet: Packet, fromClient: boolean): Flow {
    const { data, sourceAt, targetAt, addressBytes, ns } = packet;
    const source = formatEndpoint(data.subarray(sourceAt, sourceAt + addressBytes), packet.sourcePort);
    const target = formatEndpoint(data.subarray(targetAt, targetAt + addressBytes), packet.targetPort);
    const client = fromClient ? source : target;
    const server = fromClient ? target : source;
    const name = `${client} ${server}`;
    let flow = this.#flows.get(name);
    if (flow === undefined) {
      const info = { client, server, openNs: ns, firstNs: ns, midstream: false };
      flow = { sink: this.#factory.open(info), ns, message: undefined, asked: [] };
    } else this.#flows.delete(name);
    // The one that was quiet for longest comes first.
    this.#flows.set(name, flow);
    if (this.#flows.size > MAX_FLOWS) {
      const [oldest, quiet] = this.#flows.entries().next().value!;
      this.#flows.delete(oldest);
      this.#giveUp(quiet);
      quiet.sink.end(ConnectionEnd.open, quiet.ns);
    }
    return flow;
  }

  #part(flow: Flow, packet: Packet, id: number, number: number, total: number): void {
    flow.message ??= { id, total, parts: new Map(), bytes: 0 };
    const { message } = flow;
    const bytes = packet.end - packet.at;
    if (number >= total || message.parts.has(number)) return;
    if (message.bytes + bytes > MAX_MESSAGE_BYTES || this.#heldBytes + bytes > MAX_HELD_BYTES)
      return this.#giveUp(flow);
    message.parts.set(number, Buffer.from(packet.data.subarray(packet.at, packet.end)));
    message.bytes += bytes;
    this.#heldBytes += bytes;
    if (message.parts.size < message.total) return;
    this.#heldBytes -= message.bytes;
    flow.message = undefined;
    for (let n = 0; n < total; n++) {
      const part = message.parts.get(n);
      if (part !== undefined) flow.sink.data(false, part, 0, part.length, flow.ns);
    }
  }

  #giveUp(flow: Flow): void {
    if (flow.message === undefined) return;
    this.#heldBytes -= flow.message.bytes;
    flow.message = undefined;
    flow.sink.gap(false, Infinity, flow.ns);
  }
}
