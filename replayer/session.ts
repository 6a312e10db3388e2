// A session: one recorded connection in the replay. Its rows in order, what of them is under way, and its socket.
// What to send, and when, is the engine's matter.

import type { Socket } from 'node:net';
import { Outstanding } from '../protocol/outstanding.ts';
import { NEVER } from '../trace/batch.ts';
import type { SkipReason } from '../trace/results.ts';
import type { SurveyedConnection } from '../trace/survey.ts';
import { ZERO_NS } from './clock.ts';
import { Refused, dial, hangUp, type Dialled } from './dial.ts';
import { NONE } from './handle.ts';
import type { Patience } from './patience.ts';
import type { Stalls } from './stalls.ts';
import { Strikes } from './strikes.ts';
import type { Credentials, Target } from './target.ts';
import type { TokenMap } from './tokens.ts';

/** One of the targets during a run. */
export interface TargetState extends Target {
  index: number;
  /** The clock's time of its last answer on any connection. */
  lastAnswerNs: number;
  /** How many there were that fit a request. */
  answers: number;
  /** Why requests to it are not sent: it refused, or does not answer at all; it breaks every connection. Or none. */
  down: SkipReason;
  readonly strikes: Strikes;
  readonly stalls: Stalls;
  readonly patience: Patience;
}

/** On one connection some requests may have no answer: those of a backend behind a proxy, say. */
const MAX_STRIKES = 3;
const ENOUGH_ANSWERS = 8;

export const SocketState = { closed: 0, connecting: 1, open: 2 } as const;
export type SocketState = (typeof SocketState)[keyof typeof SocketState];

/** In the outstanding requests' row column, beside handles. */
export const FENCE = -1;
/** A row that was not sent: it keeps its place in the order of completion. */
export const TOMBSTONE = -2;

/** What a session tells the engine of its socket. */
export interface SessionEvents {
  connected(session: Session): void;
  /** Bytes came; the frames in them, of which all were here by now, are handed on next. */
  readBegin(): void;
  /** One response frame: data[at, end), valid during the call. */
  response(session: Session, data: Buffer, at: number, end: number): void;
  /** The bytes that came in one read are all handed on. */
  readEnd(session: Session): void;
  drained(session: Session): void;
  /** The socket is gone; not called after close(). */
  lost(session: Session, error: Error | undefined, wasOpen: boolean): void;
}

/** A connection of the recording: to one target, or, where the key decides, to several. */
export class RecordedConnection {
  readonly connection: SurveyedConnection;
  /** Rows of the whole replay that are not complete, and those that are loaded. */
  rowsLeft: number;
  loaded = 0;
  /** Its sessions by target; one where the recorded server decides. */
  readonly sessions: Session[] = [];
  /** Where what has no key goes: to the target of the key before it. */
  lastTarget: number;

  constructor(connection: SurveyedConnection, target: number) {
    this.connection = connection;
    this.rowsLeft = connection.exchanges;
    this.lastTarget = target;
  }
}

export class Session {
  readonly recorded: RecordedConnection;
  readonly connection: SurveyedConnection;
  readonly target: TargetState;
  readonly tokens: TokenMap;
  readonly credentials: Credentials | undefined;
  readonly outstanding = new Outstanding();

  // The queue of rows that are loaded and not sent, linked through the pages.
  first = NONE;
  last = NONE;
  /** How many of them are due. */
  armed = 0;
  /** How many from the front are known to wait for nothing, and which row to look at next. */
  readyRows = 0;
  nextUnchecked = NONE;

  lastRequestNs = -Infinity;
  /** By the clock. */
  lastAnswerNs = ZERO_NS;
  /** The last loaded row's node in the order of its key. */
  lastNode = NONE;
  /** When, in the recording, the first row finished of the segment that the last loaded row was in. */
  groupFinishNs = -Infinity;
  /** Keys that reads missed, which a refill follows, latin1. */
  readonly missed = new Set<string>();
  /** Rows loaded so far, and rows complete so far. */
  loaded = 0;
  done = 0;
  /** Among the outstanding: loud requests, and whether quiet ones follow the last of them. */
  loud = 0;
  endsQuiet = false;
  /** A QUIT or QUITQ was sent on its socket, which the target is to close; and it was answered, and is at the head. */
  quits = false;
  quitAnswered = false;
  /** The second half of the last request, which is not sent yet; whose it is, or was, and when that was sent. */
  tail: Buffer | undefined;
  splitHandle = NONE;
  tailSentNs = ZERO_NS;
  fenceDueNs = ZERO_NS;
  fenceSentNs = ZERO_NS;

