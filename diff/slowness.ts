// Who is slow: of each key, how many of its answers took long. That is asked of places only (a server, a tenant, a
// partition), which belong to keys. What is long shows at the end, when it is known how long most answers took: until then
// the answers of each key are counted, and those that may turn out to be long are remembered, as far as there is room.

import { grown } from '../trace/batch.ts';
import type { SurveyedConnection } from '../trace/survey.ts';
import type { Attribution } from './attribution.ts';
import type { ItemNumbers } from './numbers.ts';
import type { Samples } from './samples.ts';
import type { Sides } from './sides.ts';

/** An answer is slow from so long on, and so many times what a quarter of all take at most; it is asked who is slow where so many of a hundred are. */
const SLOW_MICROS = 3000;
const SLOW_TIMES = 4;
const SLOW_PERCENT = 2;

/** Answers that are remembered at most. Beyond them, so many times what a quarter took so far is not long enough. */
const MAX_LONG = 1 << 18;
const SHORT_TIMES = SLOW_TIMES / 2;
const MIXED_BITS = 21;

export class Slowness {
  readonly #tookMicros: Samples;
  /** By number of the item, or of item and tenant where tenants share their keys. */
  #answers = new Uint32Array(4096);
  /** Answers that took long: of whom, how long, and when their requests were sent. */
  #count = 0;
  #of = new Uint32Array(1024);
  #tookNs = new Float64Array(1024);
  #atNs = new Float64Array(1024);
  #fromNs = SLOW_MICROS * 1000;
  /** Of the keys, only those whose mixed numbers have no bit of this are looked at. */
  #mask = 0;
  readonly #tenants: Tenants;

  /** @param tookMicros what answers took from their sending, all that were seen so far */
  constructor(tookMicros: Samples, connections: readonly SurveyedConnection[]) {
    this.#tookMicros = tookMicros;
    this.#tenants = new Tenants(connections);
  }

  /** An answer. @param item its number · @param atNs when its request was sent */
  add(item: number, connection: number, tookNs: number, atNs: number): void {
    const of = this.#tenants.numberOf(item, connection);
    if (of >= this.#answers.length) this.#answers = grown(this.#answers, new Uint32Array(2 * of));
    this.#answers[of]!++;
    if (tookNs < this.#fromNs || (mixed(of) & this.#mask) !== 0) return;
    if (this.#count === this.#of.length) this.#makeRoom();
    const at = this.#count++;
    this.#of[at] = of;
    this.#tookNs[at] = tookNs;
    this.#atNs[at] = atNs;
  }

  #makeRoom(): void {
    const slots = 2 * this.#of.length;
    if (slots <= MAX_LONG) {
      this.#of = grown(this.#of, new Uint32Array(slots));
      this.#tookNs = grown(this.#tookNs, new Float64Array(slots));
      this.#atNs = grown(this.#atNs, new Float64Array(slots));
      return;
    }
    const notLongNs = SHORT_TIMES * 1000 * this.#tookMicros.percentile(25);
    if (notLongNs > this.#fromNs) this.#fromNs = notLongNs;
    this.#forget();
    // Half of the keys say as much as all of them.
    while (2 * this.#count > MAX_LONG) {
      this.#mask = 2 * this.#mask + 1;
      if (this.#mask > 2 ** MIXED_BITS) this.#count = 0;
      this.#forget();
    }
  }

  /** Forgets what is not long any more, or of keys that are not looked at any more. */
  #forget(): void {
    let kept = 0;
    for (let n = 0; n < this.#count; n++) {
      if (this.#tookNs[n]! < this.#fromNs || (mixed(this.#of[n]!) & this.#mask) !== 0) continue;
      this.#of[kept] = this.#of[n]!;
      this.#tookNs[kept] = this.#tookNs[n]!;
      this.#atNs[kept++] = this.#atNs[n]!;
    }
    this.#count = kept;
  }

  /** What takes so long is slow; Infinity where too few do to say who. */
  #slowFromNs(): number {
    const slow = Math.max(SLOW_MICROS, SLOW_TIMES * this.#tookMicros.percentile(25));
    if (this.#tookMicros.percentile(100 - SLOW_PERCENT) < slow) return Infinity;
    return Math.max(slow * 1000, this.#fromNs);
  }

  /** Tells the attribution of every key how many of its answers were slow. @returns false where too few were */
  tell(attribution: Attribution, numbers: ItemNumbers, sides: Sides): boolean {
    const slowNs = this.#slowFromNs();
    if (slowNs === Infinity) return false;
    const slow = new Uint32Array(this.#answers.length);
    const firstNs = new Float64Array(this.#answers.length).fill(Infinity);
    for (let n = 0; n < this.#count; n++) {
      if (this.#tookNs[n]! < slowNs) continue;
      const of = this.#of[n]!;
      slow[of]!++;
      firstNs[of] = Math.min(firstNs[of]!, this.#atNs[n]!);
    }
    for (let item = 0; item < numbers.count; item++)
      for (const [of, tenant] of this.#tenants.of(item)) {
        const total = this.#answers[of] ?? 0;
        if (total === 0 || (mixed(of) & this.#mask) !== 0) continue;
        const { target, space, key } = numbers.nameOf(item);
        attribution.addKey({
          server: sides.address(target),
          tenant: tenant ?? sides.survey.tenants[space] ?? '',
          key,
          total,
          failures: slow[of]!,
          sinceSeconds: firstNs[of]! / 1e9,
        });
      }
    return true;
  }
}

/** Whose answers an item has: where tenants share their keys, those of each count for themselves. */
class Tenants {
  readonly #connections: readonly SurveyedConnection[];
  /** By item and number of the tenant; undefined: an item is one tenant's. */
  readonly #shared: Map<number, number> | undefined;
  readonly #names: string[];

  constructor(connections: readonly SurveyedConnection[]) {
    this.#connections = connections;
    this.#names = [...new Set(connections.map(({ tenant }) => tenant))];
    const spaces = new Set(connections.map(({ space }) => space));
    this.#shared = spaces.size < this.#names.length ? new Map() : undefined;
  }

  numberOf(item: number, connection: number): number {
    if (this.#shared === undefined) return item;
    const tenant = this.#names.indexOf(this.#connections[connection]?.tenant ?? '');
    const place = item * this.#names.length + tenant;
    let number = this.#shared.get(place);
    if (number === undefined) this.#shared.set(place, (number = this.#shared.size));
    return number;
  }

  /** The numbers of an item, with the tenant of each; undefined: the one that its key belongs to. */
  *of(item: number): Generator<[number: number, tenant: string | undefined]> {
    if (this.#shared === undefined) {
      yield [item, this.#names.length === 1 ? this.#names[0] : undefined];
      return;
    }
    for (const [n, tenant] of this.#names.entries()) {
      const number = this.#shared.get(item * this.#names.length + n);
      if (number !== undefined) yield [number, tenant];
    }
  }
}

/** Neighbours differ in many bits. */
function mixed(number: number): number {
  return Math.imul(number + 1, 0x9e3779b1) >>> (32 - MIXED_BITS);
}
