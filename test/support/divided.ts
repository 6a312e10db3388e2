// A replay's results divided into those of shards, by a rule that is written apart from the one in trace/shard.ts; and random
// traffic whose answers are often not as recorded.

import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { Random } from '../../synth/laws/random.ts';
import { Outcome, RowFlag, type Batch, type Connection } from '../../trace/batch.ts';
import { ResultsReader, ResultsWriter } from '../../trace/file.ts';
import type { ResultsEnd } from '../../trace/meta.ts';
import { ResultBatch } from '../../trace/results.ts';
import { openSource, type Source } from '../../trace/source.ts';
import { TraceView } from '../../trace/view.ts';
import { batchOf, connectionOf, type ExchangeInit } from './tape.ts';

/** FNV-1a from the digits of pi, and the finish of murmur3, in whole numbers of any size. */
function hashOf(key: Buffer): number {
  const bits = 0xffffffffn;
  let hash = 0x243f6a88n;
  for (const byte of key) hash = ((hash ^ BigInt(byte)) * 0x01000193n) & bits;
  hash = ((hash ^ (hash >> 16n)) * 0x85ebca6bn) & bits;
  hash = ((hash ^ (hash >> 13n)) * 0xc2b2ae35n) & bits;
  return Number(hash ^ (hash >> 16n));
}

/** The shard of each row of one turn of the trace, from 0. */
export async function shardsOf(
  source: Source,
  of: number,
  stretch: { fromNs?: number; toNs?: number } = {},
): Promise<number[]> {
  const trace = await openSource(source);
  const before = new Map<number, number>();
  const shards: number[] = [];
  for await (const batch of new TraceView(trace, stretch).batches())
    for (let row = 0; row < batch.count; row++) {
      const connection = batch.connection[row]!;
      const key = batch.key(row);
      const shard = key.length > 0 ? hashOf(key) % of : (before.get(connection) ?? connection % of);
      if (key.length > 0) before.set(connection, shard);
      shards.push(shard);
    }
  await trace.close();
  return shards;
}

/** Writes what each of n shards would have seen of a replay, and returns where. */
export async function divide(
  trace: Source,
  results: string,
  folder: string,
  of: number,
  run = 'one',
): Promise<string[]> {
  const reader = await ResultsReader.open(results);
  const { meta, end } = reader;
  const { fromNs, toNs, loops = 1 } = meta;
  const turn = await shardsOf(trace, of, {
    ...(fromNs === undefined ? {} : { fromNs }),
    ...(toNs === undefined ? {} : { toNs }),
  });
  const paths = Array.from({ length: of }, (_, n) =>
    join(folder, `${n + 1}-${randomBytes(4).toString('hex')}.results`),
  );
  const writers = await Promise.all(
    paths.map(async (path, n) => ResultsWriter.create(path, { ...meta, shard: { index: n + 1, of, run } })),
  );
  const parts = paths.map(() => new ResultBatch());
  const placeOf = new Map<number, number>();
  const counts = paths.map(() => 0);
  for await (const batch of reader.batches())
    for (let row = 0; row < batch.count; row++) {
      const index = batch.firstIndex + row;
      const shard = turn[index % (turn.length || 1)]!;
      placeOf.set(index, counts[shard]!++);
      parts[shard]!.take(batch, row);
      // Blocks of another size than the trace's.
      if (parts[shard]!.count < 97 + shard) continue;
      writers[shard]!.append(parts[shard]!);
      parts[shard]!.clear();
    }
  if (turn.length * loops > 0 && placeOf.size === 0) throw new Error('nothing to divide');
  for (const [n, writer] of writers.entries()) {
    if (parts[n]!.count > 0) writer.append(parts[n]!);
    await writer.finish(
      endOf(end!, n, of, (index) => ({ shard: turn[index % turn.length]!, place: placeOf.get(index)! })),
    );
  }
  await reader.close();
  return paths;
}