  /** It is among those to look at. */
  isTouched = false;
  /** The front row was due, and had to wait for the target; until when. */
  blocked = false;
  unblockedNs = ZERO_NS;

  opaque = 0;
  /** The last answered request. */
  readonly lastAnswered = { opaque: -1, index: -1 };
  /** The frames of a STAT under way, of the first outstanding request. */
  stat: Buffer[] | undefined;
  statBytes = 0;

  readonly strikes = new Strikes(MAX_STRIKES, ENOUGH_ANSWERS);
  /** Between which opaques the answers to NOOPs told of requests that have none. */
  readonly unanswered = { from: 0, to: -1 };
  /** Answers to nothing since the last that was an answer. */
  orphans = 0;

  socket: Socket | undefined;
  /** The target refused its credentials: it is not tried again. */
  isRefused = false;
  state: SocketState = SocketState.closed;
  connectingSinceNs = ZERO_NS;
  /** Closed for good: as recorded, or at the end. */
  finished = false;

  readonly #events: SessionEvents;
  #dialled: Dialled | undefined;
  #dials = 0;
  // When, in the recording, the rows finished that had not at the last load: a ring.
  #finish = new Float64Array(16);
  #finishFrom = 0;
  #finishTo = 0;
  #required = 0;
  #lastFinishNs = -Infinity;

  constructor(
    recorded: RecordedConnection,
    target: TargetState,
    tokens: TokenMap,
    credentials: Credentials | undefined,
    events: SessionEvents,
  ) {
    this.recorded = recorded;
    this.connection = recorded.connection;
    this.target = target;
    this.tokens = tokens;
    this.credentials = credentials;
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

  /** How many of the session's exchanges had finished before a request of this time, as a count from the first. */
  finishedBefore(requestNs: number): number {
    const mask = this.#finish.length - 1;
    while (this.#finishFrom < this.#finishTo) {
      const finish = this.#finish[this.#finishFrom & mask]!;
      if (finish !== NEVER && finish >= requestNs) break;
      this.#finishFrom++;
      if (finish !== NEVER) this.#required = this.#finishFrom;
    }
    return this.#required;
  }

  /** One more exchange of the session, and when it finished. */
  willFinish(finishNs: number): void {
    if (this.#finishTo - this.#finishFrom === this.#finish.length) this.#growFinish();
    this.#finish[this.#finishTo++ & (this.#finish.length - 1)] = finishNs;
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
    this.quits = false;
    this.quitAnswered = false;
    this.tail = undefined;
    const events = this.#events;
    this.#dialled = dial(this.target, this.connection.id + this.#dials++, this.credentials, {
      ready: () => {
        this.state = SocketState.open;
        events.connected(this);
      },
      readBegin: () => events.readBegin(),
      response: (data, at, end) => events.response(this, data, at, end),
      readEnd: () => events.readEnd(this),
      drained: () => events.drained(this),
      gone: (error) => {
        const wasOpen = this.state === SocketState.open;
        this.#leave();
        if (error instanceof Refused) this.isRefused = true;
        events.lost(this, error, wasOpen);
      },
    });
    this.socket = this.#dialled.socket;
  }

  /** Closes the socket; `lost` is not called. */
  close(): void {
    const { socket } = this;
    this.#dialled?.forget();
    this.#leave();
    if (socket !== undefined) hangUp(socket);
  }

  /** The socket is of no use any more: its outstanding requests are lost with it. */
  drop(error: Error): void {
    this.#dialled?.drop(error);
  }

  #leave(): void {
    this.#dialled = undefined;
    this.socket = undefined;
    this.state = SocketState.closed;
  }
}
