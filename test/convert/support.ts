// Traces for the tests of conversions: the capture of memjs, and random ones; their exchanges as words.

import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { counterExtras, storeExtras } from '../../protocol/frame.ts';
import { recordCapture } from '../../recorder/record.ts';
import { ConnectionEnd, NEVER, Outcome, type Batch, type Connection } from '../../trace/batch.ts';
import { TraceReader, TraceWriter } from '../../trace/file.ts';
import { emptyCapture, type TraceMeta } from '../../trace/meta.ts';
import { batchOf, madeOnce, temporary, testMeta, type ExchangeInit } from '../support/tape.ts';

/** A healthy server answers by then, however busy the machine is with other tests. */
export const PATIENT_MS = 10_000;

const capture = new URL('../../fixtures/captures/memjs.pcap', import.meta.url).pathname;
export const memjsPort = (
  JSON.parse(readFileSync(capture.replace('.pcap', '.json'), 'utf8')) as { port: number }
).port;

export async function memjsTape(): Promise<string> {
  return madeOnce('memjs', async (output) =>
    recordCapture(capture, { output, ports: [memjsPort], source: 'memjs' }),
  );
}

export async function tapeOf(
  batches: readonly Batch[],
  meta: Partial<TraceMeta> = {},
  name = 'some.tape',
): Promise<string> {
  const path = temporary(name);
  const writer = await TraceWriter.create(path, { ...testMeta, ...meta });
  for (const batch of batches) writer.append(batch);
  await writer.finish({ capture: emptyCapture(), casRequests: 0 });
  return path;
}

export interface Told {
  at: bigint;
  text: string;
}

const hex = (data: Buffer): string => data.toString('hex');

/** Every exchange as text, without its number and its connection's; `at` in ns since 1970. */
export async function exchangesOf(path: string, flags = 0xff): Promise<Told[]> {
  const trace = await TraceReader.open(path);
  const startNs = BigInt(trace.meta.startNs);
  const connections = new Map<number, Connection>();
  const told: Told[] = [];
  const time = (ns: number): bigint => (ns === NEVER ? -1n : startNs + BigInt(ns));
  try {
    for await (const batch of trace.batches()) {
      for (const connection of batch.connections) connections.set(connection.id, connection);
      for (let row = 0; row < batch.count; row++) {
        const { client, server } = connections.get(batch.connection[row]!)!;
        const answered = batch.outcome[row] === Outcome.answered;
        const text = [
          `${client} ${server} op ${batch.opcode[row]} outcome ${batch.outcome[row]} flags ${batch.flags[row]! & flags}`,
          `vbucket ${batch.vbucket[row]} opaque ${batch.opaque[row]} cas ${batch.cas(row)}`,
          `until ${time(batch.requestEndNs[row]!)} answered ${time(batch.answerNs[row]!)}`,
          `${hex(batch.extras(row))} ${hex(batch.key(row))} ${hex(batch.value(row))}`,
          answered ? `status ${batch.status[row]} frames ${batch.frames[row]} ${batch.answerCas(row)}` : '',
          `${hex(batch.answerExtras(row))} ${hex(batch.answerKey(row))} ${hex(batch.answerValue(row))}`,
        ].join(' | ');
        told.push({ at: time(batch.requestNs[row]!), text });
      }
    }
  } finally {
    await trace.close();
  }
  return told;
}

const keys = [
  'a',
  'b',
  'user:1',
  'user:2',
  'x,y',
  '7',
  '18446744073709551615',
  'ü\n\\x41\\',
  'k'.repeat(250),
];
const stores = new Set(['set', 'add', 'replace']);

/** Random exchanges of four connections, each answered before the next one on its connection. */
export const exchanges = fc
  .array(
    fc.record({
      connection: fc.nat(3),
      op: fc.constantFrom(
        'get',
        'getk',
        'set',
        'add',
        'replace',
        'append',
        'delete',
        'incr',
        'noop',
        'touch',
      ),
      key: fc.constantFrom(...keys),
      size: fc.constantFrom(0, 1, 24, 1460, 1461, 5000),
      ttl: fc.constantFrom(0, 60, 2_592_000, 2_592_001, 1_700_005_000, 0xffffffff),
      cas: fc.constantFrom(0n, 0n, 5n),
      status: fc.constantFrom(0, 0, 1),
      gap: fc.nat(900_000),
      outcome: fc.constantFrom(Outcome.answered, Outcome.answered, Outcome.gap),
    }),
    { maxLength: 60 },
  )
  .map((list) => {
    let at = 0;
    return list.map(({ connection, op, key, size, ttl, cas, status, gap, outcome }): ExchangeInit => {
      at += gap + 100;
      const isStore = stores.has(op);
      const value = Buffer.alloc(size, 0x61 + (at % 26));
      const isHit = op.startsWith('get') && status === 0;
      return {
        connection,
        op,
        at,
        outcome,
        status,
        ...(op === 'noop' ? {} : { key }),
        ...(isStore || op === 'append' ? { value } : {}),
        ...(isStore ? { extras: storeExtras(7, ttl), cas } : {}),
        ...(op === 'touch' ? { extras: Buffer.alloc(4) } : {}),
        ...(op === 'incr' ? { extras: counterExtras(1n, 0n, ttl) } : {}),
        ...(outcome === Outcome.answered && isHit ? { answer: value } : {}),
        ...(op === 'getk' && outcome === Outcome.answered ? { answerKey: key } : {}),
        ...(outcome === Outcome.answered ? { answerCas: 9n } : {}),
      };
    });
  });

/** The connections of those exchanges, in order of first sight. */
export function numbered(list: readonly ExchangeInit[]): ExchangeInit[] {
  const ids = new Map<number, number>();
  return list.map((init) => {
    const old = init.connection ?? 0;
    if (!ids.has(old)) ids.set(old, ids.size);
    return { ...init, connection: ids.get(old)! };
  });
}

export function closed(id: number, closeNs: number, end: ConnectionEnd = ConnectionEnd.client): Connection {
  return {
    id,
    client: `10.0.0.9:${40_000 + id}`,
    server: '10.0.0.1:11211',
    tenant: '',
    openNs: 0,
    closeNs,
    end,
  };
}

export { batchOf };
