// The opcodes of the memcached binary protocol: one row tells the whole story of each. Facts are those of
// memcached 1.6; opcodes that it does not implement (0x1b, 0x1f, 0x30-0x3c) have no row and answer 0x81.

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

export interface OpcodeInfo {
  /** Lower-case name as in reports: `getkq`, `sasl-auth`. */
  readonly name: string;
  readonly family: Family;
  /** No answer unless there is something to say: a hit for reads, an error for writes. */
  readonly quiet: boolean;
  /** Lengths that a request's extras may have, in bytes. */
  readonly extras: readonly number[];
  readonly key: 'none' | 'required' | 'optional';
  readonly value: boolean;
  /** The answer to a hit or a miss carries the request's key. */
  readonly echoesKey: boolean;
  /** A success changes the item (its value, its expiry or its presence). */
  readonly mutates: boolean;
}

type Row = [
  name: string,
  family: Family,
  quiet: boolean,
  extras: readonly number[],
  key: OpcodeInfo['key'],
  value: boolean,
  echoesKey: boolean,
  mutates: boolean,
];

const loud = false;
const quiet = true;
const rows: Readonly<Record<Opcode, Row>> = {
  [Opcode.get]: ['get', 'get', loud, [0], 'required', false, false, false],
  [Opcode.getq]: ['getq', 'get', quiet, [0], 'required', false, false, false],
  [Opcode.getk]: ['getk', 'get', loud, [0], 'required', false, true, false],
  [Opcode.getkq]: ['getkq', 'get', quiet, [0], 'required', false, true, false],
  [Opcode.set]: ['set', 'set', loud, [8], 'required', true, false, true],
  [Opcode.setq]: ['setq', 'set', quiet, [8], 'required', true, false, true],
  [Opcode.add]: ['add', 'add', loud, [8], 'required', true, false, true],
  [Opcode.addq]: ['addq', 'add', quiet, [8], 'required', true, false, true],
  [Opcode.replace]: ['replace', 'replace', loud, [8], 'required', true, false, true],
  [Opcode.replaceq]: ['replaceq', 'replace', quiet, [8], 'required', true, false, true],
  [Opcode.delete]: ['delete', 'delete', loud, [0], 'required', false, false, true],
  [Opcode.deleteq]: ['deleteq', 'delete', quiet, [0], 'required', false, false, true],
  [Opcode.incr]: ['incr', 'incr', loud, [20], 'required', false, false, true],
  [Opcode.incrq]: ['incrq', 'incr', quiet, [20], 'required', false, false, true],
  [Opcode.decr]: ['decr', 'decr', loud, [20], 'required', false, false, true],
  [Opcode.decrq]: ['decrq', 'decr', quiet, [20], 'required', false, false, true],
  [Opcode.quit]: ['quit', 'quit', loud, [0], 'none', false, false, false],
  [Opcode.quitq]: ['quitq', 'quit', quiet, [0], 'none', false, false, false],
  [Opcode.flush]: ['flush', 'flush', loud, [0, 4], 'none', false, false, true],
  [Opcode.flushq]: ['flushq', 'flush', quiet, [0, 4], 'none', false, false, true],
  [Opcode.noop]: ['noop', 'noop', loud, [0], 'none', false, false, false],
  [Opcode.version]: ['version', 'version', loud, [0], 'none', false, false, false],
  [Opcode.append]: ['append', 'append', loud, [0], 'required', true, false, true],
  [Opcode.appendq]: ['appendq', 'append', quiet, [0], 'required', true, false, true],
  [Opcode.prepend]: ['prepend', 'prepend', loud, [0], 'required', true, false, true],
  [Opcode.prependq]: ['prependq', 'prepend', quiet, [0], 'required', true, false, true],
  [Opcode.stat]: ['stat', 'stat', loud, [0], 'optional', false, false, false],
  [Opcode.touch]: ['touch', 'touch', loud, [4], 'required', false, false, true],
  [Opcode.gat]: ['gat', 'gat', loud, [4], 'required', false, false, true],
  [Opcode.gatq]: ['gatq', 'gat', quiet, [4], 'required', false, false, true],
  [Opcode.gatk]: ['gatk', 'gat', loud, [4], 'required', false, true, true],
  [Opcode.gatkq]: ['gatkq', 'gat', quiet, [4], 'required', false, true, true],
  [Opcode.saslList]: ['sasl-list', 'saslList', loud, [0], 'none', false, false, false],
  [Opcode.saslAuth]: ['sasl-auth', 'sasl', loud, [0], 'required', true, false, false],
  [Opcode.saslStep]: ['sasl-step', 'sasl', loud, [0], 'required', true, false, false],
};

const infos: (OpcodeInfo | undefined)[] = Array.from({ length: 256 }, () => undefined);
const byName = new Map<string, number>();
for (const [code, [name, family, quiet, extras, key, value, echoesKey, mutates]] of Object.entries(rows)) {
  infos[Number(code)] = { name, family, quiet, extras, key, value, echoesKey, mutates };
  byName.set(name, Number(code));
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
/** The body of these is secret: mechanism data, never stored (SASL auth and step). */
export const isSecret = flagTable((info) => info.family === 'sasl');
