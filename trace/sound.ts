// What opening and closing blocks must have before a reader relies on them: anybody may have made the file. Members that
// are not named here are let through, since later versions of memtape add some.

import { FileKind } from './block.ts';
import { MAX_TRACE_NS, emptyCapture, incidentKinds } from './meta.ts';
import { parseShard } from './shard.ts';

/** What is wrong with a value, as `place: expected …, got …`; undefined where it is sound. */
type Check = (value: unknown, place: string) => string | undefined;

/** Letters of a value that a message shows. */
const MAX_SHOWN = 60;

/** A value in a message: short, whatever it is. */
export function shown(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === 'object' && value !== null) return 'an object';
  return JSON.stringify(typeof value === 'string' ? value.slice(0, MAX_SHOWN) : value);
}

function check(expected: string, isSound: (value: unknown) => boolean): Check {
  return (value, place) =>
    isSound(value) ? undefined : `${place}: expected ${expected}, got ${shown(value)}`;
}

const text = check('a text', (value) => typeof value === 'string');
const number = check('a number', Number.isFinite);
const count = check('a whole number from 0 on', (value) => Number.isSafeInteger(value) && Number(value) >= 0);
const place = check(
  'a whole number from -1 on',
  (value) => Number.isSafeInteger(value) && Number(value) >= -1,
);
const time = check(
  `a time from -1 to ${MAX_TRACE_NS} ns`,
  (value) => typeof value === 'number' && value >= -1 && value <= MAX_TRACE_NS,
);

function oneOf(...values: readonly unknown[]): Check {
  return check(values.map(String).join(' or '), (value) => values.includes(value));
}

function maybe(inner: Check): Check {
  return (value, at) => (value === undefined ? undefined : inner(value, at));
}

function orNull(inner: Check): Check {
  return (value, at) => (value === null ? undefined : inner(value, at));
}

function list(inner: Check): Check {
  return (value, at) => {
    if (!Array.isArray(value)) return `${at}: expected a list, got ${shown(value)}`;
    return firstOf(value.length, (n) => inner(value[n], `${at}[${n}]`));
  };
}

function record(inner: Check): Check {
  return (value, at) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      return `${at}: expected an object, got ${shown(value)}`;
    const members = Object.entries(value);
    return firstOf(members.length, (n) =>
      inner(members[n]![1], `${at}.${members[n]![0].slice(0, MAX_SHOWN)}`),
    );
  };
}

function shape(members: Readonly<Record<string, Check>>): Check {
  const names = Object.keys(members);
  return (value, at) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      return `${at === '' ? '' : `${at}: `}expected an object, got ${shown(value)}`;
    return firstOf(names.length, (n) => {
      const name = names[n]!;
      return members[name]!((value as Record<string, unknown>)[name], at === '' ? name : `${at}.${name}`);
    });
  };
}

function firstOf(length: number, wrong: (n: number) => string | undefined): string | undefined {
  for (let n = 0; n < length; n++) {
    const found = wrong(n);
    if (found !== undefined) return found;
  }
  return undefined;
}

const traceMeta = shape({
  format: oneOf('memtape/1'),
  writer: text,
  startNs: check(
    'nanoseconds of at most 20 digits, as a text',
    (value) => typeof value === 'string' && /^\d{1,20}$/.test(value),
  ),
  source: text,
  ports: list(count),
  privacy: shape({
    values: oneOf('full', 'hash', 'size'),
    keys: oneOf('clear', 'masked'),
    numbers: maybe(oneOf('clear', 'masked')),
    prefix: maybe(count),
  }),
});

const traceEnd = shape({
  // Earlier versions counted less.
  capture: shape(
    Object.fromEntries(Object.keys(emptyCapture()).map((name) => [name, maybe(orNull(number))])),
  ),
  casRequests: maybe(count),
});

const resultsMeta = shape({
  format: oneOf('memtape-results/1'),
  writer: text,
  trace: text,
  startTime: check('a time', (value) => typeof value === 'string' && Number.isFinite(Date.parse(value))),
  speed: (value, at) => (value === 'max' ? undefined : speed(value, at)),
  order: oneOf('none', 'connection', 'key'),
  route: text,
  prefill: oneOf('auto', 'none'),
  targets: list(text),
  timeoutMs: number,
  fromNs: maybe(time),
  toNs: maybe(time),
  loops: maybe(
    check('a whole number from 1 on', (value) => Number.isSafeInteger(value) && Number(value) >= 1),
  ),
  split: maybe(oneOf('recorded')),
  rate: maybe(text),
  targetRate: maybe(number),
  tenants: maybe(oneOf('isolated', 'shared')),
  shard: maybe(shard),
});

/** A division has so many parts at most, and a part is one of them. */
function shard(value: unknown, at: string): string | undefined {
  const { index, of } = (value ?? {}) as Record<string, unknown>;
  const isSound = parseShard(`${String(index)}/${String(of)}`) !== undefined;
  return isSound
    ? shape({ run: text })(value, at)
    : `${at}: expected a shard such as 2 of 8, got ${shown(value)}`;
}

function speed(value: unknown, at: string): string | undefined {
  return check('max or a number above 0', (given) => Number.isFinite(given) && Number(given) > 0)(value, at);
}

const happening = { connection: place, target: place, atNs: number, note: text };

const resultsEnd = shape({
  durationNs: number,
  aborted: orNull(text),
  prefilled: count,
  prefillFailed: count,
  leftover: orNull(count),
  orphans: list(shape({ ...happening, index: maybe(count) })),
  orphanCount: count,
  incidents: list(shape({ ...happening, kind: maybe(oneOf(...incidentKinds)) })),
  incidentCount: count,
  outages: maybe(list(shape({ target: count, fromNs: number, toNs: orNull(number) }))),
  eventLoopDelayNs: shape({ p50: orNull(number), p99: orNull(number), max: orNull(number) }),
  started: maybe(shape({ unixMs: number, uncertaintyMs: maybe(number) })),
  shards: maybe(
    shape({
      run: text,
      all: list(
        shape({
          index: count,
          exchanges: count,
          startSeconds: orNull(number),
          uncertaintySeconds: maybe(number),
          durationSeconds: orNull(number),
          lost: orNull(text),
        }),
      ),
    }),
  ),
  drills: maybe(
    list(
      shape({
        name: text,
        run: text,
        server: orNull(text),
        atSeconds: number,
        tookSeconds: number,
        exitCode: orNull(number),
        output: text,
      }),
    ),
  ),
  accounts: maybe(
    list(
      shape({
        target: count,
        before: record(text),
        after: orNull(record(text)),
        asked: shape({ sets: count, gets: count }),
      }),
    ),
  ),
});

const metas = { [FileKind.trace]: traceMeta, [FileKind.results]: resultsMeta };
const ends = { [FileKind.trace]: traceEnd, [FileKind.results]: resultsEnd };

/** What is wrong with an opening block; undefined where it is sound. */
export function wrongMeta(kind: FileKind, value: unknown): string | undefined {
  return metas[kind](value, '');
}

/** What is wrong with a closing block; undefined where it is sound. */
export function wrongEnd(kind: FileKind, value: unknown): string | undefined {
  return ends[kind](value, '');
}
