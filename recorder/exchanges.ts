// From the two byte streams of a connection to exchanges: frames are decoded in both directions, and each response is
// paired with its request by the FIFO rule of the binary protocol. What cannot be framed or paired is counted, never
// guessed at, and what is secret (SASL) never reaches a row.

import { FrameDecoder } from '../protocol/decoder.ts';
import { ProtocolError } from '../protocol/error.ts';
import {
  HEADER_BYTES,
  Magic,
  bodyLengthAt,
  casHighAt,
  casLowAt,
  datatypeAt,
  extrasLengthAt,
  keyLengthAt,
  opaqueAt,
  opcodeAt,
  statusAt,
} from '../protocol/header.ts';
import { Opcode, echoesKey, isQuiet, isSecret } from '../protocol/opcode.ts';
import { Status } from '../protocol/status.ts';
import { ConnectionEnd, NEVER, Outcome, RowFlag, type Connection } from '../trace/batch.ts';
import type { Capture } from '../trace/meta.ts';
import { Outstanding } from '../protocol/outstanding.ts';
import { beginsWithFrames } from './plausible.ts';
import { parsePlain } from './plain.ts';
import type { StreamFactory, StreamInfo, StreamSink } from './stream.ts';
import type { Window } from './window.ts';

/** A request that waits longer than this many others on its connection is forgotten: its answer is not coming. */
const MAX_OUTSTANDING = 1 << 20;
/** Requests that wait on all connections together, beyond which the oldest of the busy one is forgotten. */
const MAX_ALL_OUTSTANDING = 1 << 22;
/** Bytes of frames that are not whole yet, on all connections together; the connection that goes beyond is given up. */
const MAX_HELD_BYTES = 128 * 1024 * 1024;
/** Bytes kept of one STAT's answer; what a server says beyond is dropped. */
const MAX_STAT_BYTES = 4 * 1024 * 1024;

/** Something about the traffic that its owner should hear: a connection that is not binary, or was given up. */
export interface Remark {
  client: string;
  server: string;
  /** `ascii`: the text protocol; `foreign`: neither; `desynchronised`: framing was lost. */
  kind: 'ascii' | 'foreign' | 'desynchronised';
  text: string;
}

const MAX_REMARKS = 100;

/** Turns connections' streams into rows of a window. */
export class Exchanges implements StreamFactory {
  readonly window: Window;
  readonly capture: Capture;
  /** The latest time that any stream spoke of, ns since the trace's zero. */
  lastNs = 0;
  /** The first hundred. */
  readonly remarks: Remark[] = [];
  /** Of all connections: requests that wait, and bytes of frames that are not whole yet. */
  outstanding = 0;
  heldBytes = 0;

  constructor(window: Window, capture: Capture) {
    this.window = window;
    this.capture = capture;
  }

  open(info: StreamInfo): StreamSink {
    return new ConnectionExchanges(this, info);
  }

  remark(info: StreamInfo, kind: Remark['kind'], text: string): void {
    if (this.remarks.length < MAX_REMARKS)
      this.remarks.push({ client: info.client, server: info.server, kind, text });
  }
}

/** How far one direction can be understood. */
const Sync = { framed: 0, lost: 1, gone: 2 } as const;
type Sync = (typeof Sync)[keyof typeof Sync];

class ConnectionExchanges implements StreamSink {
  readonly #owner: Exchanges;
  readonly #window: Window;
  readonly #info: StreamInfo;
  readonly #requests: FrameDecoder;
  readonly #responses: FrameDecoder;
  readonly #outstanding = new Outstanding();
  #connection: Connection | undefined;
  #requestSync: Sync = Sync.framed;
  #responseSync: Sync = Sync.framed;
  /** No response was paired yet since the beginning, or since a hole: an unknown one is no anomaly then. */
  #untied: boolean;
  #anyRequestByte = false;
  /** Requests were lost, or given up: an answer may be to one of them, however much it looks like another's. */
  #owesAnswers = false;
  #answeredSinceGap = false;
  /** The client sends without waiting for the answer: that one came does not say that none is to come. */
  #pipelines = false;
  #lastOpaque = -1;
  /** The client gives each request an opaque of its own: an answer cannot be mistaken. */
  #opaquesDiffer = false;
  #ns = 0;
  #lastChunk = -1;
  #reserved = -1;
  #user = '';
  #held = 0;
  #stat: Buffer[] | undefined;
  #statBytes = 0;

