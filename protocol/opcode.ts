// The opcodes of the memcached binary protocol: a row of `families` tells the whole story of an operation, and a row of
// `rows` which variant of it an opcode is. Facts are those of memcached 1.6; opcodes that it does not implement (0x1b, 0x1f,
// 0x30-0x3c) have no row and answer 0x81. What an operation makes of an item is in semantics.ts.

import { Status } from './status.ts';

export const Opcode = {
  get: 0x00,
  set: 0x01,
  add: 0x02,
  replace: 0x03,
  delete: 0x04,
  incr: 0x05,
  decr: 0x06,
  quit: 0x07,
  flush: 0x08,
  getq: 0x09,
  noop: 0x0a,
  version: 0x0b,
  getk: 0x0c,
  getkq: 0x0d,
  append: 0x0e,
  prepend: 0x0f,
  stat: 0x10,
  setq: 0x11,
  addq: 0x12,
  replaceq: 0x13,
  deleteq: 0x14,
  incrq: 0x15,
  decrq: 0x16,
  quitq: 0x17,
  flushq: 0x18,
  appendq: 0x19,
  prependq: 0x1a,
  touch: 0x1c,
  gat: 0x1d,
  gatq: 0x1e,
  saslList: 0x20,
  saslAuth: 0x21,
  saslStep: 0x22,
  gatk: 0x23,
  gatkq: 0x24,
} as const;

export type Opcode = (typeof Opcode)[keyof typeof Opcode];

/** What an operation does, its quiet and key-returning variants folded together. */
export type Family =
  | 'get'
  | 'gat'
  | 'touch'
  | 'set'
  | 'add'
  | 'replace'
  | 'append'
  | 'prepend'
  | 'delete'
  | 'incr'
  | 'decr'
  | 'flush'
  | 'noop'
  | 'version'
  | 'stat'
  | 'quit'
  | 'saslList'
  | 'sasl';

/** What the variants of an operation have in common. */
export interface FamilyInfo {
  /** Lengths that a request's extras may have, in bytes. */
  readonly extras: readonly number[];
  /** Where in these extras the expiry stands, in bytes; -1 where there is none. The delay of a FLUSH is none. */
  readonly expiryAt: number;
  readonly key: 'none' | 'required' | 'optional';
  /** A request brings a value. */
  readonly value: boolean;
  /** memcached 1.6 takes extras and key alone from the stream, and parses a value as the next request. */
  readonly leavesValue: boolean;
  /** A success changes the item (its value, its expiry or its presence). */
  readonly mutates: boolean;
  /** Without the item it does nothing, or begins anew: a success tells that the item was there, or is new. */
  readonly needsItem: boolean;
  /**
   * What the answer to a success has: the item's flags and its value, the flags alone, a counter as eight bytes, nothing, or
   * what depends on the request.
   */
  readonly success: 'item' | 'flags' | 'counter' | 'nothing' | 'various';
  /** A success tells the CAS id of the item. */
  readonly tellsCas: boolean;
  /** Statuses that have other reasons than the item. */
  readonly otherStatuses: readonly Status[];
  /** Servers that ask for a login answer it before one. */
  readonly beforeLogin: boolean;
}

export interface OpcodeInfo extends FamilyInfo {
  /** Lower-case name as in reports: `getkq`, `sasl-auth`. */
  readonly name: string;
  readonly family: Family;
  /** No answer unless there is something to say: a hit for reads, an error for writes. */
  readonly quiet: boolean;
  /** The answer to a hit or a miss carries the request's key. */
  readonly echoesKey: boolean;
}

const { outOfMemory, tooLarge, notStored } = Status;
/** VERSION, NOOP and their like: rows say how they differ from these. */
const bare: Omit<FamilyInfo, 'success'> = {
  extras: [0],
  expiryAt: -1,
  key: 'none',
  value: false,
  leavesValue: false,
  mutates: false,
  needsItem: false,
  tellsCas: false,
  otherStatuses: [],
  beforeLogin: false,
};
const keyed = { ...bare, key: 'required' } as const;
const sight = { ...keyed, needsItem: true, tellsCas: true, otherStatuses: [outOfMemory] } as const;
const expiring = { extras: [4], expiryAt: 0, leavesValue: true, mutates: true } as const;
const change = { ...keyed, mutates: true, success: 'nothing' } as const;
const write = { ...change, value: true, tellsCas: true, otherStatuses: [tooLarge, outOfMemory] } as const;
const store: FamilyInfo = { ...write, extras: [8], expiryAt: 4 };
const growth: FamilyInfo = { ...write, needsItem: true };
const count: FamilyInfo = {
  ...change,
  extras: [20],
  expiryAt: 16,
  needsItem: true,
  success: 'counter',
  tellsCas: true,
  // 0x05: another connection created the counter between two steps of this one.
  otherStatuses: [notStored, outOfMemory],
};
export const families: Readonly<Record<Family, FamilyInfo>> = {
  get: { ...sight, success: 'item' },
  gat: { ...sight, ...expiring, success: 'item' },
  touch: { ...sight, ...expiring, success: 'flags' },
  set: store,
  add: store,
  replace: { ...store, needsItem: true },
  append: growth,
  prepend: growth,
  delete: { ...change, needsItem: true },
  incr: count,
  decr: count,
  flush: { ...bare, extras: [0, 4], mutates: true, success: 'nothing' },
  noop: { ...bare, success: 'nothing' },
  version: { ...bare, success: 'various', beforeLogin: true },
  stat: { ...bare, key: 'optional', leavesValue: true, success: 'various' },
  quit: { ...bare, success: 'nothing' },
  saslList: { ...bare, success: 'various', beforeLogin: true },
  sasl: { ...bare, key: 'required', value: true, success: 'various', beforeLogin: true },
};

