// Latency by tenant: measured in a replay, asked for by a threshold, shown at a terminal.

import { expect, test } from 'vitest';
import { startServer } from '../../embedded/server.ts';
import { evaluate, parseThreshold } from '../../report/threshold.ts';
import { renderText } from '../../report/text.ts';
import type { Connection } from '../../trace/batch.ts';
import { NEVER, ConnectionEnd } from '../../trace/batch.ts';
import { replayed } from '../support/replay.ts';
import { batchOf } from '../support/tape.ts';

function connection(id: number, tenant: string): Connection {
  return {
    id,
    client: `10.0.0.1:${1000 + id}`,
    server: '10.0.0.2:11211',
    tenant,
    openNs: 0,
    closeNs: NEVER,
    end: ConnectionEnd.open,
  };
}

const exchanges = [0, 1, 1].flatMap((id, n) => [
  { op: 'set', key: `k${n}`, value: 'v', connection: id, at: n * 1000, answeredAt: n * 1000 + 10 },
]);

test('of several tenants each has its own', async () => {
  const server = await startServer();
  try {
    const batch = batchOf(exchanges, [connection(0, 'alice'), connection(1, 'bob\u001b[31m')]);
    const report = await replayed([batch], { targets: [server.address] });
    const { byTenant } = report.latencyMicros;
    expect(Object.keys(byTenant)).toEqual(['alice', 'bob\u001b[31m']);
    expect(byTenant['alice']!.p99).toBeGreaterThan(0);
    const threshold = evaluate(parseThreshold('latency.fromIntended.p99{tenant=alice} < 100s'), report);
    expect(threshold).toMatchObject({ ok: true, evaluated: true, value: byTenant['alice']!.p99 });
    const text = renderText(report);
    expect(text).toMatch(/^ {2}tenant alice +\d/m);
    expect(text).toMatch(/^ {2}tenant bob/m);
    expect(text).not.toContain('\u001b');
  } finally {
    await server.stop();
  }
});

test('without tenants there is none, and no threshold on one holds', async () => {
  const server = await startServer();
  try {
    const report = await replayed([batchOf(exchanges)], { targets: [server.address] });
    expect(report.latencyMicros.byTenant).toEqual({});
    const threshold = evaluate(parseThreshold('latency.fromIntended.p99{tenant=alice} < 100s'), report);
    expect(threshold).toMatchObject({ ok: false, evaluated: false });
    expect(renderText(report)).not.toContain('tenant');
  } finally {
    await server.stop();
  }
});
