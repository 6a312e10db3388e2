// Stages that send what was recorded again: the same request after a time-out, or the same traffic as that of another tenant.

import { isOnItem } from '../../protocol/opcode.ts';
import { RowFlag, NEVER, Outcome } from '../../trace/batch.ts';
import { renamedKey } from '../../trace/rename.ts';
import { tokenOf } from '../../trace/token.ts';
import { unitOf } from '../laws/hash.ts';
import type { Line } from './line.ts';
import { empty, type Row } from './row.ts';
import { Stage, type Context } from './stage.ts';

/** What clients send again: anything about a key, and the NOOP behind such. */
function isRepeatable(row: Row): boolean {
  if ((row.flags & (RowFlag.secret | RowFlag.unsafe)) !== 0) return false;
  return row.family === 'noop' || isKeyed(row);
}

function isKeyed({ opcode, key }: Row): boolean {
  return key.length > 0 && isOnItem[opcode] === 1;
}

export interface RepeatOptions {
  /** ms */
  at: number;
  length: number;
  /** Of the requests; those of one segment go together. */
  share: number;
  times: number;
  after: number;
}

/** Requests are sent again after a while, on their connection, or on another where it has ended. */
export class RepeatStage extends Stage {
  readonly #options: RepeatOptions;
  /** By connection: whether the segment that it is at is sent again. */
  readonly #chosen = new Map<Line, boolean>();

  constructor(context: Context, options: RepeatOptions) {
    super(context);
    this.#options = options;
  }

  protected override take(row: Row): void {
    // Copied before other stages change it.
    this.#repeat(row);
    this.next(row);
  }

  #repeat(row: Row): void {
    const { at, length, share, times, after } = this.#options;
    const { line } = row;
    if (row.ns < at * 1e6 || row.ns >= (at + length) * 1e6) return;
    if (!row.joins) this.#chosen.set(line, this.random.chance(share));
    // What is sent only where the target missed is not sent again.
    if (this.#chosen.get(line) !== true || (row.flags & RowFlag.refill) !== 0 || !isRepeatable(row)) return;
    for (let turn = 1; turn <= times; turn++) {
      const ns = row.ns + Math.round(turn * after * 1e6);
      this.later(repeated(row, line, ns, this.context.facts.latencyNs));
    }
  }
}

function repeated(row: Row, line: Line, ns: number, latencyNs: number): Row {
  const other = row.copy(line, ns);
  other.isRepeated = true;
  other.follow = undefined;
  other.flags &= RowFlag.sharesSegment;
  unanswered(other, latencyNs);
  return other;
}

/** It is answered when it is executed. */
function unanswered(row: Row, latencyNs: number): void {
  if (row.answerNs === NEVER) row.answerNs = row.endNs + latencyNs;
  row.outcome = Outcome.answered;
  row.frames = row.status = 0;
  row.answerCasHigh = row.answerCasLow = 0;
  row.answerExtras = row.answerKey = row.answerValue = empty;
}

export interface SurgeOptions {
  /** The tenants' names. */
  names: readonly string[];
  /** ms */
  at: number;
  ramp: number;
  /** Of each, so many times the traffic of the trace. */
  weight: number;
  /** Of the requests: for keys that nobody asks for again. */
  cold: number;
}

interface Tenant {
  name: string;
  seed: number;
  /** By place of the trace: its own. */
  places: number;
  /** By connection of the trace: its own, and when its last segment left, ns. */
  lines: Map<Line, { line: Line; ns: number; isOpen: boolean }>;
}

/** Between two requests of one tenant that are the same request of the trace. */
const APART_NS = 1_370_000;

/** Further tenants ask as those of the trace do, for keys of their own; more and more of them, key by key. */
export class SurgeStage extends Stage {
  readonly #options: SurgeOptions;
  readonly #tenants: Tenant[];
  #cold = 0;

  constructor(context: Context, options: SurgeOptions) {
    super(context);
    this.#options = options;
    this.#tenants = options.names.map((name) => ({
      name,
      seed: context.ownSeed(),
      places: context.lines.newPlaces(),
      lines: new Map(),
    }));
  }

  protected override take(row: Row): void {
    // Copied before other stages change it.
    this.#multiply(row);
    this.next(row);
  }

  #multiply(row: Row): void {
    const { at, ramp, weight } = this.#options;
    if (row.ns < at * 1e6 || !isRepeatable(row)) return;
    const demand = weight * Math.min(1, ramp === 0 ? 1 : (row.ns / 1e6 - at) / ramp);
    const id = row.key.toString('latin1');
    for (const tenant of this.#tenants) {
      const from = isKeyed(row) ? unitOf(tenant.seed, id) : 0;
      for (let copy = 0; copy + from < demand; copy++) this.#copy(row, tenant, copy);
    }
  }

  #copy(row: Row, tenant: Tenant, copy: number): void {
    const own = this.#lineOf(row.line, tenant, row.ns);
    const ns = row.ns + copy * APART_NS;
    const other = row.copy(own.line, ns);
    if (row.family === 'noop') {
      // It asks for the answers of the quiet requests before it, where there are such.
      if (copy > 0 || !own.isOpen) return;
      own.isOpen = false;
    } else own.isOpen = true;
    if (own.ns !== ns) other.flags &= ~RowFlag.sharesSegment;
    own.ns = ns;
    if (isKeyed(row))
      other.key = this.#keyOf(row, other, copy === 0 ? tenant.name : `${tenant.name}.${copy + 1}`);
    if (other.outcome !== Outcome.conditional && !other.isHit)
      unanswered(other, this.context.facts.latencyNs);
    this.later(other);
  }

  #keyOf(row: Row, other: Row, name: string): Buffer {
    const key = renamedKey(row.key, name);
    const isSimple = row.isRead || row.family === 'set' || row.family === 'add';
    const named = tokenOf(row.casHigh, row.casLow);
    if (!isSimple || named !== 0 || (row.flags & RowFlag.refill) !== 0) return key;
    if (!this.random.chance(this.#options.cold)) return key;
    if ((other.flags & RowFlag.refilled) !== 0) {
      other.flags &= ~RowFlag.refilled;
      other.follow = this.context.onMiss(other.line);
    }
    return renamedKey(row.key, `${name}:${(this.#cold++).toString(36)}`);
  }

  #lineOf(like: Line, tenant: Tenant, ns: number): { line: Line; ns: number; isOpen: boolean } {
    let own = tenant.lines.get(like);
    if (own === undefined) {
      const line = this.context.lines.open(like, ns, {
        tenant: tenant.name,
        place: tenant.places + like.serverIndex,
      });
      tenant.lines.set(like, (own = { line, ns: -1, isOpen: false }));
    }
    return own;
  }
}
