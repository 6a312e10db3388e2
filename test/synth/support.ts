// Recorded traces for the tests of scenarios: made of random operations that the embedded store answers, so that every answer
// is right; and the same store asked again by what a scenario makes of them.

import { Store } from '../../embedded/store.ts';
import { counterExtras, expiryExtras, storeExtras } from '../../protocol/frame.ts';
import { uint32 } from '../../protocol/header.ts';
import { isRead, opcodeInfo, opcodeName } from '../../protocol/opcode.ts';
import { Status } from '../../protocol/status.ts';
import { Random } from '../../synth/laws/random.ts';
import { NEVER, Outcome, RowFlag, type Batch, type Connection } from '../../trace/batch.ts';
import { TraceReader } from '../../trace/file.ts';
import { surveyTrace } from '../../trace/survey.ts';
import { tokenOf } from '../../trace/token.ts';
import { batchOf, connectionOf, madeOnce, writeTape, type ExchangeInit } from '../support/tape.ts';

const START_MS = 1_700_000_000_000;

/** An exchange of a trace, copied out of its batch. */
export interface Told {
  line: Connection;
  ns: number;
  answerNs: number;
  op: string;
  outcome: number;
  flags: number;
  key: string;
  value: Buffer;
  extras: Buffer;
  cas: number;
  status: number;
  answer: Buffer;
  answerExtras: Buffer;
  answerKey: string;
  answerCas: number;
}

export async function toldOf(path: string): Promise<Told[]> {
  const trace = await TraceReader.open(path, { values: 'as they stand' });
  const lines = new Map<number, Connection>();
  const told: Told[] = [];
  for await (const batch of trace.batches()) {
    for (const line of batch.connections) lines.set(line.id, line);
    for (let row = 0; row < batch.count; row++) told.push(toldAt(batch, row, lines));
  }
  await trace.close();
  // What was told last of a connection is true of all its exchanges.
  for (const one of told) one.line = lines.get(one.line.id)!;
  return told;
}

function toldAt(batch: Batch, row: number, lines: Map<number, Connection>): Told {
  return {
    line: lines.get(batch.connection[row]!)!,
    ns: batch.requestNs[row]!,
    answerNs: batch.answerNs[row]!,
    op: opcodeName(batch.opcode[row]!),
    outcome: batch.outcome[row]!,
    flags: batch.flags[row]!,
    key: batch.key(row).toString('latin1'),
    value: Buffer.from(batch.value(row)),
    extras: Buffer.from(batch.extras(row)),
    cas: tokenOf(batch.casHigh[row]!, batch.casLow[row]!),
    status: batch.status[row]!,
    answer: Buffer.from(batch.answerValue(row)),
    answerExtras: Buffer.from(batch.answerExtras(row)),
    answerKey: batch.answerKey(row).toString('latin1'),
    answerCas: tokenOf(batch.answerCasHigh[row]!, batch.answerCasLow[row]!),
  };
}

export interface RandomTrace {
  seed: number;
  exchanges: number;
  /** µs from one request to the next. */
  everyMicros?: number;
  keys?: number;
  connections?: number;
  /** A client that misses stores. */
  refills?: boolean;
}

/** A trace of random operations on values, counters and lists, some of them by CAS and some quiet, rightly answered. */
export async function randomTape(options: RandomTrace): Promise<string> {
  return madeOnce(`random ${JSON.stringify(options)}`, async (path) => writeRandom(path, options));
}

