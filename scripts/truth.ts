// What a recorder tells of a capture that lacks packets, against what it tells of the whole one: every exchange must be as
// it truly was, or marked as unknown.

import { Exchanges } from '../recorder/exchanges.ts';
import { readCapture } from '../recorder/capture.ts';
import { Window } from '../recorder/window.ts';
import { Readable } from 'node:stream';
import { Random } from '../synth/random.ts';
import { Outcome, outcomeNames, type Batch } from '../trace/batch.ts';
import { emptyCapture } from '../trace/meta.ts';

interface Seen {
  outcome: Outcome;
  answer: string;
}

/** The exchanges of a capture, as far as they can be told apart. */
export class Told {
  /** By connection, opcode, opaque, key and value of the request. */
  readonly exchanges = new Map<string, Seen[]>();
  readonly #ports: string[] = [];
  total = 0;
  /** What became of them is not known. */
  marked = 0;

  add(batch: Batch): void {
    for (const { id, client } of batch.connections) this.#ports[id] = client;
    for (let row = 0; row < batch.count; row++) {
      const name = [
        this.#ports[batch.connection[row]!],
        batch.opcode[row],
        batch.opaque[row],
        batch.key(row).toString('latin1'),
        batch.value(row).toString('base64'),
      ].join(' ');
      const outcome = batch.outcome[row] as Outcome;
      const answer = `${batch.status[row]} ${batch.answerCas(row)} ${batch.answerValue(row).toString('base64')}`;
      const same = this.exchanges.get(name);
      if (same === undefined) this.exchanges.set(name, [{ outcome, answer }]);
      else same.push({ outcome, answer });
      this.total++;
      if (isMarked(outcome)) this.marked++;
    }
  }
}

function isMarked(outcome: Outcome): boolean {
  return outcome === Outcome.gap || outcome === Outcome.indeterminate;
}

/** Exchanges of a capture with losses that are neither as they truly were nor marked, each in a line. */
export function untrue(lossy: Told, whole: Told): string[] {
  const found: string[] = [];
  for (const [name, list] of lossy.exchanges) {
    const truth = whole.exchanges.get(name) ?? [];
    for (const { outcome, answer } of list)
      if (
        !isMarked(outcome) &&
        !truth.some(
          (other) => other.outcome === outcome && (outcome !== Outcome.answered || other.answer === answer),
        )
      )
        found.push(
          `${name.slice(0, 100)}: ${outcomeNames[outcome]} ${answer.slice(0, 60)}; truly ${JSON.stringify(truth).slice(0, 160)}`,
        );
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
