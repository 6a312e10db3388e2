// Files whose steps are done at once, by the thread that asks, where scripts make very many small ones: handing each step to
// a thread of Node's pool and waking up for its end takes longer than the step.

import { closeSync, fstatSync, fsyncSync, openSync, readSync, writeSync } from 'node:fs';
import files from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';

class FileAtOnce {
  readonly fd: number;

  constructor(fd: number) {
    this.fd = fd;
  }

  async write(data: Buffer, at: number, length: number): Promise<{ bytesWritten: number }> {
    return { bytesWritten: writeSync(this.fd, data, at, length) };
  }

  async read(data: Buffer, at: number, length: number, from: number): Promise<{ bytesRead: number }> {
    return { bytesRead: readSync(this.fd, data, at, length, from) };
  }

  async stat(): Promise<ReturnType<typeof fstatSync>> {
    return fstatSync(this.fd);
  }

  async sync(): Promise<void> {
    fsyncSync(this.fd);
  }

  async close(): Promise<void> {
    closeSync(this.fd);
  }
}

async function open(path: string, flags: string, mode?: number): Promise<FileAtOnce> {
  return new FileAtOnce(openSync(path, flags, mode));
}

/** From now on, the files that this thread opens by node:fs/promises are such files. */
export function openAtOnce(): void {
  Object.assign(files, { open });
  syncBuiltinESMExports();
}
