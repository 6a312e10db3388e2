// The memory of a process as a soak measures it, made up: a level, what waits for the garbage collector, other work on the
// machine, steps, and a leak; on the way to its level, as a process warms up.

import type { Measurement } from '../../scripts/growth.ts';
import type { Random } from '../../synth/laws/random.ts';

export interface Course {
  seconds: number;
  /** MB a minute. */
  leak: number;
  steps: readonly { atShare: number; megabytes: number }[];
}

/** One measurement a second. */
export function measured(random: Random, { seconds, leak, steps }: Course): Measurement[] {
  const level = 80 + random.float() * 300;
  const garbage = 2 + random.float() * 12;
  const periodSeconds = 1 + random.float() * 20;
  const [warmingUp, warmSeconds] = [random.float() * 30, 30 + random.float() * 210];
  let wander = 0;
  return Array.from({ length: seconds }, (_, second) => {
    wander = 0.97 * wander + (random.float() - 0.5) * 1.3;
    const stepped = steps.reduce(
      (sum, { atShare, megabytes }) => sum + (second >= atShare * seconds ? megabytes : 0),
      0,
    );
    const waiting = ((second / periodSeconds) % 1) * garbage;
    const cold = warmingUp * Math.exp(-second / warmSeconds);
    return {
      seconds: second,
      megabytes: level - cold + wander + waiting + stepped + (leak * second) / 60,
    };
  });
}
