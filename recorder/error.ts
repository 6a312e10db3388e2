// The error of the recorder: a source of traffic that cannot be read, or not by this version.

export type RecorderErrorCode =
  /** The file is no capture at all. */
  | 'NOT_A_CAPTURE'
  /** The capture ends before its own opening header does; a later cut is no error. */
  | 'TRUNCATED'
  /** The capture contradicts itself: a record of impossible length. */
  | 'CORRUPT'
  /** A known format, version or link type that is not read here. */
  | 'UNSUPPORTED'
  /** The operating system would not give the bytes. */
  | 'UNREADABLE'
  /** What was recorded cannot be written where it was to be. */
  | 'BAD_OUTPUT'
  /** An option that cannot be meant. */
  | 'BAD_OPTION';

export class RecorderError extends Error {
  override readonly name = 'RecorderError';
  readonly code: RecorderErrorCode;

  constructor(code: RecorderErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
