// No miss, one answer at a time: `node dist/scripts/mutations.js [TRIES] [SEED]`. Concurrent clients are recorded from a real
// memcached and replayed against another; then one answer of the replay is changed, and the whole is judged again. What no
// order of the requests can explain must be found, every time; where nothing was found, the order that explains the answers
// is asked of the oracle itself. Prints a table in Markdown, a row for each change, and ends with 1 where one was missed.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { recordedAnswer } from '../diff/answer.ts';
import { diff } from '../diff/diff.ts';
import { Operations } from '../diff/gather.ts';
import { glance, isSound } from '../diff/glance.ts';
import { Step, neverThere } from '../diff/item.ts';
import { circumstancesOf } from '../diff/keys.ts';
import { explain } from '../diff/search.ts';
import { runClients, settled } from '../fixtures/clients.ts';
import { runEdges } from '../fixtures/edges.ts';
import { startMemcached } from '../embedded/memcached.ts';
import { runPylibmc } from '../fixtures/pylibmc.ts';
import { runQuiet } from '../fixtures/quiet.ts';
import { opcodeInfo, type Family } from '../protocol/opcode.ts';
import { silentStatus } from '../protocol/semantics.ts';
import { Status } from '../protocol/status.ts';
import { startProxy } from '../recorder/proxy.ts';
import { replay } from '../replayer/replay.ts';
import { Random } from '../synth/laws/random.ts';
import type { Batch } from '../trace/batch.ts';
import { ResultsReader, TraceReader } from '../trace/file.ts';
import { Result, ResultBatch } from '../trace/results.ts';
import type { Survey } from '../trace/survey.ts';

const TRIES = Number(process.argv[2] ?? 200);
const SEED = Number(process.argv[3] ?? 1);
/** Changes of one recording, by each operator. */
const TRIES_PER_HISTORY = 12;
const folder = mkdtempSync(join(tmpdir(), 'memtape-mutations-'));

/** What a row of the results says. */
interface Reply {
  result: Result;
  status: number;
  extras: Buffer;
  key: Buffer;
  value: Buffer;
  cas: number;
}

/** An exchange and its answer in the replay. */
interface Row {
  n: number;
  opcode: number;
  family: Family;
  quiet: boolean;
  echoes: boolean;
  connection: number;
  key: string;
  value: Buffer;
  flags: number;
  hasCas: boolean;
  fromNs: number;
  toNs: number;
  reply: Reply;
}

interface History {
  trace: TraceReader;
  batch: Batch;
  results: ResultBatch;
  reader: ResultsReader;
  survey: Survey;
  rows: readonly Row[];
  byKey: ReadonlyMap<string, readonly Row[]>;
}

const empty = Buffer.alloc(0);

async function record(path: string, seed: number): Promise<void> {
  const server = await startMemcached();
  const proxy = await startProxy({ listen: ['127.0.0.1:0'], upstream: [server.address], output: path });
  const { addresses } = proxy;
  const [address = ''] = addresses;
  await Promise.all([
    runClients({ address, seed, clients: 3, keys: 6, exchanges: 180, seconds: 0.4, calls: {} }),
    runPylibmc({ addresses, seed, count: 40, ttl: 60, pauseMs: 1 }),
    runQuiet(address, 20),
    runEdges({ address, seed, connections: 3, count: 14 }),
  ]);
  await settled(() => proxy.open === 0);
  await proxy.stop();
  await server.stop();
}

/** Undefined where the recording shows a key at its start, is of several blocks, or is not as it must be already. */
async function historyOf(seed: number): Promise<History | undefined> {
  const tape = join(folder, `${seed}.tape`);
  const path = join(folder, `${seed}.results`);
  await record(tape, seed);
  const target = await startMemcached();
  const { survey } = await replay({
    trace: tape,
    results: path,
    targets: [target.address],
    speed: new Random(seed).pick([1, 5, 'max'] as const),
    timeoutMs: 3000,
  });
  await target.stop();
  const trace = await TraceReader.open(tape);
  const reader = await ResultsReader.open(path);
  const batches: Batch[] = [];
  for await (const batch of trace.batches()) batches.push(batch);
  const all: ResultBatch[] = [];
  for await (const results of reader.batches()) all.push(results);
  const [batch] = batches;
  const [results] = all;
  // The server was empty, and the recording shows so.
  const isUsable = survey.present.length === 0 && batches.length === 1 && all.length === 1;
  if (!isUsable || batch === undefined || results === undefined) {
    await trace.close();
    await reader.close();
    return undefined;
  }
  const rows = rowsOf(batch, results);
  const byKey = new Map<string, Row[]>();
  for (const row of rows) {
    const same = byKey.get(row.key);
    if (same === undefined) byKey.set(row.key, [row]);
    else same.push(row);
  }
  const history: History = { trace, batch, results, reader, survey, rows, byKey };
  return (await judge(history)).found === '' ? history : undefined;
}

