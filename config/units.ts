// Sizes, durations, rates and counts as people type them: `64MB`, `30s`, `50k`.

import { ConfigError } from './error.ts';

const sizeUnits: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  k: 1e3,
  kb: 1e3,
  m: 1e6,
  mb: 1e6,
  g: 1e9,
  gb: 1e9,
  kib: 1024,
  mib: 1024 ** 2,
  gib: 1024 ** 3,
};
const durationUnits: Readonly<Record<string, number>> = {
  us: 1e-3,
  ms: 1,
  s: 1e3,
  m: 60e3,
  h: 3_600e3,
  d: 86_400e3,
};
const rateUnits: Readonly<Record<string, number>> = { '': 1, k: 1e3, m: 1e6 };
const plain: Readonly<Record<string, number>> = { '': 1 };

/** `64MB` (10^6), `1GiB` (2^30), `4096`: bytes. */
export function parseSize(text: string): number {
  return Math.round(parse(text, sizeUnits, 'a size such as 64MB, 1GiB or 4096'));
}

/** `500ms`, `30s`, `10m`, `2h`, `1d`: milliseconds. */
export function parseDuration(text: string): number {
  return parse(text, durationUnits, 'a duration such as 500ms, 30s, 10m or 2h');
}

/** `50k`, `1.5M`, `200`: a number a second. */
export function parseRate(text: string): number {
  const rate = parse(text.replace(/\/s$/, ''), rateUnits, 'a rate such as 200, 50k or 1.5M', text);
  if (rate > 0) return rate;
  throw wrong('a rate above 0', text);
}

/** A whole number, at least `least`. */
export function parseCount(text: string, least = 1): number {
  const wanted = `a whole number of at least ${least}`;
  const count = parse(text, plain, wanted);
  if (Number.isSafeInteger(count) && count >= least) return count;
  throw wrong(wanted, text);
}

/** `1/16`: one in so many. */
export function parseSample(text: string): number {
  const match = /^1\/(\d{1,9})$/.exec(text.trim());
  const share = Number(match?.[1] ?? 0);
  if (share >= 1) return share;
  throw wrong('a sample such as 1/16', text);
}

/** `1%`, `0.5%`, `1`: a share from 0 to 1. */
export function parsePercent(text: string): number {
  const share = parse(text.replace(/%\s*$/, ''), plain, 'a share such as 1% or 0.5%', text) / 100;
  if (share <= 1) return share;
  throw wrong('a share from 0% to 100%', text);
}

function parse(
  text: string,
  units: Readonly<Record<string, number>>,
  wanted: string,
  typed: string = text,
): number {
  const match = /^(\d+(?:\.\d+)?|\.\d+)\s*([a-z]*)$/i.exec(text.trim());
  const unit = match?.[2]?.toLowerCase() ?? '';
  if (match === null || !Object.hasOwn(units, unit)) throw wrong(wanted, typed);
  return Number(match[1]) * units[unit]!;
}

function wrong(wanted: string, typed: string): ConfigError {
  return new ConfigError(`expected ${wanted}, got ${JSON.stringify(typed)}`);
}
