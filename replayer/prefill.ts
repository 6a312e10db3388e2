// Before the first exchange: every target is reached, and the keys that the trace shows to have been present are set.

import { connect } from 'node:net';
import { FrameDecoder } from '../protocol/decoder.ts';
import { encodeRequest, storeExtras } from '../protocol/frame.ts';
import { Magic, opcodeAt } from '../protocol/header.ts';
import { Opcode } from '../protocol/opcode.ts';
import type { PresentKey } from '../trace/survey.ts';
import { ReplayError } from './error.ts';
import type { Target } from './target.ts';

/** Bytes under way at most. */
const CHUNK_BYTES = 256 * 1024;

/**
 * Sets the keys on the target, and hears a NOOP in any case.
 * @returns how many the target refused
 * @throws ReplayError UNREACHABLE where it cannot be reached, does not answer in time, or does not speak the protocol
 */
export async function prefill(
  target: Target,
  keys: readonly PresentKey[],
  timeoutMs: number,
): Promise<number> {
  return new Promise((resolve, reject) => {
    let failed = 0;
    let next = 0;
    const socket = connect({ host: target.host, port: target.port, noDelay: true });
    const fail = (why: string): void => {
      socket.destroy();
      reject(new ReplayError('UNREACHABLE', `cannot reach ${target.address}: ${why}`));
    };
    const send = (): void => {
      const parts: Buffer[] = [];
      for (let bytes = 0; next < keys.length && bytes < CHUNK_BYTES; next++) {
        const { key, value, flags } = keys[next]!;
        const request = encodeRequest({
          opcode: Opcode.setq,
          opaque: next,
          extras: storeExtras(flags, 0),
          key: Buffer.from(key, 'latin1'),
          value,
        });
        bytes += request.length;
        parts.push(request);
      }
      parts.push(encodeRequest({ opcode: Opcode.noop }));
      socket.write(Buffer.concat(parts));
    };
    const decoder = new FrameDecoder(
      {
        frame: (data, at) => {
          if (opcodeAt(data, at) !== Opcode.noop) failed++;
          else if (next < keys.length) send();
          else {
            socket.end();
            resolve(failed);
          }
        },
      },
      { magic: Magic.response },
    );
    socket.setTimeout(timeoutMs, () => fail(`no answer within ${timeoutMs} ms`));
    socket.once('connect', send);
    socket.on('data', (data) => {
      try {
        decoder.push(data, 0, data.length, 0);
      } catch (cause) {
        fail(`it does not answer in the memcached binary protocol (${(cause as Error).message})`);
      }
    });
    socket.once('error', (error: NodeJS.ErrnoException) =>
      fail(error.code === 'ECONNREFUSED' ? 'connection refused; is the server running?' : error.message),
    );
    socket.once('end', () => fail('it closed the connection'));
  });
}
