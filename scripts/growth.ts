// Whether memory grows, told from steps. V8 gives its young generation twice the room at some moment and keeps it, and a
// thread that waited for a processor once leaves its blocks with the allocator: that is a step, and no leak. So the
// measurements are taken for straight lines of one slope with two steps between them at most, placed where they fit best.

/** By the slope, memory may grow by so much in the last part of a soak. */
export const MAX_GROWTH_MEGABYTES = 9;
/** The part before it: a process warms up for some minutes, and ever more slowly. */
const WARM_SHARE = 0.4;
/**
 * Steps of a replay: two of its threads' young generations (16 to 48 MB), and five blocks of results of 4.6 MB that once
 * waited for the thread which writes them. So much is no leak; whatever needs more has to be looked at.
 */
export const MAX_STEPS_MEGABYTES = 64;
/** Two steps divide the measurements into three parts, each of which has so many points at least. */
const LEAST_POINTS = 1;
/** A step leaves at most so much of the squares that there are without it. */
const REAL_STEP = 0.65;
/** The measurements are cut into so many equal parts of time. */
const PARTS = 48;

export interface Measurement {
  seconds: number;
  megabytes: number;
}

export interface Growth {
  /** By the slope alone, from the first to the last of the last part. */
  megabytes: number;
  /** All steps up together. */
  stepsUp: number;
}

/** The least of each part of the time: what the garbage collector leaves, without what is about to be collected. */
function leastOfParts(measurements: readonly Measurement[]): Measurement[] {
  const first = measurements[0]!.seconds;
  const span = measurements.at(-1)!.seconds - first;
  const least: Measurement[] = [];
  for (const one of measurements) {
    const part = Math.min(PARTS - 1, Math.floor(((one.seconds - first) / span) * PARTS));
    if ((least[part]?.megabytes ?? Infinity) > one.megabytes) least[part] = one;
  }
  return least.filter(() => true);
}

interface Sums {
  points: number;
  seconds: number;
  megabytes: number;
  squares: number;
  products: number;
  megabyteSquares: number;
}

/** Sums from the first point to each, so that any stretch's are a difference. */
function sumsOf(points: readonly Measurement[]): Sums[] {
  const sums: Sums[] = [{ points: 0, seconds: 0, megabytes: 0, squares: 0, products: 0, megabyteSquares: 0 }];
  for (const { seconds, megabytes } of points) {
    const before = sums.at(-1)!;
    sums.push({
      points: before.points + 1,
      seconds: before.seconds + seconds,
      megabytes: before.megabytes + megabytes,
      squares: before.squares + seconds ** 2,
      products: before.products + seconds * megabytes,
      megabyteSquares: before.megabyteSquares + megabytes ** 2,
    });
  }
  return sums;
}

interface Fit {
  slope: number;
  /** What is left of the squares. */
  off: number;
  /** The middle of each part. */
  means: [seconds: number, megabytes: number][];
}

const better = (one: Fit, other: Fit): Fit => (other.off < one.off ? other : one);

/** The line through the points, of one slope, that jumps before each of the points `cuts`, with the least squares. */
function fit(sums: readonly Sums[], cuts: readonly number[]): Fit {
  const ends = [...cuts, sums.length - 1];
  let [across, along, up] = [0, 0, 0];
  const means: [seconds: number, megabytes: number][] = [];
  let from = sums[0]!;
  for (const end of ends) {
    const to = sums[end]!;
    const count = to.points - from.points;
    const [seconds, megabytes] = [
      (to.seconds - from.seconds) / count,
      (to.megabytes - from.megabytes) / count,
    ];
    means.push([seconds, megabytes]);
    along += to.squares - from.squares - count * seconds ** 2;
    across += to.products - from.products - count * seconds * megabytes;
    up += to.megabyteSquares - from.megabyteSquares - count * megabytes ** 2;
    from = to;
  }
  const slope = across / along;
  return { slope, off: up - slope * across, means };
}

/** @param measurements of a whole soak, in the order of time */
export function growthOf(measurements: readonly Measurement[]): Growth {
  const warm = measurements.slice(Math.floor(measurements.length * WARM_SHARE));
  const points = leastOfParts(warm);
  if (points.length < 3 * LEAST_POINTS)
    throw new Error(`expected ${3 * LEAST_POINTS} parts with measurements at least, got ${points.length}`);
  const sums = sumsOf(points);
  const last = points.length - LEAST_POINTS;
  const line = fit(sums, []);
  let [one, two] = [line, line];
  for (let cut = LEAST_POINTS; cut <= last; cut++) {
    one = better(one, fit(sums, [cut]));
    for (let next = cut + LEAST_POINTS; next <= last; next++) two = better(two, fit(sums, [cut, next]));
  }
  // Steps that are none fit the noise, and hide a slope.
  const stepped = two.off < one.off * REAL_STEP ? two : one;
  const best = stepped.off < line.off * (stepped === two ? REAL_STEP ** 2 : REAL_STEP) ? stepped : line;
  const { slope, means } = best;
  const steps = means
    .slice(1)
    .map(([seconds, megabytes], n) => megabytes - means[n]![1] - slope * (seconds - means[n]![0]));
  return {
    megabytes: slope * (points.at(-1)!.seconds - points[0]!.seconds),
    stepsUp: steps.reduce((sum, step) => sum + Math.max(0, step), 0),
  };
}
