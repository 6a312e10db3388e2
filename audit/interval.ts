// How sure a share is that was counted: the interval of Clopper and Pearson. It is exact: it holds the true share at least as
// often as it says, also where nothing, or nearly nothing, was wrong. Wilson's is shorter there, and holds it less often.

/** The share itself lies in here at least so often. */
export const CONFIDENCE = 0.95;

/** Bounds of a share of which `of` draws had `count`; [0, 1] without any. */
export function exactInterval(
  count: number,
  of: number,
  confidence = CONFIDENCE,
): [low: number, high: number] {
  if (of === 0) return [0, 1];
  const tail = (1 - confidence) / 2;
  const low = count === 0 ? 0 : solve((p) => betaCdf(p, count, of - count + 1), tail);
  const high = count === of ? 1 : solve((p) => betaCdf(p, count + 1, of - count), 1 - tail);
  return [low, high];
}

/** The smallest share that would have been seen at least once in `of` draws, so often. */
export function smallestSeen(of: number, confidence = CONFIDENCE): number {
  return of === 0 ? 1 : -Math.expm1(Math.log1p(-confidence) / of);
}

/** Where the ascending function has this value, in [0, 1]: found on the scale of its logarithm, since shares are small. */
function solve(ascending: (p: number) => number, value: number): number {
  let low = Math.log(1e-18);
  let high = 0;
  for (let n = 0; n < 100; n++) {
    const middle = (low + high) / 2;
    if (ascending(Math.exp(middle)) < value) low = middle;
    else high = middle;
  }
  return Math.exp((low + high) / 2);
}

/** The chance that a draw from a beta distribution is at most x: the regularised incomplete beta function. */
function betaCdf(x: number, a: number, b: number): number {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  const scale = Math.exp(a * Math.log(x) + b * Math.log1p(-x) - logBeta(a, b));
  // The continued fraction converges quickly on the side of the mean where x is.
  return x < (a + 1) / (a + b + 2)
    ? (scale * fraction(x, a, b)) / a
    : 1 - (scale * fraction(1 - x, b, a)) / b;
}

const TINY = 1e-300;
const MAX_TERMS = 10_000;

/** The continued fraction of the incomplete beta function, from its beginning on (Lentz). */
function fraction(x: number, a: number, b: number): number {
  let c = 1;
  let d = 1 / notZero(1 - ((a + b) * x) / (a + 1));
  let result = d;
  for (let n = 1; n < MAX_TERMS; n++) {
    for (const term of [
      (n * (b - n) * x) / ((a + 2 * n - 1) * (a + 2 * n)),
      (-(a + n) * (a + b + n) * x) / ((a + 2 * n) * (a + 2 * n + 1)),
    ]) {
      d = 1 / notZero(1 + term * d);
      c = notZero(1 + term / c);
      result *= c * d;
    }
    if (Math.abs(c * d - 1) < 1e-14) break;
  }
  return result;
}

function notZero(value: number): number {
  return Math.abs(value) < TINY ? TINY : value;
}

function logBeta(a: number, b: number): number {
  return logGamma(a) + logGamma(b) - logGamma(a + b);
}

/** Stirling's series, from 10 on; below, the recurrence leads there. */
function logGamma(x: number): number {
  let shift = 0;
  let z = x;
  for (; z < 10; z++) shift -= Math.log(z);
  const inverse = 1 / (z * z);
  const series = (1 / 12 - inverse * (1 / 360 - inverse * (1 / 1260 - inverse / 1680))) / z;
  return (z - 0.5) * Math.log(z) - z + Math.log(2 * Math.PI) / 2 + series + shift;
}
