// The clock of a capture, which people set and machines lose: stamps become times that keep their distances and do not run
// away. A clock that steps back goes on from where it was; a stamp far off takes its place between its neighbours; hours
// without a packet are kept, since hosts are idle, but not years. What was done is said.

import { MAX_TRACE_NS } from '../trace/meta.ts';
import type { PacketHandler } from './format.ts';
import type { LinkReader } from './link.ts';

/** Packets of several queues are captured a little out of order; what is further back is a step. */
const REORDER_NS = 50e6;
/** Interfaces are read in turns: what one of them has first may be so much older than what another had last. */
const TURN_NS = 2e9;
/** A packet later than this after the one before is looked at together with those that follow it. */
const JUMP_NS = 10e9;
/** So much later, and the clock may have been set. */
const HOUR_NS = 3600e9;
/** A packet goes back to an earlier clock where that has it so near to the one before. */
const RETURN_NS = 2e9;
/** No capture goes on so long without a packet: the clock was set. */
const MAX_IDLE_NS = 30 * 86_400e9;
/** So long without a packet is told of: it may be a clock that was set forward by less than an hour. */
const IDLE_NS = 60e9;
/** So many packets after a jump tell whether it stays: few where it may be idleness. */
const HELD = 16;
const HELD_IDLE = 3;
/** At the end of the capture, so few packets behind a jump of an hour are strays. */
const STRAYS = 2;
/** The latest stamp that is believed, in seconds since 1970: the year 2242. */
const MAX_SECONDS = 2 ** 33;
/** After a step, packets that the clock before it would have put nearer lead back to it. */
const PROBATION = 64;
const MAX_SCALES = 8;
const MAX_EVENTS = 5;
/** What a packet that a step came before is put behind its neighbour at most. */
const MAX_STEP_GAP_NS = 500e3;

/** A stretch of stamps that belong together: this stamp stands for this time. */
interface Scale {
  seconds: number;
  nanos: number;
  atNs: number;
  packets: number;
  /** What was said of its beginning. */
  event: ClockEvent | undefined;
}

/** Of one interface. */
interface Reading {
  scale: Scale;
  before: Scale | undefined;
  probation: number;
  lastNs: number;
}

interface Held {
  link: LinkReader;
  seconds: number;
  nanos: number;
  data: Buffer;
  wireBytes: number;
  id: number;
}

export interface ClockEvent {
  kind: 'back' | 'forth' | 'stray' | 'idle';
  /** The packet, counted from 1. */
  packet: number;
  byNs: number;
}

export type Timed = (link: LinkReader, data: Buffer, ns: number, wireBytes: number) => void;

export class Clock implements Pick<PacketHandler, 'packet'> {
  /** How often something was corrected, and the first few times. */
  corrections = 0;
  readonly events: ClockEvent[] = [];
  readonly #emit: Timed;
  readonly #scales: Scale[] = [];
  readonly #readings: (Reading | undefined)[] = [];
  #held: Held[] = [];
  #idle: ClockEvent | undefined;
  #packets = 0;
  #lastNs = 0;
  #gapNs = 0;

  constructor(emit: Timed) {
    this.#emit = emit;
  }

  /** When the first packet was captured, ns since 1970; undefined before it came. */
  get startNs(): bigint | undefined {
    const scale = this.#startScale();
    if (scale === undefined) return undefined;
    const stamp = BigInt(scale.seconds) * 1_000_000_000n + BigInt(Math.round(scale.nanos));
    const start = stamp - BigInt(Math.round(scale.atNs));
    return start < 0n ? 0n : start;
  }

  /** @param id of the interface, whose stamps may be those of a clock of its own */
  packet(
    link: LinkReader,
    seconds: number,
    nanos: number,
    data: Buffer,
    wireBytes: number,
    id: number,
  ): void {
    this.#packets++;
    const reading = this.#readings[id];
    if (reading !== undefined && this.#held.length === 0 && reading.probation === 0) {
      const { scale, lastNs } = reading;
      const ns = timeOn(scale, seconds, nanos);
      const gap = ns - lastNs;
      if (gap > -REORDER_NS && gap < JUMP_NS && ns <= MAX_TRACE_NS) {
        scale.packets++;
        this.#tell(reading, ns, link, data, wireBytes);
        return;
      }
    }
    this.#look({ link, seconds, nanos, data, wireBytes, id });
  }

