// The options that choose exchanges, as `cat` and `filter` have them.

import type { Command } from 'commander';
import type { Filter } from '../convert/filter.ts';
import { opcodeNamed } from '../protocol/opcode.ts';
import { globPattern } from '../trace/glob.ts';
import { CliError } from './error.ts';
import { parseCount, parseDuration, parseSample } from '../config/units.ts';

export interface FilterOptions {
  key?: RegExp;
  opcode?: Set<number>;
  connection?: number;
  tenant?: string;
  sample?: number;
  /** Milliseconds. */
  from?: number;
  to?: number;
  limit: number;
}

export function addFilterOptions(command: Command): Command {
  return command
    .option('--key <glob>', 'only keys like this; * and ? stand for any text and any byte', globPattern)
    .option('--opcode <names>', 'only these, for instance get,set', parseOpcodes)
    .option('--connection <n>', 'only this connection', (text) => parseCount(text, 0))
    .option('--tenant <name>', 'only connections of this SASL user')
    .option(
      '--sample <1/n>',
      'one key in n, by its hash, as record --sample; all that have no key',
      parseSample,
    )
    .option('--from <time>', 'from this long after the start', parseDuration)
    .option('--to <time>', 'until this long after the start', parseDuration)
    .option('--limit <n>', 'at most so many', (text) => parseCount(text), Infinity);
}

export function filterOf({ from, to, key, opcode, connection, tenant, sample }: FilterOptions): Filter {
  return {
    ...(key === undefined ? {} : { key }),
    ...(opcode === undefined ? {} : { opcode }),
    ...(connection === undefined ? {} : { connection }),
    ...(tenant === undefined ? {} : { tenant }),
    ...(sample === undefined ? {} : { sample }),
    ...(from === undefined ? {} : { fromNs: from * 1e6 }),
    ...(to === undefined ? {} : { toNs: to * 1e6 }),
  };
}

function parseOpcodes(names: string): Set<number> {
  return new Set(
    names.split(',').map((name) => {
      const opcode = opcodeNamed(name.trim().toLowerCase());
      if (opcode === undefined)
        throw new CliError(`expected opcode names such as get,set,getkq; got ${JSON.stringify(name)}`, 2);
      return opcode;
    }),
  );
}
