// Random memcached traffic as packets that a test may wrap, copy, rewrite or stamp anew before they become a capture, and
// what the recorder makes of a capture, exchange by exchange.

import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { encodeRequest, encodeResponse, storeExtras } from '../../protocol/frame.ts';
import { Opcode } from '../../protocol/opcode.ts';
import { Status } from '../../protocol/status.ts';
import { readCapture, type CaptureOptions, type CaptureResult } from '../../recorder/capture.ts';
import { Exchanges } from '../../recorder/exchanges.ts';
import { Window } from '../../recorder/window.ts';
import type { Random } from '../../synth/laws/random.ts';
import { outcomeNames } from '../../trace/batch.ts';
import { emptyCapture, type Capture } from '../../trace/meta.ts';
import { ethernet, ipBytes, type CapturedPacket, type IpOptions, type Segment } from './packets.ts';

/** A segment on its way, before anything was done to it. */
export interface WirePacket extends Segment {
  micros: number;
  ip?: IpOptions;
}

export interface TrafficInit {
  connections: number;
  turns: number;
  /** First sequence numbers; random unless given. */
  sequences?: [client: number, server: number];
  /** Of connection n; `10.0.0.1:40000` and so on unless given. */
  client?: (n: number) => string;
  server?: string;
  /** Whether clients reset now and then, instead of closing. */
  resets?: boolean;
  /** When connection n begins; in the first 20 ms unless given. */
  startMicros?: (n: number) => number;
  /** What each client asks; random unless given. */
  ask?: (random: Random, turn: number) => { request: Buffer; answer: Buffer };
}

/** A set, a get that hits or misses, an increment, a version: with an answer that tells which request it is to. */
function randomAsk(random: Random, turn: number): { request: Buffer; answer: Buffer } {
  const opaque = random.uint32();
  const key = Buffer.from(`key-${random.int(1000)}`);
  const value = Buffer.alloc(1 + random.int(3000), `${random.uint32()} ${turn} `);
  const cas = BigInt(random.uint32()) + 1n;
  switch (random.int(4)) {
    case 0:
      return {
        request: encodeRequest({ opcode: Opcode.set, key, value, opaque, extras: storeExtras(0, 0) }),
        answer: encodeResponse({ opcode: Opcode.set, opaque, cas }),
      };
    case 1:
      return {
        request: encodeRequest({ opcode: Opcode.get, key, opaque }),
        answer: encodeResponse({ opcode: Opcode.get, opaque, cas, value, extras: Buffer.alloc(4) }),
      };
    case 2:
      return {
        request: encodeRequest({ opcode: Opcode.get, key, opaque }),
        answer: encodeResponse({ opcode: Opcode.get, opaque, status: Status.notFound }),
      };
    default:
      return {
        request: encodeRequest({ opcode: Opcode.version, opaque }),
        answer: encodeResponse({ opcode: Opcode.version, opaque, value: Buffer.from('1.6.18') }),
      };
  }
}

/** Of TCP, on a segment that opens a connection. */
function stampOption(stamp: number): Buffer {
  const option = Buffer.from([1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0]);
  option.writeUInt32BE(stamp, 4);
  return option;
}

