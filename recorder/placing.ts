// Where the files of a recording belong in time, when their clocks cannot all be right: a clock was set between a file and the
// one that goes on with its connections, or two hosts' clocks differ. What the files show of TCP tells (survey.ts): a file
// whose bytes begin where another's end comes behind it, and segments that two files have came at one time.

import { isSignOfClient, survey, type Room, type Survey, type SurveyOptions } from './survey.ts';
import { lastStamp } from './tail.ts';

/** Where the end of a file is not known, one that begins so soon behind its beginning may be of the same time. */
const NEAR_START_NS = 60_000_000_000n;
/** What follows a step of the clock is put so far behind what came before it. */
const STEP_GAP_NS = 500e3;
/** Clocks that differ by less agree. */
const AGREE_NS = 1e6;
/** Between two hosts' captures of one segment, the distance varies by no more than that. */
const SPREAD_NS = 50e6;
/** Segments that two files have, to say how their clocks differ; and this share of them has to agree. */
const MIN_SHARED = 4;
const MIN_AGREEING = 0.75;
const MAX_SHARED = 4096;
/** What is remembered of one file at most, of its beginning, and of all files together. */
const OF_ONE: Room = { directions: 65_536, signs: 32_768 };
const OF_BEGINNING: Room = { directions: 8192, signs: 1024 };
const OF_ALL: Room = { directions: 524_288, signs: 262_144 };
/** Of more files, each is compared with its neighbours only. */
const MAX_COMPARED = 64;
const NEIGHBOURS = 2;
/** Bytes that no file has, between one and the next. */
const MAX_MISSING = 16 * 1024 * 1024;
/** Further on than this, it is rather another connection that uses the same ports. */
const MAX_FURTHER = 256 * 1024 * 1024;
/** A segment that is sent again at the beginning of a file repeats no more than one byte in so many. */
const REPEATED = 16;

export interface SourceFile {
  path: string;
  /** By its own clock: of its first packet, ns since 1970. */
  startNs: bigint;
}

/** A file whose times were moved. */
export interface Move {
  source: number;
  /** The file that its place is counted from. */
  other: number;
  /** It goes on with the other's connections, or the other with its; or both have the same segments. */
  how: 'follows' | 'precedes' | 'shares';
  /** What is added to its times, beyond what is added to the other's. */
  byNs: number;
}

/** Whether there is a doubt about the files' places: by their times, or by what they begin with. */
export async function isDoubtful(files: readonly SourceFile[], options: SurveyOptions): Promise<boolean> {
  const order = [...files.keys()].toSorted((a, b) => Number(files[a]!.startNs - files[b]!.startNs) || a - b);
  const { compare } = new Intl.Collator('en', { numeric: true });
  const isAscending = (compared: (a: number, b: number) => number): boolean =>
    order.every((n, place) => place === 0 || compared(order[place - 1]!, n) < 0);
  if (!isAscending((a, b) => a - b) && !isAscending((a, b) => compare(files[a]!.path, files[b]!.path)))
    return true;
  for (const [place, n] of order.slice(0, -1).entries()) {
    const { path, startNs } = files[n]!;
    const nextNs = files[order[place + 1]!]!.startNs;
    const endNs = await lastStamp(path);
    if (endNs === undefined ? nextNs - startNs < NEAR_START_NS : endNs > nextNs) return true;
  }
  return beginWrongly(
    order.map((n) => files[n]!.path),
    options,
  );
}

/**
 * Where clocks were set, or differ, by more than the captures last, their times look as those of one host's files do. But two
 * hosts' files begin with the same segments, and of files in the wrong order the later one begins before the earlier.
 */
async function beginWrongly(paths: readonly string[], options: SurveyOptions): Promise<boolean> {
  const seen = new Set<number>();
  const room = roomOf(OF_BEGINNING, paths.length);
  let before: Survey | undefined;
  for (const path of paths) {
    const begun = await survey(path, room, options, true);
    if (before !== undefined && isBehind(before, begun)) return true;
    for (const sign of begun.signs.keys()) if (seen.has(sign)) return true;
    for (const sign of begun.signs.keys()) seen.add(sign);
    before = begun;
  }
  return false;
}

