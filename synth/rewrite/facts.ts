// What scenarios need to know of a recorded trace before they change it: its length and rates, its keys and how popular
// they are, and what its clients do that miss.

import { Opcode, isOnItem, opcodeInfo, type Family } from '../../protocol/opcode.ts';
import { isCounter, isStore } from '../../protocol/semantics.ts';
import { Status } from '../../protocol/status.ts';
import { NEVER, Outcome, RowFlag, type Batch } from '../../trace/batch.ts';
import type { TraceReader } from '../../trace/file.ts';
import type { Survey } from '../../trace/survey.ts';
import { namesVersion, tokenOf } from '../../trace/token.ts';
import { TraceView } from '../../trace/view.ts';
import { expiryOf, flagsOf } from './learn.ts';
import type { Payloads } from './payload.ts';

/** What is under a key, by what is done to it. */
export const Sort = { value: 0, counter: 1, list: 2 } as const;
export type Sort = (typeof Sort)[keyof typeof Sort];

export interface KeyFact {
  /** latin1 */
  name: string;
  place: number;
  requests: number;
  reads: number;
  sort: Sort;
  /** Of its value, as last seen, and the flags with it. */
  bytes: number;
  flags: number;
  /** As last stored, as in a request. */
  expiry: number;
}

/** To store again, so long after the answer, ns. */
export interface Refill {
  opcode: typeof Opcode.set | typeof Opcode.add;
  delayNs: number;
}

export interface Facts {
  survey: Survey;
  /** Length of the trace, ms. */
  totalMs: number;
  /** Requests a second. */
  rate: number;
  /** From a request to its answer, ns: the median. */
  latencyNs: number;
  /** In the order of first sight. */
  keys: KeyFact[];
  /** By how often they are asked for, the most popular first. */
  ranked: KeyFact[];
  /** What clients do that miss, as far as they do something. */
  refill: Refill;
  /** Whether they do, by connection. */
  refills: boolean[];
  /** It was generated: what follows from misses has rows of its own, those that were not needed too. */
  hasRefillRows: boolean;
  /** No CAS id of the trace is as large. */
  firstToken: number;
  /** Bytes of the largest item that was stored. */
  largest: number;
  usesCas: boolean;
}

/** A store that its connection sends next on a key that it missed, and so soon, is because of the miss. */
const REFILL_NS = 1e9;
const MAX_MISSED = 65_536;
/** With fewer misses than this nothing is known of what follows one, and clients are taken to store again. */
const FEW_MISSES = 8;
const MAX_MEASURED = 65_536;

/** Reads the trace twice. @throws TraceError CHECKSUM, BROKEN */
export async function factsOf(
  trace: TraceReader,
  payloads: Payloads,
  onProgress?: (rows: number) => void,
): Promise<Facts> {
  const view = new TraceView(trace);
  const survey = await view.survey('auto', onProgress);
  const gatherer = new Gatherer(survey, payloads);
  for await (const batch of view.batches()) {
    gatherer.see(batch);
    onProgress?.(survey.exchanges + batch.firstIndex + batch.count);
  }
  return gatherer.facts();
}

class Gatherer {
  readonly #survey: Survey;
  readonly #payloads: Payloads;
  readonly #keys = new Map<string, KeyFact>();
  /** Reads that missed, by connection and key, and when. */
  readonly #missed = new Map<string, number>();
  readonly #latencies: number[] = [];
  readonly #delays: number[] = [];
  #requests = 0;
  readonly #all = { misses: 0, refills: 0 };
  /** By connection. */
  readonly #misses = new Map<number, { misses: number; refills: number }>();
  #adds = 0;
  #firstToken = 1;
  #largest = 0;
  #hasRefills = false;
  #usesCas = false;

  constructor(survey: Survey, payloads: Payloads) {
    this.#survey = survey;
    this.#payloads = payloads;
  }

