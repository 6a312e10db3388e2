// A session: one recorded connection in the replay. Its rows in order, what of them is under way, and its socket.
// What to send, and when, is the engine's matter.

import { connect, type Socket } from 'node:net';
import { FrameDecoder } from '../protocol/decoder.ts';
import { Magic } from '../protocol/header.ts';
import { Outstanding } from '../protocol/outstanding.ts';
import { NEVER } from '../trace/batch.ts';
import type { SurveyedConnection } from '../trace/survey.ts';
import { NONE } from './page.ts';
import type { Target } from './target.ts';
import type { TokenMap } from './tokens.ts';

/** One of the targets during a run. */
export interface TargetState extends Target {
  index: number;
  /** The clock's time of its last answer on any connection. */
  lastAnswerNs: number;
  /** Until then requests to it are not sent: it refused, or does not answer at all. */
  downUntilNs: number;
  failures: number;
}

export const SocketState = { closed: 0, connecting: 1, open: 2 } as const;
export type SocketState = (typeof SocketState)[keyof typeof SocketState];

/** In the outstanding requests' row column, beside handles. */
export const FENCE = -1;
/** A row that was not sent: it keeps its place in the order of completion. */
export const TOMBSTONE = -2;

/** What a session tells the engine of its socket. */
export interface SessionEvents {
  connected(session: Session): void;
  /** One response frame: data[at, end), valid during the call. */
  response(session: Session, data: Buffer, at: number, end: number): void;
  /** The bytes that came in one read are all handed on. */
  readEnd(session: Session): void;
  drained(session: Session): void;
  /** The socket is gone; not called after close(). */
  lost(session: Session, error: Error | undefined, wasOpen: boolean): void;
}

/** All sockets read into this: what comes is handled before the next read. */
const READ_BYTES = 256 * 1024;
const readBuffer = Buffer.allocUnsafeSlow(READ_BYTES);

export class Session {
  readonly connection: SurveyedConnection;
  readonly target: TargetState;
  readonly tokens: TokenMap;
  readonly outstanding = new Outstanding();

  // The queue of rows that are loaded and not sent, linked through the pages.
  first = NONE;
  last = NONE;
  /** How many of them are due. */
  armed = 0;
  /** How many from the front are known to wait for nothing, and which row to look at next. */
  readyRows = 0;
  nextUnchecked = NONE;

  lastRequestNs = NEVER;
  /** When, in the recording, the first row finished of the segment that the last loaded row was in. */
  groupFinishNs = NEVER;
  /** Rows loaded so far, rows complete so far, and rows of the whole trace that are not complete. */
  loaded = 0;
  done = 0;
  rowsLeft: number;
  /** Among the outstanding: loud requests, and whether quiet ones follow the last of them. */
  loud = 0;
  endsQuiet = false;
  fenceDueNs = 0;
  fenceSentNs = 0;

  /** It is in the engine's list of sessions to look at. */
  dirty = false;
  /** The front row was due, and had to wait for the target; until when. */
  blocked = false;
  unblockedNs = 0;

  opaque = 0;
  /** The frames of a STAT under way, of the first outstanding request. */
  stat: Buffer[] | undefined;
  statBytes = 0;

  socket: Socket | undefined;
  state: SocketState = SocketState.closed;
  connectingSinceNs = 0;
  /** Closed for good: as recorded, or at the end. */
  finished = false;

  readonly #events: SessionEvents;
  // When, in the recording, the rows finished that had not at the last load: a ring.
  #finish = new Float64Array(16);
  #finishFrom = 0;
  #finishTo = 0;
  #required = 0;
  #lastFinishNs = NEVER;

  constructor(connection: SurveyedConnection, target: TargetState, tokens: TokenMap, events: SessionEvents) {
    this.connection = connection;
    this.target = target;
    this.tokens = tokens;
    this.rowsLeft = connection.exchanges;
    this.#events = events;
  }

  /**
   * When a row finished in the recording. Servers answer in order and after they were asked; what a file says else is
   * bent to that, since the order of the replay rests on it.
   */
  finishAfter(answerNs: number, requestNs: number): number {
    if (answerNs === NEVER) return NEVER;
    this.#lastFinishNs = Math.max(this.#lastFinishNs, answerNs, requestNs);
    return this.#lastFinishNs;
  }

  /** How many of the connection's exchanges had finished before a request of this time, as a count from the first. */
  requiredAt(requestNs: number, finishNs: number): number {
    const mask = this.#finish.length - 1;
    while (this.#finishFrom < this.#finishTo) {
      const finish = this.#finish[this.#finishFrom & mask]!;
      if (finish !== NEVER && finish >= requestNs) break;
      this.#finishFrom++;
      if (finish !== NEVER) this.#required = this.#finishFrom;
    }
    if (this.#finishTo - this.#finishFrom === this.#finish.length) this.#growFinish();
    this.#finish[this.#finishTo++ & (this.#finish.length - 1)] = finishNs;
    return this.#required;
  }

  #growFinish(): void {
    const grown = new Float64Array(this.#finish.length * 2);
    for (let n = this.#finishFrom; n < this.#finishTo; n++)
      grown[n & (grown.length - 1)] = this.#finish[n & (this.#finish.length - 1)]!;
    this.#finish = grown;
  }

  open(nowNs: number): void {
    this.state = SocketState.connecting;
    this.connectingSinceNs = nowNs;
    const events = this.#events;
    const decoder = new FrameDecoder(
      { frame: (data, at, end) => events.response(this, data, at, end) },
      { magic: Magic.response },
    );
    const { host, port } = this.target;
    const socket = connect({
      host,
      port,
      noDelay: true,
      onread: {
        buffer: readBuffer,
        callback: (bytes, data) => {
          if (this.socket !== socket) return true;
          try {
            decoder.push(data as Buffer, 0, bytes, 0);
          } catch (error) {
            this.#drop(error as Error);
          }
          events.readEnd(this);
          return true;
        },
      },
    });
    this.socket = socket;
    let trouble: Error | undefined;
    socket.once('connect', () => {
      if (this.socket !== socket) return;
      this.state = SocketState.open;
      events.connected(this);
    });
    socket.on('drain', () => events.drained(this));
    socket.once('error', (error) => (trouble = error));
    socket.once('close', () => {
      if (this.socket === socket) this.#drop(trouble);
    });
  }

  /** Closes the socket; `lost` is not called. */
  close(): void {
    const { socket } = this;
    this.socket = undefined;
    this.state = SocketState.closed;
    if (socket === undefined) return;
    socket.on('error', () => undefined);
    // What comes after a FIN is of no interest; a peer that does not close is not waited for.
    socket.end(() => socket.destroy());
    socket.unref();
  }

  /** The socket is of no use any more: its outstanding requests are lost with it. */
  drop(error: Error): void {
    this.#drop(error);
  }

  #drop(error: Error | undefined): void {
    const { socket } = this;
    const wasOpen = this.state === SocketState.open;
    this.socket = undefined;
    this.state = SocketState.closed;
    socket?.on('error', () => undefined);
    socket?.destroy();
    this.#events.lost(this, error, wasOpen);
  }
}
