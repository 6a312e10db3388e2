// One recording under way: the pairing, and the trace file behind it, whatever the source of the bytes. The file comes
// into being with the first exchange, so that a source without memcached traffic leaves none.

import { unlink } from 'node:fs/promises';
import type { Batch } from '../trace/batch.ts';
import { sampled } from '../trace/sample.ts';
import { TraceWriter } from '../trace/file.ts';
import { emptyCapture, type Capture, type TraceMeta } from '../trace/meta.ts';
import { version } from '../trace/version.ts';
import { Mask, type PrivacyOptions } from './mask.ts';
import { Exchanges, type Remark } from './exchanges.ts';
import { Window, type WindowLimits } from './window.ts';

export interface Recorded {
  exchanges: number;
  connections: number;
  /** Bytes of the trace; 0: there was nothing to record, and there is no file. */
  fileBytes: number;
  capture: Capture;
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
}

export class Recording {
  readonly capture = emptyCapture();
  readonly exchanges: Exchanges;
  /** Set before the first settle. */
  meta: RecordingMeta = { startNs: '0', source: '', ports: [] };
  readonly #path: string;
  readonly #window: Window;
  readonly #sample: number;
  readonly #mask: Mask;
  #writer: TraceWriter | undefined;
  #creating: Promise<TraceWriter> | undefined;
  #written = 0;

  constructor(path: string, { limits, sample = 1, privacy = { values: 'full' } }: RecordingOptions = {}) {
    this.#path = path;
    this.#sample = sample;
    this.#mask = new Mask(privacy);
    this.#window = new Window((batch) => this.#append(batch), limits);
    this.exchanges = new Exchanges(this.#window, this.capture);
  }

  /** Exchanges seen so far, those included that still wait for an answer. */
  get seen(): number {
    return this.#window.emitted + this.#window.waiting;
  }

  get bytesWritten(): number {
    return this.#writer?.bytesWritten ?? 0;
  }

  /** Hands on what is complete, once there is a block of it. `ns`: the source's time. @throws TraceError WRITE */
  async settle(ns: number): Promise<void> {
    if (!(await this.#ready())) return;
    this.#window.settle(ns);
    await this.#writer!.drained();
  }

  /** Everything complete is in the file. @throws TraceError WRITE */
  async flush(): Promise<void> {
    if (!(await this.#ready())) return;
    this.#window.flush();
    await this.#writer!.flush();
  }

  /** The source is over, and its streams have ended. @throws TraceError WRITE */
  async finish(): Promise<Recorded> {
    if (await this.#ready()) {
      this.#window.finish();
      await this.#writer!.finish({ capture: this.capture, casRequests: this.#window.casRequests });
      // Rows were reserved for requests of which none came to its end.
      if (this.#written === 0) await unlink(this.#path);
    }
    return {
      exchanges: this.#written,
      connections: this.#window.connections,
      fileBytes: this.#written === 0 ? 0 : this.bytesWritten,
      capture: this.capture,
      remarks: this.exchanges.remarks,
    };
  }

  /** Gives up: the file is readable up to its last block. */
  async abort(): Promise<void> {
    await this.#writer?.abort();
  }

  #append(batch: Batch): void {
    const kept = this.#sample === 1 ? batch : sampled(batch, this.#sample);
    kept.firstIndex = this.#written;
    this.#written += kept.count;
    this.#mask.apply(kept);
    this.#writer!.append(kept);
  }

  async #ready(): Promise<boolean> {
    if (this.#writer !== undefined) return true;
    if (this.#window.waiting === 0) return false;
    this.#creating ??= TraceWriter.create(this.#path, {
      format: 'memtape/1',
      writer: `memtape ${version}`,
      ...this.meta,
      privacy: this.#mask.privacy,
    });
    this.#writer = await this.#creating;
    return true;
  }
}
