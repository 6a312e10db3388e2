// The error of the replay layer: a run that cannot start, or cannot go on.

export type ReplayErrorCode =
  | 'BAD_ADDRESS'
  | 'UNREACHABLE'
  | 'RECORDED_TARGET'
  | 'BAD_ROUTE'
  | 'EMPTY_TRACE'
  | 'BAD_RATE'
  | 'AUTH'
  /** The target does not let itself be emptied. */
  | 'FLUSH';

export class ReplayError extends Error {
  override readonly name = 'ReplayError';
  readonly code: ReplayErrorCode;

  constructor(code: ReplayErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
