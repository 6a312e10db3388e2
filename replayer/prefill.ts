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
 * @throws ReplayError UNREACHABLE where it cannot be reached, does not answer in time, or does not speak the protocol
 */
export async function prefill(
  target: Target,
  { keys, others }: Prefill,
  timeoutMs: number,
): Promise<Prefilled> {
  return new Promise((resolve, reject) => {
    const done: Prefilled = { failed: 0, leftover: 0 };
    let next = 0;
    const socket = connect({ host: target.host, port: target.port, noDelay: true });
    const fail = (why: string): void => {
      socket.destroy();
      reject(new ReplayError('UNREACHABLE', `cannot reach ${target.address}: ${why}`));
    };
    const total = keys.length + others.length;
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
    const decoder = new FrameDecoder(
      {
        frame: (data, at) => {
          const opcode = opcodeAt(data, at);
          if (opcode === Opcode.getq) done.leftover++;
          else if (opcode === Opcode.setq) done.failed++;
          else if (opcode === Opcode.noop && next < total) send();
          else {
            socket.end();
            resolve(done);
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