/** Whether most connections that both files have are further on in the first one. */
function isBehind(first: Survey, second: Survey): boolean {
  let further = 0;
  for (const [key, stretch] of second.early) {
    const other = first.stretch(key);
    if (other === undefined || other.isOpened) continue;
    const ahead = (other.first - stretch.first) | 0;
    if (Math.abs(ahead) <= MAX_FURTHER) further += ahead > 0 ? 1 : -1;
  }
  return further > 0;
}

/** What is to be added to each file's times, and why. */
export async function placesOf(
  files: readonly SourceFile[],
  options: SurveyOptions,
): Promise<{ addedNs: number[]; moves: Move[] }> {
  const room = roomOf(OF_ONE, files.length);
  const known: Known[] = [];
  for (const { path, startNs } of files) {
    const found = await survey(path, room, options);
    const fromNs = Number(startNs - files[0]!.startNs);
    known.push({ survey: found, fromNs, toNs: fromNs + found.endNs });
  }
  return new Places(known).all();
}

function roomOf(most: Room, files: number): Room {
  return {
    directions: Math.min(most.directions, Math.ceil(OF_ALL.directions / files)),
    signs: Math.min(most.signs, Math.ceil(OF_ALL.signs / files)),
  };
}

/** A file, and its time by its own clock, ns since the first one's beginning. */
interface Known {
  survey: Survey;
  fromNs: number;
  toNs: number;
}

/** Files of which one's times follow from the other's. */
interface Tie {
  from: number;
  to: number;
  /** Where both have the same segments: so much earlier are these by the second one's clock. */
  apartNs: number;
}

class Places {
  readonly #files: readonly Known[];
  readonly #shared: Tie[];
  readonly #followed: Tie[];
  readonly #addedNs: (number | undefined)[];
  readonly #moves: Move[] = [];

  constructor(files: readonly Known[]) {
    this.#files = files;
    this.#addedNs = files.map(() => undefined);
    const pairs = pairsOf(files.length);
    this.#shared = sharedBy(files, pairs);
    const areApart = (a: number, b: number): boolean =>
      !this.#shared.some(({ from, to }) => (from === a && to === b) || (from === b && to === a));
    this.#followed = followedBy(
      files,
      pairs.filter(([a, b]) => areApart(a, b)),
    );
  }

  all(): { addedNs: number[]; moves: Move[] } {
    // A clock that was set went wrong, or right, behind the file that nothing comes before.
    const isLater = new Set(this.#followed.map(({ to }) => to));
    const firsts = [...this.#files.keys()].toSorted(
      (a, b) => Number(isLater.has(a)) - Number(isLater.has(b)),
    );
    for (const first of firsts) {
      if (this.#addedNs[first] !== undefined) continue;
      this.#addedNs[first] = 0;
      while (this.#share() || this.#follow());
    }
    return { addedNs: this.#addedNs.map((added) => added ?? 0), moves: this.#moves };
  }

  /** Places a file that has the same segments as one that has its place. */
  #share(): boolean {
    const added = this.#addedNs;
    for (const { from, to, apartNs } of this.#shared) {
      if ((added[from] === undefined) === (added[to] === undefined)) continue;
      const [source, other, byNs] = added[to] === undefined ? [to, from, apartNs] : [from, to, -apartNs];
      this.#move({ source, other, how: 'shares', byNs: Math.abs(byNs) < AGREE_NS ? 0 : byNs });
      return true;
    }
    return false;
  }

  /** Places a file that goes on with what one that has its place ends with, or the other way about. */
  #follow(): boolean {
    const added = this.#addedNs;
    for (const { from, to } of this.#followed) {
      if ((added[from] === undefined) === (added[to] === undefined)) continue;
      const gapNs = this.#files[to]!.fromNs - this.#files[from]!.toNs;
      // Hosts are idle, and the distance is kept; but no file begins before the one that it goes on from has ended.
      const byNs = gapNs < 0 ? STEP_GAP_NS - gapNs : 0;
      if (added[to] === undefined) this.#move({ source: to, other: from, how: 'follows', byNs });
      else this.#move({ source: from, other: to, how: 'precedes', byNs: -byNs });
      return true;
    }
    return false;
  }

  #move(move: Move): void {
    this.#addedNs[move.source] = this.#addedNs[move.other]! + move.byNs;
    if (move.byNs !== 0) this.#moves.push(move);
  }
}

