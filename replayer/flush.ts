// A target emptied: FLUSH, for whoever asks for it.

import { ProtocolError } from '../protocol/error.ts';
import { encodeRequest } from '../protocol/frame.ts';
import { statusAt } from '../protocol/header.ts';
import { Opcode } from '../protocol/opcode.ts';
import { Status, statusLabel } from '../protocol/status.ts';
import { Deadline } from './deadline.ts';
import { Refused, dial, hangUp } from './dial.ts';
import { ReplayError } from './error.ts';
import { reasonOf } from './prefill.ts';
import type { Credentials, Target } from './target.ts';

/**
 * Resolves once the target has answered that it is empty.
 * @throws ReplayError UNREACHABLE where it cannot be reached or does not answer in time; AUTH where it refuses the
 *   credentials; FLUSH where it refuses to be emptied
 */
export async function flush(
  target: Target,
  credentials: Credentials | undefined,
  timeoutMs: number,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const { socket, drop, forget } = dial(target, 0, credentials, {
      ready: () => socket.write(encodeRequest({ opcode: Opcode.flush })),
      response: (data, at) => {
        const status = statusAt(data, at);
        deadline.clear();
        forget();
        hangUp(socket);
        if (status === Status.ok) resolve();
        else
          reject(
            new ReplayError(
              'FLUSH',
              `${target.address} refuses FLUSH (${statusLabel(status)}): empty it in another way, such as restarting it`,
            ),
          );
      },
      readEnd: () => undefined,
      drained: () => undefined,
      gone: (error) => {
        deadline.clear();
        reject(goneError(target, error));
      },
    });
    // Not the socket's own time-out: a target whose bytes trickle would never be given up.
    const deadline = new Deadline(timeoutMs, () => drop(new Error(`no answer within ${timeoutMs} ms`)));
  });
}

function goneError({ address }: Target, error: Error | undefined): ReplayError {
  if (error instanceof Refused)
    return new ReplayError('AUTH', `${address}: ${error.message}`, { cause: error });
  // A proxy that does not know the operation hangs up.
  const hint = error === undefined || error instanceof ProtocolError ? '; it may not know FLUSH' : '';
  return new ReplayError('UNREACHABLE', `cannot empty ${address}: ${reasonOf(error)}${hint}`, {
    cause: error,
  });
}
