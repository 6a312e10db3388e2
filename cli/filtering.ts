// The options that choose exchanges, as `cat` and `filter` have them.

import type { Command } from 'commander';
import { given } from '../config/given.ts';
import type { Filter } from '../convert/filter.ts';
import { opcodeNamed } from '../protocol/opcode.ts';
import { statuses } from '../protocol/status.ts';
import { globPattern } from '../trace/glob.ts';
import { CliError } from './error.ts';
import { parseCount, parseDuration, parseSample } from '../config/units.ts';

export interface FilterOptions {
  key?: RegExp;
  opcode?: Set<number>;
  connection?: number;
  tenant?: string;
  server?: string;
  status?: Set<number>;
  /** Milliseconds. */
  slower?: number;
  sample?: number;
  /** Milliseconds. */
  from?: number;
  to?: number;
  limit?: number;
}

export function addFilterOptions(command: Command): Command {
  return command
    .option('--key <glob>', 'only keys like this; * and ? stand for any text and any byte', globPattern)
    .option('--opcode <names>', 'only these, for instance get,set', parseOpcodes)
    .option('--connection <n>', 'only this connection', (text) => parseCount(text, 0))
    .option('--tenant <name>', 'only connections of this SASL user')
    .option('--server <address>', 'only what this server was asked: 10.0.0.2, 10.0.0.2:11211')
    .option(
      '--status <statuses>',
      'only what was answered so, for instance 0x01,0x82 or "not found"',
      parseStatuses,
    )
    .option('--slower <time>', 'only what took so long, or longer, for instance 5ms', parseDuration)
    .option(
      '--sample <1/n>',
      'one key in n, by its hash, as record --sample; all that have no key',
      parseSample,
    )
    .option('--from <time>', 'from this long after the start', parseDuration)
    .option('--to <time>', 'until this long after the start', parseDuration)
    .option('--limit <n>', 'at most so many (default: all)', (text) => parseCount(text));
}

export function filterOf({
  from,
  to,
  key,
  opcode,
  connection,
  tenant,
  server,
  status,
  slower,
  sample,
}: FilterOptions): Filter {
  return {
    ...given({ key, opcode, connection, tenant, server, status, sample }),
    ...(slower === undefined ? {} : { slowerNs: slower * 1e6 }),
    ...(from === undefined ? {} : { fromNs: from * 1e6 }),
    ...(to === undefined ? {} : { toNs: to * 1e6 }),
  };
}

/** Numbers, as `info` shows them or decimal, or names. */
function parseStatuses(text: string): Set<number> {
  return new Set(
    text.split(',').map((part) => {
      const wanted = part.trim().toLowerCase();
      const number = /^(0x[0-9a-f]{1,4}|\d{1,5})$/.test(wanted) ? Number(wanted) : statusNamed(wanted);
      if (number === undefined || number > 0xffff)
        throw new CliError(
          `expected statuses such as 0x01, ok or "not found"; got ${JSON.stringify(part.trim())}`,
          2,
        );
      return number;
    }),
  );
}

function statusNamed(wanted: string): number | undefined {
  const found = Object.entries(statuses).find(([, { name }]) => name === wanted);
  return found === undefined ? undefined : Number(found[0]);
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
