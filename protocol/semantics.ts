// What memcached does with one item: which status an operation has and what it does to the item, when silence is right, and
// which parts an answer has. This is the one place of these rules. The embedded server, the answers of models, the rewriting
// of traces and the oracle each hold items in their own way and ask here what an operation makes of them.
//
// Source: memcached 1.6's proto_bin.c and memcached.c, and answers of a live 1.6.18 (test/protocol/semantics.test.ts).

import { DO_NOT_CREATE, expiryOffset } from './expiry.ts';
import { uint32 } from './header.ts';
import { Opcode, isQuiet, isRead, opcodeInfo, type Family, type FamilyInfo } from './opcode.ts';
import { Status } from './status.ts';

/** memcached answers 0x04 to a longer key, and closes the connection. */
export const MAX_KEY_BYTES = 250;

/** What an operation does to the item. */
export const Effect = {
  none: 0,
  /** The request's value, flags and expiry replace whatever was there. */
  store: 1,
  /** The value grows at its end or its beginning; flags and expiry stay. */
  concatenate: 2,
  /** The counter changes; flags and expiry stay. */
  count: 3,
  /** A counter begins with the request's initial value, flags 0, and the request's expiry. */
  create: 4,
  /** The item is gone. */
  remove: 5,
  /** The expiry alone changes, and not the version. */
  touch: 6,
} as const;
export type Effect = (typeof Effect)[keyof typeof Effect];

/** The item as an operation finds it, in so far as that decides anything. */
export interface Found {
  isThere: boolean;
  /** The request names no version, or the one that is there. */
  casAgrees: boolean;
  /** The request names a version. */
  hasCas: boolean;
}

export interface Decision {
  status: Status;
  effect: Effect;
}

const decided = (status: Status, effect: Effect = Effect.none): Decision => ({ status, effect });
const stores = decided(Status.ok, Effect.store);
const concatenates = decided(Status.ok, Effect.concatenate);
const counts = decided(Status.ok, Effect.count);
const creates = decided(Status.ok, Effect.create);
const removes = decided(Status.ok, Effect.remove);
const touches = decided(Status.ok, Effect.touch);
const reads = decided(Status.ok);
const notFound = decided(Status.notFound);
const exists = decided(Status.exists);
const notStored = decided(Status.notStored);
const nonNumeric = decided(Status.nonNumeric);

/**
 * What an operation on a key answers and does. Limits of memory and size come before: see refusal().
 * Counters are decided by decideCounter().
 */
export function decide(family: Family, { isThere, casAgrees, hasCas }: Found): Decision {
  switch (family) {
    case 'get':
      return isThere ? reads : notFound;
    case 'gat':
    case 'touch':
      return isThere ? touches : notFound;
    case 'set':
    case 'add':
    case 'replace':
      // A CAS id makes a compare-and-set of each of them: ADD with the right one overwrites.
      if (hasCas) return isThere ? (casAgrees ? stores : exists) : notFound;
      if (family === 'add') return isThere ? exists : stores;
      if (family === 'replace') return isThere ? stores : notFound;
      return stores;
    case 'append':
    case 'prepend':
      if (!isThere) return notStored;
      return casAgrees ? concatenates : exists;
    case 'delete':
      if (!isThere) return notFound;
      return casAgrees ? removes : exists;
    case 'flush':
      return removes;
    default:
      return reads;
  }
}

/**
 * INCR and DECR.
 * @param isEmpty the value has no byte: that is tested before the CAS id
 * @param isNumber the value is a number as memcached reads one (parseCounter)
 * @param creates the request's expiry is not DO_NOT_CREATE
 */
export function decideCounter(
  { isThere, casAgrees }: Pick<Found, 'isThere' | 'casAgrees'>,
  isEmpty: boolean,
  isNumber: boolean,
  mayCreate: boolean,
): Decision {
  if (!isThere) return mayCreate ? creates : notFound;
  if (isEmpty) return nonNumeric;
  if (!casAgrees) return exists;
  return isNumber ? counts : nonNumeric;
}

/** Does the item have a new CAS id afterwards? */
export function makesVersion(effect: Effect): boolean {
  return (
    effect === Effect.store ||
    effect === Effect.concatenate ||
    effect === Effect.count ||
    effect === Effect.create
  );
}