/** All of few files; of many, those that are near each other as they are named, or by their clocks. */
function pairsOf(files: number): [number, number][] {
  const most = files <= MAX_COMPARED ? files : NEIGHBOURS;
  return Array.from({ length: files }, (_, a) =>
    Array.from({ length: Math.min(most, files - a - 1) }, (__, n): [number, number] => [a, a + 1 + n]),
  ).flat();
}

function sharedBy(files: readonly Known[], pairs: readonly [number, number][]): Tie[] {
  return pairs.flatMap(([from, to]) => {
    const apartNs = apartOf(files[from]!, files[to]!);
    return apartNs === undefined ? [] : [{ from, to, apartNs }];
  });
}

/** How much later a file's clock shows than another's when both have the same segment; undefined where they have none. */
function apartOf(a: Known, b: Known): number | undefined {
  const ofClient: number[] = [];
  const ofServer: number[] = [];
  for (const [sign, ns] of a.survey.signs) {
    const other = b.survey.signs.get(sign);
    if (other === undefined) continue;
    const list = isSignOfClient(sign) ? ofClient : ofServer;
    list.push(a.fromNs + ns - b.fromNs - other);
    if (list.length === MAX_SHARED) break;
  }
  const all = [...ofClient, ...ofServer];
  if (all.length < MIN_SHARED) return undefined;
  // Answers are taken to be at both hosts at one time, and requests then come to the client's first: so everything is told in
  // its order, and answers take as long as the client waited for them.
  const apart = median(ofServer.length > 0 ? ofServer : ofClient);
  const agreeing = all.filter((ns) => Math.abs(ns - apart) <= SPREAD_NS).length;
  return agreeing >= all.length * MIN_AGREEING ? Math.round(apart) : undefined;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

/** For each file, the one that it goes on from, where there is one. */
function followedBy(files: readonly Known[], pairs: readonly [number, number][]): Tie[] {
  const nearest = new Map<number, { from: number; missing: number; apartNs: number }>();
  for (const [from, to] of pairs.flatMap(([a, b]): [number, number][] => [
    [a, b],
    [b, a],
  ])) {
    const missing = missingBetween(files[from]!.survey, files[to]!.survey);
    if (missing === undefined || missingBetween(files[to]!.survey, files[from]!.survey) !== undefined)
      continue;
    const apartNs = Math.abs(files[to]!.fromNs - files[from]!.toNs);
    const best = nearest.get(to);
    const isNearer =
      best === undefined || missing < best.missing || (missing === best.missing && apartNs < best.apartNs);
    if (isNearer) nearest.set(to, { from, missing, apartNs });
  }
  return Array.from(nearest, ([to, { from }]) => ({ from, to, apartNs: 0 }));
}

/** How many bytes of a connection there are, on the average, between the files' ends; undefined where it does not go on. */
function missingBetween(before: Survey, after: Survey): number | undefined {
  let [goingOn, overlapping, missing] = [0, 0, 0];
  for (const [key, { first, end, isOpened }] of after.early) {
    const earlier = before.stretch(key);
    if (earlier === undefined || (isOpened && earlier.first !== first)) continue;
    const ahead = (first - earlier.end) | 0;
    if (ahead > MAX_MISSING) continue;
    const least = Math.min((end - first) >>> 0, (earlier.end - earlier.first) >>> 0);
    // A segment that keeps a connection alive is one byte behind.
    if (ahead < -1 && -ahead * REPEATED > least) overlapping++;
    else {
      goingOn++;
      missing += Math.max(0, ahead);
    }
  }
  return goingOn > overlapping * REPEATED ? missing / goingOn : undefined;
}
