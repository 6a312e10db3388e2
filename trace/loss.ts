// How much of the traffic a recording lacks, as shares of it: packets that the kernel dropped, and bytes of the recorded
// streams that no packet brought. What a snap length cut off is known to be cut, and is no loss.

import type { Capture } from './meta.ts';

export interface Loss {
  /** Of the packets, from 0 to 1; null where nobody knows. */
  dropped: number | null;
  /** Of the bytes of the streams. */
  missing: number;
  /** The larger of the two. */
  worst: number;
}

/** Above this a recording is no picture of its traffic, and whoever made it should hear so. */
export const LOUD_LOSS = 0.01;

export function lossOf(capture: Capture): Loss {
  const { packets, kernelDropped, streamBytes, missingBytes, cutBytes } = capture;
  const dropped =
    kernelDropped === null || packets + kernelDropped === 0
      ? null
      : kernelDropped / (packets + kernelDropped);
  const lost = Math.max(0, missingBytes - cutBytes);
  const missing = lost === 0 ? 0 : lost / (streamBytes + missingBytes);
  return { dropped, missing, worst: Math.max(dropped ?? 0, missing) };
}