function rowsOf(batch: Batch, results: ResultBatch): Row[] {
  const rows: Row[] = [];
  for (let n = 0; n < batch.count; n++) {
    const info = opcodeInfo(batch.opcode[n]!);
    if (info === undefined || batch.keyLength[n] === 0 || info.family === 'sasl') continue;
    const result = results.result[n] as Result;
    if (result !== Result.answered && result !== Result.silent) continue;
    const answer = results.agrees[n] === 1 ? recordedAnswer(batch, n) : undefined;
    const isSilent = result === Result.silent;
    rows.push({
      n,
      opcode: batch.opcode[n]!,
      family: info.family,
      quiet: info.quiet,
      echoes: info.echoesKey,
      connection: batch.connection[n]!,
      key: batch.key(n).toString('latin1'),
      value: Buffer.from(batch.value(n)),
      flags: batch.extrasLength[n] === 8 ? batch.extras(n).readUInt32BE(0) : -1,
      hasCas: (batch.casHigh[n]! | batch.casLow[n]!) !== 0,
      fromNs: results.sentNs[n]!,
      toNs: results.answeredNs[n]!,
      reply: {
        result,
        status: isSilent ? silentStatus(batch.opcode[n]!) : (answer?.status ?? results.status[n]!),
        extras: Buffer.from(answer?.extras ?? results.extras(n)),
        key: Buffer.from(answer?.key ?? results.key(n)),
        value: Buffer.from(answer?.value ?? results.value(n)),
        cas: Number(results.cas(n)),
      },
    });
  }
  return rows;
}

/** Another answer to the row; undefined where it gives no occasion. */
type Operator = (row: Row, history: History, random: Random) => Partial<Reply> | undefined;

const isRead = ({ family }: Row): boolean => family === 'get' || family === 'gat';
const isStore = ({ family }: Row): boolean => family === 'set' || family === 'add' || family === 'replace';
const isHit = (row: Row): boolean =>
  isRead(row) && row.reply.result === Result.answered && row.reply.status === Status.ok;
const isLoud = ({ reply }: Row): boolean => reply.result === Result.answered;
const isMiss = (row: Row): boolean => isRead(row) && row.reply.status === Status.notFound;
const isStored = (row: Row): boolean => isStore(row) && row.reply.status === Status.ok;
const isCounted = (row: Row): boolean =>
  (row.family === 'incr' || row.family === 'decr') && isLoud(row) && row.reply.status === Status.ok;

const stores = ({ byKey }: History, key: string): Row[] => (byKey.get(key) ?? []).filter(isStored);
const others = ({ rows }: History, { key }: Row): Row[] => rows.filter((one) => one.key !== key);

function pickOf<Item>(items: readonly Item[], random: Random): Item | undefined {
  return items.length === 0 ? undefined : items[random.int(items.length)];
}

function valueOf(row: Row | undefined): Partial<Reply> | undefined {
  return row === undefined ? undefined : { value: row.value };
}

const hit = (row: Row, value: Buffer): Partial<Reply> => ({
  result: Result.answered,
  status: Status.ok,
  extras: Buffer.alloc(4),
  key: row.echoes ? Buffer.from(row.key, 'latin1') : empty,
  value,
  cas: 1e9,
});
const error = (status: number, text: string): Partial<Reply> => ({
  result: Result.answered,
  status,
  extras: empty,
  key: empty,
  value: Buffer.from(text),
  cas: 0,
});
const success = {
  result: Result.answered,
  status: Status.ok,
  extras: empty,
  key: empty,
  value: empty,
  cas: 1e9,
};
const silent = { result: Result.silent, status: 0, extras: empty, key: empty, value: empty, cas: 0 };
const notFound = error(Status.notFound, 'Not found');
const exists = error(Status.exists, 'Data exists for key.');

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}