async function writeRandom(path: string, options: RandomTrace): Promise<void> {
  const { seed, exchanges, everyMicros = 1000, keys = 12, connections = 5, refills = false } = options;
  const random = new Random(seed);
  let nowMs = START_MS;
  const store = new Store({ clock: () => nowMs });
  const inits: ExchangeInit[] = [];
  const tokens = new Map<string, number>();
  let wanted: string | undefined;
  let who = 0;
  for (let n = 0; n < exchanges; n++) {
    const at = n * everyMicros;
    nowMs = START_MS + at / 1000;
    store.tick();
    if (wanted === undefined) who = random.int(connections);
    const sort = random.pick(['v', 'v', 'v', 'v', 'c', 'l']);
    const key = wanted ?? `${sort}:${random.int(sort === 'v' ? keys : 3)}`;
    const init = wanted === undefined ? randomRequest(random, key, n) : set(key, n);
    wanted = undefined;
    const token = tokens.get(`${who} ${key}`);
    if (init.op === 'set' && token !== undefined && random.chance(0.5)) init.cas = BigInt(token);
    const answer = ask(store, { ...init, cas: Number(init.cas ?? 0n) });
    const isQuiet = init.op.endsWith('q');
    const isOk = answer.status === Status.ok;
    if (init.op === 'get' && isOk) tokens.set(`${who} ${key}`, answer.cas);
    if (init.op === 'get' && !isOk && refills) wanted = key;
    inits.push({
      ...init,
      connection: who,
      at,
      answeredAt: at + 100,
      opaque: n,
      outcome: isQuiet && isOk ? Outcome.silent : Outcome.answered,
      status: answer.status,
      answer: answer.value,
      answerCas: BigInt(isOk ? answer.cas : 0),
      ...(answer.flags === undefined ? {} : { answerExtras: expiryExtras(answer.flags) }),
    });
  }
  const hosts = Array.from({ length: connections }, (_, id) => ({
    ...connectionOf(id),
    client: `10.0.1.${id}:40000`,
  }));
  await writeTape(path, [batchOf(inits, hosts)]);
}

function set(key: string, n: number): ExchangeInit {
  return { op: 'set', key, value: `value ${n} of ${key}`, extras: storeExtras(n % 3, 0) };
}

function randomRequest(random: Random, key: string, n: number): ExchangeInit {
  if (key.startsWith('c')) {
    const delta = counterExtras(BigInt(1 + random.int(9)), 5n, 0);
    return { op: random.pick(['incr', 'incr', 'decr', 'get', 'delete']), key, extras: delta };
  }
  if (key.startsWith('l'))
    return random.chance(0.2)
      ? set(key, n)
      : { op: random.pick(['append', 'prepend', 'get']), key, value: `<${n}>` };
  switch (random.int(10)) {
    case 0:
      return { op: 'delete', key };
    case 1:
      return { ...set(key, n), op: random.pick(['add', 'replace']) };
    case 2:
    case 3:
      return set(key, n);
    case 4:
      return { ...set(key, n), op: 'setq' };
    default:
      return { op: 'get', key };
  }
}

interface Asked {
  op: string;
  key?: string;
  value?: string | Buffer;
  extras?: Buffer;
  cas: number;
}

/** The store's answer. */
function ask(
  store: Store,
  { op, key = '', value = '', extras = Buffer.alloc(0), cas }: Asked,
): { status: number; value: Buffer; flags: number | undefined; cas: number } {
  const data = Buffer.from(value);
  const plain = (status: number): ReturnType<typeof ask> => ({
    status,
    value: Buffer.alloc(0),
    flags: undefined,
    cas: status === Status.ok ? store.cas : 0,
  });
  const name = op.replace(/q$/, '');
  switch (name) {
    case 'get':
    case 'getk': {
      const item = store.get(key);
      if (item === undefined) return plain(Status.notFound);
      return {
        status: Status.ok,
        value: Buffer.from(item.value.subarray(0, item.length)),
        flags: item.flags,
        cas: item.cas,
      };
    }
    case 'set':
    case 'add':
    case 'replace':
      return plain(store.store(name, key, uint32(extras, 0), uint32(extras, 4), cas, data, 0, data.length));
    case 'append':
    case 'prepend':
      return plain(store.concat(name, key, cas, data, 0, data.length));
    case 'delete':
      return { ...plain(store.delete(key, cas)), cas: 0 };
    case 'incr':
    case 'decr': {
      const { 0: delta, 1: initial } = [extras.readBigUInt64BE(0), extras.readBigUInt64BE(8)];
      const status = store.delta(name, key, delta, initial, extras.readUInt32BE(16), cas, store.newBatch());
      const result = Buffer.alloc(8);
      if (status === Status.ok) result.writeBigUInt64BE(store.counter);
      return { ...plain(status), value: status === Status.ok ? result : Buffer.alloc(0) };
    }
    case 'flush':
      store.flush(0);
      return plain(Status.ok);
    default:
      return plain(Status.ok);
  }
}

