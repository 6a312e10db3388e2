// How consistent a cache was: of the reads that a recording can judge, how many were right, by server, partition and tenant.

import { isRead } from '../protocol/opcode.ts';
import { Status } from '../protocol/status.ts';
import type { Glance } from '../diff/glance.ts';
import type { Witness } from '../diff/judgement.ts';
import type { Places } from '../diff/places.ts';
import type { Suspect } from '../diff/suspect.ts';
import type { Verdict } from '../diff/verdict.ts';
import { grown, type Batch } from '../trace/batch.ts';
import { Result, type ResultBatch } from '../trace/results.ts';
import type { Survey } from '../trace/survey.ts';

/** More servers than a trace names. */
const TARGETS = 65_536;

/** Reads that could be judged, and how many of them were wrong. */
export interface Judged {
  reads: number;
  judged: number;
  wrong: number;
}

export interface ConsistencyBy {
  all: Judged;
  servers: ReadonlyMap<string, Judged>;
  /** Backends behind the servers, where those were told. */
  partitions: ReadonlyMap<string, Judged>;
  tenants: ReadonlyMap<string, Judged>;
}

/** A read that found the key can be judged once the recording has shown what the key holds, or that it holds nothing. */
export class Consistency implements Witness {
  readonly #servers: readonly string[];
  /** By connection. */
  readonly #tenantOf: Uint32Array;
  readonly #tenants: readonly string[];
  readonly #places: Places;
  readonly #hasPartitions: boolean;
  /** By number of the key: 1: its state was shown. */
  #shown = new Uint8Array(1024);
  readonly #byServer = new Map<string, Judged>();
  readonly #byPartition = new Map<string, Judged>();
  readonly #byTenant = new Map<string, Judged>();
  readonly #all: Judged = emptyJudged();
  /** By target, place and tenant: what an exchange is counted in. */
  readonly #cells = new Map<number, readonly Judged[]>();

  constructor(survey: Survey, places: Places, hasPartitions: boolean) {
    this.#servers = survey.servers;
    this.#tenants = [...new Set(survey.connections.map(({ tenant }) => tenant))];
    const numbers = new Map(this.#tenants.map((name, n) => [name, n]));
    this.#tenantOf = Uint32Array.from(survey.connections, ({ tenant }) => numbers.get(tenant)!);
    this.#places = places;
    this.#hasPartitions = hasPartitions;
  }

  row(seen: Glance, key: number, batch: Batch, row: number, results: ResultBatch, resultRow: number): void {
    if (key >= this.#shown.length) this.#shown = grown(this.#shown, new Uint8Array(2 * key + 1));
    const isReading = isRead[batch.opcode[row]!] === 1;
    const result = results.result[resultRow];
    const isTold = seen === 'same' && (result === Result.answered || result === Result.silent);
    if (isReading) {
      const place = this.#places.of(
        results.target[resultRow]!,
        batch.heap,
        batch.keyAt[row]!,
        batch.keyLength[row]!,
      );
      const isHit = isTold && result === Result.answered && results.status[resultRow] === Status.ok;
      const isWrong = typeof seen === 'object' && seen.class === 'violation';
      const isJudged = isWrong || (isHit && this.#shown[key] === 1);
      for (const cell of this.#cellsOf(results.target[resultRow]!, place, batch.connection[row]!)) {
        cell.reads++;
        if (isJudged) cell.judged++;
        if (isWrong) cell.wrong++;
      }
    }
    if (isTold) this.#shown[key] = 1;
  }

  settled({ opcode, target, connection, key, replayed }: Suspect, verdict: Verdict): void {
    if (isRead[opcode] !== 1 || verdict.class === 'drift') return;
    const bytes = Buffer.from(key, 'latin1');
    const place = this.#places.of(target, bytes, 0, bytes.length);
    const { silent, status } = replayed();
    for (const cell of this.#cellsOf(target, place, connection))
      if (verdict.class === 'violation') cell.wrong++;
      else if (!silent && status === Status.ok) cell.judged--;
  }

  get by(): ConsistencyBy {
    return {
      all: this.#all,
      servers: this.#byServer,
      partitions: this.#byPartition,
      tenants: this.#byTenant,
    };
  }

  #cellsOf(target: number, place: number, connection: number): readonly Judged[] {
    const places = this.#places.names.length + 1;
    const tenant = this.#tenantOf[connection] ?? 0;
    const at = (tenant * places + place + 1) * TARGETS + target;
    let cells = this.#cells.get(at);
    if (cells !== undefined) return cells;
    cells = [
      this.#all,
      of(this.#byServer, this.#servers[target] ?? 'unknown'),
      of(this.#byTenant, this.#tenants[tenant] ?? ''),
      ...(this.#hasPartitions && place >= 0 ? [of(this.#byPartition, this.#places.names[place]!)] : []),
    ];
    this.#cells.set(at, cells);
    return cells;
  }
}

function of(all: Map<string, Judged>, name: string): Judged {
  let judged = all.get(name);
  if (judged === undefined) all.set(name, (judged = emptyJudged()));
  return judged;
}

function emptyJudged(): Judged {
  return { reads: 0, judged: 0, wrong: 0 };
}
