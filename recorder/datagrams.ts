// Datagrams that a capture shows twice: on several interfaces, before and after address translation, or at two hosts. What
// does not change tells: the request's id, the payload, and IPv4's identification where hosts count it. A client may well send
// the same twice, so without that only what comes in step is a copy: before the other side has said anything.
// Bounded in datagrams remembered.

import { uint16 } from '../protocol/header.ts';
import { digestOf } from './copies.ts';
import type { Packet } from './packet.ts';
import { Recent } from './recent.ts';

/** Datagrams remembered, of all flows; the oldest are forgotten. */
const MAX_REMEMBERED = 65_536;
const MAX_ALIKE = 4;
const DIGEST_BYTES = 1024;
const NEAR_NS = 50e6;
/** IPv4's identification comes round again after some time. */
const MAX_APART_NS = 600e9;

/** What is to be known of a flow, to tell whether it repeats itself. */
export class Sequel {
  /** How often the other side took its turn. */
  turn = 0;
  #isFromClient: boolean | undefined;
  /** Of the client's and of the server's datagrams: the last identification, and whether they differ. */
  readonly #lastIds = [0, 0];
  readonly #differ = [false, false];

  heard(fromClient: boolean, ipId: number): void {
    if (this.#isFromClient !== undefined && this.#isFromClient !== fromClient) this.turn++;
    this.#isFromClient = fromClient;
    const side = fromClient ? 0 : 1;
    if (this.#lastIds[side] !== 0 && ipId !== this.#lastIds[side]) this.#differ[side] = true;
    this.#lastIds[side] = ipId;
  }

  /** Whether the identification of this side's datagrams tells them apart. */
  counts(fromClient: boolean): boolean {
    return this.#differ[fromClient ? 0 : 1]!;
  }
}

interface Remembered<Flow> {
  flow: Flow;
  fromClient: boolean;
  digest: number;
  ipId: number;
  turn: number;
  ns: number;
}

export class Datagrams<Flow extends { sequel: Sequel }> {
  readonly #byKey = new Recent<number, Remembered<Flow>[]>(MAX_REMEMBERED);

  /** @param body where memcached's frame header stands */
  sign(packet: Packet, body: number, fromClient: boolean): Sign {
    const { data, end, sourceAt, addressBytes } = packet;
    return {
      fromClient,
      id: uint16(data, body),
      digest: digestOf(data, body, Math.min(end, body + DIGEST_BYTES)) ^ (packet.wireEnd - body),
      ipId: addressBytes === 4 ? uint16(data, sourceAt - 8) : 0,
      ns: packet.ns,
    };
  }

  /** Whether the flow has had this datagram. */
  isCopy(flow: Flow, sign: Sign): boolean {
    return this.#alike(sign).some((other) => {
      if (other.flow !== flow || !agrees(sign, other)) return false;
      const apart = Math.abs(sign.ns - other.ns);
      if (sign.ipId !== 0 && flow.sequel.counts(sign.fromClient)) return apart <= MAX_APART_NS;
      return apart <= NEAR_NS && other.turn === flow.sequel.turn;
    });
  }

  /** Another flow that had this datagram just now. */
  other(flow: Flow | undefined, sign: Sign): Flow | undefined {
    const found = this.#alike(sign).findLast(
      (other) => other.flow !== flow && agrees(sign, other) && Math.abs(sign.ns - other.ns) <= NEAR_NS,
    );
    return found?.flow;
  }

  /** When the flow had this datagram, just now; undefined where it did not. */
  timeIn(flow: Flow, sign: Sign): number | undefined {
    return this.#alike(sign).findLast(
      (other) => other.flow === flow && agrees(sign, other) && Math.abs(sign.ns - other.ns) <= NEAR_NS,
    )?.ns;
  }

  remember(flow: Flow, sign: Sign): void {
    const { fromClient, digest, ipId, ns } = sign;
    flow.sequel.heard(fromClient, ipId);
    const key = keyOf(sign);
    const remembered = { flow, fromClient, digest, ipId, turn: flow.sequel.turn, ns };
    const alike = this.#byKey.get(key);
    if (alike === undefined) this.#byKey.set(key, [remembered]);
    else if (alike.push(remembered) > MAX_ALIKE) alike.shift();
  }

  #alike(sign: Sign): readonly Remembered<Flow>[] {
    return this.#byKey.get(keyOf(sign)) ?? [];
  }
}

export interface Sign {
  fromClient: boolean;
  id: number;
  digest: number;
  ipId: number;
  ns: number;
}

function agrees(a: Sign, b: { fromClient: boolean; digest: number; ipId: number }): boolean {
  if (a.fromClient !== b.fromClient || a.digest !== b.digest) return false;
  return a.ipId === 0 || b.ipId === 0 || a.ipId === b.ipId;
}

function keyOf({ digest, id }: Sign): number {
  return (digest >>> 0) * 65_536 + id;
}
