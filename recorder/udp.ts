// memcached over UDP: each datagram begins with a frame header of eight bytes: request id, number of the datagram in its
// message, datagrams of the message, and two that nobody looks at. A datagram without a message says that the server has
// nothing to answer. What two ports say to one another is taken for one connection; messages of
// several datagrams are put in order, and one that misses a datagram is a gap. An answer is to a request of the datagram whose
// id it has, and says nothing of others: datagrams may be lost, and overtake each other.

import { uint16 } from '../protocol/header.ts';
import { ConnectionEnd } from '../trace/batch.ts';
import { formatEndpoint } from './address.ts';
import { Datagrams, Sequel, type Sign } from './datagrams.ts';
import type { Packet } from './packet.ts';
import type { Ports } from './ports.ts';
import type { StreamFactory, StreamInfo, StreamSink } from './stream.ts';

const UDP_HEADER_BYTES = 8;
const FRAME_HEADER_BYTES = 8;
const MAX_FLOWS = 16_384;
/** Bytes of one message, and of all flows, that wait for earlier datagrams. */
const MAX_MESSAGE_BYTES = 2 * 1024 * 1024;
const MAX_HELD_BYTES = 32 * 1024 * 1024;
/** What a part of a message costs besides its bytes. */
const PART_BYTES = 500;

/** A message of which datagrams are missing. */
interface Message {
  id: number;
  total: number;
  parts: Map<number, Buffer>;
  bytes: number;
}

interface Flow {
  sink: StreamSink;
  client: string;
  server: string;
  ns: number;
  info: StreamInfo;
  sequel: Sequel;
  /** It had to make room; its sink has heard the end. */
  ended: boolean;
  /** From the server, by id; requests are of one datagram, others memcached refuses. */
  messages: Map<number, Message>;
  /** The last request datagrams: their ids, and how many requests there were before and with each. */
  asked: { id: number; from: number; to: number }[];
  /** Not all of them had the same id. */
  hasIds: boolean;
}

/** Answers of several datagrams that come at once, on one flow. */
const MAX_MESSAGES = 16;

/** Request datagrams of a flow that are remembered. */
const MAX_ASKED = 64;
/** A flow that began as another did, from another client: its next datagrams tell whether it is that one again. */
interface Suspected {
  like: Flow;
  packets: { packet: Packet; body: number; sign: Sign }[];
}

/** Datagrams of a flow that are held back until it is known. */
const MAX_SUSPECTED = 32;
/** Datagrams among them that the other flow did not have, so far. */
const MAX_UNSEEN = 2;
/** So many different requests and their answers tell, where hosts do not count identifications … */
const MIN_TURNS = 3;
/** … and a host passes a datagram on within so long. */
const MAX_PASS_NS = 500e3;
/** Flows that are held back, and flows known by a second name. */
const MAX_SUSPECTS = 256;
const MAX_ALIASES = 16_384;

export interface FlowsOwner {
  /** Whether what this server is asked is recorded. */
  isWanted(server: string): boolean;
  /** A flow was seen under two addresses, of which the first stands in the recording. */
  onCopy(server: string, other: string): void;
}

export class UdpFlows {
  readonly #factory: StreamFactory;
  readonly #ports: Ports;
  readonly #flows = new Map<string, Flow>();
  readonly #datagrams = new Datagrams<Flow>();
  readonly #aliases = new Map<string, Flow>();
  readonly #suspected = new Map<string, Suspected>();
  /** Datagrams that were seen twice, and counted once. */
  copies = 0;
  readonly #owner: FlowsOwner;
  #heldBytes = 0;