/** One connection after its handshake to its end, in segments of at most 1448 bytes. */
function connection(random: Random, init: TrafficInit, n: number): WirePacket[] {
  const client = init.client?.(n) ?? `10.0.${n >>> 8}.1:${40_000 + (n & 255)}`;
  const server = init.server ?? '10.9.0.2:11211';
  let [own, peer] = init.sequences ?? [random.uint32(), random.uint32()];
  let micros = init.startMicros?.(n) ?? random.int(20_000);
  const packets: WirePacket[] = [];
  const stamps = random.chance(0.5) ? [random.uint32(), random.uint32()] : undefined;
  const add = (fromClient: boolean, flags: string, payload: Buffer = Buffer.alloc(0)): void => {
    const stamp = flags.includes('S') ? stamps?.[Number(fromClient)] : undefined;
    packets.push({
      from: fromClient ? client : server,
      to: fromClient ? server : client,
      sequence: (fromClient ? own : peer) >>> 0,
      acknowledgement: flags.includes('A') ? (fromClient ? peer : own) >>> 0 : 0,
      flags,
      payload,
      micros,
      ...(stamp === undefined ? {} : { options: stampOption(stamp) }),
    });
    const taken = payload.length + (/[SF]/.test(flags) ? 1 : 0);
    if (fromClient) own += taken;
    else peer += taken;
  };
  const wait = (most: number): number => (micros += 100 + random.int(most));
  const send = (fromClient: boolean, data: Buffer): void => {
    for (let at = 0; at < data.length; at += 1448) {
      add(fromClient, 'PA', data.subarray(at, at + 1448));
      micros += 5;
    }
  };
  add(true, 'S');
  wait(100);
  add(false, 'SA');
  wait(100);
  add(true, 'A');
  for (let turn = 0; turn < init.turns; turn++) {
    wait(3000);
    const { request, answer } = (init.ask ?? randomAsk)(random, turn);
    send(true, request);
    wait(300);
    send(false, answer);
    if (random.chance(0.3)) {
      wait(100);
      add(true, 'A');
    }
  }
  wait(1000);
  if (init.resets === true && random.chance(0.4)) {
    add(true, 'RA');
    return packets;
  }
  add(true, 'FA');
  wait(50);
  add(false, 'FA');
  wait(50);
  add(true, 'A');
  return packets;
}

export function randomTraffic(random: Random, init: TrafficInit): WirePacket[] {
  const all = Array.from({ length: init.connections }, (_, n) => connection(random, init, n)).flat();
  return all.toSorted((a, b) => a.micros - b.micros);
}

/**
 * What a proxy sends on of these connections, each on one of its own to `server`: requests so much later, and answers so much
 * earlier.
 */
export function passedOn(
  random: Random,
  packets: readonly WirePacket[],
  nameOf: (client: string) => string,
  server: string,
): WirePacket[] {
  const numbers = new Map<string, [client: number, server: number]>();
  const apart = 10 + random.int(20);
  return packets.map((packet) => {
    const isRequest = packet.flags === 'S' || numbers.has(packet.from);
    const client = isRequest ? packet.from : packet.to;
    const own = numbers.get(client) ?? [random.uint32(), random.uint32()];
    numbers.set(client, own);
    const length = (packet.payload?.length ?? 0) + (/[SF]/.test(packet.flags) ? 1 : 0);
    const [mine, theirs] = isRequest ? [0, 1] : [1, 0];
    const sequence = own[mine]!;
    own[mine] = (sequence + length) >>> 0;
    return {
      ...packet,
      from: isRequest ? nameOf(client) : server,
      to: isRequest ? server : nameOf(client),
      sequence,
      acknowledgement: packet.flags.includes('A') ? own[theirs]! : 0,
      micros: packet.micros + (isRequest ? apart : -apart),
    };
  });
}

/** A datagram on its way. */
export interface WireDatagram {
  from: string;
  to: string;
  /** Memcached's frame header, and the frames. */
  body: Buffer;
  ipId: number;
  micros: number;
}

export const idsOf = ['both', 'client', 'server', 'none'] as const;
type IdsOf = (typeof idsOf)[number];

export interface DatagramsInit {
  clients: number;
  turns: number;
  server: string;
  ask?: TrafficInit['ask'];
  /** Which hosts count IPv4's identification. */
  ids: IdsOf;
  /** Whether clients number their requests; 0 always if not. */
  hasRequestIds: boolean;
}

const sides = ['client', 'server'] as const;
/** Of memcached, before each datagram's part of a message. */
const UDP_FRAME_BYTES = 8;

export function randomDatagrams(random: Random, init: DatagramsInit): WireDatagram[] {
  const { clients, turns, server, ids, hasRequestIds } = init;
  return Array.from({ length: clients }, (_, n) => {
    const client = `10.0.0.1:${40_000 + n}`;
    let micros = random.int(20_000);
    return Array.from({ length: turns }, (_turn, turn) => {
      const { request, answer } = (init.ask ?? randomAsk)(random, turn);
      const id = hasRequestIds ? turn + 1 : 0;
      return [request, answer].flatMap((payload, side) => {
        micros += 200 + random.int(2000);
        const [from, to] = side === 0 ? [client, server] : [server, client];
        // Requests are of one datagram; memcached fills those of an answer.
        const most = side === 0 ? payload.length : 1400 - UDP_FRAME_BYTES;
        const total = Math.ceil(payload.length / most);
        return Array.from({ length: total }, (_part, number): WireDatagram => {
          if (number > 0) micros += 5;
          const frame = Buffer.from([0, id, 0, number, 0, total, 0, 0]);
          return {
            from,
            to,
            body: Buffer.concat([frame, payload.subarray(number * most, (number + 1) * most)]),
            ipId: ids === 'both' || ids === sides[side] ? 1 + random.int(65_535) : 0,
            micros,
          };
        });
      });
    }).flat();
  })
    .flat()
    .toSorted((a, b) => a.micros - b.micros);
}

