// The error of the protocol layer: bytes on the wire that cannot be what they claim to be.

export type ProtocolErrorCode = 'BAD_MAGIC' | 'BAD_LENGTH' | 'TOO_LARGE' | 'BAD_FIELD';

/** Broken bytes. `offset` counts from the first byte of the stream (or of the frame, where no stream is known). */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
  readonly code: ProtocolErrorCode;
  readonly offset: number;

  constructor(code: ProtocolErrorCode, message: string, offset = 0) {
    super(`${message} (at byte ${offset})`);
    this.code = code;
    this.offset = offset;
  }
}