function long(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt.asUintN(64, value));
  return bytes;
}

/** Operators, and whether no order can explain what they make: then every one is to be found. */
const operators: Readonly<Record<string, { isSure: boolean; change: Operator }>> = {
  'a byte of the value flipped': {
    isSure: true,
    change: (row, _, random) => {
      if (!isHit(row) || row.reply.value.length === 0) return undefined;
      const value = Buffer.from(row.reply.value);
      value[random.int(value.length)]! ^= 0x80;
      return { value };
    },
  },
  'the value of an earlier version': {
    isSure: false,
    change: (row, history, random) =>
      isHit(row)
        ? valueOf(
            pickOf(
              stores(history, row.key).filter(
                ({ toNs, value }) => toNs < row.fromNs && !value.equals(row.reply.value),
              ),
              random,
            ),
          )
        : undefined,
  },
  'the value of a later version': {
    isSure: false,
    change: (row, history, random) =>
      isHit(row)
        ? valueOf(
            pickOf(
              stores(history, row.key).filter(
                ({ fromNs, value }) => fromNs > row.toNs && !value.equals(row.reply.value),
              ),
              random,
            ),
          )
        : undefined,
  },
  "another key's value": {
    isSure: true,
    change: (row, history, random) => {
      if (!isHit(row)) return undefined;
      // What this key never had, and could not come to have by what was appended or counted.
      const foreign = others(history, row).filter(
        (one) =>
          isHit(one) && one.reply.value.length > 24 && /[a-z]/.test(one.reply.value.toString('latin1')),
      );
      const own = history.byKey.get(row.key)!;
      const value = pickOf(foreign, random)?.reply.value;
      return value === undefined ||
        own.some((one) => one.value.equals(value) || one.reply.value.equals(value))
        ? undefined
        : { value };
    },
  },
  'the value cut short': {
    isSure: true,
    change: (row, { byKey }, random) => {
      if (!isHit(row) || row.reply.value.length < 30) return undefined;
      const value = row.reply.value.subarray(0, 24 + random.int(row.reply.value.length - 24));
      return byKey.get(row.key)!.some((one) => one.value.equals(value)) ? undefined : { value };
    },
  },
  'the value empty': {
    isSure: false,
    change: (row) => (isHit(row) && row.reply.value.length > 0 ? { value: empty } : undefined),
  },
  'flags that nobody stored': {
    isSure: true,
    change: (row) => (isHit(row) ? { extras: word(0x5a5a_5a5a) } : undefined),
  },
  'flags of another version': {
    isSure: false,
    change: (row, history, random) => {
      if (!isHit(row)) return undefined;
      const now = row.reply.extras.readUInt32BE(0);
      const other = pickOf(
        stores(history, row.key).filter(({ flags }) => flags !== now),
        random,
      );
      return other === undefined ? undefined : { extras: word(other.flags) };
    },
  },
  'a CAS id that nobody has': {
    isSure: false,
    change: (row) => (isHit(row) && row.reply.cas > 0 ? { cas: row.reply.cas + 1_000_000 } : undefined),
  },
  'the CAS id 0': {
    isSure: true,
    // Where the recorded server told one.
    change: (row, { batch }) =>
      isHit(row) && row.reply.cas > 0 && batch.status[row.n] === Status.ok && batch.answerCasLow[row.n]! > 0
        ? { cas: 0 }
        : undefined,
  },
  'the CAS id of a version before': {
    isSure: false,
    change: (row, { byKey }, random) => {
      if (!isHit(row)) return undefined;
      const before = byKey
        .get(row.key)!
        .filter(({ toNs, reply }) => toNs < row.fromNs && reply.cas > 0 && reply.cas < row.reply.cas);
      const other = pickOf(before, random);
      return other === undefined ? undefined : { cas: other.reply.cas };
    },
  },
  "another key's CAS id": {
    isSure: false,
    change: (row, history, random) => {
      if (!isHit(row)) return undefined;
      const other = pickOf(
        others(history, row).filter(({ reply }) => reply.cas > 0),
        random,
      );
      return other === undefined ? undefined : { cas: other.reply.cas };
    },
  },
  'a hit made a miss': {
    isSure: false,
    change: (row) => (isHit(row) && !row.quiet ? notFound : undefined),
  },
  'a miss made a hit, an old value': {
    isSure: false,
    change: (row, history, random) => {
      if (!isMiss(row)) return undefined;
      const old = pickOf(
        stores(history, row.key).filter(({ toNs }) => toNs < row.fromNs),
        random,
      );
      return old === undefined ? undefined : hit(row, old.value);
    },
  },
  'a miss made a hit, a value that nobody stored': {
    isSure: true,
    change: (row) => (isMiss(row) ? hit(row, Buffer.from('nobody stored this')) : undefined),
  },
  'a quiet hit left out': {
    isSure: false,
    change: (row) => (isHit(row) && row.quiet ? silent : undefined),
  },
  'a quiet miss answered': {
    isSure: true,
    change: (row) => (isMiss(row) && row.reply.result === Result.silent ? notFound : undefined),
  },
  'a quiet success answered': {
    isSure: true,
    change: (row) => (isStored(row) && row.reply.result === Result.silent ? success : undefined),
  },
  'a quiet error left out': {
    isSure: false,
    change: (row) =>
      !isRead(row) && row.quiet && isLoud(row) && row.reply.status !== Status.ok ? silent : undefined,
  },
  'DELETE: ok made not found': {
    isSure: false,
    change: (row) =>
      row.family === 'delete' && isLoud(row) && row.reply.status === Status.ok ? notFound : undefined,
  },
  'DELETE: not found made ok': {
    isSure: false,
    change: (row) =>
      row.family === 'delete' && isLoud(row) && row.reply.status === Status.notFound ? success : undefined,
  },
  'ADD: ok made exists': {
    isSure: false,
    change: (row) => (row.family === 'add' && isStored(row) && isLoud(row) ? exists : undefined),
  },
  'ADD: exists made ok': {
    isSure: false,
    change: (row) =>
      row.family === 'add' && !row.hasCas && isLoud(row) && row.reply.status === Status.exists
        ? success
        : undefined,
  },
  'REPLACE: ok made not found': {
    isSure: false,
    change: (row) => (row.family === 'replace' && isStored(row) && isLoud(row) ? notFound : undefined),
  },
  'REPLACE: not found made ok': {
    isSure: false,
    change: (row) =>
      row.family === 'replace' && isLoud(row) && row.reply.status === Status.notFound ? success : undefined,
  },
  'a counter one too high': {
    isSure: false,
    change: (row) => (isCounted(row) ? { value: long(row.reply.value.readBigUInt64BE(0) + 1n) } : undefined),
  },
  'a counter one too high, read right after': {
    isSure: true,
    change: (row, { byKey }) => {
      if (!isCounted(row)) return undefined;
      const own = byKey.get(row.key)!;
      const changes = own.filter((one) => one !== row && one.family !== 'get' && one.toNs > row.fromNs);
      const next = changes.reduce((least, one) => Math.min(least, one.fromNs), Infinity);
      const isRead = own.some((one) => isHit(one) && one.fromNs > row.toNs && one.toNs < next);
      return isRead && next > row.toNs ? { value: long(row.reply.value.readBigUInt64BE(0) + 1n) } : undefined;
    },
  },
  "a counter's result of before": {
    isSure: false,
    change: (row, { byKey }) => {
      if (!isCounted(row)) return undefined;
      const before = byKey.get(row.key)!.findLast((one) => isCounted(one) && one.toNs < row.fromNs);
      return before === undefined || before.reply.value.equals(row.reply.value)
        ? undefined
        : { value: before.reply.value };
    },
  },
  'a counter that is no number': {
    isSure: false,
    change: (row) =>
      isCounted(row) ? error(Status.nonNumeric, 'Non-numeric server-side value for incr or decr') : undefined,
  },
  'CAS: ok made exists': {
    isSure: false,
    change: (row) => (row.hasCas && isStored(row) && isLoud(row) ? exists : undefined),
  },
  'CAS: exists made ok': {
    isSure: false,
    change: (row) =>
      row.hasCas && isStore(row) && isLoud(row) && row.reply.status === Status.exists ? success : undefined,
  },
  'SET: ok made too large': {
    isSure: false,
    change: (row) =>
      row.family === 'set' && isStored(row) && isLoud(row) ? error(Status.tooLarge, 'Too large.') : undefined,
  },
  'TOUCH: flags that nobody stored': {
    isSure: true,
    change: (row) =>
      row.family === 'touch' && row.reply.status === Status.ok ? { extras: word(0x5a5a_5a5a) } : undefined,
  },
  "another key's name": {
    isSure: true,
    change: (row, history, random) =>
      isHit(row) && row.reply.key.length > 0
        ? { key: Buffer.from(random.pick(others(history, row)).key, 'latin1') }
        : undefined,
  },
  'the name left out': {
    isSure: true,
    change: (row) => (isHit(row) && row.reply.key.length > 0 ? { key: empty } : undefined),
  },
  'a status that there is not': {
    isSure: true,
    change: (row) => (isLoud(row) ? error(0x77, 'Nonsense') : undefined),
  },
  'no answer at all': {
    isSure: true,
    change: (row) => (row.quiet ? undefined : { ...silent, result: Result.unanswered }),
  },
};

