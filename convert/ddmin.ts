// Delta debugging: of a list that shows something, a part that still shows it and from which nothing can be left out.
// It knows nothing of traces; whether a part shows it is the caller's to find out.

export interface ReduceOptions<T> {
  /** Asked before each question; true ends the search with what there is. */
  isOver?: () => boolean;
  /** Told of each part that is smaller than the one before and holds. */
  onKept?: (kept: readonly T[]) => void;
}

export interface Reduced<T> {
  kept: readonly T[];
  /** Without any single one of them it does not hold; false where the search was ended before that was known. */
  isMinimal: boolean;
}

/**
 * ddmin of Zeller and Hildebrandt: stretches are left out in turn, halves at first, then shorter ones, single items in
 * the end. The finer subsets that they try beside the complements are not tried: they hardly ever hold, and what they
 * would find the complements find as well.
 *
 * The order of the items is kept. What holds was always asked for, so that the result holds whatever the predicate is
 * like; where more never hurts, and only so many items are needed, the result is those.
 * @param items which hold
 * @param holds asked for parts of them, each shorter than the last that held; the empty one too
 * @throws what `holds` throws
 */
export async function ddmin<T>(
  items: readonly T[],
  holds: (part: readonly T[]) => Promise<boolean>,
  { isOver = () => false, onKept }: ReduceOptions<T> = {},
): Promise<Reduced<T>> {
  let kept = items;
  const drops = async (at: number, length: number): Promise<boolean> => {
    const rest = [...kept.slice(0, at), ...kept.slice(at + length)];
    if (!(await holds(rest))) return false;
    kept = rest;
    onKept?.(kept);
    return true;
  };
  for (let length = Math.ceil(kept.length / 2); length > 1; length = Math.ceil(length / 2)) {
    for (let at = 0; at < kept.length;) {
      if (isOver()) return { kept, isMinimal: false };
      if (!(await drops(at, length))) at += length;
    }
  }
  // Round and round, until as many in a row as there are could not be left out.
  for (let at = 0, needed = 0; needed < kept.length;) {
    if (isOver()) return { kept, isMinimal: false };
    if (at >= kept.length) at = 0;
    if (await drops(at, 1)) needed = 0;
    else {
      needed++;
      at++;
    }
  }
  return { kept, isMinimal: true };
}
