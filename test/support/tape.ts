// Traces for tests: exchanges as a few words each, written to a file and read back.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { storeExtras } from '../../protocol/frame.ts';
import { opcodeNamed } from '../../protocol/opcode.ts';
import { Batch, ConnectionEnd, NEVER, Outcome, type Connection } from '../../trace/batch.ts';
import { TraceWriter } from '../../trace/file.ts';
import { emptyCapture, type ResultsMeta, type TraceMeta } from '../../trace/meta.ts';
import { afterAll } from 'vitest';

export interface ExchangeInit {
  connection?: number;
  op: string;
  key?: string;
  value?: string | Buffer;
  extras?: Buffer;
  cas?: bigint;
  opaque?: number;
  flags?: number;
  /** Microseconds; by default one after the other, an exchange every 100, answered after 50. */
  at?: number;
  answeredAt?: number;
  /** When the request's last byte came; by default with the first. */
  endAt?: number;
  outcome?: Outcome;
  status?: number;
  answer?: string | Buffer;
  answerExtras?: Buffer;
  answerKey?: string;
  answerCas?: bigint;
}

export function connectionOf(id: number, server = '10.0.0.1:11211'): Connection {
  return {
    id,
    client: `10.0.0.9:${40_000 + id}`,
    server,
    tenant: '',
    openNs: 0,
    closeNs: NEVER,
    end: ConnectionEnd.open,
  };
}

/** One batch of these exchanges. */
export function batchOf(exchanges: readonly ExchangeInit[], connections?: Connection[]): Batch {
  const batch = new Batch();
  batch.reserve(exchanges.length);
  batch.count = exchanges.length;
  const put = (data: Buffer | string | undefined): [at: number, length: number] => {
    const bytes = Buffer.from(data ?? '');
    const at = batch.allocate(bytes.length);
    bytes.copy(batch.heap, at);
    return [at, bytes.length];
  };
  const ids = new Set<number>();
  for (const [row, init] of exchanges.entries()) {
    const at = (init.at ?? row * 100) * 1000;
    const opcode = opcodeNamed(init.op);
    if (opcode === undefined) throw new Error(`no opcode ${init.op}`);
    const isRead = /^g[ea]t/.test(init.op);
    const outcome = init.outcome ?? Outcome.answered;
    const hasAnswer = outcome === Outcome.answered;
    ids.add(init.connection ?? 0);
    batch.connection[row] = init.connection ?? 0;
    batch.opcode[row] = opcode;
    batch.outcome[row] = outcome;
    batch.flags[row] = init.flags ?? 0;
    batch.opaque[row] = init.opaque ?? row;
    batch.requestNs[row] = at;
    batch.requestEndNs[row] = init.endAt === undefined ? at : init.endAt * 1000;
    batch.answerNs[row] =
      hasAnswer || outcome === Outcome.silent ? (init.answeredAt ?? at / 1000 + 50) * 1000 : NEVER;
    const cas = init.cas ?? 0n;
    batch.casHigh[row] = Number(cas >> 32n);
    batch.casLow[row] = Number(cas & 0xffffffffn);
    const stores = /^(set|add|replace)q?$/.test(init.op);
    [batch.extrasAt[row], batch.extrasLength[row]] = put(init.extras ?? (stores ? storeExtras(0, 0) : ''));
    [batch.keyAt[row], batch.keyLength[row]] = put(init.key);
    [batch.valueAt[row], batch.valueLength[row]] = put(init.value);
    batch.datatype[row] = 0;
    batch.vbucket[row] = 0;
    batch.frames[row] = hasAnswer ? 1 : 0;
    batch.status[row] = hasAnswer ? (init.status ?? 0) : 0;
    const answerCas = init.answerCas ?? 0n;
    batch.answerCasHigh[row] = Number(answerCas >> 32n);
    batch.answerCasLow[row] = Number(answerCas & 0xffffffffn);
    const isHit = hasAnswer && isRead && (init.status ?? 0) === 0;
    [batch.answerExtrasAt[row], batch.answerExtrasLength[row]] = put(
      init.answerExtras ?? (isHit ? Buffer.alloc(4) : ''),
    );
    [batch.answerKeyAt[row], batch.answerKeyLength[row]] = put(init.answerKey);
    [batch.answerValueAt[row], batch.answerValueLength[row]] = put(hasAnswer ? init.answer : '');
  }
  batch.connections = connections ?? [...ids].map((id) => connectionOf(id));
  return batch;
}

export const testMeta: TraceMeta = {
  format: 'memtape/1',
  writer: 'memtape test',
  startNs: '1700000000000000000',
  source: 'test',
  ports: [11_211],
  privacy: { values: 'full', keys: 'clear' },
};

/** Writes a trace of these batches. */
/** What results say of a replay, where it matters to nobody. */
export const testResultsMeta: ResultsMeta = {
  format: 'memtape-results/1',
  writer: 'test',
  trace: 'none',
  startTime: new Date(0).toISOString(),
  speed: 1,
  order: 'key',
  route: 'single',
  prefill: 'none',
  targets: ['a:1'],
  timeoutMs: 1,
};

export async function writeTape(path: string, batches: readonly Batch[]): Promise<void> {
  const writer = await TraceWriter.create(path, testMeta);
  for (const batch of batches) writer.append(batch);
  await writer.finish({ capture: emptyCapture(), casRequests: 0 });
}

const folders: string[] = [];

/** A path in a folder of this test's own, which goes with the file's last test: others may run at the same time. */
export function temporary(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'memtape-test-'));
  folders.push(folder);
  return join(folder, name);
}

afterAll(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

const made = new Map<string, Buffer>();

/** A new path with what `make` wrote to it when it was first asked for by this name, for files that several tests begin with. */
export async function madeOnce(name: string, make: (path: string) => Promise<unknown>): Promise<string> {
  const path = temporary('made.tape');
  const bytes = made.get(name);
  if (bytes !== undefined) writeFileSync(path, bytes);
  else {
    await make(path);
    made.set(name, readFileSync(path));
  }
  return path;
}