  constructor(owner: Exchanges, info: StreamInfo) {
    this.#owner = owner;
    this.#window = owner.window;
    this.#info = info;
    this.#untied = info.midstream;
    if (info.midstream) {
      this.#requestSync = Sync.lost;
      this.#responseSync = Sync.lost;
    }
    this.#requests = new FrameDecoder(
      { frame: (data, at, end, stamp, chunk) => this.#request(data, at, end, stamp, chunk) },
      { magic: Magic.request },
    );
    this.#responses = new FrameDecoder(
      { frame: (data, at, end, stamp) => this.#response(data, at, end, stamp) },
      { magic: Magic.response },
    );
  }

  data(fromClient: boolean, data: Buffer, start: number, end: number, ns: number): void {
    if (end <= start) return;
    this.#ns = ns;
    if (ns > this.#owner.lastNs) this.#owner.lastNs = ns;
    if (fromClient) this.#pushRequests(data, start, end, ns);
    else this.#pushResponses(data, start, end, ns);
    this.#settleHeld();
  }

  /** Keeps the account of what is held, for all connections; whoever takes it past its bound is given up. */
  #settleHeld(): void {
    const held = this.#requests.held + this.#responses.held + this.#statBytes;
    if (held === this.#held) return;
    this.#owner.heldBytes += held - this.#held;
    this.#held = held;
    if (this.#owner.heldBytes <= MAX_HELD_BYTES) return;
    this.#requestSync = Sync.gone;
    this.#responseSync = Sync.gone;
    this.#requests.reset();
    this.#responses.reset();
    this.#cancelReserved();
    this.#giveUpOutstanding();
    this.#owner.capture.desynchronised++;
    this.#owner.remark(
      this.#info,
      'desynchronised',
      'frames that never end fill the memory set aside for them',
    );
    this.#settleHeld();
  }

  #drop(requests: number): void {
    this.#outstanding.drop(requests);
    this.#owner.outstanding -= requests;
  }

