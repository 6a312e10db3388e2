// The error of the command line: a sentence for the person who typed the command, and the exit code that it means.

/** The run went wrong in a way that was not foreseen: it was aborted, which is no verdict on a target. */
export const DEFECT = 5;

/** Exit codes: 2 bad usage, configuration or input; the others are listed in the README. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly exitCode: number;

  constructor(message: string, exitCode: number, options?: ErrorOptions) {
    super(message, options);
    this.exitCode = exitCode;
  }
}

/** The command did its work and printed its result; the result is this exit code. */
export class Verdict extends Error {
  override readonly name = 'Verdict';
  readonly exitCode: number;

  constructor(exitCode: number) {
    super(`exit code ${exitCode}`);
    this.exitCode = exitCode;
  }
}