  constructor(factory: StreamFactory, ports: Ports, owner: FlowsOwner) {
    this.#owner = owner;
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
    const total = uint16(data, body + 4);
    if (!this.#ports.isRecorded(packet)) {
      if (uint16(data, body + 2) < total) this.#count(packet, body);
      return false;
    }
    const isEmpty = total === 0 && body + FRAME_HEADER_BYTES === end;
    const isFrame = isEmpty || uint16(data, body + 2) < total;
    if (!isFrame || uint16(data, at + 4) < UDP_HEADER_BYTES + FRAME_HEADER_BYTES) return false;
    packet.at = body + FRAME_HEADER_BYTES;
    packet.flags = 0;
    const fromClient = this.#ports.isFromClient(packet);
    const name = nameOf(packet, fromClient);
    if (!this.#owner.isWanted(name.server)) return true;
    const sign = this.#datagrams.sign(packet, body, fromClient);
    if (!this.#isHeldBack(name, packet, body, sign)) this.#deliver(name, packet, body, sign);
    return true;
  }

  /** Datagrams of another port, or in a tunnel. */
  #count(packet: Packet, body: number): void {
    const { at } = packet;
    packet.at = body + FRAME_HEADER_BYTES;
    this.#ports.countDatagram(packet);
    packet.at = at;
  }

  #deliver(name: FlowName, packet: Packet, body: number, sign: Sign): void {
    const { data } = packet;
    const { fromClient } = sign;
    const total = uint16(data, body + 4);
    const original = this.#aliases.get(name.both);
    const flow = original === undefined || original.ended ? this.#flow(name, packet.ns) : original;
    if (this.#datagrams.isCopy(flow, sign)) {
      this.copies++;
      return;
    }
    this.#datagrams.remember(flow, sign);
    flow.ns = Math.max(flow.ns, packet.ns);
    const id = uint16(data, body);
    if (fromClient) {
      if (total > 0) this.#ask(flow, packet, id);
      return;
    }
    // An empty datagram says that there is nothing to answer.
    if (total === 0) this.#silent(flow, id);
    else if (total === 1) this.#answer(flow, packet, id);
    else if (packet.end < packet.wireEnd) this.#lost(flow, id);
    else this.#part(flow, packet, id, uint16(data, body + 2), total);
  }

  /** A new flow that says what another says now is that one, seen behind an address translation, or may be. */
  #isHeldBack(name: FlowName, packet: Packet, body: number, sign: Sign): boolean {
    const suspected = this.#suspected.get(name.both);
    if (suspected !== undefined) {
      this.#suspect(suspected, name, packet, body, sign);
      return true;
    }
    if (this.#flows.has(name.both) || this.#aliases.has(name.both)) return false;
    const like = this.#datagrams.other(undefined, sign);
    if (like === undefined || like.ended) return false;
    if (like.client === name.client) {
      this.#alias(name, like, sign.fromClient);
      return false;
    }
    if (this.#suspected.size >= MAX_SUSPECTS) return false;
    this.#suspected.set(name.both, { like, packets: [{ packet: packet.copy(), body, sign }] });
    return true;
  }

  #ask(flow: Flow, packet: Packet, id: number): void {
    const { sink, asked } = flow;
    const last = asked.at(-1);
    if (last !== undefined && last.id !== id) flow.hasIds = true;
    const message = flow.messages.get(id);
    if (message !== undefined && flow.hasIds) this.#giveUp(flow, message);
    const from = sink.requests ?? 0;
    this.#whole(flow, packet, true);
    if (asked.length === MAX_ASKED) asked.shift();
    asked.push({ id, from, to: sink.requests ?? 0 });
  }