  gap(fromClient: boolean, _bytes: number, ns: number): void {
    this.#ns = ns;
    if (this.#pipelines && this.#outstanding.length > 0) {
      this.#owesAnswers = true;
      this.#answeredSinceGap = false;
    }
    this.#giveUpOutstanding();
    if (fromClient && this.#requestSync !== Sync.gone) {
      if (!this.#anyRequestByte) this.#anyRequestByte = true;
      this.#requests.reset();
      this.#requestSync = Sync.lost;
      this.#cancelReserved();
      // Answers to what was lost are still to come.
      this.#owesAnswers = true;
      this.#answeredSinceGap = false;
    }
    if (!fromClient && this.#responseSync !== Sync.gone) {
      this.#responses.reset();
      this.#responseSync = Sync.lost;
    }
    this.#untied = true;
  }

  renamed(): void {
    if (this.#connection === undefined) return;
    this.#connection.client = this.#info.client;
    this.#connection.server = this.#info.server;
    this.#window.touch(this.#connection);
  }

  end(how: ConnectionEnd, ns: number): void {
    this.#closeStat();
    this.#cancelReserved();
    this.#settleAtEnd(how, ns);
    this.#requests.reset();
    this.#responses.reset();
    this.#settleHeld();
    if (this.#connection === undefined) return;
    this.#connection.end = how;
    if (how !== ConnectionEnd.open) this.#connection.closeNs = ns;
    this.#window.touch(this.#connection);
  }

  #pushRequests(data: Buffer, start: number, end: number, ns: number): void {
    if (this.#requestSync === Sync.gone) return;
    if (!this.#anyRequestByte) {
      this.#anyRequestByte = true;
      // memcached decides by the first byte, once and for all, which protocol a connection speaks.
      if (this.#requestSync === Sync.framed && data[start] !== Magic.request)
        return this.#notBinary(data, start, end);
    }
    if (this.#requestSync === Sync.lost) {
      if (!beginsWithFrames(data, start, end, Magic.request)) return;
      this.#requestSync = Sync.framed;
    }
    try {
      this.#requests.push(data, start, end, ns);
    } catch (error) {
      this.#broken('request', error);
      this.#requestSync = Sync.gone;
      this.#requests.reset();
    }
    if (this.#requests.held === 0 || this.#reserved >= 0) return;
    // The first bytes of a request are here: it takes its place in the order of the trace now.
    this.#reserved = this.#window.reserve(this.#known(), ns);
  }

  #pushResponses(data: Buffer, start: number, end: number, ns: number): void {
    if (this.#responseSync === Sync.gone) return;
    if (this.#responseSync === Sync.lost) {
      if (!beginsWithFrames(data, start, end, Magic.response)) return;
      this.#responseSync = Sync.framed;
    }
    try {
      this.#responses.push(data, start, end, ns);
    } catch (error) {
      this.#broken('response', error);
      this.#responseSync = Sync.gone;
      this.#responses.reset();
    }
  }

  #known(): Connection {
    if (this.#connection === undefined) {
      const { client, server, openNs } = this.#info;
      const end = ConnectionEnd.open;
      this.#connection = this.#window.introduce({ client, server, tenant: '', openNs, closeNs: NEVER, end });
    }
    return this.#connection;
  }

  #request(data: Buffer, at: number, end: number, stamp: number, chunk: number): void {
    const window = this.#window;
    const connection = this.#known();
    let number = this.#reserved;
    this.#reserved = -1;
    // A row that was reserved so long ago that the window gave it up comes in anew.
    if (number < window.base) number = window.reserve(connection, stamp);
    window.fill(number, this.#ns);
    const batch = window.batch;
    const row = number - window.base;
    const opcode = opcodeAt(data, at);
    const opaque = opaqueAt(data, at);
    const extrasLength = extrasLengthAt(data, at);
    const keyLength = keyLengthAt(data, at);
    const claimed = bodyLengthAt(data, at);
    let bodyLength = end - at - HEADER_BYTES;
    let flags = chunk === this.#lastChunk ? RowFlag.sharesSegment : 0;
    this.#lastChunk = chunk;
    if (bodyLength !== claimed) {
      flags |= RowFlag.unsafe;
      bodyLength = Math.min(bodyLength, claimed);
    }
    batch.opcode[row] = opcode;
    batch.datatype[row] = datatypeAt(data, at);
    batch.vbucket[row] = statusAt(data, at);
    batch.opaque[row] = opaque;
    batch.casHigh[row] = casHighAt(data, at);
    batch.casLow[row] = casLowAt(data, at);
    const valueLength = bodyLength - extrasLength - keyLength;
    const isWithheld = isSecret[opcode] === 1;
    // What will be wiped shares its place with nothing.
    const headLength = isWithheld ? bodyLength : extrasLength + keyLength;
    const body = batch.allocate(headLength);
    const from = at + HEADER_BYTES;
    if (headLength > 0) data.copy(batch.heap, body, from, from + headLength);
    const keyAt = body + extrasLength;
    const valueAt = isWithheld ? keyAt + keyLength : window.keep(data, from + headLength, valueLength);
    batch.extrasAt[row] = body;
    batch.extrasLength[row] = extrasLength;
    batch.keyAt[row] = keyAt;
    batch.keyLength[row] = keyLength;
    batch.valueAt[row] = valueAt;
    batch.valueLength[row] = valueLength;
    if (isWithheld) {
      this.#user = parsePlain(batch.heap, keyAt, valueAt, valueAt + valueLength) ?? this.#user;
      batch.heap.fill(0, body, keyAt);
      batch.heap.fill(0, valueAt, valueAt + valueLength);
      if (!isMechanism(batch.heap, keyAt, valueAt)) batch.heap.fill(0, keyAt, valueAt);
      flags |= RowFlag.secret;
    }
    batch.flags[row] = flags;
    const outstanding = this.#outstanding;
    this.#opaquesDiffer = opaque !== this.#lastOpaque;
    this.#lastOpaque = opaque;
    // While answers are missing, some requests only seem to be under way.
    if (outstanding.length > 0 && !this.#untied) {
      const last = outstanding.opcode[outstanding.slot(outstanding.length - 1)]!;
      if (isQuiet[last] === 0) this.#pipelines = true;
    }
    // The client goes on after it was answered, with nothing under way: it has all its answers.
    if (outstanding.length === 0 && this.#answeredSinceGap && !this.#pipelines) this.#owesAnswers = false;
    const isFull = this.#owner.outstanding >= MAX_ALL_OUTSTANDING && outstanding.length > 0;
    if (isFull || outstanding.length === MAX_OUTSTANDING) {
      window.complete(outstanding.row[outstanding.slot(0)]!, Outcome.indeterminate, NEVER);
      this.#drop(1);
    }
    outstanding.push(number, opcode, opaque);
    this.#owner.outstanding++;
  }

  #response(data: Buffer, at: number, end: number, stamp: number): void {
    const outstanding = this.#outstanding;
    const opcode = opcodeAt(data, at);
    const opaque = opaqueAt(data, at);
    if (this.#stat !== undefined) {
      const head = outstanding.slot(0);
      if (opcode === Opcode.stat && opaque === outstanding.opaque[head])
        return this.#statFrame(data, at, end);
      // `stats sizes_enable` answers with one pair and no terminator: the next response ends it.
      this.#closeStat();
    }
    const n = this.#find(data, at, opcode, opaque);
    if (this.#owesAnswers) {
      this.#answeredSinceGap = true;
      const isSure =
        n >= 0 && (this.#opaquesDiffer || (echoesKey[opcode] === 1 && keyLengthAt(data, at) > 0));
      if (isSure || (this.#outstanding.length === 0 && !this.#pipelines)) this.#owesAnswers = false;
      else if (n >= 0) return this.#giveUpFirst();
    }
    if (n < 0) {
      // Before the first match, responses may answer requests that the capture has not seen.
      if (!this.#untied) this.#owner.capture.orphans++;
      return;
    }
    this.#untied = false;
    this.#skip(n, stamp);
    const slot = outstanding.slot(0);
    const number = outstanding.row[slot]!;
    if (isQuiet[opcode] === 1 && echoesKey[opcode] === 0) this.#markAmbiguous(opcode, opaque);
    const window = this.#window;
    if (number >= window.base) this.#answer(number - window.base, data, at, end, opcode);
    window.complete(number, Outcome.answered, stamp);
    if (opcode === Opcode.stat && statusAt(data, at) === Status.ok && bodyLengthAt(data, at) > 0) {
      this.#stat = [];
      this.#statFrame(data, at, end);
      return;
    }
    this.#drop(1);
  }

  /** How many places behind the head the request stands that this response answers; -1 where there is none. */
  #find(data: Buffer, at: number, opcode: number, opaque: number): number {
    const outstanding = this.#outstanding;
    for (let n = 0; n < outstanding.length; n++) {
      const slot = outstanding.slot(n);
      if (outstanding.opcode[slot] !== opcode || outstanding.opaque[slot] !== opaque) continue;
      const keyLength = keyLengthAt(data, at);
      if (keyLength === 0 || echoesKey[opcode] === 0) return n;
      const row = outstanding.row[slot]! - this.#window.base;
      if (row < 0) return n;
      const batch = this.#window.batch;
      const key = at + HEADER_BYTES + extrasLengthAt(data, at);
      const from = batch.keyAt[row]!;
      if (data.compare(batch.heap, from, from + batch.keyLength[row]!, key, key + keyLength) === 0) return n;
    }
    return -1;
  }

  /** A response to the n-th request proves that those before it were executed: the quiet ones stayed silent. */
  #skip(n: number, ns: number): void {
    if (n === 0) return;
    const outstanding = this.#outstanding;
    for (let skipped = 0; skipped < n; skipped++) {
      const slot = outstanding.slot(skipped);
      const row = outstanding.row[slot]!;
      if (isQuiet[outstanding.opcode[slot]!] === 1) this.#window.complete(row, Outcome.silent, ns);
      // Servers answer in order, so the answer to a loud request was sent, and is missing from the capture.
      else this.#window.complete(row, Outcome.gap, NEVER);
    }
    this.#drop(n);
  }

  /** Quiet requests in one run with the same opcode and opaque: which of them the response answers is a guess. */
  #markAmbiguous(opcode: number, opaque: number): void {
    const outstanding = this.#outstanding;
    const { base, batch } = this.#window;
    let found = false;
    for (let n = 1; n < outstanding.length; n++) {
      const slot = outstanding.slot(n);
      if (isQuiet[outstanding.opcode[slot]!] === 0) break;
      if (outstanding.opcode[slot] !== opcode || outstanding.opaque[slot] !== opaque) continue;
      found = true;
      const row = outstanding.row[slot]! - base;
      if (row >= 0) batch.flags[row]! |= RowFlag.ambiguous;
    }
    const row = outstanding.row[outstanding.slot(0)]! - base;
    if (found && row >= 0) batch.flags[row]! |= RowFlag.ambiguous;
  }

  #answer(row: number, data: Buffer, at: number, end: number, opcode: number): void {
    const batch = this.#window.batch;
    const status = statusAt(data, at);
    const extrasLength = extrasLengthAt(data, at);
    const keyLength = keyLengthAt(data, at);
    const bodyLength = end - at - HEADER_BYTES;
    batch.frames[row] = 1;
    batch.status[row] = status;
    batch.answerCasHigh[row] = casHighAt(data, at);
    batch.answerCasLow[row] = casLowAt(data, at);
    const isWithheld = isSecret[opcode] === 1;
    const headLength = isWithheld ? bodyLength : extrasLength + keyLength;
    const valueLength = bodyLength - extrasLength - keyLength;
    const from = at + HEADER_BYTES;
    const body = batch.allocate(headLength);
    if (headLength > 0) data.copy(batch.heap, body, from, from + headLength);
    batch.answerExtrasAt[row] = body;
    batch.answerExtrasLength[row] = extrasLength;
    batch.answerKeyAt[row] = body + extrasLength;
    batch.answerKeyLength[row] = keyLength;
    batch.answerValueAt[row] = isWithheld
      ? body + extrasLength + keyLength
      : this.#window.keep(data, from + headLength, valueLength);
    batch.answerValueLength[row] = valueLength;
    if (!isWithheld) return;
    // A challenge belongs to the secret exchange; the text `Authenticated` does not.
    if (status === Status.authContinue) batch.heap.fill(0, body, body + bodyLength);
    if (status === Status.ok && this.#user !== '') {
      const connection = this.#known();
      connection.tenant = this.#user;
      this.#window.touch(connection);
    }
  }

  #statFrame(data: Buffer, at: number, end: number): void {
    this.#statBytes += end - at;
    if (this.#statBytes <= MAX_STAT_BYTES) this.#stat?.push(Buffer.from(data.subarray(at, end)));
    if (statusAt(data, at) !== Status.ok || bodyLengthAt(data, at) === 0) this.#closeStat();
  }

  #closeStat(): void {
    const frames = this.#stat;
    if (frames === undefined) return;
    this.#stat = undefined;
    this.#statBytes = 0;
    const outstanding = this.#outstanding;
    const row = outstanding.row[outstanding.slot(0)]! - this.#window.base;
    this.#drop(1);
    if (row < 0 || frames.length === 1) return;
    const batch = this.#window.batch;
    const all = Buffer.concat(frames);
    const valueAt = batch.allocate(all.length);
    all.copy(batch.heap, valueAt);
    batch.frames[row] = frames.length;
    batch.answerKeyLength[row] = 0;
    batch.answerValueAt[row] = valueAt;
    batch.answerValueLength[row] = all.length;
  }

  #notBinary(data: Buffer, start: number, end: number): void {
    this.#requestSync = Sync.gone;
    this.#responseSync = Sync.gone;
    this.#owner.capture.notBinary++;
    const word = /^[a-z_]{2,16}(?=[ \r\n])/.exec(data.toString('latin1', start, Math.min(end, start + 17)));
    if (word !== null) this.#owner.remark(this.#info, 'ascii', `speaks the ASCII protocol (${word[0]} …)`);
    else
      this.#owner.remark(
        this.#info,
        'foreign',
        `expected the first byte 0x80, got 0x${data[start]!.toString(16).padStart(2, '0')}`,
      );
  }

  #broken(what: string, error: unknown): void {
    if (!(error instanceof ProtocolError)) throw error;
    // An error text before a server hangs up (`ERROR Too many open connections`) is no loss of framing.
    this.#owner.capture.desynchronised++;
    this.#owner.remark(this.#info, 'desynchronised', `broken ${what}: ${error.message}`);
  }