  /** The capture is over. */
  finish(): void {
    if (this.#held.length > 0) this.#settleHeld(this.#held.length <= STRAYS && this.#heldGap() >= HOUR_NS);
  }

  /** Between the first packet that is held and the one before it. */
  #heldGap(): number {
    const { id, seconds, nanos } = this.#held[0]!;
    const { scale, lastNs } = this.#readings[id]!;
    return timeOn(scale, seconds, nanos) - lastNs;
  }

  #tell(reading: Reading, ns: number, link: LinkReader, data: Buffer, wireBytes: number): void {
    if (ns > reading.lastNs) {
      this.#gapNs = ns - reading.lastNs;
      reading.lastNs = ns;
      if (ns > this.#lastNs) this.#lastNs = ns;
    }
    this.#emit(link, data, Math.max(0, ns), wireBytes);
  }

  #look(packet: Held): void {
    const isStamp = packet.seconds >= 0 && packet.seconds < MAX_SECONDS;
    const known = isStamp ? packet : { ...packet, seconds: 0, nanos: 0 };
    const reading = (this.#readings[packet.id] ??= this.#newReading(known));
    // A stamp that no clock shows is one that was never set.
    if (!isStamp) {
      this.#note('stray', 0);
      return this.#tell(reading, reading.lastNs, packet.link, packet.data, packet.wireBytes);
    }
    const ns = this.#fitting(reading, packet);
    if (this.#held.length > 0) {
      if (ns === undefined) return this.#hold(packet);
      this.#placeStrays(reading, ns);
    }
    if (ns !== undefined) return this.#tell(reading, ns, packet.link, packet.data, packet.wireBytes);
    const gap = timeOn(reading.scale, packet.seconds, packet.nanos) - reading.lastNs;
    if (gap > 0) return this.#hold(packet);
    const event = this.#note('back', -gap);
    this.#step(reading, packet, reading.lastNs + Math.min(this.#gapNs, MAX_STEP_GAP_NS), event);
    this.#tell(reading, reading.scale.atNs, packet.link, packet.data, packet.wireBytes);
  }

