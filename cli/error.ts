// The error of the command line: a sentence for the person who typed the command, and the exit code that it means.

/** Exit codes: 2 bad usage, configuration or input; the others are listed in the README. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly exitCode: number;

  constructor(message: string, exitCode: number, options?: ErrorOptions) {
    super(message, options);
    this.exitCode = exitCode;
  }
}
