// Latencies of a replay as an HDR log, which HdrHistogram's tools read in any language: one interval, that of the whole
// replay, for each tag. Values are microseconds.

import { HistogramLogWriter, type Histogram } from 'hdr-histogram-js';
import type { Diff } from '../diff/diff.ts';

/** Microseconds to a millisecond, in which the log's column of maxima is written. */
const MAX_UNIT = 1000;

/** @param startTime of the replay, ISO 8601 */
export function renderHlog(
  { latency, replayedNs }: Pick<Diff, 'latency' | 'replayedNs'>,
  startTime: string,
): string {
  let text = '';
  const log = new HistogramLogWriter((part) => (text += part));
  const startMs = Date.parse(startTime);
  log.outputComment(
    '[Logged with memtape: latencies of a replay in microseconds; no tag: from the intended time]',
  );
  log.outputLogFormatVersion();
  log.outputComment(`[StartTime: ${(startMs / 1000).toFixed(3)} (seconds since epoch), ${startTime}]`);
  log.outputLegend();
  const seconds = replayedNs / 1e9;
  const add = (tag: string | undefined, histogram: Histogram): void => {
    if (histogram.totalCount === 0) return;
    if (tag !== undefined) histogram.tag = tag;
    log.outputIntervalHistogram(histogram, 0, seconds, MAX_UNIT);
  };
  add(undefined, latency.fromIntended);
  add('fromSent', latency.fromSent);
  add('recorded', latency.recorded);
  for (const [name, histogram] of latency.byOperation) add(`operation=${safe(name)}`, histogram);
  const tenants = [...latency.byTenant];
  if (tenants.some(([name]) => name !== ''))
    for (const [name, histogram] of tenants) add(`tenant=${safe(name)}`, histogram);
  return text;
}

/** A tag ends at a comma or at white space, and names are anybody's: each other byte is written as a URL does. */
function safe(name: string): string {
  return encodeURIComponent(name.replaceAll(/[\uD800-\uDFFF]/g, '\uFFFD'));
}
