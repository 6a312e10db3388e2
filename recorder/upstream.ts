// Connections of the recording proxy to its servers that fail: counted in the recording, and told, but not for each of them.

import type { Capture } from '../trace/meta.ts';

/** A server's failures are told at once, and then this often. */
const TELL_EVERY_MS = 10_000;

interface Told {
  atMs: number;
  /** Since then, without being told. */
  untold: number;
}

export class UpstreamFailures {
  readonly #capture: Capture;
  readonly #tell: ((text: string) => void) | undefined;
  readonly #told = new Map<string, Told>();

  constructor(capture: Capture, tell: ((text: string) => void) | undefined) {
    this.#capture = capture;
    this.#tell = tell;
  }

  /** A connection to the server has failed. @param wasConnected before it did */
  note(server: string, error: NodeJS.ErrnoException, wasConnected: boolean): void {
    const { code = '' } = error;
    if (code === 'ECONNREFUSED') this.#capture.upstreamRefused++;
    else if (wasConnected && (code === 'ECONNRESET' || code === 'EPIPE')) this.#capture.upstreamReset++;
    else this.#capture.upstreamFailed++;
    const nowMs = performance.now();
    const name = `${server} ${code}`;
    const told = this.#told.get(name);
    if (told !== undefined && nowMs - told.atMs < TELL_EVERY_MS) {
      told.untold++;
      return;
    }
    const more = told === undefined || told.untold === 0 ? '' : `, and ${told.untold} times before`;
    this.#told.set(name, { atMs: nowMs, untold: 0 });
    this.#tell?.(`the server ${server} ${reasonOf(error, wasConnected)}${more}`);
  }
}

function reasonOf(error: NodeJS.ErrnoException, wasConnected: boolean): string {
  const { code = '' } = error;
  if (code === 'ECONNREFUSED') return 'refused the connection; is it running?';
  if (wasConnected && (code === 'ECONNRESET' || code === 'EPIPE')) return 'reset a connection';
  if (/^(ERR_TLS|ERR_SSL|CERT_|UNABLE_|SELF_SIGNED|DEPTH_ZERO|HOSTNAME)/.test(code))
    return `failed the TLS handshake: ${error.message}`;
  return `cannot be reached: ${error.message}`;
}
