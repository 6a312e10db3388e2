// Stages that end connections: what their clients ask for later goes on in new ones, as the same user.

import { NEVER, RowFlag } from '../../trace/batch.ts';
import { unit } from '../laws/hash.ts';
import { exponential } from '../laws/random.ts';
import type { Line } from './line.ts';
import type { Row } from './row.ts';
import { Stage, type Context } from './stage.ts';

/** What is drawn for a connection. */
const Field = { share: 1, jitter: 2 } as const;

abstract class SplitStage extends Stage {
  /** Where reads went that a refill may follow, by connection and key: it goes there too. */
  readonly #refilled = new Map<Line, Map<string, Line | undefined>>();

  /** The connection for a request; undefined: there is none, and it is not sent. */
  protected abstract at(line: Line, ns: number): Line | undefined;

  protected override take(row: Row): void {
    const { line, flags } = row;
    let target = this.at(line, row.ns);
    if ((flags & (RowFlag.refill | RowFlag.refilled)) !== 0) target = this.#together(row, target);
    if (target !== undefined) row.line = target;
    else if (row.isAdded) return;
    else row.isDropped = true;
    this.next(row);
  }

  #together({ line, flags, key }: Row, target: Line | undefined): Line | undefined {
    let places = this.#refilled.get(line);
    if (places === undefined) this.#refilled.set(line, (places = new Map()));
    const name = key.toString('latin1');
    if ((flags & RowFlag.refilled) !== 0) {
      places.set(name, target);
      return target;
    }
    const before = places.has(name) ? places.get(name) : target;
    places.delete(name);
    return before;
  }
}

export interface RestartOptions {
  /** ms */
  at: number;
  down: number;
  jitter: number;
  /** Of the connections. */
  share: number;
  /** Those to this server of the recording alone. */
  server: string | undefined;
}

/** Connections break; they are opened again after the down time, and what falls into it is not sent. */
export class RestartStage extends SplitStage {
  readonly #fromNs: number;
  readonly #options: RestartOptions;
  readonly #seed: number;
  /** By connection that breaks: what follows it, and when that opens. */
  readonly #broken = new Map<Line, { next: Line | undefined; openNs: number }>();
  readonly #seen = new Set<Line>();
  /** Requests that were not sent. */
  lost = 0;

  constructor(context: Context, options: RestartOptions) {
    super(context);
    this.#options = options;
    this.#fromNs = options.at * 1e6;
    this.#seed = context.ownSeed();
    context.notes.push(() =>
      this.lost === 0
        ? undefined
        : `${this.lost} requests fell into the down time of their connections, and are not sent`,
    );
  }

  protected override at(line: Line, ns: number): Line | undefined {
    this.#seen.add(line);
    if (ns < this.#fromNs || !this.#breaks(line)) return line;
    let broken = this.#broken.get(line);
    if (broken === undefined) {
      const { down, jitter } = this.#options;
      const wait = down + jitter * unit(this.#seed, line.number, Field.jitter);
      broken = { next: undefined, openNs: Math.round(this.#fromNs + wait * 1e6) };
      this.#broken.set(line, broken);
      this.#end(line);
    }
    if (ns < broken.openNs) {
      this.lost++;
      return undefined;
    }
    broken.next ??= this.context.lines.open(line, broken.openNs, { closeNs: line.closeNs });
    return broken.next;
  }

  /** Those that were idle break too. */
  protected override finish(): void {
    for (const line of this.#seen) if (!this.#broken.has(line) && this.#breaks(line)) this.#end(line);
  }

  #breaks(line: Line): boolean {
    const { share, server, down } = this.#options;
    if (server !== undefined && line.server !== server) return false;
    const { openNs } = line;
    return openNs < this.#fromNs + down * 1e6 && unit(this.#seed, line.number, Field.share) < share;
  }

  #end(line: Line): void {
    if (line.closeNs === NEVER || line.closeNs > this.#fromNs)
      line.endAt(Math.max(this.#fromNs, line.openNs), this.number);
  }
}

/** For a time, connections live briefly. */
export class ChurnStage extends SplitStage {
  readonly #fromNs: number;
  readonly #toNs: number;
  readonly #lifetimeNs: number;
  /** By connection of the recording: the one in its place, and when it ends. */
  readonly #current = new Map<Line, { line: Line; endNs: number; closeNs: number }>();

  /** Times in ms. */
  constructor(context: Context, { at, length, lifetime }: { at: number; length: number; lifetime: number }) {
    super(context);
    this.#fromNs = at * 1e6;
    this.#toNs = (at + length) * 1e6;
    this.#lifetimeNs = lifetime * 1e6;
  }

  protected override at(source: Line, ns: number): Line {
    if (ns < this.#fromNs) return source;
    let current = this.#current.get(source);
    if (current === undefined) {
      if (ns >= this.#toNs) return source;
      current = {
        line: source,
        endNs: Math.max(this.#fromNs + this.#lifetime(), source.openNs),
        closeNs: source.closeNs,
      };
      this.#current.set(source, current);
    }
    if (ns < current.endNs) return current.line;
    current.line.endAt(current.endNs, this.number);
    current.line = this.context.lines.open(source, ns, { closeNs: current.closeNs });
    current.endNs = ns < this.#toNs ? ns + this.#lifetime() : Infinity;
    return current.line;
  }

  /** What nobody asked after ends with its life too. */
  protected override finish(): void {
    for (const { line, endNs, closeNs } of this.#current.values())
      if (endNs < Infinity && (closeNs === NEVER || endNs < closeNs)) line.endAt(endNs, this.number);
  }

  #lifetime(): number {
    return Math.round(exponential(this.random) * this.#lifetimeNs);
  }
}
