// Random histories of a few operations on one key, as a correct server would answer them, or with answers changed: for the
// oracle's tests. The server here is a few lines of its own, written apart from the oracle's item.

import { counterExtras, storeExtras } from '../../protocol/frame.ts';
import { opcodeNamed } from '../../protocol/opcode.ts';
import type { Random } from '../../synth/laws/random.ts';
import { Batch, NEVER, Outcome } from '../../trace/batch.ts';
import { Result, ResultBatch } from '../../trace/results.ts';
import { toNumber, type Step } from './brute.ts';

export interface Played extends Step {
  connection: number;
  quiet: boolean;
  /** End in the recording. */
  recordedTo: number;
  /** What the recording has, of the same execution on another server. */
  recorded: {
    status: number;
    silent: boolean;
    read?: string;
    readFlags?: number;
    cas: number;
    result?: bigint;
  };
  /** Recorded CAS id that the request names; 0: none. */
  recordedToken: number;
}

const MAX = 2n ** 64n;
const texts = [
  '5',
  'a',
  '007',
  '99',
  '100',
  '5 abc',
  '',
  '18446744073709551615',
  '99999999999999999999',
  ' 7',
  '-1',
  'b',
];
const deltas = [1n, 1n, 5n, 200n, MAX - 1n];
/** Seconds: far more than the oracle allows for what takes time to be told. */
const SPAN = 24;

const kinds: Record<string, readonly Step['op'][]> = {
  plain: ['get', 'get', 'set'],
  stores: ['get', 'get', 'set', 'set', 'add', 'replace', 'delete'],
  counters: ['get', 'set', 'incr', 'incr', 'incr', 'decr', 'decr', 'delete'],
  texts: ['get', 'get', 'set', 'append', 'append', 'prepend', 'incr'],
  all: [
    'get',
    'get',
    'gat',
    'touch',
    'set',
    'set',
    'add',
    'replace',
    'append',
    'prepend',
    'delete',
    'incr',
    'decr',
    'flush',
  ],
};

/** A history that a correct server gave, and its requests in the order of their sending. */
export function randomHistory(
  random: Random,
  restarts = false,
): {
  steps: Played[];
  initial: { value: string; flags: number } | null;
} {
  const ops = kinds[random.pick(['plain', 'stores', 'counters', 'texts', 'all', 'all'] as const)]!;
  const connections = 2 + random.int(3);
  const count = 2 + random.int(7);
  const initial = random.chance(0.3) ? { value: random.pick(texts), flags: random.pick([0, 7]) } : null;
  // Each connection sends one request after the other, now and then the next before the answer.
  const clock = Array.from({ length: connections }, () => random.int(6));
  const steps: (Played & { point: number })[] = [];
  const speed = random.pick([2, 4, 8]);
  for (let n = 0; n < count; n++) {
    const connection = random.int(connections);
    const from = clock[connection]! + random.int(speed);
    const to = from + 1 + random.int(SPAN / speed);
    clock[connection] = random.chance(0.2) ? from : to;
    const op = random.pick(ops);
    const isStore = op === 'set' || op === 'add' || op === 'replace';
    const isCounter = op === 'incr' || op === 'decr';
    steps.push({
      op,
      from,
      to,
      recordedTo: to,
      point: from + random.float() * (to - from),
      connection,
      quiet: op !== 'touch' && random.chance(0.25),
      status: 0,
      ...(isStore || op === 'append' || op === 'prepend' ? { value: random.pick(texts) } : {}),
      ...(isStore ? { flags: random.pick([0, 0, 7, 9]) } : {}),
      ttl: isStore || op === 'gat' || op === 'touch' || isCounter ? random.pick([0, 0, 0, 3, 8]) : 0,
      ...(isCounter
        ? {
            delta: random.pick(deltas),
            initial: random.pick([0n, 5n, MAX - 1n]),
            creates: random.chance(0.4),
          }
        : {}),
      token: 0,
      recordedToken: 0,
      recorded: { status: 0, silent: false, cas: 0 },
    });
  }
  steps.sort((a, b) => a.from - b.from || a.point - b.point);
  play(steps, initial, random, restarts);
  return { steps, initial };
}

