// Random requests for one connection to one server: every operation on a few keys, with the numbers, CAS ids, expiries
// and sizes at which memcached's rules have edges.

import { Opcode, opcodeInfo } from '../../protocol/opcode.ts';
import { itemBytes } from '../../protocol/semantics.ts';
import type { Random } from '../../synth/laws/random.ts';

/** Which version a request names: none, the one that is there, the one before it, one that never was. */
type NamedVersion = 'none' | 'right' | 'old' | 'never';

export interface Ask {
  opcode: number;
  key: string;
  /** latin1 */
  value: string;
  flags: number;
  /** As in a request; a FLUSH of 0 is sent without extras where flags are 0. */
  expiry: number;
  delta: bigint;
  initial: bigint;
  version: NamedVersion;
}

const opcodes = Object.values(Opcode).filter((opcode) => {
  const { family } = opcodeInfo(opcode)!;
  return !['quit', 'stat', 'version', 'saslList', 'sasl'].includes(family);
});
/** Asked for more often: what makes, counts and shows. */
const frequent = [
  Opcode.set,
  Opcode.setq,
  Opcode.get,
  Opcode.getkq,
  Opcode.gatk,
  Opcode.incr,
  Opcode.incrq,
  Opcode.decr,
  Opcode.append,
  Opcode.noop,
];

const TOP = (1n << 64n) - 1n;
const plain = ['0', '5', '10', '99', '100', '1000', '007', '0000', `${'0'.repeat(29)}9`, '5 ', '100   '];
const odd = ['5 abc', '+7', ' 12', '\t12', '\n\v\f\r 3', '5\0abc', '5\n6'];
const none = ['5abc', '12a', 'abc', '', ' ', '+', '\x005', '0x10', '1e3', '1.5', '\xef\xbc\x91'];
const wide = [
  '9223372036854775807',
  '9223372036854775808',
  '10000000000000000000',
  '18446744073709551615',
  '018446744073709551615',
  '+18446744073709551614',
  '18446744073709551615 x',
  '18446744073709551615\0x',
  '18446744073709551616',
  '99999999999999999999',
  '100000000000000000000',
  '1'.repeat(21),
];
const numbers = [...plain, ...odd, ...none, ...wide];
const negative = [
  '-1',
  ' -1',
  '-0',
  '-',
  '--1',
  '5-',
  '5 -',
  '-18446744073709551615',
  '-9223372036854775809',
];
const deltas = [0n, 1n, 1n, 1n, 2n, 5n, 9n, 90n, 100n, 1n << 63n, TOP, TOP - 1n];
const initials = [0n, 5n, 99n, 1n << 63n, TOP];
/** 2,592,001 is a time in 1970; 0xffffffff one in 2106, or what forbids INCR to create. */
const expiries = [0, 0, 0, 0, 100, 2_592_000, 2_592_001, 0xffffffff, 0xffffffff];
/** 0 flushes at once, a million in 11 days, what follows in 1970 and in 2106. */
const delays = [0, 0, 0, 0, 1_000_000, 2_592_001, 0xffffffff];
const texts = ['a', 'text', '1', '9', ' ', '\0'];

export interface SequenceOptions {
  /** The server's limit. */
  maxItemBytes: number;
  /** Numbers with a minus sign are among the values. */
  hasMinus: boolean;
}

/** @param prefix of keys */
export function keysOf(prefix: string): readonly string[] {
  return [`${prefix}a`, `${prefix}bb`, `${prefix}${'k'.repeat(250 - prefix.length)}`];
}

export function drawAsk(random: Random, keys: readonly string[], options: SequenceOptions): Ask {
  const opcode = random.pick(random.chance(0.5) ? opcodes : frequent);
  const { family } = opcodeInfo(opcode)!;
  const key = random.chance(0.7) ? keys[0]! : random.pick(keys);
  const flags = random.pick([0, 0, 1, 0xdeadbeef]);
  return {
    opcode,
    key,
    value: drawValue(random, key, flags, options),
    flags,
    expiry: random.pick(family === 'flush' ? delays : expiries),
    delta: random.pick(deltas),
    initial: random.pick(initials),
    version: random.pick(['none', 'none', 'none', 'right', 'right', 'old', 'never'] as const),
  };
}

function drawValue(
  random: Random,
  key: string,
  flags: number,
  { maxItemBytes, hasMinus }: SequenceOptions,
): string {
  // These are a megabyte each: with a lower limit memcached 1.6.18 breaks down.
  const sort = random.int(400);
  if (sort === 0) {
    const most = maxItemBytes - itemBytes(key.length, flags, 0);
    return 'x'.repeat(most + random.pick([-1, 0, 1, 2, 3000]));
  }
  if (sort < 80) return random.pick(texts);
  return random.pick(hasMinus && random.chance(0.3) ? negative : numbers);
}
