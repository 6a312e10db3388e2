// When requests are due. The schedule is absolute, a time for each request from the start of the run, so that delays do
// not add up.

import { ReplayError } from './error.ts';

export interface Schedule {
  /** As fast as answers come; no request has a time. */
  readonly isMax: boolean;
  /** Times the recorded speed, by which expiries and the lives of connections are scaled. */
  readonly speed: number;
  /** What the report calls its speed. */
  readonly name: number | 'max';
  /** ns after the start at which the index-th request is due, recorded at requestNs. */
  dueNs(index: number, requestNs: number): number;
}

/** What a schedule is made from: plain data, so that threads can be told. */
export type ScheduleSpec =
  | { kind: 'max' }
  | { kind: 'recorded'; speed: number }
  | { kind: 'rate'; plan: RatePlan; recordedRate: number };

export function createSchedule(spec: ScheduleSpec): Schedule {
  if (spec.kind === 'max') return maxSchedule;
  return spec.kind === 'recorded' ? recordedSchedule(spec.speed) : rateSchedule(spec.plan, spec.recordedRate);
}

const maxSchedule: Schedule = { isMax: true, speed: 1, name: 'max', dueNs: () => 0 };

export function recordedSchedule(speed: number): Schedule {
  return { isMax: false, speed, name: speed, dueNs: (_index, requestNs) => requestNs / speed };
}

/** A stretch of a plan: from one rate to another, requests a second, within so many seconds. */
interface RateStage {
  from: number;
  to: number;
  seconds: number;
}

/** What `--rate` says; the last stage's rate goes on for as long as there are requests. */
export type RatePlan = readonly RateStage[];

/**
 * `50k`; `10k..100k over 60s` rises evenly; `10k..100k in 5 steps over 60s` stays on each of five rates for 12 s.
 * @throws ReplayError BAD_RATE
 */
export function parseRatePlan(
  text: string,
  parseRate: (text: string) => number,
  parseDuration: (text: string) => number,
): RatePlan {
  const ramp = /^\s*(\S+?)\s*\.\.\s*(\S+?)(?:\s+in\s+(\d+)\s+steps)?\s+over\s+(\S+)\s*$/i.exec(text);
  if (ramp === null) {
    if (/\.\.|\s/.test(text.trim()))
      throw new ReplayError(
        'BAD_RATE',
        `expected a rate such as 50k, "10k..100k over 60s" or "10k..100k in 5 steps over 60s"; got ${JSON.stringify(text)}`,
      );
    const rate = parseRate(text);
    return [{ from: rate, to: rate, seconds: Infinity }];
  }
  const from = parseRate(ramp[1]!);
  const to = parseRate(ramp[2]!);
  const seconds = parseDuration(ramp[4]!) / 1000;
  if (ramp[3] === undefined)
    return [
      { from, to, seconds },
      { from: to, to, seconds: Infinity },
    ];
  const steps = Number(ramp[3]);
  if (steps < 2 || steps > 1000)
    throw new ReplayError('BAD_RATE', `expected 2 to 1000 steps, got ${steps} in ${JSON.stringify(text)}`);
  return Array.from({ length: steps }, (_, n) => {
    const rate = from + ((to - from) * n) / (steps - 1);
    return { from: rate, to: rate, seconds: n === steps - 1 ? Infinity : seconds / steps };
  });
}

/** Requests that are due within the first so many seconds of a plan. */
export function requestsWithin(plan: RatePlan, seconds: number): number {
  let count = 0;
  let left = seconds;
  for (const stage of plan) {
    const part = Math.min(left, stage.seconds);
    const until =
      stage.seconds === Infinity ? stage.to : stage.from + ((stage.to - stage.from) * part) / stage.seconds;
    count += ((stage.from + until) / 2) * part;
    left -= part;
    if (left <= 0) break;
  }
  return count;
}

/**
 * Requests evenly spaced by the plan, whatever the recorded times were.
 * @param recordedRate of the trace, requests a second: by it, expiries and the lives of connections are scaled
 */
export function rateSchedule(plan: RatePlan, recordedRate: number): Schedule {
  // Requests before each stage, and when it begins, s.
  let count = 0;
  let begin = 0;
  const stages = plan.map((stage) => {
    const started = { ...stage, count, begin };
    count += ((stage.from + stage.to) / 2) * stage.seconds;
    begin += stage.seconds;
    return started;
  });
  let at = 0;
  const dueNs = (index: number): number => {
    while (at > 0 && stages[at]!.count > index) at--;
    while (at + 1 < stages.length && stages[at + 1]!.count <= index) at++;
    const stage = stages[at]!;
    const done = index - stage.count;
    if (stage.from === stage.to) return (stage.begin + done / stage.from) * 1e9;
    // count(t) = from t + (to - from) t² / 2 seconds, solved for t.
    const slope = (stage.to - stage.from) / stage.seconds;
    const t = (Math.sqrt(stage.from * stage.from + 2 * slope * done) - stage.from) / slope;
    return (stage.begin + t) * 1e9;
  };
  const speed = recordedRate > 0 ? plan[0]!.from / recordedRate : 1;
  return { isMax: false, speed, name: Number(speed.toPrecision(6)), dueNs };
}
