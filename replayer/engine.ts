// The engine: rows of the trace become due by the schedule, leave in order, and are completed by answers, closes and
// time-outs. One event loop, no allocation per request: rows live in the columns of pages, queues are links between
// them, what is under way is a ring per connection.

import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { ProtocolError } from '../protocol/error.ts';
import { expiryOffset } from '../protocol/expiry.ts';
import {
  HEADER_BYTES,
  Magic,
  bodyLengthAt,
  opaqueAt,
  opcodeAt,
  putHeader,
  putUint32,
  statusAt,
  uint32,
} from '../protocol/header.ts';
import { Opcode, isQuiet, mutates } from '../protocol/opcode.ts';
import { Status } from '../protocol/status.ts';
import { NEVER, Outcome, RowFlag, type Batch } from '../trace/batch.ts';
import { tokenOf } from '../trace/token.ts';
import { emptyEnd, type ResultsEnd } from '../trace/meta.ts';
import { Result, SkipReason, type ResultBatch } from '../trace/results.ts';
import type { Survey } from '../trace/survey.ts';
import { keepAnswer, keepFrames } from './answer.ts';
import { systemClock, type Clock } from './clock.ts';
import { replayedExpiry } from './expiry.ts';
import { Refused } from './dial.ts';
import type { Gate } from './gate.ts';
import { KeyOrder, type KeyQueue } from './order.ts';
import { NONE, PAGE_ROWS, Page } from './page.ts';
import type { Schedule } from './schedule.ts';
import {
  FENCE,
  RecordedConnection,
  Session,
  SocketState,
  TOMBSTONE,
  type SessionEvents,
  type TargetState,
} from './session.ts';
import type { CredentialsOf, Route, Target } from './target.ts';
import { Told, type Share, type ShareEvents } from './share.ts';
import { TokenMap } from './tokens.ts';

/** What is loaded ahead: at most so many rows, bytes of keys and values, and pages. */
const MAX_LOADED_ROWS = 65_536;
/** With a schedule, fewer: what is loaded is held in maps, which now and then are made anew as a whole. */
const MAX_PACED_ROWS = 16_384;
const SLICE_ROWS = 2_048;
/** Rows loaded between two looks at what is due: some 50 µs. */
const LOAD_ROWS = 96;
const MAX_LOADED_BYTES = 64 * 1024 * 1024;
const MAX_PAGES = 250;
/** A socket with more than this unwritten is not written to. */
const MAX_UNWRITTEN = 1024 * 1024;
const SLAB_BYTES = 256 * 1024;
/** Requests under way on one connection, quiet ones included, whatever the recording did. */
const MAX_OUTSTANDING = 65_536;
/** How long a run of quiet requests may wait for a proof of its silence before a NOOP asks for it. */
const FENCE_NS = 5e6;
/** How often time-outs and the like are looked at. */
const CHECK_NS = 20e6;
/** After a target refused, or a request to it ran out of time with nothing heard since: no requests for this long. */
const BACK_OFF_NS = 250e6;
const MAX_BACK_OFF_NS = 5e9;
/** Before a request that is due this soon, no timer is set: the loop spins. */
const SPIN_NS = 2e6;
/** Timers are whole milliseconds, and a little late. */
const TIMER_SLACK_NS = 1.2e6;
const MAX_NOTES = 100;
const MAX_INCIDENTS = 10_000;
const MAX_STAT_BYTES = 4 * 1024 * 1024;

export type Order = 'none' | 'connection' | 'key';

export interface EngineOptions {
  survey: Pick<Survey, 'connections' | 'tokens' | 'tenants'>;
  targets: readonly Target[];
  route: Route;
  gate: Gate;
  schedule: Schedule;
  /** Default: none. */
  credentialsOf?: CredentialsOf;
  order: Order;
  timeoutMs: number;
  /** Loud requests under way on one connection at most, where the speed is above the recorded one. */
  pipeline: number;
  /** The first row is due this long after the start, so that connections are open by then. */
  leadMs: number;
  /** Unix time of the trace's start, seconds. */
  recordedAtSeconds: number;
  /** Takes results in the order of the trace; resolves `drained` when it can take more. */
  sink: { append(results: ResultBatch): void; drained(): Promise<void> };
  signal?: AbortSignal;
  clock?: Clock;
  /** With the other workers of the same replay; this one sends what its connections sent. */
  share?: Share;
  /** Called once there is something to send; resolves with when the first row is due, by the clock. */
  begin?: () => Promise<number>;
  /** Told once the start is set. @param delayMs until then */
  onBegin?: (delayMs: number) => void;
}

/** How far a run is; read at any time. */
export interface EngineProgress {
  /** Rows complete. */
  done: number;
  sent: number;
  answered: number;
  /** Rows whose answer is not byte for byte the recorded one. */
  differ: number;
  /** Rows without an answer, or with none that is valid. */
  failed: number;
  /** The time of the schedule, ns. */
  positionNs: number;
  /** The latest by our own fault, ns, since whoever reads this last set it to 0. */
  lagNs: number;
}

export const nothingDone: EngineProgress = {
  done: 0,
  sent: 0,
  answered: 0,
  differ: 0,
  failed: 0,
  positionNs: 0,
  lagNs: 0,
};

export class Engine implements SessionEvents, ShareEvents {
  readonly progress: EngineProgress = { ...nothingDone };
  readonly #options: EngineOptions;
  readonly #clock: Clock;
  readonly #schedule: Schedule;
  readonly #isMax: boolean;
  readonly #paced: boolean;
  readonly #pipeline: number;
  readonly #timeoutNs: number;
  readonly #targets: TargetState[];
  readonly #tokens: TokenMap[];
  /** By id. */
  readonly #connections: (RecordedConnection | undefined)[] = [];
  /** By connection, and within it by target, where a connection has several. */
  readonly #sessions: (Session | undefined)[] = [];
  readonly #perConnection: number;
  #targetOfKey = new Int32Array(0);
  /** Of the batch with this heap: the queues of its keys, by number, and the turn that each was found in. */
  #knownOf: Buffer | undefined;
  #known: (KeyQueue<Session> | undefined)[] = [];
  #knownTurn = new Uint32Array(0);
  readonly #open = new Set<Session>();
  /** Ids of connections by the time they opened, and how many of them were opened. */
  readonly #openings: number[];
  #opened = 0;

