// The error of the conversions: an input that is not what its format says, or that another format cannot hold.

export type ConvertErrorCode =
  /** The input breaks the rules of its format. */
  | 'MALFORMED'
  /** Traces that one trace cannot hold together. */
  | 'DISAGREE'
  /** What the output's format has no room for. */
  | 'UNSUPPORTED'
  /** The operating system would not take the bytes. */
  | 'WRITE';

export class ConvertError extends Error {
  override readonly name = 'ConvertError';
  readonly code: ConvertErrorCode;

  constructor(code: ConvertErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
