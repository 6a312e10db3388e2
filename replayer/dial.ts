// A connection to a target, ready for requests: TCP or a unix socket, TLS where the target has it, SASL where there are
// credentials. Sessions and the prefill open theirs here.

import { connect, type Socket } from 'node:net';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';
import { FrameDecoder } from '../protocol/decoder.ts';
import { encodeRequest } from '../protocol/frame.ts';
import { Magic, statusAt } from '../protocol/header.ts';
import { Opcode } from '../protocol/opcode.ts';
import { Status, statusLabel } from '../protocol/status.ts';
import type { Credentials, Target } from './target.ts';

/** The target does not take these credentials. */
export class Refused extends Error {
  override readonly name = 'Refused';
}

/** Whether it is this process that could not open a connection: it says nothing of the target. */
export function isOurs(error: Error): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'EMFILE' || code === 'ENFILE';
}

/** It sends what nobody asked for, and more and more of it. */
export class Flooded extends Error {
  override readonly name = 'Flooded';
}

export interface DialHandler {
  /** The connection takes requests. */
  ready(): void;
  /** Bytes came; what they hold is handed on next. */
  readBegin?(): void;
  /** One response frame: data[at, end), valid during the call. */
  response(data: Buffer, at: number, end: number): void;
  /** The bytes that came in one read are all handed on. */
  readEnd(): void;
  drained(): void;
  /** It is gone, or was never there; called once, and not after Dialled.forget(). */
  gone(error: Error | undefined): void;
}

export interface Dialled {
  readonly socket: Socket;
  /** Nothing of it is of interest any more; whoever calls ends the socket. */
  readonly forget: () => void;
  /** It is of no use: closes it, and tells of it as gone. */
  readonly drop: (error: Error) => void;
}

/** How long a socket that is hung up may take to send what is left, ms. */
const LAST_BYTES_MS = 1000;

/**
 * Ends a socket of which nothing is of interest any more. What comes after our FIN is not waited for, nor is a peer that
 * does not close or does not read: no socket outlives this by more than a second, or keeps the process alive.
 */
export function hangUp(socket: Socket): void {
  socket.on('error', () => undefined);
  socket.end(() => socket.destroy());
  socket.unref();
  const timer = setTimeout(() => socket.destroy(), LAST_BYTES_MS).unref();
  socket.once('close', () => clearTimeout(timer));
}

/** All sockets read into this: what comes is handled before the next read. */
const READ_BYTES = 256 * 1024;
const readBuffer = Buffer.allocUnsafeSlow(READ_BYTES);

/** @param number of the connection: a target with several addresses gets them in turn */
export function dial(
  target: Target,
  number: number,
  credentials: Credentials | undefined,
  handler: DialHandler,
): Dialled {
  let isLive = true;
  let trouble: Error | undefined;
  let awaitsAuth = credentials !== undefined;
  const gone = (error: Error | undefined): void => {
    if (!isLive) return;
    isLive = false;
    socket.on('error', () => undefined);
    socket.destroy();
    handler.gone(error);
  };
  const decoder = new FrameDecoder(
    {
      frame: (data, at, end) => {
        if (!awaitsAuth) {
          if (isLive) handler.response(data, at, end);
          return;
        }
        awaitsAuth = false;
        const status = statusAt(data, at);
        if (status === Status.ok) handler.ready();
        else
          gone(
            new Refused(
              `the target refused the credentials of user ${JSON.stringify(credentials!.user)}: ${statusLabel(status)}`,
            ),
          );
      },
    },
    { magic: Magic.response },
  );
  const onread = {
    buffer: readBuffer,
    callback: (bytes: number, data: Uint8Array): boolean => {
      if (!isLive) return true;
      handler.readBegin?.();
      try {
        decoder.push(data as Buffer, 0, bytes, 0);
      } catch (error) {
        gone(error as Error);
      }
      handler.readEnd();
      return true;
    },
  };
  const where = place(target, number);
  const socket: Socket =
    target.tls === undefined
      ? connect({ ...where, noDelay: true, onread })
      : connectTls({
          ...where,
          ...target.tls,
          // A name in the certificate; an address is none.
          servername: target.tls.servername ?? (/^[\d.]+$|:/.test(target.host) ? '' : target.host),
          onread,
        } as unknown as ConnectionOptions);
  if (target.tls !== undefined) socket.setNoDelay(true);
  socket.once(target.tls === undefined ? 'connect' : 'secureConnect', () => {
    if (!isLive) return;
    if (credentials === undefined) handler.ready();
    else socket.write(plain(credentials));
  });
  socket.on('drain', () => {
    if (isLive) handler.drained();
  });
  socket.once('error', (error) => (trouble = error));
  socket.once('close', () => gone(trouble));
  return {
    socket,
    forget: () => {
      isLive = false;
    },
    drop: gone,
  };
}

function place(
  { path, host, port, addresses }: Target,
  number: number,
): { path: string } | { host: string; port: number } {
  if (path !== undefined) return { path };
  return { host: addresses?.[number % addresses.length] ?? host, port };
}

function plain({ user, password }: Credentials): Buffer {
  return encodeRequest({
    opcode: Opcode.saslAuth,
    key: Buffer.from('PLAIN'),
    value: Buffer.from(`\0${user}\0${password}`),
  });
}
