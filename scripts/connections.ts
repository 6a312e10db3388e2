// Ten thousand connections: `node dist/scripts/connections.js [CONNECTIONS]`. They open within five seconds, each sends
// twenty requests, and close within five more, as a recording would have it; a real memcached counts them meanwhile. Ends
// with 1 where one was missing, or an answer was not as it should be.

import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startMemcached, type Memcached } from '../embedded/memcached.ts';
import { writeModel, type ModelRow } from '../fixtures/model.ts';
import { judged } from './judged.ts';

const CONNECTIONS = Number(process.argv[2] ?? 10_000);
const REQUESTS = 20;
const SECOND = 1e9;
const folder = mkdtempSync(join(tmpdir(), 'memtape-connections-'));

function openAt(connection: number): number {
  return (connection / CONNECTIONS) * 5 * SECOND;
}

/** Every connection's n-th request, 300 ms after the one before. */
function* requests(): Generator<ModelRow> {
  const all = Array.from({ length: CONNECTIONS * REQUESTS }, (_, n) => {
    const connection = n % CONNECTIONS;
    const number = Math.floor(n / CONNECTIONS);
    return { connection, number, at: openAt(connection) + 0.05 * SECOND + number * 0.2 * SECOND };
  }).toSorted((a, b) => a.at - b.at);
  for (const { connection, number, at } of all)
    yield {
      connection,
      at,
      answeredAt: at + 100_000,
      isSet: number % 4 === 0,
      key: Buffer.from(`key:${connection}`),
      value: Buffer.from(`value of ${connection}, ${Math.floor(number / 4)}`),
      joins: false,
    };
}

/** What memcached says: connections now. */
async function connectionsOf(server: Memcached): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = connect(server.port, server.host);
    let text = '';
    socket.on('error', reject);
    socket.on('data', (data: Buffer) => {
      text += data.toString();
      if (!text.endsWith('END\r\n')) return;
      socket.destroy();
      // This one apart.
      resolve(Number(/STAT curr_connections (\d+)/.exec(text)?.[1]) - 1);
    });
    socket.write('stats\r\n');
  });
}

const server = await startMemcached(['-c', String(CONNECTIONS + 100), '-m', '256']);
try {
  const tape = join(folder, 'many.tape');
  const results = join(folder, 'many.results');
  const life = Array.from({ length: CONNECTIONS }, (_, n) => ({
    openNs: openAt(n),
    closeNs: openAt(n) + 5 * SECOND,
  }));
  await writeModel(tape, life, requests());
  let most = 0;
  const timer = setInterval(() => {
    void connectionsOf(server).then((count) => (most = Math.max(most, count)));
  }, 100);
  const { diff, end } = await judged({ trace: tape, results, targets: [server.address], timeoutMs: 5000 });
  clearInterval(timer);
  await new Promise((resolve) => setTimeout(resolve, 300));
  const left = await connectionsOf(server);
  const { rss } = process.memoryUsage();
  process.stdout.write(
    `${CONNECTIONS} connections: at most ${most} at once, ${left} left; ${diff.matched} of ${diff.total} matched, ${end.incidentCount} incidents, late p50 ${diff.lag.getValueAtPercentile(50)} µs, p99 ${diff.lag.getValueAtPercentile(99)} µs; ${Math.round(rss / 1e6)} MB\n`,
  );
  if (diff.matched !== diff.total || end.incidentCount > 0 || most < CONNECTIONS * 0.95 || left > 0)
    process.exitCode = 1;
} finally {
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
}
