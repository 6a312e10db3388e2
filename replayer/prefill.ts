// Before the first exchange: every target is reached, and the keys that the trace shows to have been present are set.

import { encodeRequest, storeExtras } from '../protocol/frame.ts';
import { ProtocolError } from '../protocol/error.ts';
import { opcodeAt, statusAt } from '../protocol/header.ts';
import { Opcode } from '../protocol/opcode.ts';
import { Status } from '../protocol/status.ts';
import type { PresentKey } from '../trace/survey.ts';
import { Refused, dial } from './dial.ts';
import { ReplayError } from './error.ts';
import type { Credentials, Target } from './target.ts';

/** Bytes under way at most. */
const CHUNK_BYTES = 256 * 1024;

/** What is set, and which other keys are asked for, latin1. */
export interface Prefill {
  keys: readonly PresentKey[];
  others: readonly string[];
}

export interface Prefilled {
  /** Keys that the target would not take. */
  failed: number;
  /** Other keys that it holds. */
  leftover: number;
}

/**
 * Sets the keys on the target and asks it for the others; hears a NOOP in any case.
 * @throws ReplayError UNREACHABLE where it cannot be reached, does not answer in time, or does not speak the protocol;
 *   AUTH where it refuses the credentials, or asks for some
 */
export async function prefill(
  target: Target,
  credentials: Credentials | undefined,
  { keys, others }: Prefill,
  timeoutMs: number,
): Promise<Prefilled> {
  return new Promise((resolve, reject) => {
    const done: Prefilled = { failed: 0, leftover: 0 };
    const total = keys.length + others.length;
    let next = 0;
    const request = (number: number): Buffer => {
      const present = keys[number];
      if (present === undefined)
        return encodeRequest({
          opcode: Opcode.getq,
          key: Buffer.from(others[number - keys.length]!, 'latin1'),
        });
      const { key, value, flags } = present;
      const extras = storeExtras(flags, 0);
      return encodeRequest({ opcode: Opcode.setq, extras, key: Buffer.from(key, 'latin1'), value });
    };
    const send = (): void => {
      const parts: Buffer[] = [];
      for (let bytes = 0; next < total && bytes < CHUNK_BYTES; next++) {
        const part = request(next);
        bytes += part.length;
        parts.push(part);
      }
      parts.push(encodeRequest({ opcode: Opcode.noop }));
      socket.write(Buffer.concat(parts));
    };
    const { socket, drop, forget } = dial(target, 0, credentials, {
      ready: send,
      response: (data, at) => {
        const opcode = opcodeAt(data, at);
        if (statusAt(data, at) === Status.authFailed) {
          const who =
            credentials === undefined ? 'none were given' : `user ${credentials.user} has no access`;
          return drop(new Refused(`the target asks for credentials, ${who}; see --auth-file`));
        }
        if (opcode === Opcode.getq) done.leftover++;
        else if (opcode === Opcode.setq) done.failed++;
        else if (opcode === Opcode.noop && next < total) send();
        else {
          forget();
          socket.on('error', () => undefined);
          socket.end();
          resolve(done);
        }
      },
      readEnd: () => undefined,
      drained: () => undefined,
      gone: (error) =>
        reject(
          error instanceof Refused
            ? new ReplayError('AUTH', `${target.address}: ${error.message}`, { cause: error })
            : new ReplayError('UNREACHABLE', `cannot reach ${target.address}: ${reasonOf(error)}`, {
                cause: error,
              }),
        ),
    });
    socket.setTimeout(timeoutMs, () => drop(new Error(`no answer within ${timeoutMs} ms`)));
  });
}

/** Why a target was not there, in words. */
export function reasonOf(error: NodeJS.ErrnoException | undefined): string {
  if (error === undefined) return 'it closed the connection';
  if (error instanceof ProtocolError)
    return `it does not answer in the memcached binary protocol (${error.message})`;
  if (error.code === 'ECONNREFUSED') return 'connection refused; is the server running?';
  if (error.code === 'ENOENT') return 'no such socket; is the server running?';
  return error.message;
}
