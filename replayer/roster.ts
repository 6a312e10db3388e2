// Whose requests they are: the connections of the recording and their sessions, which of them have a socket, and when
// sockets open and close as recorded.

import { NEVER } from '../trace/batch.ts';
import { SkipReason } from '../trace/results.ts';
import type { Survey } from '../trace/survey.ts';
import { ZERO_NS } from './clock.ts';
import type { Course } from './course.ts';
import { Patience } from './patience.ts';
import { RecordedConnection, Session, SocketState, type SessionEvents, type TargetState } from './session.ts';
import { Stalls } from './stalls.ts';
import { Strikes } from './strikes.ts';
import type { CredentialsOf, Route, Target } from './target.ts';
import { TokenMap } from './tokens.ts';

/** Of a target: all that was asked of it meanwhile had no answer. */
const MAX_STRIKES = 2;
const ENOUGH_ANSWERS = 1;

export interface RosterOptions {
  survey: Pick<Survey, 'connections' | 'tokens'>;
  targets: readonly Target[];
  route: Route;
  /** Default: none. */
  credentialsOf?: CredentialsOf;
}

export class Roster {
  /** Sessions of one connection: one, or, where the key decides, one for each target. */
  readonly perConnection: number;
  /** By connection, and within it by target. */
  readonly sessions: (Session | undefined)[] = [];
  /** Those with a socket. */
  readonly open = new Set<Session>();
  /** By recorded server. */
  readonly tokens: readonly TokenMap[];
  readonly #options: RosterOptions;
  readonly #course: Course;
  readonly #events: SessionEvents;
  readonly #owns: (connection: number) => boolean;
  readonly #targets: TargetState[];
  /** By id. */
  readonly #connections: (RecordedConnection | undefined)[] = [];
  /** Ids of connections by the time they opened, and how many of them were opened. */
  readonly #openings: number[];
  #opened = 0;

  /** @param owns whether a connection is this worker's */
  constructor(
    options: RosterOptions,
    course: Course,
    events: SessionEvents,
    owns: (connection: number) => boolean,
  ) {
    const { survey, targets, route } = options;
    this.#options = options;
    this.#course = course;
    this.#events = events;
    this.#owns = owns;
    this.perConnection = route.ofKey === undefined ? 1 : targets.length;
    this.tokens = survey.tokens.map((tokens) => new TokenMap(tokens));
    this.#targets = Array.from(targets, (target, index) => ({
      ...target,
      index,
      lastAnswerNs: ZERO_NS,
      answers: 0,
      down: SkipReason.none,
      strikes: new Strikes(MAX_STRIKES, ENOUGH_ANSWERS),
      stalls: new Stalls(),
      patience: new Patience(),
    }));
    this.#openings = survey.connections
      .map(({ id }) => id)
      .toSorted((a, b) => survey.connections[a]!.openNs - survey.connections[b]!.openNs);
  }

  /** Of all targets, ns. */
  get leastPatienceNs(): number {
    let least = Infinity;
    for (const { patience } of this.#targets) least = Math.min(least, patience.ns);
    return least;
  }

  /** @param wanted number of the target; -1: what the recorded server, or the key before it, says */
  session(id: number, wanted: number): Session {
    const { survey, route, credentialsOf } = this.#options;
    let recorded = this.#connections[id];
    if (recorded === undefined) {
      const connection = survey.connections[id]!;
      recorded = new RecordedConnection(connection, route.ofServer(connection.serverIndex));
      this.#connections[id] = recorded;
    }
    if (wanted >= 0) recorded.lastTarget = wanted;
    const index = recorded.lastTarget;
    const place = this.perConnection === 1 ? 0 : index;
    let session = recorded.sessions[place];
    if (session === undefined) {
      const { connection } = recorded;
      const tokens = this.tokens[connection.serverIndex] ?? new TokenMap(new Set());
      session = new Session(
        recorded,
        this.#targets[index]!,
        tokens,
        credentialsOf?.(connection.tenant),
        this.#events,
      );
      recorded.sessions[place] = session;
      this.sessions[id * this.perConnection + place] = session;
    }
    return session;
  }

  connect(session: Session): void {
    this.open.add(session);
    session.open(this.#course.nowNs);
  }

  /** Connections open when they did. */
  openDue(): void {
    const { startNs, nowNs, schedule, isPaced } = this.#course;
    if (!isPaced) return;
    const { connections } = this.#options.survey;
    while (this.#opened < this.#openings.length) {
      const id = this.#openings[this.#opened]!;
      if (startNs + connections[id]!.openNs / schedule.speed > nowNs) return;
      this.#opened++;
      if (connections[id]!.exchanges === 0 || !this.#owns(id)) continue;
      // Where the key decides, sessions come to be as their keys are loaded.
      if (this.perConnection === 1) this.session(id, -1);
      for (const session of this.#connections[id]?.sessions ?? [])
        if (session?.state === SocketState.closed && !session.finished) this.connect(session);
    }
  }

  /** All rows of the connection are complete: it closes when it did. */
  closeIfDue(session: Session): void {
    if (session.outstanding.length > 0 || session.state !== SocketState.open) return;
    const { startNs, nowNs, schedule, isPaced } = this.#course;
    const { closeNs } = session.connection;
    if (isPaced && (closeNs === NEVER || startNs + closeNs / schedule.speed > nowNs)) return;
    session.finished = true;
    this.open.delete(session);
    session.close();
  }

  closeAll(): void {
    for (const session of this.open) session.close();
  }
}
