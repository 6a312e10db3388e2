// The slab: requests are put together in one piece of memory, and leave in one write.

import { HEADER_BYTES, Magic, putHeader, putUint32, uint32 } from '../protocol/header.ts';
import { Opcode } from '../protocol/opcode.ts';
import { expiryOffset } from '../protocol/expiry.ts';
import { tokenOf } from '../trace/token.ts';
import type { Course } from './course.ts';
import { replayedExpiry } from './expiry.ts';
import type { Page } from './page.ts';
import type { Session } from './session.ts';
import { itemOf } from './tokens.ts';

const SLAB_BYTES = 256 * 1024;

export class Slab {
  readonly #course: Course;
  /** Unix time of the trace's start. */
  readonly #recordedAtSeconds: number;
  #bytes = Buffer.allocUnsafeSlow(SLAB_BYTES);
  #length = 0;

  constructor(course: Course, recordedAtSeconds: number) {
    this.#course = course;
    this.#recordedAtSeconds = recordedAtSeconds;
  }

  /** Adds the row's request; false where its CAS token has no counterpart on the target. */
  request(session: Session, page: Page, row: number): boolean {
    const { batch } = page;
    const opcode = batch.opcode[row]!;
    let casHigh = batch.casHigh[row]!;
    let casLow = batch.casLow[row]!;
    if ((casHigh | casLow) !== 0) {
      const item = itemOf(batch, row, session.connection.space);
      const token = session.tokens.find(tokenOf(casHigh, casLow), item);
      if (token === undefined) return false;
      casHigh = token.high;
      casLow = token.low;
    }
    const extrasLength = batch.extrasLength[row]!;
    const keyLength = batch.keyLength[row]!;
    const valueLength = batch.valueLength[row]!;
    this.#need(session, HEADER_BYTES + extrasLength + keyLength + valueLength);
    const to = this.#bytes;
    session.opaque = (session.opaque + 1) >>> 0;
    let at = putHeader(
      to,
      this.#length,
      Magic.request,
      opcode,
      extrasLength,
      keyLength,
      valueLength,
      batch.vbucket[row]!,
      session.opaque,
      casHigh,
      casLow,
    );
    copy(batch.heap, batch.extrasAt[row]!, to, at, extrasLength);
    const expiry = expiryOffset[opcode]!;
    if (expiry >= 0 && expiry + 4 <= extrasLength)
      this.#rewriteExpiry(to, at + expiry, batch.requestNs[row]!);
    at += extrasLength;
    copy(batch.heap, batch.keyAt[row]!, to, at, keyLength);
    at += keyLength;
    copy(batch.heap, batch.valueAt[row]!, to, at, valueLength);
    this.#length = at + valueLength;
    return true;
  }

  noop(session: Session): void {
    this.#need(session, HEADER_BYTES);
    session.opaque = (session.opaque + 1) >>> 0;
    this.#length = putHeader(
      this.#bytes,
      this.#length,
      Magic.request,
      Opcode.noop,
      0,
      0,
      0,
      0,
      session.opaque,
      0,
      0,
    );
  }

  /** Writes all but the last bytes, and gives these back. */
  writeBut(session: Session, bytes: number): Buffer {
    const left = Buffer.from(this.#bytes.subarray(this.#length - bytes, this.#length));
    this.#length -= bytes;
    this.write(session);
    return left;
  }

  write(session: Session): void {
    const length = this.#length;
    if (length === 0) return;
    this.#length = 0;
    const { socket } = session;
    if (socket === undefined) return;
    socket.write(length === this.#bytes.length ? this.#bytes : this.#bytes.subarray(0, length));
    // What the kernel took at once is copied; otherwise the bytes must stay as they are until it does.
    if (socket.writableLength > 0 || this.#bytes.length > SLAB_BYTES)
      this.#bytes = Buffer.allocUnsafeSlow(SLAB_BYTES);
  }

  #rewriteExpiry(to: Buffer, at: number, requestNs: number): void {
    const expiry = uint32(to, at);
    if (expiry === 0) return;
    const { schedule, startSeconds, startNs, nowNs } = this.#course;
    const recordedAt = this.#recordedAtSeconds + requestNs / 1e9;
    const now = startSeconds + (nowNs - startNs) / 1e9;
    putUint32(to, at, replayedExpiry(expiry, schedule.speed, recordedAt, now));
  }

  #need(session: Session, bytes: number): void {
    if (this.#length + bytes <= this.#bytes.length) return;
    this.write(session);
    if (bytes > this.#bytes.length) this.#bytes = Buffer.allocUnsafeSlow(bytes);
  }
}

/** Below this a loop is faster than a call into native code. */
const SHORT = 24;

function copy(from: Buffer, at: number, to: Buffer, start: number, length: number): void {
  if (length > SHORT) from.copy(to, start, at, at + length);
  else for (let i = 0; i < length; i++) to[start + i] = from[at + i]!;
}
