// Conversations at random, as the pairing sees them: requests and answers of two connections in any order, with any
// opcodes and opaques, cut anywhere, with holes and steps of the clock. A conversation is bytes, so that it can be changed
// as bytes are: each step is one of a few kinds, with three bytes of detail.

import { encodeRequest, encodeResponse, storeExtras } from '../protocol/frame.ts';
import { Opcode } from '../protocol/opcode.ts';
import { Exchanges } from '../recorder/exchanges.ts';
import { Window } from '../recorder/window.ts';
import type { Random } from '../synth/laws/random.ts';
import { NEVER, Outcome, type Batch } from '../trace/batch.ts';
import { emptyCapture } from '../trace/meta.ts';

const STEP_BYTES = 4;
const KINDS = 8;
const common = [
  Opcode.get,
  Opcode.getkq,
  Opcode.set,
  Opcode.setq,
  Opcode.noop,
  Opcode.stat,
  Opcode.quit,
  Opcode.saslAuth,
];

/** A conversation by structure: mostly requests, and answers to them. */
export function randomConversation(random: Random): Buffer {
  const steps = 1 + random.int(200);
  const bytes = Buffer.alloc(1 + steps * STEP_BYTES);
  bytes[0] = random.int(4);
  for (let n = 0; n < steps; n++) {
    const kind = random.chance(0.8) ? random.int(2) : random.int(KINDS);
    const opcode = random.chance(0.9) ? common[random.int(common.length)]! : random.int(256);
    const opaque = random.chance(0.7) ? n & 0x3f : random.int(256);
    bytes.set([kind | (random.int(2) << 3), opcode, opaque, random.int(256)], 1 + n * STEP_BYTES);
  }
  return bytes;
}

function frame(fromClient: boolean, opcode: number, opaque: number, detail: number): Buffer {
  const key = Buffer.alloc(opcode === Opcode.noop ? 0 : detail & 31, 'k');
  const value = Buffer.alloc((detail >> 5) * 3, 'v');
  if (!fromClient) return encodeResponse({ opcode, opaque, value, status: detail % 5 === 0 ? 1 : 0 });
  const isStore = opcode === Opcode.set || opcode === Opcode.setq;
  return encodeRequest({ opcode, opaque, key, value, ...(isStore ? { extras: storeExtras(0, 0) } : {}) });
}

/** @throws Error where rows come out that nobody could read, or something is left behind */
export function holdConversation(input: Buffer): void {
  const seen = { rows: 0, lastNs: 0 };
  const window = new Window((batch) => check(batch, seen), { batchRows: 16, maxRows: 64, maxAgeNs: 1e9 });
  const exchanges = new Exchanges(window, emptyCapture());
  const midstream = input[0] ?? 0;
  const sinks = [0, 1].map((n) =>
    exchanges.open({
      client: `10.0.0.1:${n}`,
      server: '10.0.0.2:11211',
      openNs: -1,
      firstNs: 0,
      midstream: ((midstream >> n) & 1) === 1,
    }),
  );
  let ns = 0;
  let bytes = 0;
  for (let at = 1; at + STEP_BYTES <= input.length; at += STEP_BYTES) {
    const [what, opcode, opaque, detail] = input.subarray(at, at + STEP_BYTES) as unknown as number[];
    const sink = sinks[(what! >> 3) & 1]!;
    const kind = what! % KINDS;
    const fromClient = kind % 2 === 0;
    ns += kind === 6 ? detail! * 1e7 : 1000;
    if (kind < 2 || kind === 4 || kind === 5) {
      const whole = frame(fromClient, opcode!, opaque!, detail!);
      const end = kind < 2 ? whole.length : detail! % (whole.length + 1);
      bytes += end;
      sink.data(fromClient, whole, 0, end, ns);
    } else if (kind < 4) sink.gap(fromClient, detail! > 250 ? Infinity : 1 + detail!, ns, detail! % 7 === 0);
    else if (kind === 6) window.settle(ns);
    else window.flush();
  }
  for (const sink of sinks) sink.end(0, ns);
  window.finish();
  if (exchanges.outstanding !== 0 || exchanges.heldBytes !== 0 || window.waiting !== 0)
    throw new Error(
      `left behind: ${exchanges.outstanding} requests, ${exchanges.heldBytes} bytes, ${window.waiting} rows`,
    );
  if (seen.rows * 24 > bytes + 24 * 2) throw new Error(`${seen.rows} rows out of ${bytes} bytes`);
}

function check(batch: Batch, seen: { rows: number; lastNs: number }): void {
  if (batch.firstIndex !== seen.rows) throw new Error(`row ${batch.firstIndex} behind ${seen.rows} rows`);
  seen.rows += batch.count;
  for (let row = 0; row < batch.count; row++) {
    const requestNs = batch.requestNs[row]!;
    const answerNs = batch.answerNs[row]!;
    const isInOrder = requestNs >= seen.lastNs && batch.requestEndNs[row]! >= requestNs;
    if (!isInOrder || (answerNs !== NEVER && answerNs < requestNs))
      throw new Error(`row ${row}: asked at ${requestNs} behind ${seen.lastNs}, answered at ${answerNs}`);
    seen.lastNs = requestNs;
    if (batch.outcome[row]! > Outcome.gap) throw new Error(`row ${row}: outcome ${batch.outcome[row]}`);
    for (const part of ['extras', 'key', 'value', 'answerExtras', 'answerKey', 'answerValue'] as const)
      if (batch[`${part}At`][row]! + batch[`${part}Length`][row]! > batch.heapLength)
        throw new Error(`row ${row}: its ${part} ends behind the heap`);
  }
}