/** Executes the steps at their points, and gives each its answer. */
function play(
  steps: (Played & { point: number })[],
  initial: { value: string; flags: number } | null,
  random: Random,
  restarts: boolean,
): void {
  let thing: { value: string; flags: number; id: number; dies: number } | null =
    initial === null ? null : { ...initial, id: 1, dies: Infinity };
  let lastId = 1 + random.int(3);
  /** On the recorded server ids count from elsewhere, and on. */
  let ahead = 1000;
  const told = random.chance(0.7);
  const order = steps.toSorted((a, b) => a.point - b.point);
  for (const step of order) {
    if (thing !== null && (random.chance(0.06) || thing.dies < step.point)) thing = null;
    if (restarts && random.chance(0.2)) {
      thing = null;
      ahead += lastId;
      lastId = random.int(2);
    }
    chooseToken(step, steps, random);
    const { op, token = 0, ttl = 0 } = step;
    const dies = ttl === 0 ? Infinity : step.point + ttl;
    const fresh = (): NonNullable<typeof thing> => ({
      value: step.value ?? '',
      flags: step.flags ?? 0,
      id: (lastId += 1 + random.int(2)),
      dies,
    });
    let status = 0;
    let id = 0;
    if (op === 'flush') thing = null;
    else if (op === 'get' || op === 'gat' || op === 'touch') {
      if (thing === null) status = 1;
      else {
        if (op !== 'touch') step.read = thing.value;
        step.readFlags = thing.flags;
        id = thing.id;
        if (op !== 'get') thing = { ...thing, dies };
      }
    } else if (op === 'set' || op === 'add' || op === 'replace') {
      if (token !== 0) status = thing === null ? 1 : thing.id === token ? 0 : 2;
      else if (op === 'add' && thing !== null) status = 2;
      else if (op === 'replace' && thing === null) status = 1;
      if (status === 0) {
        thing = fresh();
        ({ id } = thing);
      }
    } else if (op === 'append' || op === 'prepend') {
      if (thing === null) status = 5;
      else if (token !== 0 && thing.id !== token) status = 2;
      else {
        const value: string = op === 'append' ? thing.value + step.value! : step.value! + thing.value;
        thing = { ...thing, value, id: ++lastId };
        ({ id } = thing);
      }
    } else if (op === 'delete') {
      if (thing === null) status = 1;
      else if (token !== 0 && thing.id !== token) status = 2;
      else thing = null;
    } else if (thing === null) {
      if (step.creates === true) {
        thing = { ...fresh(), value: step.initial!.toString(), flags: 0 };
        step.result = step.initial!;
        ({ id } = thing);
      } else status = 1;
    } else {
      const before = toNumber(thing.value);
      if (thing.value === '') status = 6;
      else if (token !== 0 && thing.id !== token) status = 2;
      else if (before === undefined) status = 6;
      else {
        const delta = step.delta!;
        const sum: bigint = op === 'incr' ? (before + delta) % MAX : before > delta ? before - delta : 0n;
        const digits = sum.toString();
        const value = random.chance(0.7) ? digits.padEnd(thing.value.length) : digits;
        thing = { ...thing, value, id: ++lastId };
        ({ id } = thing);
        step.result = sum;
      }
    }
    step.status = status;
    step.cas = told && status === 0 && op !== 'delete' && op !== 'flush' ? id : 0;
    step.silent = step.quiet && status === (isRead(op) ? 1 : 0);
    if (step.silent) {
      step.cas = 0;
      delete step.result;
    }
    step.recorded.cas = step.cas === 0 ? 0 : step.cas + ahead;
  }
  for (const step of steps) {
    const { status, silent = false, read, readFlags, result, recorded } = step;
    step.recorded = {
      status,
      silent,
      cas: recorded.cas,
      ...(read === undefined ? {} : { read }),
      ...(readFlags === undefined ? {} : { readFlags }),
      ...(result === undefined ? {} : { result }),
    };
  }
}