  see(batch: Batch): void {
    const servers = this.#survey.servers.length;
    /** By number of the key in the batch, for each place. */
    const known: (KeyFact | undefined)[][] = [];
    for (let row = 0; row < batch.count; row++) {
      if (batch.outcome[row] === Outcome.conditional) continue;
      this.#requests++;
      const { serverIndex, space } = this.#survey.connections[batch.connection[row]!]!;
      const took = batch.answerNs[row]! - batch.requestNs[row]!;
      if (batch.outcome[row] === Outcome.answered && this.#latencies.length < MAX_MEASURED)
        this.#latencies.push(took);
      const token = tokenOf(batch.answerCasHigh[row]!, batch.answerCasLow[row]!);
      if (token >= this.#firstToken) this.#firstToken = token + 1;
      if (namesVersion(batch, row)) this.#usesCas = true;
      if ((batch.flags[row]! & RowFlag.refill) !== 0) this.#hasRefills = true;
      if (batch.keyLength[row] === 0 || isOnItem[batch.opcode[row]!] === 0) continue;
      const place = space * servers + serverIndex;
      const here = (known[place] ??= []);
      const fact = (here[batch.keyId[row]!] ??= this.#fact(place, batch.key(row).toString('latin1')));
      this.#tell(fact, batch, row, opcodeInfo(batch.opcode[row]!)!.family);
    }
  }

  facts(): Facts {
    const { lastNs } = this.#survey;
    const totalMs = lastNs / 1e6;
    const keys = [...this.#keys.values()];
    return {
      survey: this.#survey,
      totalMs,
      rate: lastNs === 0 ? 0 : this.#requests / (lastNs / 1e9),
      latencyNs: Math.max(1, median(this.#latencies) ?? 200_000),
      keys,
      ranked: keys.toSorted((a, b) => b.requests - a.requests),
      refill: this.#refill(),
      refills: this.#survey.connections.map(({ id }) => this.#refillsOf(id)),
      hasRefillRows: this.#hasRefills,
      firstToken: this.#firstToken,
      largest: this.#largest,
      usesCas: this.#usesCas,
    };
  }

  #refill(): Refill {
    const { refills } = this.#all;
    return {
      opcode: this.#adds * 2 > refills ? Opcode.add : Opcode.set,
      delayNs: median(this.#delays) ?? 0,
    };
  }

  /** By what it did itself; where that says little, by what all did. */
  #refillsOf(connection: number): boolean {
    if (this.#hasRefills) return true;
    const own = this.#misses.get(connection);
    if (own !== undefined && own.misses >= FEW_MISSES) return own.refills * 2 >= own.misses;
    const { misses, refills } = this.#all;
    return misses < FEW_MISSES || refills * 2 >= misses;
  }

  #fact(place: number, name: string): KeyFact {
    const id = `${place} ${name}`;
    let fact = this.#keys.get(id);
    if (fact === undefined) {
      fact = { name, place, requests: 0, reads: 0, sort: Sort.value, bytes: 0, flags: 0, expiry: 0 };
      this.#keys.set(id, fact);
    }
    return fact;
  }

  #tell(fact: KeyFact, batch: Batch, row: number, family: Family): void {
    fact.requests++;
    const outcome = batch.outcome[row]!;
    const isHit = outcome === Outcome.answered && batch.status[row] === Status.ok;
    if (isCounter(family)) fact.sort = Sort.counter;
    else if ((family === 'append' || family === 'prepend') && fact.sort === Sort.value) fact.sort = Sort.list;
    if (family === 'get' || family === 'gat') {
      fact.reads++;
      if (isHit) {
        fact.bytes = this.#payloads.length(batch.answerValue(row));
        fact.flags = flagsOf({ answerExtras: batch.answerExtras(row) });
      } else if (outcome === Outcome.silent || batch.status[row] === Status.notFound)
        this.#miss(fact, batch, row);
      return;
    }
    const stores = isStore(family);
    if (stores) this.#stored(fact, batch, row, isHit || outcome === Outcome.silent);
    this.#answered(fact, batch, row, stores, family === 'add');
  }

  #stored(fact: KeyFact, batch: Batch, row: number, isDone: boolean): void {
    fact.bytes = this.#payloads.length(batch.value(row));
    fact.expiry = expiryOf({ opcode: batch.opcode[row]!, extras: batch.extras(row) });
    if (isDone) this.#largest = Math.max(this.#largest, fact.bytes);
  }

  /** What its client does next with a key that it missed: a refill, or something else. */
  #answered(fact: KeyFact, batch: Batch, row: number, stores: boolean, isAdd: boolean): void {
    const id = `${batch.connection[row]} ${fact.name}`;
    const missedNs = this.#missed.get(id);
    if (missedNs === undefined) return;
    this.#missed.delete(id);
    const delayNs = batch.requestNs[row]! - missedNs;
    if (!stores || delayNs > REFILL_NS) return;
    this.#all.refills++;
    this.#misses.get(batch.connection[row]!)!.refills++;
    if (this.#delays.length < MAX_MEASURED) this.#delays.push(Math.max(0, delayNs));
    if (isAdd) this.#adds++;
  }

  #miss(fact: KeyFact, batch: Batch, row: number): void {
    const connection = batch.connection[row]!;
    let own = this.#misses.get(connection);
    if (own === undefined) this.#misses.set(connection, (own = { misses: 0, refills: 0 }));
    own.misses++;
    this.#all.misses++;
    if (this.#missed.size >= MAX_MISSED) this.#missed.clear();
    const ns = batch.answerNs[row]!;
    this.#missed.set(`${connection} ${fact.name}`, ns === NEVER ? batch.requestNs[row]! : ns);
  }
}

function median(values: number[]): number | undefined {
  return values.toSorted((a, b) => a - b)[values.length >> 1];
}