  readonly #pages: Page[] = [];
  readonly #freePages: Page[] = [];
  /** Loaded pages in the trace's order, the due row's place in them, and what they hold. */
  readonly #window: Page[] = [];
  #cursorPage = 0;
  #cursorRow = 0;
  #loadedRows = 0;
  #loadedBytes = 0;
  #allLoaded = false;
  #room: (() => void) | undefined;
  /** Resolves once as much is loaded as there is room for. */
  #firstLoaded: (() => void) | undefined;

  readonly #share: Share | undefined;
  /** Rows that are complete at another worker, and not loaded here yet. */
  readonly #early = new Set<number>();
  /** Rows complete anywhere. */
  #completed = 0;

  readonly #keys: KeyOrder<Session>;
  /** Sessions to look at, the first come first; and how many of them were looked at. */
  readonly #dirty: Session[] = [];
  #seen = 0;
  readonly #quietTails = new Set<Session>();
  #flushing = false;
  /** Somebody waits for an exchange that only a fence may complete. */
  #hurry = false;

  #slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
  #slabLength = 0;

  /** How many rows were complete when that number last changed, and when that was. */
  #progressed = 0;
  #progressedNs = 0;
  #ignoresOrder = false;

  #startNs = 0;
  #startSeconds = 0;
  #now = 0;
  #checkedNs = 0;
  /** When the event loop should be with us again: what is later is our own fault. */
  #expectedTickNs = 0;
  #timer: NodeJS.Timeout | undefined;
  #immediate: NodeJS.Immediate | undefined;
  #aborted = false;
  #failure: Error | undefined;
  #resolve: (() => void) | undefined;
  readonly #end = emptyEnd();

