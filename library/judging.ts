// The thread on which recordings are judged while the next window of them is recorded: what it is asked for is a trace and
// options, and its answer a report.

import { parentPort } from 'node:worker_threads';
import type { Report } from '../report/shape.ts';
import { auditTrace, type AuditTraceOptions } from './audit.ts';

export interface Judging {
  path: string;
  options: AuditTraceOptions;
}

export type Judgement = { report: Report } | { error: string };

parentPort?.on('message', ({ path, options }: Judging) => {
  auditTrace(path, options).then(
    (report) => parentPort!.postMessage({ report } satisfies Judgement, []),
    (error: unknown) => parentPort!.postMessage({ error: (error as Error).message } satisfies Judgement, []),
  );
});
