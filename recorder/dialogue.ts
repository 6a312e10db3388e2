// One connection: frames are decoded in both of its directions, and each response is paired with its request (pairing.ts).
// What cannot be framed or paired is counted, never guessed at, and what is secret (SASL) never reaches a row (row.ts).

import { ProtocolError } from '../protocol/error.ts';
import { HEADER_BYTES, Magic, bodyLengthAt, opaqueAt, opcodeAt, statusAt } from '../protocol/header.ts';
import { Opcode, isSecret } from '../protocol/opcode.ts';
import { Status } from '../protocol/status.ts';
import { ConnectionEnd, NEVER, Outcome, RowFlag, type Connection } from '../trace/batch.ts';
import type { Capture } from '../trace/meta.ts';
import {
  HELLO,
  couchbase,
  dialectOf,
  dialectWithin,
  prefaceLength,
  type Dialect,
  type DialectKind,
} from './dialect.ts';
import { Pairing, type Waiting } from './pairing.ts';
import { beginsWithFrames, cutHeaderAt, findFrames } from './plausible.ts';
import { putAnswer, putRequest, tellsEnough } from './row.ts';
import { Statistics } from './statistics.ts';
import { Side, Sync } from './side.ts';
import type { StreamInfo, StreamSink } from './stream.ts';
import type { Window } from './window.ts';

/** Memory for frames that are not whole yet, on all connections together; the connection that goes beyond is given up. */
const MAX_HELD_BYTES = 128 * 1024 * 1024;
/** So many segments in a row of a connection that was open before the capture are needed to say what it speaks. */
const SEGMENTS_TO_NAME = 3;
/** More frames that follow each other are no accident, and no part of a value. */
const MAX_FAKE_FRAMES = 64;

/** What all connections of a recording share. */
export interface Shared extends Waiting {
  readonly window: Window;
  readonly capture: Capture;
  /** The latest time that any stream spoke of, ns since the trace's zero. */
  lastNs: number;
  /** Memory for frames that are not whole yet. */
  heldBytes: number;
  remark(info: StreamInfo, kind: RemarkKind, text: string): void;
}

/**
 * `ascii`: the text protocol; `tls`, `couchbase`: another one that has a name; `foreign`: none of them; `desynchronised`:
 * framing was lost.
 */
export type RemarkKind = DialectKind | 'desynchronised';

const nothing: Buffer = Buffer.alloc(0);

export class Dialogue implements StreamSink {
  readonly #owner: Shared;
  readonly #window: Window;
  readonly #info: StreamInfo;
  readonly #requests: Side;
  readonly #responses: Side;
  readonly #pairing: Pairing;
  #connection: Connection | undefined;
  /** The first bytes, until they are enough to know what the connection speaks; undefined once that is known. */
  #preface: Buffer | undefined = nothing;
  #ns = 0;
  #lastChunk = -1;
  #reserved = -1;
  #user = '';
  #held = 0;
  #statistics: Statistics | undefined;
  #nameable = 0;
  /** Answers were lost since the first byte of the request under way. */
  #answersMissing = false;

