// One recording under way: the pairing, and the trace file behind it, whatever the source of the bytes. The file comes
// into being with the first exchange, so that a source without memcached traffic leaves none.

import { setImmediate } from 'node:timers/promises';
import type { Batch } from '../trace/batch.ts';
import { sampled } from '../trace/sample.ts';
import { emptyCapture, type Capture, type TraceMeta } from '../trace/meta.ts';
import { version } from '../trace/version.ts';
import { Mask, type PrivacyOptions } from './mask.ts';
import { Exchanges, type Remark } from './exchanges.ts';
import { Ring, type RingOptions } from './ring.ts';
import { Tapes, type Counted, type Rotation } from './tapes.ts';
import { Window, type WindowLimits } from './window.ts';

export interface Recorded {
  exchanges: number;
  connections: number;
  /** Bytes of the traces; 0: there was nothing to record, and there is no file. */
  fileBytes: number;
  /** The traces written, in order. */
  files: readonly string[];
  capture: Capture;
  /** What there is to say of the source. */
  notes: readonly string[];
  /** Connections that are not binary, or were given up; the first hundred. */
  remarks: readonly Remark[];
}

export type RecordingMeta = Pick<TraceMeta, 'startNs' | 'source' | 'ports'>;

export interface RecordingOptions {
  limits?: Partial<WindowLimits>;
  /** One key in so many is kept, by its hash, with its whole history; exchanges without a key are all kept. */
  sample?: number;
  /** Default: everything as it is. */
  privacy?: PrivacyOptions;
  /** One file after the other. */
  rotate?: Rotation;
  /** Only the last stretch is kept, and written when asked for, and at the end. */
  ring?: RingOptions;
  /** Whether a file that is there may be replaced. Default: it may. */
  overwrite?: boolean;
  /** A burst of errors had the ring written. */
  onRing?: (path: string) => void;
}

export class Recording {
  readonly capture = emptyCapture();
  readonly exchanges: Exchanges;
  /** Set before the first settle. */
  meta: RecordingMeta = { startNs: '0', source: '', ports: [] };
  /** What there is to say of the source: it stands at the end of the traces. */
  notes: string[] = [];
  readonly #window: Window;
  readonly #sample: number;
  readonly #mask: Mask;
  readonly #tapes: Tapes | Ring;
  readonly #ring: Ring | undefined;
  #written = 0;
  #turn: Promise<unknown> = Promise.resolve();
  #trouble: Error | undefined;

  /** @throws RecorderError BAD_OUTPUT where nothing can be written there */
  constructor(path: string, options: RecordingOptions = {}) {
    const { limits, sample = 1, privacy = { values: 'full' }, rotate, ring, onRing } = options;
    const { overwrite = true } = options;
    this.#sample = sample;
    this.#mask = new Mask(privacy);
    this.#window = new Window((batch) => this.#append(batch), limits, true);
    this.exchanges = new Exchanges(this.#window, this.capture);
    const meta = (): TraceMeta => this.#traceMeta();
    const counted = (): Counted => ({
      capture: this.capture,
      casRequests: this.#window.casRequests,
      ...(this.notes.length === 0 ? {} : { notes: this.notes }),
    });
    this.#ring = ring === undefined ? undefined : new Ring(path, ring, meta, counted, overwrite);
    this.#tapes = this.#ring ?? new Tapes(path, rotate, meta, counted, overwrite);
    if (this.#ring !== undefined)
      this.#ring.onTrigger = () => {
        this.writeRing().then(
          (written) => written !== undefined && onRing?.(written),
          (error: unknown) => (this.#trouble = error as Error),
        );
      };
  }

  /** Exchanges seen so far, those included that still wait for an answer. */
  get seen(): number {
    return this.#window.emitted + this.#window.waiting;
  }

  get bytesWritten(): number {
    return this.#tapes.bytesWritten;
  }

  /** Hands on what is complete, once there is a block of it. `ns`: the source's time. @throws TraceError WRITE */
  settle(ns: number): Promise<void> {
    return this.#inTurn(async () => {
      await this.#ring?.tick(ns);
      if (this.#tapes.isDue(ns)) {
        this.#window.flush();
        await this.#handOn();
        await this.#tapes.next();
      }
      if (!(await this.#ready())) return;
      this.#window.settle(ns);
      await this.#handOn();
    });
  }

  /** Everything complete is in the file. @throws TraceError WRITE */
  flush(): Promise<void> {
    return this.#inTurn(async () => {
      if (!(await this.#ready())) return;
      this.#window.flush();
      await this.#handOn();
      await this.#tapes.flush();
    });
  }

  /** Writes the ring as it is now; its path, undefined where it is empty or there is none. @throws TraceError */
  async writeRing(): Promise<string | undefined> {
    await this.#inTurn(async () => {
      if (!(await this.#ready())) return;
      this.#window.flush();
      await this.#handOn();
      await this.#tapes.next();
    });
    return this.#ring?.write(false);
  }

  /** The source is over, and its streams have ended. @throws TraceError WRITE */
  finish(): Promise<Recorded> {
    return this.#inTurn(async () => {
      if (await this.#ready()) this.#window.finish();
      await this.#handOn();
      // Rows were reserved for requests of which none came to its end: then there is no file.
      await this.#tapes.next();
      let fileBytes = this.#written === 0 ? 0 : this.bytesWritten;
      const files = [...this.#tapes.files];
      if (this.#ring !== undefined) {
        const last = await this.#ring.write(true);
        if (last !== undefined) files.push(last);
        fileBytes = Math.min(fileBytes, this.bytesWritten);
        await this.#ring.remove();
      }
      this.#tapes.close();
      return {
        exchanges: this.#written,
        connections: this.#window.connections,
        fileBytes,
        files,
        capture: this.capture,
        notes: this.notes,
        remarks: this.exchanges.remarks,
      };
    });
  }

  /** Gives up: the file is readable up to its last block. */
  async abort(): Promise<void> {
    await this.#tapes.abort();
  }

  /** Batch by batch: while one is encoded, a proxy's clients wait, and between two of them they do not. */
  async #handOn(): Promise<void> {
    while (this.#window.handOnNext()) {
      await this.#tapes.drained();
      await setImmediate();
    }
    await this.#tapes.drained();
  }

  #append(batch: Batch): void {
    const kept = this.#sample === 1 ? batch : sampled(batch, this.#sample);
    this.#written += kept.count;
    this.#mask.apply(kept);
    this.#tapes.append(kept);
  }

  /** There is a file, or something to make one for. */
  async #ready(): Promise<boolean> {
    if (this.#trouble !== undefined) throw this.#trouble;
    if (this.#window.waiting === 0 && this.#tapes.bytesWritten === 0) return false;
    await this.#tapes.ready(() => this.#window.begin());
    return true;
  }

  /** One step after the other: a file that is being finished takes no rows. */
  #inTurn<T>(step: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(step);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  #traceMeta(): TraceMeta {
    return {
      format: 'memtape/1',
      writer: `memtape ${version}`,
      ...this.meta,
      privacy: this.#mask.privacy,
    };
  }
}