/** A version that an answer told before the request was sent. */
function chooseToken(step: Played, steps: readonly Played[], random: Random): void {
  if (step.op === 'get' || step.op === 'gat' || step.op === 'touch' || step.op === 'flush') return;
  if (!random.chance(0.3)) return;
  const known = steps.filter(({ to, cas = 0 }) => cas !== 0 && to < step.from);
  if (known.length === 0) return;
  const { cas = 0, recorded } = random.pick(known);
  step.token = cas;
  step.recordedToken = recorded.cas;
}

export function isRead(op: Step['op']): boolean {
  return op === 'get' || op === 'gat';
}

/** Changes one answer, so that it may be wrong. @returns what was changed; undefined: nothing could be */
export function mutate(steps: Played[], random: Random): string | undefined {
  const step = random.pick(steps.filter(({ open }) => open !== true));
  const isCounter = step.op === 'incr' || step.op === 'decr';
  const hasValue = step.status === 0 && step.read !== undefined;
  const loud = !step.silent;
  const changes: [string, boolean, () => void][] = [
    ['another value', hasValue, () => (step.read = random.pick([...texts, `${step.read!}x`]))],
    [
      'the value of another read',
      hasValue,
      () => (step.read = random.pick(steps).read ?? random.pick(steps).value ?? 'z'),
    ],
    [
      'other flags',
      step.status === 0 && step.readFlags !== undefined,
      () => (step.readFlags = random.pick([0, 7, 9])),
    ],
    [
      'a miss',
      step.status === 0 &&
        loud &&
        step.op !== 'flush' &&
        step.op !== 'set' &&
        !(isCounter && step.creates === true),
      () => fail(step, step.op === 'add' ? 2 : step.op === 'append' || step.op === 'prepend' ? 5 : 1),
    ],
    ['silence', step.quiet && loud && isRead(step.op), () => fail(step, 1, true)],
    [
      'a hit',
      isRead(step.op) && step.status === 1,
      () => {
        step.status = 0;
        step.silent = false;
        step.read = random.pick(steps).value ?? random.pick(texts);
        step.readFlags = random.pick([0, 7]);
      },
    ],
    [
      'a success',
      step.status !== 0 && !isRead(step.op) && step.op !== 'touch',
      () => {
        step.status = 0;
        step.silent = step.quiet;
        if (isCounter && !step.silent) step.result = random.pick([0n, 5n, 6n, 8n, 100n]);
      },
    ],
    [
      'another number',
      step.result !== undefined,
      () => (step.result = BigInt.asUintN(64, step.result! + random.pick([1n, -1n, 5n]))),
    ],
    ['another id', (step.cas ?? 0) > 0, () => (step.cas = (random.pick(steps).cas ?? 0) || step.cas! + 1)],
    ['no number', isCounter && step.status === 0 && loud, () => fail(step, 6)],
    ['a failed CAS', (step.token ?? 0) !== 0 && step.status === 0 && loud, () => fail(step, 2)],
    [
      'no room',
      loud && step.status === 0 && (step.op === 'set' || step.op === 'add'),
      () => fail(step, random.pick([3, 0x82])),
    ],
  ];
  const possible = changes.filter(([, may]) => may);
  if (possible.length === 0) return undefined;
  const [name, , change] = random.pick(possible);
  change();
  return name;
}

function fail(step: Played, status: number, silent = false): void {
  step.status = status;
  step.silent = silent;
  step.cas = 0;
  delete step.read;
  delete step.readFlags;
  delete step.result;
}

/**
 * What a replayer sends for a recorded CAS id is what it learned last from answers.
 * @returns false where it may have learned several, or nothing, so that it is not certain what was sent
 */
export function settleTokens(steps: readonly Played[]): boolean {
  return steps.every((step) => {
    if (step.recordedToken === 0) return true;
    const learned = steps
      .filter(
        ({ recorded, cas = 0, to }) => recorded.cas === step.recordedToken && cas !== 0 && to <= step.from,
      )
      .toSorted((a, b) => a.to - b.to);
    const last = learned.at(-1);
    step.token = last?.cas ?? 0;
    return last !== undefined && learned.every(({ to, cas }) => to < last.to || cas === last.cas);
  });
}

