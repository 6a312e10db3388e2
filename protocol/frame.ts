// A frame as an object, for the places where clarity counts more than speed: the embedded server, tests, tools.

import { ProtocolError } from './error.ts';
import {
  HEADER_BYTES,
  Magic,
  casHighAt,
  casLowAt,
  datatypeAt,
  extrasLengthAt,
  keyLengthAt,
  magicAt,
  opaqueAt,
  opcodeAt,
  putHeader,
  putUint32,
  statusAt,
} from './header.ts';

export interface Frame {
  magic: number;
  opcode: number;
  datatype: number;
  /** Status of a response, vbucket of a request. */
  status: number;
  opaque: number;
  cas: bigint;
  extras: Buffer;
  key: Buffer;
  value: Buffer;
}

const empty = Buffer.alloc(0);

/**
 * The frame in data[at, end). Its parts are views of `data`, valid as long as `data` is.
 * @throws ProtocolError BAD_LENGTH when the lengths in the header do not fit the bytes.
 */
export function readFrame(data: Buffer, at = 0, end = data.length): Frame {
  if (end - at < HEADER_BYTES)
    throw new ProtocolError('BAD_LENGTH', `expected a 24-byte header, got ${end - at} bytes`, at);
  const body = at + HEADER_BYTES;
  const keyStart = body + extrasLengthAt(data, at);
  const valueStart = keyStart + keyLengthAt(data, at);
  if (valueStart > end)
    throw new ProtocolError(
      'BAD_LENGTH',
      `extras and key need ${valueStart - body} bytes, got ${end - body}`,
      at,
    );
  return {
    magic: magicAt(data, at),
    opcode: opcodeAt(data, at),
    datatype: datatypeAt(data, at),
    status: statusAt(data, at),
    opaque: opaqueAt(data, at),
    cas: (BigInt(casHighAt(data, at)) << 32n) | BigInt(casLowAt(data, at)),
    extras: data.subarray(body, keyStart),
    key: data.subarray(keyStart, valueStart),
    value: data.subarray(valueStart, end),
  };
}

export interface FrameInit {
  opcode: number;
  status?: number;
  opaque?: number;
  cas?: bigint;
  extras?: Uint8Array;
  key?: Uint8Array | string;
  value?: Uint8Array | string;
}

/** The bytes of a request. */
export function encodeRequest(init: FrameInit): Buffer {
  return encode(Magic.request, init);
}

/** The bytes of a response. */
export function encodeResponse(init: FrameInit): Buffer {
  return encode(Magic.response, init);
}

function encode(magic: Magic, init: FrameInit): Buffer {
  const extras = init.extras ?? empty;
  const key = bytes(init.key);
  const value = bytes(init.value);
  if (extras.length > 0xff)
    throw new ProtocolError('BAD_FIELD', `expected at most 255 bytes of extras, got ${extras.length}`);
  if (key.length > 0xffff)
    throw new ProtocolError('BAD_FIELD', `expected a key of at most 65,535 bytes, got ${key.length}`);
  const cas = init.cas ?? 0n;
  const out = Buffer.allocUnsafe(HEADER_BYTES + extras.length + key.length + value.length);
  const body = putHeader(
    out,
    0,
    magic,
    init.opcode,
    extras.length,
    key.length,
    value.length,
    init.status ?? 0,
    init.opaque ?? 0,
    Number((cas >> 32n) & 0xffffffffn),
    Number(cas & 0xffffffffn),
  );
  out.set(extras, body);
  out.set(key, body + extras.length);
  out.set(value, body + extras.length + key.length);
  return out;
}

function bytes(part: Uint8Array | string | undefined): Uint8Array {
  if (part === undefined) return empty;
  return typeof part === 'string' ? Buffer.from(part) : part;
}

/** Extras of SET, ADD and REPLACE: flags, then the expiry in seconds. */
export function storeExtras(flags: number, expiry: number): Buffer {
  const extras = Buffer.allocUnsafe(8);
  putUint32(extras, 0, flags);
  putUint32(extras, 4, expiry);
  return extras;
}

/** Extras of INCR and DECR: delta, initial value, and the expiry (0xffffffff: do not create). */
export function counterExtras(delta: bigint, initial: bigint, expiry: number): Buffer {
  const extras = Buffer.allocUnsafe(20);
  extras.writeBigUInt64BE(BigInt.asUintN(64, delta), 0);
  extras.writeBigUInt64BE(BigInt.asUintN(64, initial), 8);
  putUint32(extras, 16, expiry);
  return extras;
}

/** Extras of TOUCH, GAT and FLUSH: the expiry in seconds. */
export function expiryExtras(expiry: number): Buffer {
  const extras = Buffer.allocUnsafe(4);
  putUint32(extras, 0, expiry);
  return extras;
}
