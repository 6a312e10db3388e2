// Before the first exchange: a target is reached, asked for its account, and given the keys that the trace shows to have
// been present.

import { encodeRequest, storeExtras } from '../protocol/frame.ts';
import { ProtocolError } from '../protocol/error.ts';
import { opcodeAt, statusAt } from '../protocol/header.ts';
import { Opcode } from '../protocol/opcode.ts';
import { Status } from '../protocol/status.ts';
import type { PresentKey } from '../trace/survey.ts';
import { Statement, accountDeadlineMs, accountRequest, type Figures } from './account.ts';
import { Deadline, onIdle } from './deadline.ts';
import { Refused, dial, hangUp } from './dial.ts';
import { ReplayError } from './error.ts';
import type { Credentials, Target } from './target.ts';

/** Bytes under way at most. */
const CHUNK_BYTES = 256 * 1024;
/** A target whose bytes come, and bring us no further for so many time-outs, is given up. */
const TRICKLE_TIMEOUTS = 2;

/** What is set, and which other keys are asked for, latin1. */
export interface Prefill {
  keys: readonly PresentKey[];
  others: readonly string[];
  /** The others are deleted, and not asked for. */
  clears?: boolean;
  /** Told of the target's account, before anything is set; undefined: it has none. Left out: it is not asked. */
  onAccount?: (figures: Figures | undefined) => void;
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
  what: Prefill,
  timeoutMs: number,
): Promise<Prefilled> {
  const { onAccount, ...rest } = what;
  if (onAccount === undefined) return fill(target, credentials, rest, timeoutMs);
  try {
    return await fill(target, credentials, what, timeoutMs);
  } catch (error) {
    if (!(error instanceof LostAtAccount)) throw error;
    // What does not know STAT may hang up, or never answer again: that is no reason not to replay.
    onAccount(undefined);
    return fill(target, credentials, rest, timeoutMs);
  }
}

/** The connection was lost before the target had answered for its account: nothing was set. */
class LostAtAccount extends Error {
  override readonly name = 'LostAtAccount';
}

async function fill(
  target: Target,
  credentials: Credentials | undefined,
  { keys, others, clears = false, onAccount }: Prefill,
  timeoutMs: number,
): Promise<Prefilled> {
  const clear = clears ? removal : question;
  return new Promise((resolve, reject) => {
    const done: Prefilled = { failed: 0, leftover: 0 };
    /** Others that were to be deleted, and were not there. */
    let absent = 0;
    const total = keys.length + others.length;
    let next = 0;
    let statement: Statement | undefined;
    const send = (): void => {
      const parts: Buffer[] = [];
      for (let bytes = 0; next < total && bytes < CHUNK_BYTES; next++) {
        const present = keys[next];
        const part = present === undefined ? clear(others[next - keys.length]!) : store(present);
        bytes += part.length;
        parts.push(part);
      }
      parts.push(barrier);
      socket.write(Buffer.concat(parts));
    };
    const noAccount = (): void => drop(new Error('no account in time'));
    const ask = (): void => {
      statement = new Statement();
      accountDeadline = new Deadline(accountDeadlineMs(timeoutMs), noAccount);
      socket.write(Buffer.concat([accountRequest, barrier]));
    };
    let accountDeadline: Deadline | undefined;
    const stopTimers = (): void => {
      accountDeadline?.clear();
      deadline.clear();
    };
    const { socket, drop, forget } = dial(target, 0, credentials, {
      ready: onAccount === undefined ? send : ask,
      response: (data, at, end) => {
        const opcode = opcodeAt(data, at);
        // What comes of it behind the NOOP's answer comes too late.
        if (opcode === Opcode.stat) return statement?.take(data, at, end);
        deadline.refresh();
        if (statusAt(data, at) === Status.authFailed) {
          const who =
            credentials === undefined ? 'none were given' : `user ${credentials.user} has no access`;
          return drop(new Refused(`the target asks for credentials, ${who}; see --auth-file`));
        }
        if (statement !== undefined && opcode === Opcode.noop) {
          accountDeadline?.clear();
          onAccount!(statement.figures);
          statement = undefined;
          return send();
        }
        if (opcode === Opcode.getq) done.leftover++;
        else if (opcode === Opcode.setq) done.failed++;
        else if (opcode === Opcode.deleteq) absent++;
        if (done.leftover > others.length || done.failed > keys.length || absent > others.length)
          return drop(new ProtocolError('BAD_LENGTH', 'more answers than requests', at));
        if (opcode === Opcode.getq || opcode === Opcode.setq || opcode === Opcode.deleteq) return undefined;
        if (opcode === Opcode.noop && next < total) return send();
        stopTimers();
        forget();
        hangUp(socket);
        resolve(done);
      },
      readEnd: () => undefined,
      drained: () => undefined,
      gone: (error) => {
        stopTimers();
        if (error instanceof Refused)
          reject(new ReplayError('AUTH', `${target.address}: ${error.message}`, { cause: error }));
        else if (statement !== undefined) reject(new LostAtAccount());
        else
          reject(
            new ReplayError('UNREACHABLE', `cannot reach ${target.address}: ${reasonOf(error)}`, {
              cause: error,
            }),
          );
      },
    });
    const tooLate = (): void => drop(new Error(`no answer within ${timeoutMs} ms`));
    onIdle(socket, timeoutMs, tooLate);
    const deadline = new Deadline(timeoutMs * TRICKLE_TIMEOUTS, tooLate);
  });
}

const barrier = encodeRequest({ opcode: Opcode.noop });

function question(key: string): Buffer {
  return encodeRequest({ opcode: Opcode.getq, key: Buffer.from(key, 'latin1') });
}

function removal(key: string): Buffer {
  return encodeRequest({ opcode: Opcode.deleteq, key: Buffer.from(key, 'latin1') });
}

function store({ key, value, flags }: PresentKey): Buffer {
  const extras = storeExtras(flags, 0);
  return encodeRequest({ opcode: Opcode.setq, extras, key: Buffer.from(key, 'latin1'), value });
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
