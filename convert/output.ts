// A file that is written from its beginning to its end, through one buffer.

import { open, rm, type FileHandle } from 'node:fs/promises';
import { ConvertError } from './error.ts';

const BUFFER_BYTES = 1024 * 1024;

export class Output {
  readonly path: string;
  readonly #file: FileHandle;
  readonly #bufferBytes: number;
  #buffer: Buffer;
  #used = 0;
  #written = 0;

  private constructor(path: string, file: FileHandle, bufferBytes: number) {
    this.path = path;
    this.#file = file;
    this.#bufferBytes = bufferBytes;
    this.#buffer = Buffer.allocUnsafe(bufferBytes);
  }

  /** @throws ConvertError WRITE */
  static async create(path: string, bufferBytes = BUFFER_BYTES): Promise<Output> {
    try {
      return new Output(path, await open(path, 'w+', 0o600), bufferBytes);
    } catch (cause) {
      throw failed(path, cause);
    }
  }

  get bytes(): number {
    return this.#written + this.#used;
  }

  /** Room for `bytes` bytes, which the caller fills at once, and where in it they begin. */
  room(bytes: number): { data: Buffer; at: number } {
    if (this.#used + bytes > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#used + bytes));
      this.#buffer.copy(larger, 0, 0, this.#used);
      this.#buffer = larger;
    }
    const at = this.#used;
    this.#used += bytes;
    return { data: this.#buffer, at };
  }

  /** Copies the bytes. */
  put(bytes: Uint8Array): void {
    const { data, at } = this.room(bytes.length);
    data.set(bytes, at);
  }

  /** Writes what was put, once it fills the buffer. Callers ask after every few rows. @throws ConvertError WRITE */
  async drained(): Promise<void> {
    if (this.#used >= this.#bufferBytes / 2) await this.flush();
  }

  /** @throws ConvertError WRITE */
  async flush(): Promise<void> {
    await this.write(this.#buffer, this.#used, this.#written);
    this.#written += this.#used;
    this.#used = 0;
    // A large one is not kept.
    if (this.#buffer.length > 4 * this.#bufferBytes) this.#buffer = Buffer.allocUnsafe(this.#bufferBytes);
  }

  /** Overwrites bytes from a place on. @throws ConvertError WRITE */
  async write(data: Buffer, length: number, position: number): Promise<void> {
    try {
      for (let at = 0; at < length;) {
        const { bytesWritten } = await this.#file.write(data, at, length - at, position + at);
        at += bytesWritten;
      }
    } catch (cause) {
      throw failed(this.path, cause);
    }
  }

  /** Reads bytes back that were flushed. */
  async read(data: Buffer, length: number, position: number): Promise<void> {
    for (let at = 0; at < length;) {
      const { bytesRead } = await this.#file.read(data, at, length - at, position + at);
      if (bytesRead === 0) throw failed(this.path, new Error('it became shorter'));
      at += bytesRead;
    }
  }

  /** @throws ConvertError WRITE */
  async finish(): Promise<void> {
    await this.flush();
    await this.#file.close();
  }

  /** Gives up: the file goes. */
  async abort(): Promise<void> {
    await this.#file.close();
    await rm(this.path, { force: true });
  }
}

function failed(path: string, cause: unknown): ConvertError {
  return new ConvertError('WRITE', `cannot write ${path}: ${(cause as Error).message}`, { cause });
}