/** The last request of some connection was cut off: nobody knows whether it was executed. */
export function cutOff(steps: Played[], random: Random): void {
  const connection = random.int(2);
  const last = steps.findLast((step) => step.connection === connection);
  if (last === undefined || last.op === 'get' || steps.length < 2) return;
  last.open = true;
  last.to = Infinity;
  last.status = 0;
  last.cas = 0;
  last.silent = false;
  delete last.read;
  delete last.readFlags;
  delete last.result;
}

const KEY = Buffer.from('k');
const NS = 1e9;

/** Puts bytes into the heap. */
function put(into: Batch | ResultBatch, data: Buffer | string): [at: number, length: number] {
  const bytes = typeof data === 'string' ? Buffer.from(data, 'latin1') : data;
  const at = into.allocate(bytes.length);
  bytes.copy(into.heap, at);
  return [at, bytes.length];
}

/** The history as rows of a trace and of the results of its replay. */
export function rowsOf(steps: readonly Played[]): { batch: Batch; results: ResultBatch } {
  const batch = new Batch(16, 2048);
  const results = new ResultBatch(16, 2048);
  batch.reserve(steps.length);
  results.reserve(steps.length);
  batch.count = steps.length;
  results.count = steps.length;
  const keyAt = batch.allocate(1);
  KEY.copy(batch.heap, keyAt);
  for (const [row, step] of steps.entries()) {
    const { op, quiet, recorded } = step;
    batch.connection[row] = step.connection;
    batch.opcode[row] = opcodeNamed(quiet ? (op === 'gat' ? 'gatq' : `${op}q`) : op)!;
    batch.outcome[row] = recorded.silent ? Outcome.silent : Outcome.answered;
    batch.requestNs[row] = step.from * NS;
    batch.requestEndNs[row] = step.from * NS;
    batch.answerNs[row] = step.recordedTo * NS;
    batch.casLow[row] = step.recordedToken;
    const isStore = op === 'set' || op === 'add' || op === 'replace';
    const extras = isStore
      ? storeExtras(step.flags ?? 0, step.ttl ?? 0)
      : op === 'incr' || op === 'decr'
        ? counterExtras(step.delta!, step.initial!, step.creates === true ? (step.ttl ?? 0) : 0xffffffff)
        : op === 'gat' || op === 'touch'
          ? word(step.ttl ?? 0)
          : '';
    [batch.extrasAt[row], batch.extrasLength[row]] = put(batch, extras);
    if (op !== 'flush') {
      batch.keyAt[row] = keyAt;
      batch.keyLength[row] = 1;
    }
    [batch.valueAt[row], batch.valueLength[row]] = put(batch, step.value ?? '');
    batch.frames[row] = recorded.silent ? 0 : 1;
    batch.status[row] = recorded.silent ? 0 : recorded.status;
    batch.answerCasLow[row] = recorded.cas;
    const told = partsOf(recorded);
    [batch.answerExtrasAt[row], batch.answerExtrasLength[row]] = put(batch, told.extras);
    [batch.answerValueAt[row], batch.answerValueLength[row]] = put(batch, told.value);
    results.result[row] = step.open ? Result.closed : step.silent ? Result.silent : Result.answered;
    results.sentNs[row] = step.from * NS;
    results.answeredNs[row] = step.open ? NEVER : step.to * NS;
    results.frames[row] = step.silent || step.open ? 0 : 1;
    results.status[row] = step.silent ? 0 : step.status;
    results.casLow[row] = step.cas ?? 0;
    const parts = partsOf(step);
    [results.extrasAt[row], results.extrasLength[row]] = put(results, parts.extras);
    [results.valueAt[row], results.valueLength[row]] = put(results, parts.value);
  }
  batch.keyCount = 1;
  return { batch, results };
}

function partsOf(answer: { status: number; read?: string; readFlags?: number; result?: bigint }): {
  extras: Buffer | string;
  value: Buffer | string;
} {
  const { status, read, readFlags, result } = answer;
  if (status !== 0) return { extras: '', value: 'text' };
  if (result !== undefined) {
    const value = Buffer.alloc(8);
    value.writeBigUInt64BE(result);
    return { extras: '', value };
  }
  return { extras: readFlags === undefined ? '' : word(readFlags), value: read ?? '' };
}

function word(value: number): Buffer {
  const data = Buffer.alloc(4);
  data.writeUInt32BE(value);
  return data;
}