/**
 * Asks the store what the trace asks, in the order of its answers, and says which answers are not as expected: as the
 * replayer does it, with the store's CAS ids in the place of the trace's.
 */
export async function wronglyExpected(path: string): Promise<string[]> {
  const reader = await TraceReader.open(path);
  const survey = await surveyTrace(reader.batches());
  await reader.close();
  let nowMs = START_MS;
  const store = new Store({ clock: () => nowMs, memoryBytes: 1e9 });
  for (const { key, value, flags } of survey.present)
    store.store('set', key, flags, 0, 0, value, 0, value.length);
  const all = await toldOf(path);
  const order = all
    .map((told, n) => ({ told, n }))
    .toSorted((a, b) => executedAt(a.told) - executedAt(b.told) || a.n - b.n);
  const tokens = new Map<number, number>();
  const wrong: string[] = [];
  for (const { told, n } of order) {
    nowMs = START_MS + told.ns / 1e6;
    store.tick();
    const { op, outcome, key, cas } = told;
    if (outcome === Outcome.conditional) continue;
    const named = cas === 0 ? 0 : tokens.get(cas);
    // A replay does not send what names a version that nobody read.
    if (named === undefined) continue;
    const answer = ask(store, { ...told, cas: named });
    const isReading = isRead[opcodeOf(op)] === 1;
    if (outcome === Outcome.answered && answer.status === Status.ok && told.answerCas !== 0)
      tokens.set(told.answerCas, answer.cas);
    if (outcome === Outcome.indeterminate) continue;
    const expected = outcome === Outcome.silent ? (isReading ? Status.notFound : Status.ok) : told.status;
    const isSame =
      expected === answer.status &&
      (answer.status !== Status.ok ||
        outcome === Outcome.silent ||
        (trimmed(answer.value) === trimmed(told.answer) &&
          (answer.flags === undefined || uint32(told.answerExtras, 0) === answer.flags)));
    if (!isSame)
      wrong.push(
        `${n} at ${told.ns / 1e6} ms: ${op} ${key}: expected ${expected} ${told.answer.toString('latin1')}, got ${answer.status} ${answer.value.toString('latin1')}`,
      );
  }
  return wrong;
}

function executedAt({ ns, answerNs }: Told): number {
  return answerNs === NEVER ? ns : answerNs;
}

function trimmed(value: Buffer): string {
  return value.toString('latin1').replace(/^(\d+) +$/, '$1');
}

const opcodes = new Map(
  Array.from({ length: 256 }, (_, opcode) => [opcodeInfo(opcode)?.name ?? '', opcode] as const),
);
function opcodeOf(op: string): number {
  return opcodes.get(op)!;
}

/** Times never run backwards, connections are told of, segments begin with one that does not join another. */
export function disorder(all: readonly Told[]): string[] {
  const wrong: string[] = [];
  let last = 0;
  const leading = new Map<number, number>();
  for (const [n, { ns, answerNs, flags, line }] of all.entries()) {
    if (ns < last) wrong.push(`${n} is before the one before it`);
    last = ns;
    if (answerNs !== NEVER && answerNs < ns) wrong.push(`${n} is answered before it is asked`);
    if (line.openNs > ns) wrong.push(`${n} is sent before its connection opens`);
    if (line.closeNs !== NEVER && line.closeNs < ns) wrong.push(`${n} is sent after its connection closed`);
    if ((flags & RowFlag.sharesSegment) !== 0 && leading.get(line.id) !== ns)
      wrong.push(`${n} joins a segment that is not there`);
    leading.set(line.id, ns);
  }
  return wrong;
}