  /** A message in one datagram. */
  #answer(flow: Flow, packet: Packet, id: number): void {
    answering(flow, id);
    this.#whole(flow, packet, false);
  }

  #whole({ sink, ns }: Flow, packet: Packet, fromClient: boolean): void {
    if (packet.end > packet.at) sink.data(fromClient, packet.data, packet.at, packet.end, ns);
    if (packet.end < packet.wireEnd) sink.gap(fromClient, packet.wireEnd - packet.end, ns, true);
  }

  #silent(flow: Flow, id: number): void {
    const { from, to } = askedWith(flow, id);
    flow.sink.silent?.(from, to, flow.ns);
  }

  #lost(flow: Flow, id: number): void {
    const { from, to } = askedWith(flow, id);
    flow.sink.lost?.(from, to);
  }

  #suspect(suspected: Suspected, name: FlowName, packet: Packet, body: number, sign: Sign): void {
    const { like, packets } = suspected;
    packets.push({ packet: packet.copy(), body, sign });
    const verdict = like.ended ? 'other' : (this.#verdictById(suspected) ?? this.#verdictByTurns(suspected));
    if (verdict === undefined && packets.length < MAX_SUSPECTED) return;
    if (verdict !== 'copy') return this.#release(name, suspected);
    this.#alias(name, like, packets[0]!.sign.fromClient);
    // The other flow has gone on since: what it had is told from what it did not have here, and not when it is delivered.
    const news = packets.filter((held) => this.#datagrams.timeIn(like, held.sign) === undefined);
    this.copies += packets.length - news.length;
    this.#release(name, { like, packets: news });
  }

  /**
   * Both sides' datagrams have to be the other flow's, with identifications that tell datagrams apart. Undefined while that
   * is not known.
   */
  #verdictById({ like, packets }: Suspected): 'copy' | 'other' | undefined {
    // Answers are seen behind the translation first, so that a datagram's other copy may be still to come.
    const seen = packets.filter(({ sign }) => this.#datagrams.timeIn(like, sign) !== undefined);
    const isBoth = seen.some(({ sign }) => sign.fromClient !== seen[0]!.sign.fromClient);
    const ids = new Set(seen.map(({ sign }) => sign.ipId));
    ids.delete(0);
    if (isBoth && ids.size > 1) return 'copy';
    const late = packets.filter((packet) => !seen.includes(packet) && isLate(packets, packet.sign));
    return late.length > MAX_UNSEEN ? 'other' : undefined;
  }

  /**
   * Where hosts do not count identifications: a host that passes datagrams on shows its requests right behind those that came
   * to it, and its answers right before those that it sends. Clients that ask the same in step have answers in the order of
   * their requests.
   */
  #verdictByTurns({ like, packets }: Suspected): 'copy' | 'other' | undefined {
    const asked = new Set<number>();
    for (const { sign } of packets) {
      const ns = this.#datagrams.timeIn(like, sign);
      if (ns === undefined && !isLate(packets, sign)) return undefined;
      const passedNs = ns === undefined ? -1 : sign.fromClient ? sign.ns - ns : ns - sign.ns;
      // What hosts count tells, in time.
      if (passedNs < 0 || passedNs > MAX_PASS_NS) return sign.ipId === 0 ? 'other' : undefined;
      if (sign.fromClient) asked.add(sign.digest);
      else if (asked.size >= MIN_TURNS) return 'copy';
    }
    return undefined;
  }

  #alias(name: FlowName, flow: Flow, fromClient: boolean): void {
    const [client, server] = fromClient ? [flow.client, name.server] : [name.client, flow.server];
    this.#owner.onCopy(server, server === name.server ? flow.server : name.server);
    this.#aliases.set(name.both, flow);
    if (this.#aliases.size > MAX_ALIASES) this.#aliases.delete(this.#aliases.keys().next().value!);
    flow.info.client = client;
    flow.info.server = server;
    flow.sink.renamed?.();
  }

  #release(name: FlowName, { packets }: Suspected): void {
    this.#suspected.delete(name.both);
    for (const { packet, body, sign } of packets) this.#deliver(name, packet, body, sign);
  }

  /** The capture is over. */
  finish(): void {
    for (const suspected of this.#suspected.values()) {
      const { packet, sign } = suspected.packets[0]!;
      this.#release(nameOf(packet, sign.fromClient), suspected);
    }
    for (const flow of this.#flows.values()) {
      this.#giveUpAll(flow);
      flow.sink.end(ConnectionEnd.open, flow.ns);
    }
    this.#flows.clear();
  }

  #flow({ client, server, both: name }: FlowName, ns: number): Flow {
    let flow = this.#flows.get(name);
    if (flow === undefined) {
      const info = { client, server, openNs: ns, firstNs: ns, midstream: false };
      const sink = this.#factory.open(info);
      flow = {
        sink,
        info,
        client,
        server,
        ns,
        sequel: new Sequel(),
        ended: false,
        messages: new Map(),
        asked: [],
        hasIds: false,
      };
    } else this.#flows.delete(name);
    // The one that was quiet for longest comes first.
    this.#flows.set(name, flow);
    if (this.#flows.size > MAX_FLOWS) {
      const [oldest, quiet] = this.#flows.entries().next().value!;
      this.#flows.delete(oldest);
      quiet.ended = true;
      this.#giveUpAll(quiet);
      quiet.sink.end(ConnectionEnd.open, quiet.ns);
    }
    return flow;
  }

  #part(flow: Flow, packet: Packet, id: number, number: number, total: number): void {
    const { messages, sink } = flow;
    let message = messages.get(id);
    if (message !== undefined && message.total !== total) {
      this.#giveUp(flow, message);
      message = undefined;
    }
    if (message === undefined) {
      if (messages.size >= MAX_MESSAGES) this.#giveUp(flow, messages.values().next().value!);
      message = { id, total, parts: new Map(), bytes: 0 };
      messages.set(id, message);
    }
    const bytes = packet.end - packet.at + PART_BYTES;
    if (number >= total || message.parts.has(number)) return;
    if (message.bytes + bytes > MAX_MESSAGE_BYTES || this.#heldBytes + bytes > MAX_HELD_BYTES)
      return this.#giveUp(flow, message);
    // Not from Node's pool: a few bytes would keep 8 KiB of it alive.
    const part = Buffer.allocUnsafeSlow(packet.end - packet.at);
    packet.data.copy(part, 0, packet.at, packet.end);
    message.parts.set(number, part);
    message.bytes += bytes;
    this.#heldBytes += bytes;
    if (message.parts.size < total) return;
    this.#forget(flow, message);
    answering(flow, id);
    for (let n = 0; n < total; n++) {
      const part = message.parts.get(n);
      if (part !== undefined) sink.data(false, part, 0, part.length, flow.ns);
    }
  }

  #forget({ messages }: Flow, message: Message): void {
    this.#heldBytes -= message.bytes;
    messages.delete(message.id);
  }

  /** Some of its datagrams are missing. */
  #giveUp(flow: Flow, message: Message): void {
    this.#forget(flow, message);
    this.#lost(flow, message.id);
  }

  #giveUpAll(flow: Flow): void {
    for (const message of flow.messages.values()) this.#giveUp(flow, message);
  }
}