/** Puts the answer in place of the row's, and gives back what puts the old one there again. */
function put({ results, batch }: History, { n, reply }: Row, change: Partial<Reply>): () => void {
  const { heapLength } = results;
  const columns = [
    'result',
    'agrees',
    'frames',
    'status',
    'casHigh',
    'casLow',
    'extrasAt',
    'extrasLength',
    'keyAt',
    'keyLength',
    'valueAt',
    'valueLength',
  ] as const;
  const before = columns.map((name) => results[name][n]!);
  const next = { ...reply, ...change };
  const place = (bytes: Buffer): number => {
    const at = results.allocate(bytes.length);
    bytes.copy(results.heap, at);
    return at;
  };
  results.result[n] = next.result;
  results.frames[n] = next.result === Result.answered ? 1 : 0;
  results.status[n] = next.result === Result.answered ? next.status : 0;
  results.casHigh[n] = Math.floor(next.cas / 2 ** 32);
  results.casLow[n] = next.cas % 2 ** 32;
  results.extrasAt[n] = place(next.extras);
  results.extrasLength[n] = next.extras.length;
  results.keyAt[n] = place(next.key);
  results.keyLength[n] = next.key.length;
  results.valueAt[n] = place(next.value);
  results.valueLength[n] = next.value.length;
  const recorded = recordedAnswer(batch, n);
  results.agrees[n] =
    next.result === Result.answered &&
    recorded !== undefined &&
    !recorded.silent &&
    recorded.status === next.status &&
    recorded.extras.equals(next.extras) &&
    recorded.key.equals(next.key) &&
    recorded.value.equals(next.value)
      ? 1
      : 0;
  return () => {
    for (const [at, name] of columns.entries()) results[name][n] = before[at]!;
    results.heapLength = heapLength;
  };
}