type Variant = Pick<OpcodeInfo, 'name' | 'family' | 'quiet' | 'echoesKey'>;
const loud = (family: Family, name: string = family): Variant => ({
  name,
  family,
  quiet: false,
  echoesKey: false,
});
const quiet = (family: Family): Variant => ({ ...loud(family, `${family}q`), quiet: true });
const withKey = (family: Family): Variant => ({ ...loud(family, `${family}k`), echoesKey: true });
const quietWithKey = (family: Family): Variant => ({ ...withKey(family), name: `${family}kq`, quiet: true });

const rows: Readonly<Record<Opcode, Variant>> = {
  [Opcode.get]: loud('get'),
  [Opcode.getq]: quiet('get'),
  [Opcode.getk]: withKey('get'),
  [Opcode.getkq]: quietWithKey('get'),
  [Opcode.set]: loud('set'),
  [Opcode.setq]: quiet('set'),
  [Opcode.add]: loud('add'),
  [Opcode.addq]: quiet('add'),
  [Opcode.replace]: loud('replace'),
  [Opcode.replaceq]: quiet('replace'),
  [Opcode.delete]: loud('delete'),
  [Opcode.deleteq]: quiet('delete'),
  [Opcode.incr]: loud('incr'),
  [Opcode.incrq]: quiet('incr'),
  [Opcode.decr]: loud('decr'),
  [Opcode.decrq]: quiet('decr'),
  [Opcode.quit]: loud('quit'),
  [Opcode.quitq]: quiet('quit'),
  [Opcode.flush]: loud('flush'),
  [Opcode.flushq]: quiet('flush'),
  [Opcode.noop]: loud('noop'),
  [Opcode.version]: loud('version'),
  [Opcode.append]: loud('append'),
  [Opcode.appendq]: quiet('append'),
  [Opcode.prepend]: loud('prepend'),
  [Opcode.prependq]: quiet('prepend'),
  [Opcode.stat]: loud('stat'),
  [Opcode.touch]: loud('touch'),
  [Opcode.gat]: loud('gat'),
  [Opcode.gatq]: quiet('gat'),
  [Opcode.gatk]: withKey('gat'),
  [Opcode.gatkq]: quietWithKey('gat'),
  [Opcode.saslList]: loud('saslList', 'sasl-list'),
  [Opcode.saslAuth]: loud('sasl', 'sasl-auth'),
  [Opcode.saslStep]: loud('sasl', 'sasl-step'),
};

const infos: (OpcodeInfo | undefined)[] = Array.from({ length: 256 }, () => undefined);
const byName = new Map<string, number>();
for (const [code, row] of Object.entries(rows)) {
  infos[Number(code)] = { ...row, ...families[row.family] };
  byName.set(row.name, Number(code));
}

/** The row of an opcode; undefined where memcached answers "Unknown command". */
export function opcodeInfo(opcode: number): OpcodeInfo | undefined {
  return infos[opcode];
}

/** `getkq`, or `0x1b` for an opcode without a row. */
export function opcodeName(opcode: number): string {
  return infos[opcode]?.name ?? `0x${opcode.toString(16).padStart(2, '0')}`;
}

/** The opcode with this name; undefined where there is none. */
export function opcodeNamed(name: string): number | undefined {
  return byName.get(name);
}

const quietOpcodes = infos.map((info, opcode) =>
  info === undefined || info.quiet ? opcode : (byName.get(`${info.name}q`) ?? opcode),
);
const loudOpcodes = infos.map((info, opcode) =>
  info?.quiet === true ? (byName.get(info.name.slice(0, -1)) ?? opcode) : opcode,
);

/** The quiet opcode of a loud one; itself where there is none. */
export function quietOf(opcode: number): number {
  return quietOpcodes[opcode]!;
}

/** The loud opcode of a quiet one; itself where it is loud. */
export function loudOf(opcode: number): number {
  return loudOpcodes[opcode]!;
}

function flagTable(holds: (info: OpcodeInfo) => boolean): Uint8Array {
  return Uint8Array.from(infos, (info) => (info !== undefined && holds(info) ? 1 : 0));
}

// Indexed by opcode, 1 where it holds: for loops that must not look up objects.
export const isQuiet = flagTable((info) => info.quiet);
export const echoesKey = flagTable((info) => info.echoesKey);
export const mutates = flagTable((info) => info.mutates);
export const isRead = flagTable((info) => info.family === 'get' || info.family === 'gat');
/** It is about the one item that its key names. */
export const isOnItem = flagTable((info) => info.key === 'required' && info.family !== 'sasl');
/** The body of these is secret: mechanism data, never stored (SASL auth and step). */
export const isSecret = flagTable((info) => info.family === 'sasl');