/** Whether the other flow should have had it by now: an answer is seen behind the translation first. */
function isLate(packets: Suspected['packets'], sign: Sign): boolean {
  return sign.fromClient || packets.at(-1)!.sign.ns - sign.ns > MAX_PASS_NS;
}

/** The last datagram with this id: its requests. */
function askedWith({ asked }: Flow, id: number): { from: number; to: number } {
  return asked.findLast((datagram) => datagram.id === id) ?? { from: 0, to: 0 };
}

/** What comes next answers the datagram with this id; or any, where the client numbers none. */
function answering(flow: Flow, id: number): void {
  const { from, to } = askedWith(flow, id);
  if (flow.hasIds || to === 0) flow.sink.answering?.(from, to, from);
  else flow.sink.answering?.(0, to, from);
}

interface FlowName {
  client: string;
  server: string;
  both: string;
}

function nameOf(packet: Packet, fromClient: boolean): FlowName {
  const { data, sourceAt, targetAt, addressBytes } = packet;
  const source = formatEndpoint(data.subarray(sourceAt, sourceAt + addressBytes), packet.sourcePort);
  const target = formatEndpoint(data.subarray(targetAt, targetAt + addressBytes), packet.targetPort);
  const client = fromClient ? source : target;
  const server = fromClient ? target : source;
  return { client, server, both: `${client} ${server}` };
}
