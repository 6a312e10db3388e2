// What a recorder tells of a capture that lacks packets, against what it tells of the whole one: every exchange must be as
// it truly was, or marked as unknown.

import { Exchanges } from '../recorder/exchanges.ts';
import { readCapture } from '../recorder/capture.ts';
import { Window } from '../recorder/window.ts';
import { Readable } from 'node:stream';
import { Random } from '../synth/laws/random.ts';
import { Outcome, RowFlag, outcomeNames, type Batch } from '../trace/batch.ts';
import { emptyCapture } from '../trace/meta.ts';

interface Seen {
  outcome: Outcome;
  /** Base64; of a value that the capture lacks, its length. */
  value: string | number;
  /** Its status and CAS id. */
  head: string;
  answer: string | number;
}

/** The exchanges of a capture, as far as they can be told apart. */
export class Told {
  /** By connection, opcode, opaque and key of the request. */
  readonly exchanges = new Map<string, Seen[]>();
  readonly #ports: string[] = [];
  total = 0;
  /** What became of them is not known. */
  marked = 0;
  /** Exchanges besides, of which the value of the request or of the answer is not known. */
  unknown = 0;
  /** They were read from a file, where derived bytes stand for values that are not known, and no tokens. */
  readonly #areDerived: boolean;

  constructor(areDerived = false) {
    this.#areDerived = areDerived;
  }

  add(batch: Batch): void {
    for (const { id, client } of batch.connections) this.#ports[id] = client;
    for (let row = 0; row < batch.count; row++) {
      const name = [
        this.#ports[batch.connection[row]!],
        batch.opcode[row],
        batch.opaque[row],
        batch.key(row).toString('latin1'),
      ].join(' ');
      const flags = batch.flags[row]!;
      const seen = {
        outcome: batch.outcome[row] as Outcome,
        value: this.#valueOf(batch.value(row), (flags & RowFlag.valueUnknown) !== 0),
        head: `${batch.status[row]} ${batch.answerCas(row)}`,
        answer: this.#valueOf(batch.answerValue(row), (flags & RowFlag.answerUnknown) !== 0),
      };
      const same = this.exchanges.get(name);
      if (same === undefined) this.exchanges.set(name, [seen]);
      else same.push(seen);
      this.total++;
      if (isMarked(seen.outcome)) this.marked++;
      else if (typeof seen.value === 'number' || typeof seen.answer === 'number') this.unknown++;
    }
  }

  /** @param isUnknown a token of the recorder's stands for it (trace/masked.ts), or bytes that a reader has derived */
  #valueOf(value: Buffer, isUnknown: boolean): string | number {
    if (!isUnknown) return value.toString('base64');
    return this.#areDerived ? value.length : value.readUInt32LE(1);
  }
}

function isMarked(outcome: Outcome): boolean {
  return outcome === Outcome.gap || outcome === Outcome.indeterminate;
}

/** The text of an error says nothing that its status does not: where it is cut, it is left out. */
function isTextCut({ head, answer }: Seen): boolean {
  return answer === '' && !head.startsWith('0 ');
}

function agree(seen: string | number, truth: string | number): boolean {
  if (typeof seen === 'string') return seen === truth;
  return seen === (typeof truth === 'string' ? Buffer.from(truth, 'base64').length : truth);
}

/** Exchanges of a capture with losses that are neither as they truly were nor marked, each in a line. */
export function untrue(lossy: Told, whole: Told): string[] {
  const found: string[] = [];
  for (const [name, list] of lossy.exchanges) {
    const truth = whole.exchanges.get(name) ?? [];
    for (const seen of list) {
      const isTrue = truth.some(
        (other) =>
          agree(seen.value, other.value) &&
          (isMarked(seen.outcome) ||
            (other.outcome === seen.outcome &&
              (seen.outcome !== Outcome.answered ||
                (other.head === seen.head && (agree(seen.answer, other.answer) || isTextCut(seen)))))),
      );
      if (!isTrue)
        found.push(
          `${name.slice(0, 100)}: ${outcomeNames[seen.outcome]} ${JSON.stringify(seen).slice(0, 90)}; truly ${JSON.stringify(truth).slice(0, 160)}`,
        );
    }
  }
  return found;
}

/** Records a capture, without a file. @throws RecorderError */
export async function told(pcap: Buffer, port: number): Promise<Told> {
  const all = new Told();
  const window = new Window((batch) => all.add(batch));
  const capture = emptyCapture();
  const exchanges = new Exchanges(window, capture);
  await readCapture(Readable.from([pcap]), {
    ports: [port],
    factory: exchanges,
    capture,
    drained: () => {
      window.settle(exchanges.lastNs);
      return undefined;
    },
  });
  window.finish();
  return all;
}

/** Without this share of the packets. */
export function lose<Packet>(packets: readonly Packet[], share: number, seed: number): Packet[] {
  const random = new Random(seed);
  return packets.filter(() => random.float() >= share);
}
