// The error of the library's own functions; what lies under them throws its own.

export type LibraryErrorCode =
  /** The results were made from another trace. */
  | 'OTHER_TRACE'
  /** No model that comes with memtape has this name. */
  | 'UNKNOWN_MODEL';

export class LibraryError extends Error {
  override readonly name = 'LibraryError';
  readonly code: LibraryErrorCode;

  constructor(code: LibraryErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
