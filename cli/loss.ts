// What is said of a recording's losses, by `record` and by `info`.

import type { Capture } from '../trace/meta.ts';
import { LOUD_LOSS, lossOf } from '../trace/loss.ts';
import { formatBytes, formatCount, plural } from './text.ts';

/** `0.5%`, `less than 0.01%` */
export function formatShare(share: number): string {
  if (share > 0 && share < 0.0001) return 'less than 0.01%';
  return `${(share * 100).toFixed(share < 0.1 ? 2 : 1)}%`;
}

/** What the recording lacks; empty where it lacks nothing. */
export function lossLines(capture: Capture): string[] {
  const { dropped, missing } = lossOf(capture);
  const { kernelDropped, gaps, missingBytes, cutBytes } = capture;
  const lines: string[] = [];
  if (kernelDropped !== null && kernelDropped > 0)
    lines.push(`${plural(kernelDropped, 'packet')} dropped by the kernel: ${formatShare(dropped!)} of all`);
  if (missing > 0)
    lines.push(
      `${plural(gaps, 'hole')} in the capture: ${formatBytes(missingBytes - cutBytes)}, ${formatShare(missing)} of the bytes of its connections`,
    );
  else if (gaps > 0 && cutBytes === 0) lines.push(`${plural(gaps, 'hole')} in the capture`);
  return lines;
}

/** What has to be heard of losses above one in a hundred; undefined below. */
export function lossWarning(capture: Capture): string | undefined {
  const { worst } = lossOf(capture);
  if (worst <= LOUD_LOSS) return undefined;
  return `WARNING: ${formatShare(worst)} of the traffic is missing from this recording; what it says of hit rates, rates and answers is not to be relied on`;
}

/** What the snap length cut off; undefined where it cut nothing. */
export function cutLine({ snapLength, cutPackets, cutValues }: Capture): string | undefined {
  if (snapLength === null || cutPackets === 0) return undefined;
  const values = cutValues === 0 ? '' : `; ${plural(cutValues, 'value')} not known`;
  return `the capture's snap length of ${formatCount(snapLength)} bytes cut ${plural(cutPackets, 'packet')}${values}; capture whole packets: tcpdump -s 0`;
}

/** Connections of which only one direction is there; undefined where there are none. */
export function sidesLine({ requestsOnly, answersOnly }: Capture): string | undefined {
  const parts = [
    requestsOnly > 0
      ? `${plural(requestsOnly, 'connection')} with packets of the client only: what was answered there is not known`
      : '',
    answersOnly > 0
      ? `${plural(answersOnly, 'connection')} with packets of the server only: answers without requests are not recorded`
      : '',
  ].filter((part) => part !== '');
  return parts.length === 0 ? undefined : parts.join('; ');
}

/** Connections of the proxy to its servers that failed; undefined where none did. */
export function upstreamLine({
  upstreamRefused,
  upstreamReset,
  upstreamFailed,
}: Capture): string | undefined {
  const all = upstreamRefused + upstreamReset + upstreamFailed;
  if (all === 0) return undefined;
  return `${plural(all, 'connection')} to the servers failed: ${formatCount(upstreamRefused)} refused, ${formatCount(upstreamReset)} reset, ${formatCount(upstreamFailed)} for other reasons`;
}
