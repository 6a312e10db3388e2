// The error of a cluster: a run that cannot begin or go on, and whose doing that is.

/**
 * `USAGE`: what was asked for cannot be · `REDIS`: Redis cannot be reached · `LOST`: it lost what the run had put there ·
 * `WORKERS`: too few came, or one refused · `REFUSED`: a job that is not for this worker
 */
export type ClusterErrorCode = 'USAGE' | 'REDIS' | 'LOST' | 'WORKERS' | 'REFUSED';

export class ClusterError extends Error {
  override readonly name = 'ClusterError';
  readonly code: ClusterErrorCode;

  constructor(code: ClusterErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