/** What belongs to no exchange is told by one shard each: what happened at one moment by the same one. */
function endOf(
  end: ResultsEnd,
  n: number,
  of: number,
  find: (index: number) => { shard: number; place: number },
): ResultsEnd {
  const isOwn = (atNs: number): boolean => Math.floor(atNs) % of === n;
  const isFirst = n === 0;
  const orphans = end.orphans.flatMap((orphan) => {
    if (orphan.index === undefined) return isOwn(orphan.atNs) ? [orphan] : [];
    const { shard, place } = find(orphan.index);
    return shard === n ? [{ ...orphan, index: place }] : [];
  });
  const others = end.orphanCount - end.orphans.length;
  const incidents = end.incidents.filter(({ atNs }) => isOwn(atNs));
  return {
    ...end,
    prefilled: isFirst ? end.prefilled : 0,
    prefillFailed: isFirst ? end.prefillFailed : 0,
    leftover: end.leftover === null || isFirst ? end.leftover : 0,
    orphans,
    orphanCount: orphans.length + (isFirst ? others : 0),
    incidents,
    incidentCount: incidents.length + (isFirst ? end.incidentCount - end.incidents.length : 0),
    outages: (end.outages ?? []).filter(({ fromNs }) => isOwn(fromNs)),
    drills: isFirst ? (end.drills ?? []) : [],
    started: { unixMs: 1.7e12 },
    ...(end.accounts === undefined
      ? {}
      : {
          accounts: end.accounts.map((account) =>
            isFirst ? account : { ...account, asked: { sets: 0, gets: 0 } },
          ),
        }),
  };
}

const operations = [
  'get',
  'getq',
  'getkq',
  'set',
  'setq',
  'add',
  'replace',
  'delete',
  'append',
  'incr',
  'touch',
  'noop',
  'version',
  'stat',
  'flush',
  'quit',
] as const;

/** Connections of users to several servers, that ask for few keys; what they were answered is made up. */
export function randomBatches(random: Random, rows: number): Batch[] {
  const connections = 1 + random.int(9);
  const servers = 1 + random.int(3);
  const tenants = random.chance(0.4) ? ['', 'anna', 'bert'] : [''];
  const all = Array.from({ length: connections }, (_, id): Connection => ({
    ...connectionOf(id, `10.0.0.${1 + random.int(servers)}:11211`),
    tenant: tenants[random.int(tenants.length)]!,
  }));
  const keys = 1 + random.int(40);
  const held = new Map<string, string>();
  const exchanges = Array.from({ length: rows }, (_, n): ExchangeInit => {
    const op = operations[random.int(operations.length)]!;
    const connection = random.int(connections);
    const at = n * 40;
    const common = { op, connection, at, answeredAt: at + 1 + random.int(400) };
    if (/^(noop|version|stat|flush|quit)$/.test(op)) return common;
    const key = `key-${random.int(keys)}`;
    const value = `${random.int(1000)}`;
    const isQuiet = op.endsWith('q');
    if (/^(set|add|replace)/.test(op)) held.set(key, value);
    if (op === 'delete') held.delete(key);
    const known = held.get(key);
    const isRead = op.startsWith('get');
    const isThere = known !== undefined && !random.chance(0.05);
    const outcome = isQuiet && !(isRead && isThere) ? Outcome.silent : Outcome.answered;
    return {
      ...common,
      key,
      outcome,
      ...(isRead ? (isThere ? { answer: known } : { status: 1 }) : {}),
      ...(isRead && op.includes('k') && isThere ? { answerKey: key } : {}),
      ...(/^(set|add|replace|append)/.test(op) ? { value } : {}),
      ...(op === 'incr' ? { extras: Buffer.alloc(20), answer: Buffer.alloc(8) } : {}),
      ...(op === 'touch' ? { extras: Buffer.alloc(4) } : {}),
      ...(random.chance(0.2) ? { flags: RowFlag.sharesSegment } : {}),
      ...(random.chance(0.1) ? { cas: BigInt(random.int(50)) } : {}),
      answerCas: BigInt(random.int(500)),
    };
  });
  const size = 1 + random.int(rows);
  return Array.from({ length: Math.ceil(rows / size) }, (_, n) =>
    batchOf(exchanges.slice(n * size, (n + 1) * size), n === 0 ? all : []),
  );
}