  constructor(owner: Shared, info: StreamInfo) {
    this.#owner = owner;
    this.#window = owner.window;
    this.#info = info;
    this.#pairing = new Pairing(owner.window, owner, info.midstream);
    if (info.midstream) this.#preface = undefined;
    this.#requests = new Side(Magic.request, info.midstream, (data, at, end, stamp, chunk, missing) =>
      this.#request(data, at, end, stamp, chunk, missing),
    );
    this.#responses = new Side(Magic.response, info.midstream, (data, at, end, stamp, _chunk, missing) =>
      this.#response(data, at, end, stamp, missing),
    );
  }

  /** Requests so far that were whole. */
  get requests(): number {
    return this.#pairing.count;
  }

  data(fromClient: boolean, data: Buffer, start: number, end: number, ns: number): void {
    if (end <= start) return;
    this.#ns = ns;
    this.#owner.capture.streamBytes += end - start;
    if (ns > this.#owner.lastNs) this.#owner.lastNs = ns;
    const side = fromClient ? this.#requests : this.#responses;
    side.heard = true;
    if (side.sync === Sync.gone) return;
    if (!fromClient && this.#pairing.untied && side.decoder.held > 0 && this.#isExpected(data, start, end))
      side.lose(Sync.lost);
    if (fromClient && this.#preface !== undefined) this.#begin(data, start, end, ns);
    else this.#push(side, data, start, end, ns);
    if (fromClient && side.decoder.held > 0 && this.#reserved < 0)
      // The first bytes of a request are here: it takes its place in the order of the trace now.
      this.#reserved = this.#window.reserve(this.#known(), ns);
    this.#settleHeld();
  }

  /**
   * Whether a segment begins with an answer that is waited for. What seemed to be a frame under way was bytes of a value then,
   * in whose middle the capture began, or went on behind a hole.
   */
  #isExpected(data: Buffer, at: number, end: number): boolean {
    return (
      beginsWithFrames(data, at, end, Magic.response) &&
      end - at >= HEADER_BYTES &&
      this.#pairing.expects(opcodeAt(data, at), opaqueAt(data, at))
    );
  }

  gap(fromClient: boolean, bytes: number, ns: number, wasCut = false): void {
    this.#ns = ns;
    if (bytes !== Infinity) this.#owner.capture.missingBytes += bytes;
    const side = fromClient ? this.#requests : this.#responses;
    if (side.sync === Sync.framed && side.decoder.hole(bytes)) {
      // Packets that are missing are told late, and not always in the order of both directions.
      if (!wasCut) this.#pairing.hole(fromClient);
      this.#settleHeld();
      return;
    }
    if (!fromClient && this.#requests.decoder.held > 0) this.#answersMissing = true;
    this.#pairing.hole(fromClient && side.sync !== Sync.gone, wasCut);
    this.#statistics = undefined;
    if (side.sync !== Sync.gone) side.lose(Sync.lost);
    if (fromClient) {
      this.#preface = undefined;
      this.#cancelReserved();
    }
    this.#settleHeld();
  }

  answering(from: number, to: number, toldFrom: number): void {
    this.#pairing.answering(from, to, toldFrom);
  }

  silent(from: number, to: number, ns: number): void {
    this.#pairing.silent(from, to, ns);
  }

  lost(from: number, to: number): void {
    this.#pairing.lost(from, to);
  }

  end(how: ConnectionEnd, ns: number): void {
    if (this.#preface !== undefined && this.#preface.length > 0)
      this.#speaks(dialectOf(this.#preface, 0, this.#preface.length));
    this.#closeStat();
    this.#cancelReserved();
    // What was taken for answers since the beginning, or since a hole, may be a value as long as it answers nothing.
    const isReadable = this.#responses.sync === Sync.framed && !this.#pairing.untied;
    this.#pairing.settleAtEnd(how, isReadable, ns);
    this.#countSides();
    this.#requests.lose(Sync.gone);
    this.#responses.lose(Sync.gone);
    this.#settleHeld();
    if (this.#connection === undefined) return;
    this.#connection.end = how;
    if (how !== ConnectionEnd.open) this.#connection.closeNs = ns;
    this.#window.touch(this.#connection);
  }

  /** Of which only one direction came: the capture may lack the other. */
  #countSides(): void {
    const { capture } = this.#owner;
    if (this.#requests.heard && !this.#responses.heard) {
      if (this.#pairing.expectsAnswers && this.#requests.sync === Sync.framed) capture.requestsOnly++;
    } else if (this.#responses.heard && !this.#requests.heard && this.#responses.sync === Sync.framed)
      capture.answersOnly++;
  }

  /** Keeps the account of what is held, for all connections; whoever takes it past its bound is given up. */
  #settleHeld(): void {
    const { decoder } = this.#requests;
    const { decoder: other } = this.#responses;
    if (this.#owner.heldBytes > MAX_HELD_BYTES / 2) {
      decoder.release();
      other.release();
    }
    const held =
      decoder.reserved +
      other.reserved +
      this.#requests.tail.length +
      this.#responses.tail.length +
      (this.#statistics?.reserved ?? 0);
    if (held === this.#held) return;
    this.#owner.heldBytes += held - this.#held;
    this.#held = held;
    if (this.#owner.heldBytes <= MAX_HELD_BYTES) return;
    this.#leave();
    this.#owner.capture.desynchronised++;
    this.#owner.remark(
      this.#info,
      'desynchronised',
      'frames that never end fill the memory set aside for them',
    );
    this.#settleHeld();
  }

  renamed(): void {
    if (this.#connection === undefined) return;
    this.#connection.client = this.#info.client;
    this.#connection.server = this.#info.server;
    this.#window.touch(this.#connection);
  }

  /** Nothing of the connection is understood any more. */
  #leave(): void {
    this.#requests.lose(Sync.gone);
    this.#responses.lose(Sync.gone);
    this.#preface = undefined;
    this.#statistics = undefined;
    this.#cancelReserved();
    this.#pairing.giveUp();
  }

  /** The first bytes of a connection whose beginning was seen. */
  #begin(chunk: Buffer, from: number, to: number, ns: number): void {
    const before = this.#preface!;
    const isFirst = before.length === 0;
    const data = isFirst ? chunk : Buffer.concat([before, chunk.subarray(from, to)]);
    const start = isFirst ? from : 0;
    const end = isFirst ? to : data.length;
    const preface = prefaceLength(data, start, end);
    if (preface === undefined) {
      this.#preface = Buffer.from(data.subarray(start, end));
      return;
    }
    const at = start + preface;
    this.#preface = at === end ? nothing : undefined;
    if (at === end) return;
    // memcached decides by the first byte, once and for all, which protocol a connection speaks.
    if (data[at] === Magic.request) return this.#push(this.#requests, data, at, end, ns);
    this.#speaks(dialectOf(data, at, end));
  }

  /** Something else: the connection is counted, and left. */
  #speaks({ kind, text }: Dialect): void {
    this.#leave();
    this.#owner.capture.notBinary++;
    this.#owner.remark(this.#info, kind, text);
  }

  #push(side: Side, chunk: Buffer, from: number, to: number, ns: number): void {
    let data = chunk;
    let at = from;
    let end = to;
    if (side.tail.length > 0) {
      data = Buffer.concat([side.tail, chunk.subarray(from, to)]);
      side.tail = nothing;
      at = 0;
      end = data.length;
    }
    while (at < end) {
      if (side.isLost()) {
        const found = findFrames(data, at, end, side.magic);
        if (found < 0) {
          this.#name(data, at, end);
          if (side.isLost())
            side.tail = Buffer.from(data.subarray(cutHeaderAt(data, at, end, side.magic), end));
          return;
        }
        this.#nameable = 0;
        at = found;
        side.sync = Sync.framed;
        side.frames = 0;
        if (side === this.#requests) this.#pairing.found();
      }
      const base = side.decoder.next - at;
      try {
        side.decoder.push(data, at, end, ns);
        return;
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error;
        const brokenAt = Math.max(at, error.offset - base);
        this.#broken(side, error, data, brokenAt, end);
        // Where it still may have been no frame, the next is looked for behind its first byte.
        if (!side.isLost()) return;
        at = brokenAt + 1;
      }
    }
  }

  /** In the middle of a stream that has no frames: what else is it? */
  #name(data: Buffer, at: number, end: number): void {
    if (this.#connection !== undefined) return;
    const dialect = dialectWithin(data, at, end);
    this.#nameable = dialect === undefined ? 0 : this.#nameable + 1;
    if (dialect !== undefined && this.#nameable >= SEGMENTS_TO_NAME) this.#speaks(dialect);
  }

  #known(): Connection {
    if (this.#connection === undefined) {
      const { client, server, openNs } = this.#info;
      const end = ConnectionEnd.open;
      this.#connection = this.#window.introduce({ client, server, tenant: '', openNs, closeNs: NEVER, end });
    }
    return this.#connection;
  }

  #request(data: Buffer, at: number, end: number, stamp: number, chunk: number, missing: number): void {
    const window = this.#window;
    const connection = this.#known();
    let number = this.#reserved;
    this.#reserved = -1;
    // A row that was reserved so long ago that the window gave it up comes in anew.
    if (number < window.base) number = window.reserve(connection, stamp);
    window.fill(number, this.#ns);
    const flags = chunk === this.#lastChunk ? RowFlag.sharesSegment : 0;
    this.#lastChunk = chunk;
    const user = putRequest(window, number - window.base, data, at, end, missing, flags);
    if (user !== undefined) this.#user = user;
    if (missing > 0) this.#owner.capture.cutValues++;
    this.#requests.frames++;
    this.#pairing.push(number, opcodeAt(data, at), opaqueAt(data, at));
    // Its answer may be among those that are missing, since the hole in the request was told after theirs.
    if (missing > 0 && this.#answersMissing) this.#pairing.hole(true);
    this.#answersMissing = false;
  }

  #response(data: Buffer, at: number, end: number, stamp: number, missing: number): void {
    const pairing = this.#pairing;
    const opcode = opcodeAt(data, at);
    const opaque = opaqueAt(data, at);
    if (this.#statistics !== undefined) {
      if (opcode === Opcode.stat && opaque === pairing.headOpaque)
        return this.#statFrame(data, at, end, missing);
      // `stats sizes_enable` answers with one pair and no terminator: the next response ends it.
      this.#closeStat();
    }
    const number = pairing.answered(data, at, opcode, opaque, stamp);
    const { window, capture } = this.#owner;
    this.#responses.frames++;
    if (number < 0 || (pairing.wasOvertaken && number < window.base)) {
      if (number >= 0 || pairing.isOrphan) capture.orphans++;
      return;
    }
    if (opcode === HELLO && statusAt(data, at) === Status.ok) return this.#leaveCouchbase(number);
    // An answer to STAT is many frames, of which the first may be in a hole, and the last alone says nothing.
    const isRest = opcode === Opcode.stat && pairing.isHeadCut;
    const tells = !(isRest && bodyLengthAt(data, at) === 0) && tellsEnough(data, at, missing);
    if (tells && missing > 0) capture.cutValues++;
    if (tells && number >= window.base) this.#answer(number - window.base, data, at, end, missing);
    window.complete(number, tells ? Outcome.answered : Outcome.gap, tells ? stamp : NEVER);
    if (opcode === Opcode.stat && statusAt(data, at) === Status.ok && bodyLengthAt(data, at) > 0) {
      this.#statistics = new Statistics();
      if (isRest) this.#statistics.isWhole = false;
      return this.#statFrame(data, at, end, missing);
    }
    if (!pairing.wasOvertaken) pairing.drop(1);
  }

  #answer(row: number, data: Buffer, at: number, end: number, missing: number): void {
    putAnswer(this.#window, row, data, at, end, missing);
    if (isSecret[opcodeAt(data, at)] === 0 || statusAt(data, at) !== Status.ok || this.#user === '') return;
    const connection = this.#known();
    connection.tenant = this.#user;
    this.#window.touch(connection);
  }

  /** @param missing bytes of its value that the capture lacks */
  #statFrame(data: Buffer, at: number, end: number, missing: number): void {
    if (missing > 0) this.#statistics!.isWhole = false;
    else this.#statistics!.push(data, at, end);
    if (statusAt(data, at) !== Status.ok || bodyLengthAt(data, at) === 0) this.#closeStat();
  }

  #closeStat(): void {
    const statistics = this.#statistics;
    if (statistics === undefined) return;
    this.#statistics = undefined;
    const number = this.#pairing.headRow;
    this.#pairing.drop(1);
    if (!statistics.isWhole) this.#window.complete(number, Outcome.gap, NEVER);
    else if (number >= this.#window.base) statistics.put(this.#window.batch, number - this.#window.base);
  }

  /** Couchbase accepted a HELLO: from now on, frames may be its own. */
  #leaveCouchbase(row: number): void {
    // Nothing of such a connection is kept, not even its name, unless there were exchanges before.
    const isFirst = this.#pairing.isFirst;
    this.#window.cancel(row);
    this.#pairing.cancelLast(this.#pairing.length);
    this.#speaks(couchbase('a HELLO was accepted'));
    if (!isFirst || this.#connection === undefined) return;
    this.#window.withdraw(this.#connection);
    this.#connection = undefined;
  }

  /** What should be a frame at data[at] is none. */
  #broken(side: Side, error: ProtocolError, data: Buffer, at: number, end: number): void {
    // Framing was found again after a hole, and nothing has confirmed it since: that was no frame.
    if (this.#pairing.untied) {
      if (side === this.#requests) {
        this.#cancelReserved();
        if (side.frames <= MAX_FAKE_FRAMES) this.#pairing.cancelLast(side.frames);
      }
      side.lose(Sync.lost);
      return;
    }
    const dialect = dialectWithin(data, at, end);
    if (dialect !== undefined && dialect.kind === 'couchbase') return this.#speaks(dialect);
    side.lose(Sync.gone);
    const what = side === this.#requests ? 'request' : 'response';
    // An error text before a server hangs up (`ERROR Too many open connections`) is no loss of framing.
    this.#owner.capture.desynchronised++;
    this.#owner.remark(this.#info, 'desynchronised', `broken ${what}: ${error.message}`);
  }

  #cancelReserved(): void {
    if (this.#reserved >= 0) this.#window.cancel(this.#reserved);
    this.#reserved = -1;
  }
}
