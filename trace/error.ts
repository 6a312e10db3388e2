// The error of the file layer: a file that cannot be written, or is not what it claims to be.

export type TraceErrorCode = 'NOT_A_TRACE' | 'VERSION' | 'CHECKSUM' | 'BROKEN' | 'READ' | 'WRITE' | 'SHARDS';

export class TraceError extends Error {
  override readonly name = 'TraceError';
  readonly code: TraceErrorCode;

  constructor(code: TraceErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