export function capturedDatagrams(datagrams: readonly WireDatagram[]): CapturedPacket[] {
  return datagrams.map(({ from, to, body, ipId, micros }) => {
    const ip = ipBytes({ from, to, sequence: 0, flags: '' }, { protocol: 17 }).subarray(0, 20);
    const udp = Buffer.alloc(8);
    udp.writeUInt16BE(Number(from.split(':')[1]), 0);
    udp.writeUInt16BE(Number(to.split(':')[1]), 2);
    udp.writeUInt16BE(8 + body.length, 4);
    ip.writeUInt16BE(28 + body.length, 2);
    ip.writeUInt16BE(ipId, 4);
    return { data: ethernet.wrap(Buffer.concat([ip, udp, body])), micros };
  });
}

export function captured(
  packets: readonly WirePacket[],
  wrap: (ip: Buffer, n: number) => Buffer = (ip) => ethernet.wrap(ip),
): CapturedPacket[] {
  return packets.map((packet, n) => ({ data: wrap(ipBytes(packet, packet.ip), n), micros: packet.micros }));
}

export interface Told {
  /** Each exchange in a line, sorted. */
  exchanges: string[];
  connections: number;
  servers: string[];
  /** Of the requests, ns since the trace's zero, in the order of the rows; and how long their answers took. */
  requestNs: number[];
  latencyNs: number[];
  result: CaptureResult;
  capture: Capture;
}

export type TellOptions = Partial<Omit<CaptureOptions, 'factory' | 'capture'>>;

/** What the recorder makes of captures that are one recording: what they hold, or where they are. */
export async function tell(files: readonly (Buffer | string)[], options: TellOptions = {}): Promise<Told> {
  const exchanges: string[] = [];
  const requestNs: number[] = [];
  const latencyNs: number[] = [];
  const servers = new Set<string>();
  const window = new Window((batch) => {
    for (const { server } of batch.connections) servers.add(server);
    for (let row = 0; row < batch.count; row++) {
      requestNs.push(batch.requestNs[row]!);
      latencyNs.push(batch.answerNs[row]! - batch.requestNs[row]!);
      exchanges.push(
        [
          batch.opcode[row],
          batch.opaque[row],
          batch.key(row).toString('latin1'),
          brief(batch.value(row)),
          outcomeNames[batch.outcome[row]!],
          batch.status[row],
          batch.answerCas(row),
          brief(batch.answerValue(row)),
        ].join(' '),
      );
    }
  });
  const capture = emptyCapture();
  const pairing = new Exchanges(window, capture);
  const result = await readCapture(
    files.map((file) => (typeof file === 'string' ? file : Readable.from([file]))),
    {
      ports: [11_211],
      ...options,
      factory: pairing,
      capture,
      drained: () => {
        window.settle(pairing.lastNs);
        return undefined;
      },
    },
  );
  window.finish();
  return {
    exchanges: exchanges.toSorted(),
    connections: window.connections,
    servers: [...servers],
    requestNs,
    latencyNs,
    result,
    capture,
  };
}

/** Values in few letters, so that a failure can be read. */
function brief(value: Buffer): string {
  return value.length < 16
    ? value.toString('latin1')
    : createHash('sha1').update(value).digest('hex').slice(0, 12);
}

/** So many seeds: a few in a test run, as many as the variable says in a proof; from FIRST_SEED on, else from 1. */
export function seedsOf(variable: string, few: number): number[] {
  const first = Number(process.env['FIRST_SEED'] ?? 1);
  return Array.from({ length: Number(process.env[variable] ?? few) }, (_, n) => first + n);
}