  /** An interface that is heard of for the first time: its clock is the one that fits, or one of its own. */
  #newReading({ seconds, nanos }: Held): Reading {
    let scale = this.#scales.find((known) => {
      const gap = timeOn(known, seconds, nanos) - this.#lastNs;
      return gap > -TURN_NS && gap < HOUR_NS;
    });
    const lastNs = scale === undefined ? this.#lastNs : timeOn(scale, seconds, nanos);
    scale ??= this.#scales[0];
    if (scale === undefined) {
      scale = { seconds, nanos, atNs: 0, packets: 0, event: undefined };
      this.#scales.push(scale);
    }
    return { scale, before: undefined, probation: 0, lastNs };
  }

  /** The packet's time by the clock in use, or by another that was; undefined where it fits none. */
  #fitting(reading: Reading, { seconds, nanos }: Held): number | undefined {
    const { scale, before, lastNs } = reading;
    const ns = timeOn(scale, seconds, nanos);
    const gap = ns - lastNs;
    const fits = gap > -REORDER_NS && gap < JUMP_NS && ns <= MAX_TRACE_NS;
    if (reading.probation > 0) {
      reading.probation--;
      if (before !== undefined && isNear(timeOn(before, seconds, nanos), lastNs, fits ? gap : RETURN_NS))
        return this.#goOn(reading, before, seconds, nanos);
    }
    if (!fits && (gap < 0 || gap > HOUR_NS)) {
      const other = this.#scales.find((known) => isNear(timeOn(known, seconds, nanos), lastNs, RETURN_NS));
      if (other !== undefined) return this.#goOn(reading, other, seconds, nanos);
    }
    if (fits) scale.packets++;
    return fits ? ns : undefined;
  }

  /** The stamps are those of another clock that was in use before. */
  #goOn(reading: Reading, scale: Scale, seconds: number, nanos: number): number {
    const { event, packets } = reading.scale;
    if (event !== undefined && packets <= STRAYS) event.kind = 'stray';
    reading.before = reading.scale;
    reading.probation = PROBATION;
    reading.scale = scale;
    scale.packets++;
    return timeOn(scale, seconds, nanos);
  }

  /** From this packet on, stamps count from here. */
  #step(reading: Reading, { seconds, nanos }: Held, at: number, event: ClockEvent): void {
    const atNs = Math.min(Math.max(0, at), MAX_TRACE_NS);
    const scale = { seconds, nanos, atNs, packets: 1, event };
    reading.before = reading.scale;
    reading.probation = PROBATION;
    reading.scale = scale;
    this.#scales.push(scale);
    if (this.#scales.length > MAX_SCALES) this.#scales.splice(1, 1);
  }

  #hold(packet: Held): void {
    this.#held.push({ ...packet, data: Buffer.from(packet.data) });
    if (this.#held.length < HELD_IDLE) return;
    if (this.#held.length >= HELD || this.#heldGap() < HOUR_NS) this.#settleHeld(false);
  }

  /** Packets whose stamps were far off, before one that is right: they came between their neighbours. */
  #placeStrays(next: Reading, nextNs: number): void {
    const strays = this.#held;
    this.#held = [];
    const { lastNs } = next;
    for (const [n, { link, data, wireBytes, id }] of strays.entries()) {
      const ns = lastNs + (Math.max(0, nextNs - lastNs) * (n + 1)) / (strays.length + 1);
      this.#note('stray', 0, strays.length - n);
      this.#tell(this.#readings[id]!, Math.round(ns), link, data, wireBytes);
    }
  }

  /** Nothing led back: the host was idle, or its clock was set. */
  #settleHeld(areStrays: boolean): void {
    const held = this.#held;
    this.#held = [];
    for (const [n, packet] of held.entries()) {
      const reading = this.#readings[packet.id]!;
      let ns = this.#fitting(reading, packet);
      if (ns === undefined) {
        const time = timeOn(reading.scale, packet.seconds, packet.nanos);
        const gap = time - reading.lastNs;
        const isIdle = !areStrays && gap > 0 && gap <= MAX_IDLE_NS && time <= MAX_TRACE_NS;
        ns = isIdle ? time : reading.lastNs + Math.min(this.#gapNs, MAX_STEP_GAP_NS);
        const ago = held.length - n - 1;
        if (!isIdle) {
          const kind = areStrays ? 'stray' : gap < 0 ? 'back' : 'forth';
          this.#step(reading, packet, ns, this.#note(kind, Math.abs(gap), ago));
        } else if (gap > IDLE_NS) this.#noteIdle(gap, ago);
      }
      this.#tell(reading, Math.min(ns, MAX_TRACE_NS), packet.link, packet.data, packet.wireBytes);
    }
  }

  #note(kind: ClockEvent['kind'], byNs: number, packetsAgo = 0): ClockEvent {
    this.corrections++;
    const event = { kind, packet: this.#packets - packetsAgo, byNs };
    if (this.events.length < MAX_EVENTS) this.events.push(event);
    return event;
  }

  /** Of several, the longest is told of: hosts are idle now and then. */
  #noteIdle(byNs: number, packetsAgo: number): void {
    if (this.#idle === undefined) this.#idle = this.#note('idle', byNs, packetsAgo);
    else if (byNs > this.#idle.byNs) Object.assign(this.#idle, { byNs, packet: this.#packets - packetsAgo });
  }

  /** The clock that most packets have tells when the capture began. */
  #startScale(): Scale | undefined {
    let most: Scale | undefined;
    for (const scale of this.#scales) if (most === undefined || scale.packets > most.packets) most = scale;
    return most;
  }
}

/** Not before it, but for what queues do, and less than so much later. */
function isNear(ns: number, lastNs: number, withinNs: number): boolean {
  const gap = ns - lastNs;
  return gap > -REORDER_NS && gap < withinNs && ns <= MAX_TRACE_NS;
}

function timeOn({ seconds, nanos, atNs }: Scale, stampSeconds: number, stampNanos: number): number {
  return atNs + (stampSeconds - seconds) * 1_000_000_000 + (stampNanos - nanos);
}