/** @returns kinds of violations; and of all else */
async function judge({
  trace,
  reader,
  results,
  survey,
}: History): Promise<{ found: string; undecided: number }> {
  // The results as they stand in memory now.
  const seen = {
    meta: reader.meta,
    end: reader.end,
    exchangeCount: reader.exchangeCount,
    batches: async function* () {
      yield results;
    },
  } as unknown as ResultsReader;
  const { counts } = await diff(trace, seen, { survey, examples: 1 });
  return {
    found: Object.keys(counts.violation).join(', '),
    undecided: (counts.untestable['undecided'] ?? 0) + (counts.untestable['unproven'] ?? 0),
  };
}

const explanations = ['loss', 'no room', 'expiry', 'another order', 'cut short', 'none'] as const;
type Explained = (typeof explanations)[number];

/** What the order needs that explains the answers on the key. */
function explained({ batch, results, reader }: History, key: string): Explained {
  const { meta } = reader;
  const operations = new Operations({
    speed: meta.speed === 'max' ? 1 : meta.speed,
    recordedAtSeconds: Date.now() / 1000,
  });
  for (let row = 0; row < batch.count; row++) {
    if (batch.key(row).toString('latin1') !== key || results.result[row] === Result.skipped) continue;
    const seen = glance(batch, row, results, row);
    if (seen === 'match' && results.result[row] === Result.answered) continue;
    operations.add(0, batch, row, results, row, isSound(seen), seen === 'suspect', false);
  }
  const { operations: all } = operations.of(0, '0 0', 'recording');
  const about = circumstancesOf({ hidesValues: false, hidesNumbers: false }, operations, all, {
    isShort: false,
    mayRestart: false,
  });
  const { order, wrong, undecided } = explain(all, neverThere, about);
  if (wrong.length > 0) return 'none';
  if (undecided.length > 0) return 'cut short';
  const steps = new Set(order.map(({ step }) => step));
  if (steps.has(Step.evicted)) return 'loss';
  if (steps.has(Step.noRoom)) return 'no room';
  return steps.has(Step.expired) ? 'expiry' : 'another order';
}