  constructor(options: EngineOptions) {
    const { survey, targets, schedule, timeoutMs, pipeline } = options;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#schedule = schedule;
    this.#share = options.share;
    this.#isMax = schedule.isMax;
    this.#paced = !schedule.isMax;
    this.#perConnection = options.route.ofKey === undefined ? 1 : targets.length;
    this.#pipeline = schedule.isMax || schedule.speed > 1 ? pipeline : MAX_OUTSTANDING;
    this.#timeoutNs = timeoutMs * 1e6;
    this.#targets = Array.from(targets, (target, index) => ({
      ...target,
      index,
      lastAnswerNs: 0,
      downUntilNs: 0,
      failures: 0,
    }));
    this.#tokens = survey.tokens.map((tokens) => new TokenMap(tokens));
    this.#keys = new KeyOrder((session) => this.#touch(session));
    this.#openings = survey.connections
      .map(({ id }) => id)
      .toSorted((a, b) => survey.connections[a]!.openNs - survey.connections[b]!.openNs);
  }

  /** Replays the batches; ends when every row is complete. @throws TraceError of the reader or the sink */
  async run(batches: AsyncIterable<Batch>): Promise<ResultsEnd> {
    const { signal } = this.#options;
    const delay = monitorEventLoopDelay({ resolution: 10 });
    delay.enable();
    const abort = (): void => this.#abort();
    signal?.addEventListener('abort', abort);
    const finished = new Promise<void>((resolve) => (this.#resolve = resolve));
    const loaded = new Promise<void>((resolve) => (this.#firstLoaded = resolve));
    const loading = this.#load(batches);
    // The clock starts once there is something to send.
    await loaded;
    const { begin, leadMs, onBegin } = this.#options;
    this.#startNs =
      begin === undefined ? this.#clock.nowNs() + (this.#paced ? leadMs * 1e6 : 0) : await begin();
    this.#startSeconds = Date.now() / 1000;
    this.#progressedNs = this.#startNs;
    onBegin?.((this.#startNs - this.#clock.nowNs()) / 1e6);
    if (signal?.aborted === true) this.#abort();
    this.#tick();
    await finished;
    clearTimeout(this.#timer);
    clearImmediate(this.#immediate);
    for (const session of this.#open) session.close();
    this.#room?.();
    await loading;
    signal?.removeEventListener('abort', abort);
    delay.disable();
    if (this.#failure !== undefined) throw this.#failure;
    const end = this.#end;
    end.durationNs = this.#clock.nowNs() - this.#startNs;
    end.eventLoopDelayNs = { p50: delay.percentile(50), p99: delay.percentile(99), max: delay.max };
    return end;
  }

  // ---- Loading: batches become pages, rows become queues.

  async #load(batches: AsyncIterable<Batch>): Promise<void> {
    try {
      for await (const batch of slices(batches)) {
        while (this.#isFull() && !this.#aborted && this.#failure === undefined) {
          await new Promise<void>((resolve) => (this.#room = resolve));
          await this.#options.sink.drained();
        }
        if (this.#aborted || this.#failure !== undefined) break;
        await this.#link(batch);
        this.#now = this.#clock.nowNs();
        if (this.#firstLoaded !== undefined) {
          if (this.#isFull()) this.#begin();
          continue;
        }
        if (this.#isMax) this.#arm();
        this.#flush();
      }
    } catch (error) {
      this.#fail(error as Error);
    }
    this.#allLoaded = true;
    this.#begin();
    this.#settle();
  }

  #begin(): void {
    this.#firstLoaded?.();
    this.#firstLoaded = undefined;
  }

  #isFull(): boolean {
    return (
      this.#loadedRows >= (this.#paced ? MAX_PACED_ROWS : MAX_LOADED_ROWS) ||
      this.#loadedBytes >= MAX_LOADED_BYTES ||
      this.#window.length >= MAX_PAGES
    );
  }

  async #link(batch: Batch): Promise<void> {
    let page = this.#freePages.pop();
    if (page === undefined) {
      page = new Page(this.#pages.length);
      this.#pages.push(page);
    }
    const perConnection = this.#perConnection;
    page.begin(batch, perConnection > 1 ? perConnection : 0);
    this.#window.push(page);
    this.#loadedRows += batch.count;
    this.#loadedBytes += batch.heapLength;
    if (perConnection > 1) this.#routeKeys(batch);
    const { order, survey } = this.#options;
    const isOrdered = order !== 'none';
    const targets = this.#targets.length;
    const places = targets * survey.tenants.length;
    // Keys of a batch by number: no string is made twice, as long as something of the key is under way.
    if (this.#knownOf !== batch.heap) {
      this.#knownOf = batch.heap;
      const count = batch.keyCount * places;
      this.#known = Array.from({ length: count });
      this.#knownTurn = new Uint32Array(count);
    }
    const known = this.#known;
    const knownTurn = this.#knownTurn;
    for (let row = 0; row < batch.count; row++) {
      if (this.#paced && row % LOAD_ROWS === LOAD_ROWS - 1) {
        page.linked = row;
        // Whatever is due goes first.
        await nextTurn();
        if (this.#aborted) return this.#drop(page, row);
      }
      const id = batch.connection[row]!;
      const session =
        perConnection === 1
          ? (this.#sessions[id] ?? this.#session(id, -1))
          : this.#session(id, batch.keyLength[row]! > 0 ? this.#targetOfKey[batch.keyId[row]!]! : -1);
      const handle = page.handle(row);
      const requestNs = batch.requestNs[row]!;
      const finishNs = session.finishAfter(batch.answerNs[row]!, requestNs);
      page.finishNs[row] = finishNs;
      page.results.target[row] = session.target.index;
      page.next[row] = NONE;
      const joins = (batch.flags[row]! & RowFlag.sharesSegment) !== 0 && session.lastRequestNs === requestNs;
      session.lastRequestNs = requestNs;
      if (!joins) session.groupFinishNs = finishNs;
      page.joins[row] = joins ? 1 : 0;
      page.groupFinishNs[row] = session.groupFinishNs;
      // A refill waits for the read that it may follow, whatever the order.
      const isRefill = (batch.flags[row]! & RowFlag.refill) !== 0;
      page.connectionRequired[row] = isRefill
        ? session.loaded
        : isOrdered
          ? session.finishedBefore(requestNs)
          : 0;
      if (perConnection > 1)
        for (let target = 0; target < perConnection; target++) {
          const sibling = session.recorded.sessions[target];
          page.siblingsRequired[row * perConnection + target] =
            isOrdered && sibling !== undefined ? sibling.finishedBefore(requestNs) : 0;
        }
      if (isOrdered) session.willFinish(finishNs);
      if (order === 'key' && batch.keyLength[row]! > 0) {
        const { space } = session.connection;
        const place = batch.keyId[row]! * places + space * targets + session.target.index;
        let key = known[place];
        if (key === undefined || key.turn !== knownTurn[place]) {
          const at = batch.keyAt[row]!;
          const name = batch.heap.toString('latin1', at, at + batch.keyLength[row]!);
          key = this.#keys.key(places === 1 ? name : `${session.target.index} ${space} ${name}`);
          known[place] = key;
          knownTurn[place] = key.turn;
        }
        // Other requests of its connection were under way.
        const isPipelined = page.connectionRequired[row]! < session.loaded;
        const node = this.#keys.load(
          key,
          session,
          requestNs,
          finishNs,
          mutates[batch.opcode[row]!] === 1,
          isPipelined ? 0 : tokenOf(batch.answerCasHigh[row]!, batch.answerCasLow[row]!),
        );
        if (isPipelined && session.lastNode !== NONE) this.#keys.pipelined(session.lastNode);
        session.lastNode = node;
        page.keyNode[row] = node;
        page.keyRequired[row] = key.ranked;
        page.keys[row] = key;
      }
      if (this.#share !== undefined && !this.#share.owns(id)) {
        this.#catchUp(page, row);
        continue;
      }
      session.loaded++;
      session.recorded.loaded++;
      if (session.last === NONE) session.first = handle;
      else this.#page(session.last).next[rowOf(session.last)] = handle;
      session.last = handle;
      if (session.nextUnchecked === NONE) session.nextUnchecked = handle;
    }
    page.linked = batch.count;
    if (this.#share !== undefined) this.#settle();
    if (!this.#paced) await nextTurn();
    if (batch.count === 0) this.#settle();
  }

  /** The run was stopped while a page was loaded: the rest of it is left as not sent. */
  #drop(page: Page, from: number): void {
    page.linked = page.batch.count;
    for (let row = from; row < page.batch.count; row++) {
      page.results.reason[row] = SkipReason.aborted;
      page.left--;
      this.progress.done++;
    }
    this.#settle();
  }

  /** Where each key of the batch goes, by its number. */
  #routeKeys(batch: Batch): void {
    if (this.#targetOfKey.length < batch.keyCount) this.#targetOfKey = new Int32Array(batch.keyCount * 2);
    const of = this.#targetOfKey.fill(-1, 0, batch.keyCount);
    const route = this.#options.route.ofKey!;
    for (let row = 0; row < batch.count; row++) {
      const length = batch.keyLength[row]!;
      const id = batch.keyId[row]!;
      if (length > 0 && of[id] === -1) of[id] = route(batch.heap, batch.keyAt[row]!, length);
    }
  }

  /** @param wanted number of the target; -1: what the recorded server, or the key before it, says */
  #session(id: number, wanted: number): Session {
    const { survey, route, credentialsOf } = this.#options;
    let recorded = this.#connections[id];
    if (recorded === undefined) {
      const connection = survey.connections[id]!;
      recorded = new RecordedConnection(connection, route.ofServer(connection.serverIndex));
      this.#connections[id] = recorded;
    }
    if (wanted >= 0) recorded.lastTarget = wanted;
    const index = recorded.lastTarget;
    const place = this.#perConnection === 1 ? 0 : index;
    let session = recorded.sessions[place];
    if (session === undefined) {
      const { connection } = recorded;
      const tokens = this.#tokens[connection.serverIndex] ?? new TokenMap(new Set());
      session = new Session(
        recorded,
        this.#targets[index]!,
        tokens,
        credentialsOf?.(connection.tenant),
        this,
      );
      recorded.sessions[place] = session;
      this.#sessions[id * this.#perConnection + place] = session;
    }
    return session;
  }

  #page(handle: number): Page {
    return this.#pages[Math.floor(handle / PAGE_ROWS)]!;
  }

  // ---- The schedule.

  readonly #tick = (): void => {
    this.#now = this.#clock.nowNs();
    this.#share?.hear(this);
    this.#openDue();
    this.#arm();
    this.#flush();
    if (this.#now - this.#checkedNs >= CHECK_NS) {
      this.#checkedNs = this.#now;
      this.#check();
      this.#flush();
    }
    if (this.#resolve === undefined) return;
    const wait = this.#nextDueNs() - this.#clock.nowNs();
    // Timers are good to a millisecond or so; the last stretch is spun through the event loop.
    // What other workers tell is heard here only, so with them the loop always spins.
    if (wait < SPIN_NS || this.#share !== undefined) {
      this.#expectedTickNs = this.#clock.nowNs();
      this.#immediate = setImmediate(this.#tick);
    } else {
      const sleepMs = Math.min(wait / 1e6 - 1, 5);
      this.#expectedTickNs = this.#clock.nowNs() + sleepMs * 1e6 + TIMER_SLACK_NS;
      this.#timer = setTimeout(this.#tick, sleepMs);
    }
  };

  #nextDueNs(): number {
    const page = this.#window[this.#cursorPage];
    if (!this.#paced || page === undefined) return Infinity;
    return this.#cursorRow < page.linked ? this.#intended(page, this.#cursorRow) : this.#now;
  }

  #intended(page: Page, row: number): number {
    return this.#startNs + this.#due(page, row);
  }

  #due({ batch }: Page, row: number): number {
    return this.#schedule.dueNs(batch.firstIndex + row, batch.requestNs[row]!);
  }

  /** Rows that are due join what their session may send. */
  #arm(): void {
    const perConnection = this.#perConnection;
    const share = this.#share;
    for (;;) {
      const page = this.#window[this.#cursorPage];
      if (page === undefined) return;
      const { batch, linked } = page;
      while (this.#cursorRow < linked) {
        if (this.#paced && this.#intended(page, this.#cursorRow) > this.#now) return;
        const id = batch.connection[this.#cursorRow]!;
        if (share !== undefined && !share.owns(id)) {
          this.#cursorRow++;
          continue;
        }
        const session =
          perConnection === 1
            ? this.#sessions[id]!
            : this.#sessions[id * perConnection + page.results.target[this.#cursorRow]!]!;
        session.armed++;
        this.#touch(session);
        this.#cursorRow++;
      }
      if (linked < batch.count) return;
      this.#cursorPage++;
      this.#cursorRow = 0;
    }
  }

  #openDue(): void {
    if (!this.#paced) return;
    const { connections } = this.#options.survey;
    while (this.#opened < this.#openings.length) {
      const id = this.#openings[this.#opened]!;
      if (this.#startNs + connections[id]!.openNs / this.#schedule.speed > this.#now) return;
      this.#opened++;
      if (connections[id]!.exchanges === 0 || this.#share?.owns(id) === false) continue;
      // Where the key decides, sessions come to be as their keys are loaded.
      if (this.#perConnection === 1) this.#session(id, -1);
      for (const session of this.#connections[id]?.sessions ?? [])
        if (session?.state === SocketState.closed && !session.finished) this.#connect(session);
    }
  }

  #connect(session: Session): void {
    this.#open.add(session);
    session.open(this.#now);
  }

  #touch(session: Session): void {
    if (session.dirty) return;
    session.dirty = true;
    this.#dirty.push(session);
  }

  /** Looks at every session that something happened to, until nothing more happens. */
  #flush(): void {
    if (this.#flushing) return;
    this.#flushing = true;
    for (;;) {
      const session = this.#dirty[this.#seen];
      if (session === undefined) {
        this.#dirty.length = 0;
        this.#seen = 0;
        if (!this.#hurry || this.#quietTails.size === 0) break;
        // Whoever waits for silence gets it proven now.
        this.#hurry = false;
        for (const quiet of this.#quietTails) this.#fence(quiet);
        continue;
      }
      this.#seen++;
      session.dirty = false;
      this.#pump(session);
    }
    this.#hurry = false;
    this.#flushing = false;
    this.#settle();
  }

  // ---- Sending.

  #pump(session: Session): void {
    const { target, outstanding } = session;
    this.#now = this.#clock.nowNs();
    while (session.armed > 0) {
      if (this.#aborted) {
        this.#skip(session, SkipReason.aborted);
        continue;
      }
      const handle = session.first;
      const page = this.#page(handle);
      const reason = this.#options.gate(page.batch, rowOf(handle));
      if (reason !== SkipReason.none) {
        this.#skip(session, reason);
        continue;
      }
      if (session.state !== SocketState.open) {
        if (session.state === SocketState.closed) {
          if (target.downUntilNs > this.#now || session.isRefused) {
            this.#skip(session, SkipReason.unreachable);
            continue;
          }
          this.#connect(session);
        }
        session.blocked = true;
        return;
      }
      if (
        session.loud >= this.#pipeline ||
        outstanding.length >= MAX_OUTSTANDING ||
        session.socket!.writableLength > MAX_UNWRITTEN ||
        !this.#groupReady(session)
      ) {
        session.blocked = true;
        break;
      }
      if (session.blocked) {
        session.blocked = false;
        // What ended the wait may have lain there for as long as we did not look.
        session.unblockedNs = this.#now - Math.max(0, this.#now - this.#expectedTickNs);
      }
      this.#sendGroup(session);
    }
    if (session.state === SocketState.open) {
      this.#write(session);
      if (session.endsQuiet) this.#expectFence(session);
    }
  }

  /** The front row and those that shared its segment: does none of them wait for anything? */
  #groupReady(session: Session): boolean {
    const checksKeys = this.#options.order === 'key';
    for (;;) {
      const handle = session.nextUnchecked;
      if (handle === NONE || session.readyRows >= session.armed) return session.readyRows > 0;
      const page = this.#page(handle);
      const row = rowOf(handle);
      if (session.readyRows > 0 && page.joins[row] === 0) return true;
      if (page.connectionRequired[row]! > session.done && !this.#ignoresOrder) {
        this.#hurry = true;
        return false;
      }
      if (this.#perConnection > 1 && !this.#ignoresOrder && this.#waitsForSibling(session, page, row)) {
        this.#hurry = true;
        return false;
      }
      const key = checksKeys ? page.keys[row] : undefined;
      if (key !== undefined) {
        if (
          key.done < page.keyRequired[row]! ||
          this.#keys.isHeld(key, page.keyNode[row]!, page.groupFinishNs[row]!)
        ) {
          key.waiters.push(session);
          this.#hurry = true;
          return false;
        }
      }
      session.readyRows++;
      session.nextUnchecked = page.next[row]!;
    }
  }

  #waitsForSibling({ recorded }: Session, page: Page, row: number): boolean {
    const { sessions } = recorded;
    for (let target = 0; target < sessions.length; target++)
      if (page.siblingsRequired[row * this.#perConnection + target]! > (sessions[target]?.done ?? 0))
        return true;
    return false;
  }

  #sendGroup(session: Session): void {
    const rows = session.readyRows;
    for (let sent = 0; sent < rows; sent++) {
      const handle = session.first;
      const page = this.#page(handle);
      const row = rowOf(handle);
      const reason = this.#isNeedless(session, page, row)
        ? SkipReason.notNeeded
        : sent === 0
          ? SkipReason.none
          : this.#options.gate(page.batch, row);
      if (reason === SkipReason.none && this.#encode(session, page, row))
        this.#sent(session, page, row, handle);
      else this.#skip(session, reason === SkipReason.none ? SkipReason.unmappableCas : reason);
    }
  }

  /** It would store again what a read missed, and that read did not. */
  #isNeedless({ missed }: Session, { batch }: Page, row: number): boolean {
    if ((batch.flags[row]! & RowFlag.refill) === 0) return false;
    return missed.size === 0 || !missed.delete(batch.key(row).toString('latin1'));
  }

  #sent(session: Session, page: Page, row: number, handle: number): void {
    this.#unlink(session, page, row);
    const { batch, results } = page;
    const now = this.#now - this.#startNs;
    const intended = this.#paced ? this.#due(page, row) : now;
    results.intendedNs[row] = intended;
    results.sentNs[row] = Math.max(now, intended);
    results.blockedNs[row] = this.#paced
      ? Math.max(0, Math.min(session.unblockedNs, this.#now) - this.#startNs - intended)
      : 0;
    results.result[row] = Result.indeterminate;
    results.reason[row] = SkipReason.none;
    const opcode = batch.opcode[row]!;
    session.outstanding.push(handle, opcode, session.opaque);
    if (isQuiet[opcode] === 1) session.endsQuiet = true;
    else {
      session.loud++;
      session.endsQuiet = false;
    }
    const { progress } = this;
    progress.sent++;
    progress.positionNs = intended;
    const lag = Math.max(now, intended) - intended - results.blockedNs[row];
    if (lag > progress.lagNs) progress.lagNs = lag;
  }

  #unlink(session: Session, page: Page, row: number): void {
    const next = page.next[row]!;
    session.first = next;
    if (next === NONE) session.last = NONE;
    session.armed--;
    if (session.readyRows > 0) session.readyRows--;
    else session.nextUnchecked = next;
  }

  /** The front row is not sent. It keeps its place in the order in which the connection's rows complete. */
  #skip(session: Session, reason: SkipReason): void {
    const handle = session.first;
    const page = this.#page(handle);
    const row = rowOf(handle);
    this.#unlink(session, page, row);
    page.results.result[row] = Result.skipped;
    page.results.reason[row] = reason;
    if (this.#paced) page.results.intendedNs[row] = this.#due(page, row);
    this.#finishRow(page, row);
    if (session.outstanding.length === 0) this.#rowDone(session);
    else session.outstanding.push(TOMBSTONE, 0, 0);
  }

  /** Puts the row's request into the slab; false where its CAS token has no counterpart on the target. */
  #encode(session: Session, page: Page, row: number): boolean {
    const { batch } = page;
    const opcode = batch.opcode[row]!;
    let casHigh = batch.casHigh[row]!;
    let casLow = batch.casLow[row]!;
    if ((casHigh | casLow) !== 0) {
      const token = session.tokens.find(casHigh, casLow);
      if (token === undefined) return false;
      casHigh = token.high;
      casLow = token.low;
    }
    const extrasLength = batch.extrasLength[row]!;
    const keyLength = batch.keyLength[row]!;
    const valueLength = batch.valueLength[row]!;
    const bytes = HEADER_BYTES + extrasLength + keyLength + valueLength;
    this.#need(session, bytes);
    const slab = this.#slab;
    session.opaque = (session.opaque + 1) >>> 0;
    let at = putHeader(
      slab,
      this.#slabLength,
      Magic.request,
      opcode,
      extrasLength,
      keyLength,
      valueLength,
      batch.vbucket[row]!,
      session.opaque,
      casHigh,
      casLow,
    );
    copy(batch.heap, batch.extrasAt[row]!, slab, at, extrasLength);
    const expiry = expiryOffset[opcode]!;
    if (expiry >= 0 && expiry + 4 <= extrasLength)
      this.#rewriteExpiry(slab, at + expiry, batch.requestNs[row]!);
    at += extrasLength;
    copy(batch.heap, batch.keyAt[row]!, slab, at, keyLength);
    at += keyLength;
    copy(batch.heap, batch.valueAt[row]!, slab, at, valueLength);
    this.#slabLength = at + valueLength;
    return true;
  }

  #rewriteExpiry(slab: Buffer, at: number, requestNs: number): void {
    const expiry = uint32(slab, at);
    if (expiry === 0) return;
    const recordedAt = this.#options.recordedAtSeconds + requestNs / 1e9;
    const now = this.#startSeconds + (this.#now - this.#startNs) / 1e9;
    putUint32(slab, at, replayedExpiry(expiry, this.#schedule.speed, recordedAt, now));
  }

  /** Makes room for that many bytes in the slab. */
  #need(session: Session, bytes: number): void {
    if (this.#slabLength + bytes <= this.#slab.length) return;
    this.#write(session);
    if (bytes > this.#slab.length) this.#slab = Buffer.allocUnsafeSlow(bytes);
  }

  #write(session: Session): void {
    const length = this.#slabLength;
    if (length === 0) return;
    this.#slabLength = 0;
    const socket = session.socket;
    if (socket === undefined) return;
    socket.write(length === this.#slab.length ? this.#slab : this.#slab.subarray(0, length));
    // What the kernel took at once is copied; otherwise the bytes must stay as they are until it does.
    if (socket.writableLength > 0 || this.#slab.length > SLAB_BYTES)
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
  }

  #expectFence(session: Session): void {
    if (this.#quietTails.has(session)) return;
    session.fenceDueNs = this.#now + FENCE_NS;
    this.#quietTails.add(session);
    // With nothing left to send there is nothing to wait for.
    if (this.#isMax || session.recorded.loaded === session.connection.exchanges) this.#hurry = true;
  }

  /** A NOOP behind quiet requests: its answer proves the silence of those before it. */
  #fence(session: Session): void {
    this.#quietTails.delete(session);
    if (!session.endsQuiet || session.state !== SocketState.open) return;
    this.#need(session, HEADER_BYTES);
    session.opaque = (session.opaque + 1) >>> 0;
    this.#slabLength = putHeader(
      this.#slab,
      this.#slabLength,
      Magic.request,
      Opcode.noop,
      0,
      0,
      0,
      0,
      session.opaque,
      0,
      0,
    );
    session.outstanding.push(FENCE, Opcode.noop, session.opaque);
    session.loud++;
    session.endsQuiet = false;
    session.fenceSentNs = this.#now;
    this.#write(session);
  }

  // ---- Answers.

  connected(session: Session): void {
    session.target.failures = 0;
    session.target.downUntilNs = 0;
    this.#now = this.#clock.nowNs();
    this.#touch(session);
    this.#flush();
  }

  drained(session: Session): void {
    this.#now = this.#clock.nowNs();
    this.#touch(session);
    this.#flush();
  }

  readEnd(session: Session): void {
    if (session.armed > 0) this.#touch(session);
    if (session.recorded.rowsLeft === 0) this.#maybeClose(session);
    this.#now = this.#clock.nowNs();
    this.#flush();
  }

  response(session: Session, data: Buffer, at: number, end: number): void {
    const now = this.#clock.nowNs();
    this.#now = now;
    session.target.lastAnswerNs = now;
    const { outstanding } = session;
    const opcode = opcodeAt(data, at);
    const opaque = opaqueAt(data, at);
    if (session.stat !== undefined) {
      const head = outstanding.slot(0);
      if (opcode === Opcode.stat && opaque === outstanding.opaque[head])
        return this.#statFrame(session, data, at, end);
      this.#statEnd(session);
    }
    let n = 0;
    while (n < outstanding.length) {
      const slot = outstanding.slot(n);
      if (outstanding.opaque[slot] === opaque && outstanding.row[slot] !== TOMBSTONE) break;
      n++;
    }
    if (n === outstanding.length) return this.#orphan(session, opcode, opaque);
    for (; n > 0; n--) this.#passOver(session);
    const slot = outstanding.slot(0);
    const handle = outstanding.row[slot]!;
    if (handle === FENCE) {
      this.#pop(session);
      return;
    }
    const page = this.#page(handle);
    const row = rowOf(handle);
    const { results } = page;
    results.answeredNs[row] = now - this.#startNs;
    keepAnswer(page.batch, results, row, data, at, end);
    if (results.agrees[row] === 0) this.progress.differ++;
    if (opcode !== outstanding.opcode[slot]) {
      results.agrees[row] = 0;
      results.result[row] = Result.malformed;
      this.#complete(session, page, row);
      return;
    }
    results.result[row] = Result.answered;
    session.lastAnswered.opaque = opaque;
    session.lastAnswered.index = page.batch.firstIndex + row;
    this.progress.answered++;
    const status = statusAt(data, at);
    if (opcode === Opcode.stat && status === Status.ok && bodyLengthAt(data, at) > 0) {
      session.stat = [];
      session.statBytes = 0;
      this.#statFrame(session, data, at, end);
      return;
    }
    this.#learnToken(session, page, row, status);
    this.#complete(session, page, row);
  }

  #learnToken(session: Session, page: Page, row: number, status: number): void {
    const { batch, results } = page;
    const high = batch.answerCasHigh[row]!;
    const low = batch.answerCasLow[row]!;
    if ((high | low) === 0 || status !== Status.ok || batch.status[row] !== Status.ok) return;
    if (batch.outcome[row] !== Outcome.answered) return;
    const [toHigh, toLow] = [results.casHigh[row]!, results.casLow[row]!];
    if (session.tokens.learn(high, low, toHigh, toLow))
      this.#share?.tell(Told.token, session.connection.serverIndex, high, low, toHigh, toLow);
  }

  #statFrame(session: Session, data: Buffer, at: number, end: number): void {
    session.statBytes += end - at;
    if (session.statBytes <= MAX_STAT_BYTES) session.stat!.push(Buffer.from(data.subarray(at, end)));
    if (statusAt(data, at) !== Status.ok || bodyLengthAt(data, at) === 0) this.#statEnd(session);
  }

  #statEnd(session: Session): void {
    const handle = session.outstanding.row[session.outstanding.slot(0)]!;
    const page = this.#page(handle);
    keepFrames(page.results, rowOf(handle), session.stat!);
    session.stat = undefined;
    this.#complete(session, page, rowOf(handle));
  }

  /** The head is behind an answered request: silent where it is quiet, else its answer is not coming. */
  #passOver(session: Session): void {
    const { outstanding } = session;
    const slot = outstanding.slot(0);
    const handle = outstanding.row[slot]!;
    if (handle < 0) {
      this.#pop(session);
      return;
    }
    const page = this.#page(handle);
    const row = rowOf(handle);
    const quiet = isQuiet[outstanding.opcode[slot]!] === 1;
    page.results.result[row] = quiet ? Result.silent : Result.unanswered;
    if (quiet) page.results.answeredNs[row] = this.#now - this.#startNs;
    this.#complete(session, page, row);
  }

  #orphan(session: Session, opcode: number, opaque: number): void {
    this.#end.orphanCount++;
    if (this.#end.orphans.length < MAX_NOTES)
      this.#end.orphans.push({
        connection: session.connection.id,
        target: session.target.index,
        atNs: this.#now - this.#startNs,
        // Answered twice: the second is about the same request.
        ...(opaque === session.lastAnswered.opaque ? { index: session.lastAnswered.index } : {}),
        note: `opcode 0x${opcode.toString(16)}, opaque 0x${opaque.toString(16)}`,
      });
  }

  /** The head row is complete. */
  #complete(session: Session, page: Page, row: number): void {
    const { batch, results } = page;
    if ((batch.flags[row]! & RowFlag.refilled) !== 0) {
      const isMiss =
        results.result[row] === Result.silent ||
        (results.result[row] === Result.answered && results.status[row] === Status.notFound);
      if (isMiss) session.missed.add(batch.key(row).toString('latin1'));
    }
    this.#finishRow(page, row);
    this.#pop(session);
  }

  #finishRow(page: Page, row: number): void {
    this.progress.done++;
    this.#share?.tell(Told.complete, page.batch.firstIndex + row);
    this.#leave(page, row);
  }

  /** The row is complete, here or at another worker. */
  #leave(page: Page, row: number): void {
    page.left--;
    this.#completed++;
    const key = page.keys[row];
    if (key !== undefined) this.#keys.complete(key, page.keyNode[row]!, page.finishNs[row]!);
  }

  /** Takes the head off, and the tombstones behind it. */
  #pop(session: Session): void {
    const { outstanding } = session;
    const slot = outstanding.slot(0);
    if (outstanding.row[slot] !== TOMBSTONE && isQuiet[outstanding.opcode[slot]!] === 0) session.loud--;
    if (outstanding.row[slot] !== FENCE) this.#rowDone(session);
    outstanding.drop(1);
    while (outstanding.length > 0 && outstanding.row[outstanding.slot(0)] === TOMBSTONE) {
      this.#rowDone(session);
      outstanding.drop(1);
    }
    if (outstanding.length === 0) session.endsQuiet = false;
  }

  #rowDone(session: Session): void {
    session.done++;
    const { recorded } = session;
    recorded.rowsLeft--;
    if (session.armed > 0) this.#touch(session);
    if (this.#perConnection > 1)
      for (const sibling of recorded.sessions)
        if (sibling !== undefined && sibling.armed > 0) this.#touch(sibling);
  }

  // ---- What other workers tell.

  complete(index: number): void {
    if (this.#aborted) return;
    const page = this.#pageOf(index);
    if (page === undefined) this.#early.add(index);
    else this.#leaveElsewhere(page, index - page.batch.firstIndex);
  }

  token(server: number, recordedHigh: number, recordedLow: number, high: number, low: number): void {
    this.#tokens[server]?.learn(recordedHigh, recordedLow, high, low);
  }

  /** The page of a row, by its index in the trace; undefined where the row is not loaded yet. */
  #pageOf(index: number): Page | undefined {
    const window = this.#window;
    let low = 0;
    let high = window.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (window[middle]!.batch.firstIndex <= index) low = middle + 1;
      else high = middle;
    }
    const page = window[low - 1];
    return page !== undefined && index < page.batch.firstIndex + page.linked ? page : undefined;
  }

  #leaveElsewhere(page: Page, row: number): void {
    page.results.reason[row] = SkipReason.elsewhere;
    this.#leave(page, row);
  }

  /** A row of another worker is loaded: what was told of it before is done to it. */
  #catchUp(page: Page, row: number): void {
    const index = page.batch.firstIndex + row;
    if (this.#early.delete(index) || this.#aborted) this.#leaveElsewhere(page, row);
  }

  // ---- Trouble, and the end.

  lost(session: Session, error: Error | undefined, wasOpen: boolean): void {
    this.#now = this.#clock.nowNs();
    this.#open.delete(session);
    if (error !== undefined) this.#incident(session, error.message);
    else if (session.outstanding.length > 0) {
      if (!this.#obeysQuit(session)) this.#incident(session, 'closed by the target');
    } else if (session.recorded.rowsLeft > 0)
      this.#incident(session, 'closed by the target between requests');
    if (!wasOpen && !(error instanceof Refused)) this.#down(session.target);
    if (error instanceof ProtocolError) this.#malformed(session);
    this.#loseOutstanding(session, Result.closed);
    // What is due goes to a new connection, or is skipped while the target is down.
    if (session.armed > 0) this.#touch(session);
    this.#flush();
  }

  /** What came is no frame: it stands where the answer to the first loud request should be. */
  #malformed(session: Session): void {
    const { outstanding } = session;
    while (outstanding.length > 0 && isQuiet[outstanding.opcode[outstanding.slot(0)]!] === 1) {
      const handle = outstanding.row[outstanding.slot(0)]!;
      if (handle < 0) this.#pop(session);
      else this.#complete(session, this.#page(handle), rowOf(handle));
    }
    if (outstanding.length === 0) return;
    const handle = outstanding.row[outstanding.slot(0)]!;
    if (handle < 0) return this.#pop(session);
    this.progress.failed++;
    this.#page(handle).results.result[rowOf(handle)] = Result.malformed;
    this.#complete(session, this.#page(handle), rowOf(handle));
  }

  /** The target closes because the last request told it to. */
  #obeysQuit(session: Session): boolean {
    const { outstanding } = session;
    const opcode = outstanding.opcode[outstanding.slot(outstanding.length - 1)];
    return opcode === Opcode.quit || opcode === Opcode.quitq;
  }

  #loseOutstanding(session: Session, how: Result): void {
    if (session.stat !== undefined) this.#statEnd(session);
    const { outstanding } = session;
    // A QUIT flushes the replies before it: whatever was silent until then, was.
    const proven = outstanding.length > 0 && how === Result.closed && this.#obeysQuit(session);
    let isFirst = true;
    while (outstanding.length > 0) {
      const slot = outstanding.slot(0);
      const handle = outstanding.row[slot]!;
      if (handle < 0) {
        this.#pop(session);
        continue;
      }
      const page = this.#page(handle);
      const row = rowOf(handle);
      const quiet = isQuiet[outstanding.opcode[slot]!] === 1;
      const silent = quiet && proven;
      page.results.result[row] = silent ? Result.silent : quiet ? Result.indeterminate : how;
      // The first had no answer; those behind it lose their connection by our own hand.
      if (!quiet && how === Result.unanswered && !isFirst) {
        page.results.result[row] = Result.closed;
        page.results.reason[row] = SkipReason.behind;
      }
      isFirst = false;
      if (!quiet && !proven) this.progress.failed++;
      if (silent) page.results.answeredNs[row] = this.#now - this.#startNs;
      this.#complete(session, page, row);
    }
    this.#quietTails.delete(session);
  }

  #incident(session: Session, note: string): void {
    this.#end.incidentCount++;
    if (this.#end.incidents.length < MAX_INCIDENTS)
      this.#end.incidents.push({
        connection: session.connection.id,
        target: session.target.index,
        atNs: this.#now - this.#startNs,
        note,
      });
  }

  #down(target: TargetState): void {
    target.downUntilNs = this.#now + Math.min(BACK_OFF_NS * 2 ** target.failures, MAX_BACK_OFF_NS);
    if (target.failures < 10) target.failures++;
  }

  #check(): void {
    for (const session of this.#quietTails) if (session.fenceDueNs <= this.#now) this.#fence(session);
    for (const session of this.#open) {
      if (session.state === SocketState.connecting) {
        if (this.#now - session.connectingSinceNs > this.#timeoutNs)
          session.drop(new Error(`no connection within ${this.#options.timeoutMs} ms`));
      } else if (session.outstanding.length > 0) this.#checkTimeout(session);
      else if (session.recorded.rowsLeft === 0) this.#maybeClose(session);
    }
    this.#unstick();
  }

  /**
   * Nothing is under way, nothing comes to be, and rows are due: they wait for one another. No recording gives such an
   * order; a file made by hand may.
   */
  #unstick(): void {
    if (this.#completed !== this.#progressed) {
      this.#progressed = this.#completed;
      this.#progressedNs = this.#now;
      return;
    }
    if (this.#now - this.#progressedNs < this.#timeoutNs) return;
    this.#progressedNs = this.#now;
    const stuck = [...this.#open].filter(({ armed }) => armed > 0);
    if (stuck.length === 0 || [...this.#open].some(({ outstanding }) => outstanding.length > 0)) return;
    this.#incident(stuck[0]!, 'the trace asks for an order that cannot be kept');
    this.#ignoresOrder = true;
    for (const session of stuck) this.#touch(session);
    this.#flush();
    this.#ignoresOrder = false;
  }

  #checkTimeout(session: Session): void {
    const { outstanding, target } = session;
    const handle = outstanding.row[outstanding.slot(0)]!;
    const sentNs =
      handle === FENCE
        ? session.fenceSentNs
        : this.#startNs + this.#page(handle).results.sentNs[rowOf(handle)]!;
    if (this.#now - sentNs <= this.#timeoutNs) return;
    // Nothing from the target since, on any connection: it is not this connection that is slow.
    if (target.lastAnswerNs < sentNs) this.#down(target);
    this.#loseOutstanding(session, Result.unanswered);
    session.drop(new Error(`no answer within ${this.#options.timeoutMs} ms`));
  }

  /** All rows of the connection are complete: it closes when it did. */
  #maybeClose(session: Session): void {
    if (session.outstanding.length > 0 || session.state !== SocketState.open) return;
    const { closeNs } = session.connection;
    if (this.#paced && (closeNs === NEVER || this.#startNs + closeNs / this.#schedule.speed > this.#now))
      return;
    session.finished = true;
    this.#open.delete(session);
    session.close();
  }

  #abort(): void {
    if (this.#aborted) return;
    this.#aborted = true;
    this.#end.aborted = 'interrupted';
    this.#now = this.#clock.nowNs();
    // Nobody is waited for any more.
    if (this.#share !== undefined)
      for (const page of this.#window)
        for (let row = 0; row < page.linked; row++)
          if (!this.#share.owns(page.batch.connection[row]!) && page.results.reason[row] === SkipReason.none)
            this.#leaveElsewhere(page, row);
    // Everything loaded is due at once, and skipped.
    for (const session of this.#sessions) {
      if (session === undefined) continue;
      for (let handle = session.first, n = 0; handle !== NONE; n++) {
        if (n >= session.armed) session.armed++;
        handle = this.#page(handle).next[rowOf(handle)]!;
      }
      this.#touch(session);
    }
    this.#cursorPage = this.#window.length;
    this.#cursorRow = 0;
    this.#room?.();
    this.#flush();
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#abort();
  }

  /** Hands on the results of complete pages, makes room for more, and ends when there is no more. */
  #settle(): void {
    const window = this.#window;
    let page = window[0];
    while (page !== undefined && page.left === 0 && this.#cursorPage > 0) {
      window.shift();
      this.#cursorPage--;
      this.#loadedRows -= page.batch.count;
      this.#loadedBytes -= page.batch.heapLength;
      if (this.#failure === undefined) {
        try {
          this.#options.sink.append(page.results);
        } catch (error) {
          this.#failure = error as Error;
        }
      }
      this.#freePages.push(page);
      page = window[0];
    }
    if (!this.#isFull() || this.#aborted) {
      const room = this.#room;
      this.#room = undefined;
      room?.();
    }
    if (this.#allLoaded && window.length === 0) {
      const resolve = this.#resolve;
      this.#resolve = undefined;
      resolve?.();
    }
  }
}

/** Loading a batch at once would keep what is due waiting for milliseconds. */
async function* slices(batches: AsyncIterable<Batch>): AsyncGenerator<Batch> {
  for await (const batch of batches) {
    if (batch.count <= SLICE_ROWS) {
      yield batch;
      continue;
    }
    for (let row = 0; row < batch.count; row += SLICE_ROWS) {
      const part = batch.slice(row, Math.min(batch.count, row + SLICE_ROWS));
      // The heap is held as long as any of them is; each counts its share.
      part.heapLength = Math.ceil((batch.heapLength * part.count) / batch.count);
      yield part;
    }
  }
}

function rowOf(handle: number): number {
  return handle % PAGE_ROWS;
}

/** Below this a loop is faster than a call into native code. */
const SHORT = 24;

function copy(from: Buffer, at: number, to: Buffer, start: number, length: number): void {
  if (length > SHORT) from.copy(to, start, at, at + length);
  else for (let i = 0; i < length; i++) to[start + i] = from[at + i]!;
}
