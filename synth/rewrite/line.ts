// The connections of a rewrite: those of the recording, and those that stages open in their place or beside them.

import { ConnectionEnd, NEVER, type Connection } from '../../trace/batch.ts';
import type { Survey, SurveyedConnection } from '../../trace/survey.ts';
import type { Random } from '../laws/random.ts';

/** Of one clock into the next: stages may change times. */
type Retime = (ns: number) => number;

export class Line {
  /** In the order in which they were made; those of the recording come first, by their ids. */
  readonly number: number;
  readonly client: string;
  readonly server: string;
  readonly serverIndex: number;
  readonly tenant: string;
  /** Whose keys it uses, on which server: keys of two places are different items. */
  readonly place: number;
  readonly end: ConnectionEnd;
  /** Its client stores again what it misses. */
  readonly refills: boolean;
  /** Of generated traces: keys that reads missed, which a refill follows, latin1. */
  readonly missed = new Set<string>();
  /** Number in the output; -1: not told yet. */
  id = -1;
  /** When its last exchange so far finished. */
  finishNs = 0;
  /** Its client said goodbye: the server answers nothing more. */
  hasQuit = false;
  /** Requests that nobody recorded are among its own. */
  isMixed = false;
  readonly #retimes: Retime[] = [];
  readonly #open: { ns: number; depth: number };
  readonly #close: { ns: number; depth: number };
  /** A stage ended it; those before that one do not know. */
  #cut: { ns: number; depth: number; stage: number } | undefined;

  constructor(
    { number, place, refills }: Pick<Line, 'number' | 'place' | 'refills'>,
    connection: Omit<SurveyedConnection, 'id' | 'space' | 'exchanges'>,
  ) {
    const { client, server, serverIndex, tenant, openNs, closeNs, end } = connection;
    this.number = number;
    this.client = client;
    this.server = server;
    this.serverIndex = serverIndex;
    this.tenant = tenant;
    this.place = place;
    this.refills = refills;
    this.end = end;
    this.#open = { ns: openNs, depth: 0 };
    this.#close = { ns: closeNs, depth: 0 };
  }

  /** ns; NEVER: before the recording began. */
  get openNs(): number {
    return this.#timed(this.#open);
  }

  /** As it was made, ns; NEVER: not in the recording. */
  get closeNs(): number {
    return this.#timed(this.#close);
  }

  /** Its host, without the port. */
  get host(): string {
    return this.client.slice(0, Math.max(0, this.client.lastIndexOf(':')));
  }

  /** Whether a further request can be sent on it, as far as a stage knows. */
  takes(ns: number, stage: number): boolean {
    const cut = this.#cut;
    const endNs = cut !== undefined && stage > cut.stage ? this.#timed(cut) : this.closeNs;
    return !this.hasQuit && (endNs === NEVER || endNs > ns);
  }

  /** It ends then, or once its last answer is there. @param stage whose doing it is */
  endAt(ns: number, stage: number): void {
    this.#cut = { ns, depth: this.#retimes.length, stage };
  }

  /** From here on its times are those of another clock. */
  retime(retime: Retime): void {
    this.#retimes.push(retime);
  }

  /** As a trace tells of it. */
  told(): Connection {
    const { id, client, server, tenant, openNs, end } = this;
    const closeNs = this.#cut === undefined ? this.closeNs : this.#timed(this.#cut);
    const isClosed = closeNs !== NEVER;
    return {
      id,
      client,
      server,
      tenant,
      openNs,
      closeNs: isClosed ? Math.max(closeNs, this.finishNs, openNs) : NEVER,
      end: !isClosed ? ConnectionEnd.open : this.#cut !== undefined ? ConnectionEnd.client : end,
    };
  }

  #timed({ ns, depth }: { ns: number; depth: number }): number {
    if (ns === NEVER) return NEVER;
    let at = ns;
    for (let n = depth; n < this.#retimes.length; n++) at = this.#retimes[n]!(at);
    return at;
  }
}

/** All of them. */
export class Lines {
  /** By id in the recording. */
  readonly recorded: readonly Line[];
  readonly #servers: readonly string[];
  #made: number;
  #places: number;

  /** @param refills by connection: whether its client stores again what it misses */
  constructor(
    { connections, servers, tenants }: Pick<Survey, 'connections' | 'servers' | 'tenants'>,
    refills: readonly boolean[],
  ) {
    this.#servers = servers;
    this.recorded = connections.map((connection, number) => {
      const place = connection.space * servers.length + connection.serverIndex;
      return new Line({ number, place, refills: refills[number] === true }, connection);
    });
    this.#made = connections.length;
    this.#places = Math.max(1, tenants.length) * Math.max(1, servers.length);
  }

  /** A further one, as of the same client; of a tenant of its own where one is named. */
  open(like: Line, openNs: number, { tenant = like.tenant, place = like.place, closeNs = NEVER } = {}): Line {
    const number = this.#made++;
    const { host, server, serverIndex, refills } = like;
    return new Line(
      { number, place, refills },
      {
        client: `${host === '' ? '10.0.0.1' : host}:${1024 + ((number * 7919) % 64_000)}`,
        server,
        serverIndex,
        tenant,
        openNs,
        closeNs,
        end: closeNs === NEVER ? ConnectionEnd.open : ConnectionEnd.client,
      },
    );
  }

  /** Places of a tenant that nobody saw: one for each server, in a row. */
  newPlaces(): number {
    const first = this.#places;
    this.#places += Math.max(1, this.#servers.length);
    return first;
  }
}

/** Those that a stage has seen requests on, by place: further requests take one of them. */
export class Roster {
  readonly #byPlace = new Map<number, Line[]>();
  readonly #seen = new Set<Line>();

  see(line: Line): void {
    if (this.#seen.has(line)) return;
    this.#seen.add(line);
    const all = this.#byPlace.get(line.place);
    if (all === undefined) this.#byPlace.set(line.place, [line]);
    else all.push(line);
  }

  /** Any one that is open; undefined where none is. */
  pick(place: number, ns: number, stage: number, random: Random): Line | undefined {
    const all = this.#byPlace.get(place) ?? [];
    for (let left = all.length; left > 0; left--) {
      const n = random.int(all.length);
      const line = all[n]!;
      if (line.takes(ns, stage)) return line;
      // What has ended does not come back.
      all[n] = all.at(-1)!;
      all.pop();
      this.#seen.delete(line);
    }
    return undefined;
  }
}