interface Tally {
  tried: number;
  found: number;
  kinds: Map<string, number>;
  legal: Map<Explained, number>;
}

const tallies = new Map<string, Tally>();
for (const name of Object.keys(operators))
  tallies.set(name, { tried: 0, found: 0, kinds: new Map(), legal: new Map() });
let histories = 0;
let exchanges = 0;
let failed = 0;

async function mutate(history: History, name: string, random: Random): Promise<void> {
  const tally = tallies.get(name)!;
  const { isSure, change } = operators[name]!;
  for (let tries = 0, looks = 0; tries < TRIES_PER_HISTORY && looks < 300 && tally.tried < TRIES; looks++) {
    const row = random.pick(history.rows);
    const next = change(row, history, random);
    if (next === undefined) continue;
    tries++;
    tally.tried++;
    const restore = put(history, row, next);
    const { found } = await judge(history);
    if (found !== '') {
      tally.found++;
      tally.kinds.set(found, (tally.kinds.get(found) ?? 0) + 1);
    } else {
      const how = explained(history, row.key);
      tally.legal.set(how, (tally.legal.get(how) ?? 0) + 1);
      // The judge let pass what the oracle refuses, or what nothing can explain.
      if (how === 'none' || isSure) {
        failed++;
        process.stdout.write(
          `missed: ${name}: history ${histories}, exchange ${row.n}, ${opcodeInfo(row.opcode)!.name} ${row.key.slice(0, 20)}: ${JSON.stringify(next)} in place of ${JSON.stringify(row.reply)} (${how})\n`,
        );
      }
    }
    restore();
  }
}

const list = (counts: ReadonlyMap<string, number>): string =>
  [...counts]
    .toSorted((a, b) => b[1] - a[1])
    .slice(0, 4)
    .map(([kind, count]) => `${kind} ${count}`)
    .join('; ') || '–';

try {
  const most = Math.ceil(TRIES / TRIES_PER_HISTORY) * 3;
  for (let n = 0; n < most && [...tallies.values()].some(({ tried }) => tried < TRIES); n++) {
    const history = await historyOf(SEED * 1000 + n);
    if (history === undefined) continue;
    histories++;
    exchanges += history.batch.count;
    const random = new Random(SEED, n);
    for (const name of Object.keys(operators)) await mutate(history, name, random);
    await history.trace.close();
    await history.reader.close();
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.stdout.write(
  '| one answer changed | tried | found | as | legal, and what explains it |\n|---|---|---|---|---|\n',
);
for (const [name, { tried, found, kinds, legal }] of tallies)
  process.stdout.write(
    `| ${name}${operators[name]!.isSure ? ' *' : ''} | ${tried} | ${found} | ${list(kinds)} | ${list(legal)} |\n`,
  );
const tried = [...tallies.values()].reduce((sum, one) => sum + one.tried, 0);
process.stdout.write(
  `${histories} histories of ${exchanges} exchanges, ${tried} changes: ${failed} missed\n`,
);
process.exitCode = failed === 0 && tried > 0 ? 0 : 1;
