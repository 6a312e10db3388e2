// A recording in parts: several sources, of one host that began a new file now and then, or of several hosts. Their packets
// are taken in the order of their times, so that a connection goes on from file to file, in whatever order the files were
// named, and two hosts' captures of one time become one. A source is open from its first packet's time to its end only.
// Where times leave a doubt, what the files show of TCP puts them in their places (placing.ts).

import { statSync } from 'node:fs';
import type { Readable } from 'node:stream';
import type { CaptureOptions, Intake } from './capture.ts';
import { Clock } from './clock.ts';
import { RecorderError } from './error.ts';
import type { LinkReader } from './link.ts';
import { isDoubtful, placesOf } from './placing.ts';
import { Reading, type Slab } from './reading.ts';

/** Sources further apart than a month are put a month apart: a clock was not set. */
const MAX_APART_NS = 30n * 86_400_000_000_000n;

interface Waiting {
  link: LinkReader;
  data: Buffer;
  ns: number;
  wireBytes: number;
}

class Part {
  readonly number: number;
  readonly #source: Readable | string;
  readonly #intake: Intake;
  readonly #signal: AbortSignal | undefined;
  #slabs: AsyncGenerator<Slab> | undefined;
  #reading: Reading | undefined;
  #clock: Clock | undefined;
  #queue: Waiting[] = [];
  #at = 0;
  #isBegun = false;
  /** Time of the first packet, ns since 1970; undefined where there is none, or it is not known before it is read. */
  startNs: bigint | undefined;
  /** What is added to the times of this source's clock. */
  shiftNs = 0;
  /** What is added to them besides, since its clock is wrong. */
  addedNs = 0;

  constructor(number: number, source: Readable | string, intake: Intake, signal: AbortSignal | undefined) {
    this.number = number;
    this.#source = source;
    this.#intake = intake;
    this.#signal = signal;
  }

  get head(): Waiting | undefined {
    return this.#queue[this.#at];
  }

  next(): void {
    this.#at++;
  }

  /** Of a file that can be read more than once. */
  get path(): string | undefined {
    return typeof this.#source === 'string' && statSync(this.#source).isFile() ? this.#source : undefined;
  }

  /** Nothing of it is read twice. */
  get #isPeeking(): boolean {
    return !this.#isBegun && typeof this.#source === 'string';
  }

  /** Looks at the first packets of a file, which is closed again; a pipe is opened, since it cannot be read twice. */
  async peek(): Promise<void> {
    this.#open();
    await this.fill();
    this.startNs = this.#clock!.startNs;
    if (typeof this.#source !== 'string') return;
    await this.#slabs?.return(undefined);
    this.#slabs = undefined;
    this.#queue = [];
  }

  /** Takes its place in the recording. */
  async begin(): Promise<void> {
    this.#isBegun = true;
    if (this.#slabs === undefined && typeof this.#source === 'string') {
      this.#open();
      await this.fill();
    }
    if (this.#reading !== undefined)
      this.#intake.take(this.number, this.#reading, this.#clock!, this.addedNs);
  }

  /** Reads until there is a packet, or the end. */
  async fill(): Promise<void> {
    while (this.head === undefined && this.#slabs !== undefined) {
      this.#queue.length = 0;
      this.#at = 0;
      try {
        const next = await this.#slabs.next();
        if (next.done === true) this.#end();
        else this.#intake.read(next.value, this.#clock!, !this.#isPeeking);
      } catch (error) {
        if (!(error instanceof RecorderError)) throw error;
        this.#slabs = undefined;
        this.#clock!.finish();
        this.#intake.troubles.push({ source: this.number, error });
      }
    }
  }

  #open(): void {
    this.#reading = new Reading(this.#source, this.#signal);
    this.#slabs = this.#reading.slabs();
    this.#clock = new Clock((link, data, ns, wireBytes) => {
      this.#queue.push({ link, data, ns, wireBytes });
    });
  }

  #end(): void {
    this.#slabs = undefined;
    this.#clock!.finish();
    this.#intake.truncated(this.number, this.#reading!.end());
  }
}

/** Reads all sources as one. @throws RecorderError where none can be read */
export async function readInTurn(
  sources: readonly (Readable | string)[],
  intake: Intake,
  options: Pick<CaptureOptions, 'ports' | 'vxlanPorts' | 'signal'>,
): Promise<void> {
  const { signal } = options;
  const parts = sources.map((source, number) => new Part(number, source, intake, signal));
  for (const part of parts) await part.peek();
  const { troubles } = intake;
  if (troubles.length === parts.length && troubles[0] !== undefined) throw troubles[0].error;
  const known = parts.filter(({ startNs }) => startNs !== undefined);
  // What peeking found in a file that has packets will be found again.
  const lasting = troubles.filter(({ source }) => parts[source]!.startNs === undefined);
  troubles.splice(0, troubles.length, ...lasting);
  await correct(known, intake, options);
  const waiting = known.toSorted((a, b) => Number(beginningOf(a) - beginningOf(b)) || a.number - b.number);
  placed(waiting);
  const open: Part[] = [];
  while (open.length > 0 || waiting.length > 0) {
    let first = earliest(open);
    const next = waiting[0];
    if (next !== undefined && (first === undefined || next.shiftNs <= timeOf(first))) {
      waiting.shift();
      await next.begin();
      if (next.head !== undefined) open.push(next);
      first = earliest(open);
    }
    if (first === undefined) continue;
    const { link, data, ns, wireBytes } = first.head!;
    intake.tell(link, data, ns + first.shiftNs, wireBytes);
    first.next();
    if (first.head !== undefined) continue;
    await intake.pause();
    if (signal?.aborted === true) return;
    await first.fill();
    if (first.head === undefined) open.splice(open.indexOf(first), 1);
  }
}

function timeOf(part: Part): number {
  return part.head!.ns + part.shiftNs;
}

function earliest(open: readonly Part[]): Part | undefined {
  let first: Part | undefined;
  for (const part of open) if (first === undefined || timeOf(part) < timeOf(first)) first = part;
  return first;
}

/** Looks into the files, where their clocks cannot all be right, for what they have of the same connections. */
async function correct(
  parts: readonly Part[],
  intake: Intake,
  options: Pick<CaptureOptions, 'ports' | 'vxlanPorts' | 'signal'>,
): Promise<void> {
  const looked = parts.filter(({ path }) => path !== undefined);
  const files = looked.map(({ path, startNs }) => ({ path: path!, startNs: startNs! }));
  if (files.length < 2 || !(await isDoubtful(files, options))) return;
  const { addedNs, moves } = await placesOf(files, options);
  for (const [n, part] of looked.entries()) part.addedNs = addedNs[n]!;
  for (const { source, other, ...move } of moves)
    intake.moves.push({ ...move, source: looked[source]!.number, other: looked[other]!.number });
}

function beginningOf({ startNs, addedNs }: Part): bigint {
  return startNs! + BigInt(addedNs);
}

/** Says what each one's times count from: the first packet of the first. */
function placed(parts: readonly Part[]): void {
  let shift = 0n;
  let before: bigint | undefined;
  for (const part of parts) {
    const start = beginningOf(part);
    if (before !== undefined) {
      const apart = start - before;
      shift += apart > MAX_APART_NS ? MAX_APART_NS : apart;
    }
    part.shiftNs = Number(shift);
    before = start;
  }
}
