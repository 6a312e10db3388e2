// The schema of the report: real reports fit it, none of their fields is missing from it, and what is committed is what
// the code says.

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { startServer } from '../../embedded/server.ts';
import type { Report } from '../../report/shape.ts';
import { capacityJsonSchema } from '../../capacity/report.ts';
import { reportJsonSchema, reportSchema } from '../../report/schema.ts';
import { hostileReport } from '../support/hostile.ts';
import { replayed } from '../support/replay.ts';

/** As a reader of its JSON has it, without what the schema does not know. */
function known(report: Report): [read: unknown, known: unknown] {
  const read: unknown = JSON.parse(JSON.stringify(report));
  return [read, reportSchema.parse(read)];
}

test('a real report fits, and has no field besides', async () => {
  const server = await startServer();
  try {
    const report = await replayed(
      [
        { op: 'set', key: 'a', value: 'one' },
        { op: 'get', key: 'a', answer: 'two', answerExtras: Buffer.alloc(4) },
        { op: 'get', key: 'b', answer: 'there', answerExtras: Buffer.alloc(4) },
      ],
      { targets: [server.address] },
    );
    expect(report.findings.length).toBeGreaterThan(0);
    const [read, fitting] = known(report);
    expect(fitting).toEqual(read);
  } finally {
    await server.stop();
  }
});

test('so does one with everything that reports may have', () => {
  const [read, fitting] = known(hostileReport());
  expect(fitting).toEqual(read);
});

test('what is no report is refused', () => {
  expect(reportSchema.safeParse({ ...hostileReport(), format: 'memtape-report/2' }).success).toBe(false);
  expect(reportSchema.safeParse({ ...hostileReport(), verdict: 'maybe' }).success).toBe(false);
});

test.each([
  ['report', reportJsonSchema],
  ['capacity', capacityJsonSchema],
])('docs/schemas/%s.schema.json is up to date (npm run schemas)', (name, schemaOf) => {
  const committed = new URL(`../../docs/schemas/${name}.schema.json`, import.meta.url);
  expect(JSON.parse(readFileSync(committed, 'utf8'))).toEqual(schemaOf());
});