// Sizes in memcached 1.6: the item header, the CAS id, the NUL after a key, CRLF after a value, stored flags.
const ITEM_HEADER_BYTES = 48;
const CAS_BYTES = 8;
const TERMINATOR_BYTES = 3;
const FLAGS_BYTES = 4;

/** What an item takes of the memory; its limit (memcached's -I) is one of this. Flags of 0 are not stored. */
export function itemBytes(keyLength: number, flags: number, valueLength: number, usesCas = true): number {
  return (
    ITEM_HEADER_BYTES +
    (usesCas ? CAS_BYTES : 0) +
    (flags === 0 ? 0 : FLAGS_BYTES) +
    keyLength +
    valueLength +
    TERMINATOR_BYTES
  );
}

/** What a store that the server has no room for, or finds too large, does: a SET takes the old item with it. */
export function effectOfRefusal(family: Family): Effect {
  return family === 'set' ? Effect.remove : Effect.none;
}

/**
 * The text of a counter after an INCR or DECR: memcached writes in place, padded with spaces to the item's length, unless
 * an answer under way still holds the item; then it makes a new one of just the digits.
 */
export function counterText(result: bigint, lengthBefore: number, isHeld: boolean): string {
  const digits = result.toString();
  return isHeld ? digits : digits.padEnd(lengthBefore, ' ');
}

/** Texts that a counter of so many bytes may have after an INCR or DECR; who sees answers only cannot tell which. */
export function counterTexts(result: bigint, lengthBefore: number): string[] {
  const padded = counterText(result, lengthBefore, false);
  const digits = counterText(result, lengthBefore, true);
  return padded === digits ? [digits] : [padded, digits];
}

/** What silence of a quiet operation says: a read found nothing, a change succeeded. */
export function silentStatus(opcode: number): Status {
  return isRead[opcode] === 1 ? Status.notFound : Status.ok;
}

/** Is silence the right answer? A quiet miss and a quiet success are silent, whatever else happens is answered. */
export function isSilent(opcode: number, status: number): boolean {
  return isQuiet[opcode] === 1 && status === silentStatus(opcode);
}

/** Parts that the answer to an operation has. -1: any number of bytes. */
export interface AnswerShape {
  extras: number;
  value: number;
  /** The request's key. */
  key: boolean;
}

const noParts: AnswerShape = { extras: 0, value: 0, key: false };
/** The text of a status: advisory, and never compared. */
const text: AnswerShape = { extras: 0, value: -1, key: false };

/** Parts of a success, by what the operation's row says of it. */
const successes: Readonly<Record<FamilyInfo['success'], AnswerShape | undefined>> = {
  item: { extras: 4, value: -1, key: false },
  flags: { extras: 4, value: 0, key: false },
  counter: { extras: 0, value: 8, key: false },
  nothing: noParts,
  various: undefined,
};

/** By opcode: the shapes of a success, of "not found", and of other statuses. */
const shapes = Array.from({ length: 256 }, (_, opcode) => {
  const info = opcodeInfo(opcode);
  const success = info && successes[info.success];
  if (info === undefined || success === undefined) return undefined;
  const key = info.echoesKey;
  return { success: { ...success, key }, missing: key ? { ...noParts, key } : text, failure: text };
});

/** The parts of an answer; undefined where they depend on what was asked (STAT, VERSION, SASL, unknown opcodes). */
export function shapeOf(opcode: number, status: number): AnswerShape | undefined {
  const row = shapes[opcode];
  if (row === undefined) return undefined;
  if (status === Status.ok) return row.success;
  return status === Status.notFound ? row.missing : row.failure;
}

/** Statuses as bits: 0x00-0x06 have one each, 0x82 has the next; every other status has none. */
function bitOf(status: number): number {
  if (status <= Status.nonNumeric) return 1 << status;
  return status === Status.outOfMemory ? 1 << 7 : 0;
}

const both: readonly boolean[] = [true, false];

/** Statuses that the item gives an operation, in all states in which it is there, or is not. */
function statusesGiven(family: Family, hasCas: boolean, isThere: boolean): number {
  let bits = 0;
  for (const casAgrees of hasCas ? both : [true]) {
    const found = { isThere, casAgrees, hasCas };
    if (isCounter(family))
      for (const isNumber of both)
        for (const mayCreate of both) bits |= bitOf(decideCounter(found, false, isNumber, mayCreate).status);
    else bits |= bitOf(decide(family, found).status);
  }
  return bits;
}