  #cancelReserved(): void {
    if (this.#reserved >= 0) this.#window.cancel(this.#reserved);
    this.#reserved = -1;
  }

  /** One of two answers is this request's, and which of them is not to be known. */
  #giveUpFirst(): void {
    const outstanding = this.#outstanding;
    this.#window.complete(outstanding.row[outstanding.slot(0)]!, Outcome.gap, NEVER);
    this.#drop(1);
  }

  #giveUpOutstanding(): void {
    // Frames of a STAT's answer are missing: it is not answered.
    this.#stat = undefined;
    this.#statBytes = 0;
    const outstanding = this.#outstanding;
    for (let n = 0; n < outstanding.length; n++)
      this.#window.complete(outstanding.row[outstanding.slot(n)]!, Outcome.gap, NEVER);
    this.#drop(outstanding.length);
  }

  #settleAtEnd(how: ConnectionEnd, ns: number): void {
    const outstanding = this.#outstanding;
    const closed = how !== ConnectionEnd.open;
    const readable = this.#responseSync === Sync.framed;
    // The server flushes earlier replies before it obeys a QUIT: silence up to there is proven by the close.
    const last = outstanding.length > 0 ? outstanding.opcode[outstanding.slot(outstanding.length - 1)]! : -1;
    const quit = last === Opcode.quit || last === Opcode.quitq;
    const proven = closed && readable && quit && how !== ConnectionEnd.reset;
    for (let n = 0; n < outstanding.length; n++) {
      const slot = outstanding.slot(n);
      const row = outstanding.row[slot]!;
      const quiet = isQuiet[outstanding.opcode[slot]!] === 1;
      if (quiet && proven) this.#window.complete(row, Outcome.silent, ns);
      // A client that said QUIT resets what comes after: the answer may have been sent, and be missing from the capture.
      else if (quit && how === ConnectionEnd.reset && n === outstanding.length - 1)
        this.#window.complete(row, Outcome.indeterminate, NEVER);
      else if (!quiet && closed && readable) this.#window.complete(row, Outcome.unanswered, NEVER);
      else this.#window.complete(row, Outcome.indeterminate, NEVER);
    }
    this.#drop(outstanding.length);
  }
}

// Names of SASL mechanisms are 1 to 20 upper-case letters, digits, hyphens and underscores (RFC 4422).
function isMechanism(data: Buffer, start: number, end: number): boolean {
  if (end - start < 1 || end - start > 20) return false;
  for (let at = start; at < end; at++) {
    const byte = data[at]!;
    const fits =
      (byte >= 0x41 && byte <= 0x5a) || (byte >= 0x30 && byte <= 0x39) || byte === 0x2d || byte === 0x5f;
    if (!fits) return false;
  }
  return true;
}
