// Runs the protocol vectors against live memcached servers, a fresh one for each. `--write` takes what the live
// servers answer into the file. Run as: node dist/scripts/vectors.js [--write]

import { writeFileSync } from 'node:fs';

import { startMemcached } from '../embedded/memcached.ts';
import { freePort } from '../embedded/program.ts';
import { LIVE_ARGS, observe, readVectors, runVector, type Vector } from '../fixtures/vector.ts';

const path = 'fixtures/vectors.jsonl';
const write = process.argv.includes('--write');
const AT_ONCE = 4;

const vectors = readVectors(path);
const refreshed: Vector[] = [];
let differing = 0;

async function check(vector: Vector, index: number): Promise<void> {
  const udpPort = await freePort();
  const udp = vector.transport === 'udp' ? ['-U', String(udpPort)] : [];
  const server = await startMemcached([...LIVE_ARGS, ...udp, ...(vector.serverArgs ?? [])]);
  try {
    const target = { host: server.host, port: server.port, udpPort };
    if (write) {
      refreshed[index] = refresh(vector, await observe(vector, target));
      if (JSON.stringify(refreshed[index]) !== JSON.stringify(vector)) {
        differing++;
        process.stdout.write(`${vector.name}: refreshed\n`);
      }
      return;
    }
    const differences = await runVector(vector, target);
    if (differences.length === 0) return;
    differing++;
    for (const difference of differences) process.stdout.write(`${vector.name}: ${difference}\n`);
  } finally {
    await server.stop();
  }
}

function refresh(vector: Vector, seen: Awaited<ReturnType<typeof observe>>): Vector {
  const next = structuredClone(vector);
  if (next.setupHex !== undefined) next.setupResponseHex = seen.setupResponseHex;
  if (next.transport === 'udp') {
    next.responseDatagramsHex = seen.datagramsHex;
    next.responseHex = seen.datagramsHex.join('');
    return next;
  }
  next.segments?.forEach((segment, index) => (segment.responseHex = seen.responsesHex[index] ?? ''));
  next.responseHex = seen.responsesHex.join('');
  next.closed = seen.closed;
  return next;
}

const queue = vectors.entries();
await Promise.all(
  Array.from({ length: AT_ONCE }, async () => {
    for (const [index, vector] of queue) await check(vector, index);
  }),
);
if (write && differing > 0)
  writeFileSync(path, `${refreshed.map((vector) => JSON.stringify(vector)).join('\n')}\n`);
process.stdout.write(`${vectors.length} vectors, ${differing} ${write ? 'refreshed' : 'differ'}\n`);
if (!write && differing > 0) process.exitCode = 1;
