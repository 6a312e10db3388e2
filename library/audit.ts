// The report of a recording that is judged by itself.

import { given } from '../config/given.ts';
import { audit, type AuditOptions } from '../audit/audit.ts';
import { parseHostPort } from '../trace/address.ts';
import { makeReport } from '../report/report.ts';
import type { Report } from '../report/shape.ts';
import { auditExpressions, parseThreshold } from '../report/threshold.ts';
import { TraceReader, hashFile } from '../trace/file.ts';
import type { JudgeOptions } from './judge.ts';

export interface AuditTraceOptions
  extends
    Pick<AuditOptions, 'tenants' | 'fromNs' | 'toNs' | 'timeoutMs' | 'onProgress'>,
    Pick<JudgeOptions, 'examples' | 'backends' | 'distribution' | 'minCoverage'> {
  /** What passes: `violations == 0`, `consistency > 99.99%`. Default: auditExpressions. */
  thresholds?: readonly string[];
}

const DEFAULT_PORT = 11_211;

/**
 * Judges every answer of a recording by what the rest of it shows was done to the key: no replay, and no target.
 * @param path of the trace, which is read a block at a time, three times or more
 * @throws ThresholdError · TraceError · Error where a backend is no address
 */
export async function auditTrace(path: string, options: AuditTraceOptions = {}): Promise<Report> {
  const { thresholds = auditExpressions, backends, minCoverage, ...rest } = options;
  const parsed = thresholds.map(parseThreshold);
  const trace = await TraceReader.open(path);
  try {
    const { diff, meta, end, ...about } = await audit(trace, await hashFile(path), {
      ...rest,
      capture: trace.end?.capture,
      ...(backends === undefined
        ? {}
        : { backends: backends.map((address) => parseHostPort(address, DEFAULT_PORT)) }),
    });
    return makeReport({
      diff,
      meta,
      end,
      audit: about,
      thresholds: parsed,
      ...given({ minCoverage }),
    });
  } finally {
    await trace.close();
  }
}
