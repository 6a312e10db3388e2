// A mixed workload as one application client issues it: a seeded, endless sequence of cache operations, over keys whose
// popularity follows Zipf's law. Objects are read and stored, lists appended to, counters counted; each sort has keys of
// its own, as in an application that knows what it stored. No sockets: whoever runs it sends the steps.

import { Random, Zipf } from './random.ts';

export const operations = [
  'get',
  'set',
  'add',
  'replace',
  'delete',
  'increment',
  'decrement',
  'append',
  'prepend',
  'touch',
] as const;
export type Operation = (typeof operations)[number];

/** One operation to issue. What an operation does not use is empty or 0. */
export interface Step {
  op: Operation;
  key: string;
  value: Buffer;
  /** Seconds; 0: the item does not expire. */
  ttl: number;
  delta: number;
}

export interface WorkloadOptions {
  seed: number;
  /** Which of the workload's clients this is; each has a sequence of its own over the same keys. */
  client: number;
  /** How many objects there are; there is a counter and a list for each sixteen of them. */
  keys: number;
  /** Zipf's exponent; caches in production are seen from 0.6 to 1.2. */
  exponent: number;
  prefix: string;
  /** Relative weights of the operations. */
  mix: Readonly<Record<Operation, number>>;
  /** Sizes of objects. Small ones are the most common: the logarithm of the size is squared-uniform in this range. */
  valueBytes: { min: number; max: number };
  /** Part of the stores that have an expiry, and the expiries in seconds that they choose from. */
  expiring: { chance: number; seconds: readonly number[] };
}

export const defaultWorkload: WorkloadOptions = {
  seed: 1,
  client: 0,
  keys: 1_000,
  exponent: 0.9,
  prefix: '',
  mix: {
    get: 68,
    set: 14,
    add: 3,
    replace: 2,
    delete: 2,
    increment: 3,
    decrement: 1,
    append: 3,
    prepend: 1,
    touch: 3,
  },
  valueBytes: { min: 24, max: 4_096 },
  // One in ten of them runs out within seconds, the others outlive a short recording.
  expiring: { chance: 0.3, seconds: [2, 30, 60, 300, 300, 600, 3_600, 3_600, 86_400, 86_400] },
};

type Sort = 'object' | 'list' | 'counter';

/** The sort of key that an operation is for; undefined: any. A set also begins a list anew now and then. */
const sortOf: Readonly<Record<Operation, Sort | undefined>> = {
  get: undefined,
  set: 'object',
  add: 'object',
  replace: 'object',
  delete: undefined,
  increment: 'counter',
  decrement: 'counter',
  append: 'list',
  prepend: 'list',
  touch: undefined,
};

const empty = Buffer.alloc(0);
const words =
  'user cart item price stock order page view name mail city note open paid sent true false null'.split(' ');

export class Workload {
  readonly options: WorkloadOptions;
  readonly #random: Random;
  readonly #objects: Zipf;
  readonly #few: Zipf;
  readonly #thresholds: { op: Operation; below: number }[] = [];
  readonly #text: Buffer;
  #issued = 0;

  constructor(options: Partial<WorkloadOptions> = {}) {
    this.options = { ...defaultWorkload, ...options };
    const { seed, client, keys, exponent, mix } = this.options;
    this.#random = new Random(seed, client + 1);
    this.#objects = new Zipf(keys, exponent);
    this.#few = new Zipf(Math.max(1, Math.floor(keys / 16)), exponent);
    let sum = 0;
    for (const op of operations) {
      sum += mix[op];
      this.#thresholds.push({ op, below: sum });
    }
    if (!(sum > 0)) throw new RangeError('expected a mix with at least one weight above 0');
    this.#text = text(new Random(seed), 2 * this.options.valueBytes.max);
  }

  /** The next operation of this client. */
  next(): Step {
    this.#issued++;
    const op = this.#operation();
    let sort = sortOf[op] ?? this.#sort();
    if (op === 'set' && this.#random.chance(0.12)) sort = 'list';
    return { op, key: this.#key(sort), ...this.#operands(op, sort) };
  }

  /** The next `count` operations. */
  take(count: number): Step[] {
    return Array.from({ length: count }, () => this.next());
  }

  #operation(): Operation {
    const at = this.#random.float() * this.#thresholds.at(-1)!.below;
    return this.#thresholds.find(({ below }) => at < below)!.op;
  }

  #sort(): Sort {
    const at = this.#random.float();
    if (at < 0.85) return 'object';
    return at < 0.93 ? 'list' : 'counter';
  }

  #key(sort: Sort): string {
    const rank = (sort === 'object' ? this.#objects : this.#few).sample(this.#random);
    return `${this.options.prefix}${sort}:${rank.toString(36).padStart(4, '0')}`;
  }

  #operands(op: Operation, sort: Sort): { value: Buffer; ttl: number; delta: number } {
    switch (op) {
      case 'get':
      case 'delete':
        return { value: empty, ttl: 0, delta: 0 };
      case 'touch':
        return { value: empty, ttl: this.#random.pick([60, 600, 3_600]), delta: 0 };
      case 'increment':
      case 'decrement':
        return { value: empty, ttl: 0, delta: 1 + this.#random.int(op === 'increment' ? 10 : 3) };
      case 'append':
      case 'prepend':
        return { value: this.#value(sort, 8), ttl: 0, delta: 0 };
      default:
        return { value: this.#value(sort, this.#size()), ttl: this.#ttl(), delta: 0 };
    }
  }

  #size(): number {
    const { min, max } = this.options.valueBytes;
    return Math.round(min * (max / min) ** (this.#random.float() * this.#random.float()));
  }

  #ttl(): number {
    const { chance, seconds } = this.options.expiring;
    return this.#random.chance(chance) ? this.#random.pick(seconds) : 0;
  }

  /** Words that compress as text does, after a mark that no other step of any client has: a wrong value is recognised. */
  #value(sort: Sort, size: number): Buffer {
    const mark = Buffer.from(`${sort[0]}${this.options.client}.${this.#issued};`);
    const length = Math.max(0, size - mark.length);
    const at = this.#random.int(Math.max(1, this.#text.length - length));
    return Buffer.concat([mark, this.#text.subarray(at, at + length)]);
  }
}

function text(random: Random, bytes: number): Buffer {
  const parts: string[] = [];
  for (let length = 0; length < bytes;) {
    const part = `${random.pick(words)}=${random.int(10_000)} `;
    parts.push(part);
    length += part.length;
  }
  return Buffer.from(parts.join(''));
}