/** By opcode, and whether the request names a version: statuses of an item that is there, and of one that is not. */
const presence = Array.from({ length: 256 }, (_, opcode) => {
  const family = opcodeInfo(opcode)?.family;
  return [false, true].map((hasCas) =>
    family === undefined
      ? ([0, 0] as const)
      : ([statusesGiven(family, hasCas, true), statusesGiven(family, hasCas, false)] as const),
  );
});

const possible = presence.map((rows, opcode) => {
  const others = opcodeInfo(opcode)?.otherStatuses ?? [];
  return rows.map(([present, absent]) =>
    others.reduce((bits, status) => bits | bitOf(status), present | absent),
  );
});

/** Statuses that the operation may answer with at all; 0x04, 0x20 and 0x81 say that the server refused the request. */
export function isPossible(opcode: number, hasCas: boolean, status: number): boolean {
  if (opcodeInfo(opcode) === undefined) return status === Status.unknownCommand;
  return (possible[opcode]![hasCas ? 1 : 0]! & bitOf(status)) !== 0;
}

/**
 * Was the item there when an operation was executed that answered so? Undefined: the status does not tell, as that of
 * a SET, or that of a counter, which may have been created.
 */
export function wasThere(opcode: number, hasCas: boolean, status: number): boolean | undefined {
  const bit = bitOf(status);
  const [present, absent] = presence[opcode]![hasCas ? 1 : 0]!;
  const isPresent = (present & bit) !== 0;
  const isAbsent = (absent & bit) !== 0;
  return isPresent === isAbsent ? undefined : isPresent;
}

/** A request's extras, read. Fields that the operation does not have are 0. */
export interface RequestExtras {
  flags: number;
  /** As in the request: relative seconds, or absolute ones. */
  expiry: number;
  delta: bigint;
  initial: bigint;
  /** INCR and DECR create what is absent. */
  mayCreate: boolean;
}

// The fields of extras that begin at `at`, for those who must not allocate.
export const flagsAt = (data: Buffer, at: number): number => uint32(data, at);
export const deltaAt = (data: Buffer, at: number): bigint => data.readBigUInt64BE(at);
export const initialAt = (data: Buffer, at: number): bigint => data.readBigUInt64BE(at + 8);

/** The expiry in extras of so many bytes; 0 where the operation has none. The delay of a FLUSH is none. */
export function expiryAt(opcode: number, data: Buffer, at: number, length: number): number {
  const offset = expiryOffset[opcode]!;
  return offset >= 0 && length >= offset + 4 ? uint32(data, at + offset) : 0;
}

/** Reads the extras of an operation on a key. Undefined: their length is not one that the operation has. */
export function readExtras(opcode: number, extras: Buffer): RequestExtras | undefined {
  const info = opcodeInfo(opcode);
  if (info === undefined || !info.extras.includes(extras.length)) return undefined;
  const { family } = info;
  const expiry = expiryAt(opcode, extras, 0, extras.length);
  const counts = isCounter(family);
  return {
    flags: isStore(family) ? flagsAt(extras, 0) : 0,
    expiry: family === 'flush' && extras.length === 4 ? uint32(extras, 0) : expiry,
    delta: counts ? deltaAt(extras, 0) : 0n,
    initial: counts ? initialAt(extras, 0) : 0n,
    mayCreate: counts && expiry !== DO_NOT_CREATE,
  };
}

/** SET, ADD and REPLACE: they bring a value, flags and an expiry. */
export function isStore(family: Family | undefined): boolean {
  return family === 'set' || family === 'add' || family === 'replace';
}

export function isCounter(family: Family | undefined): boolean {
  return family === 'incr' || family === 'decr';
}

/** QUIT and QUITQ are answered by the end of the connection. */
export function isQuit(opcode: number): boolean {
  return opcode === Opcode.quit || opcode === Opcode.quitq;
}

/** FLUSH and FLUSHQ have no key: they are operations on every item. */
export function isFlush(opcode: number): boolean {
  return opcode === Opcode.flush || opcode === Opcode.flushq;
}
