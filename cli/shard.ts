// A part of a replay, as `replay --shard` is asked for it.

import { InvalidArgumentError } from 'commander';
import { MAX_SHARDS, parseShard, type Shard } from '../trace/shard.ts';
import { CliError } from './error.ts';
import type { RunOptions } from './replaying.ts';

/** @throws InvalidArgumentError */
export function parseShardOption(text: string): Shard {
  const shard = parseShard(text);
  if (shard !== undefined) return shard;
  throw new InvalidArgumentError(
    `expected a part of at most ${MAX_SHARDS}, such as 1/8 for the first of eight`,
  );
}

const MAX_RUN = 200;

/** @throws InvalidArgumentError */
export function parseRun(text: string): string {
  if (/^[\x21-\x7e]+$/.test(text) && text.length <= MAX_RUN) return text;
  throw new InvalidArgumentError(
    `expected a name of 1 to ${MAX_RUN} letters, digits and signs, without spaces`,
  );
}

/** What cannot be asked of a part of a replay. @throws CliError */
export function checkShard({ shard, run, allow, baseline, expect, flushBefore }: RunOptions): void {
  if (shard === undefined) {
    if (run !== undefined)
      throw new CliError(
        '--run names what the parts of a replay have in common: expected --shard with it',
        2,
      );
    return;
  }
  if (allow.includes('flush'))
    throw new CliError(
      '--allow flush expects a replay that is whole: FLUSH acts on the keys of all shards, and none would know when another sent it',
      2,
    );
  if (flushBefore === true)
    throw new CliError(
      '--flush-before expects a replay that is whole: each shard would empty what another has filled; empty the targets beforehand',
      2,
    );
  if (baseline !== undefined || expect !== undefined)
    throw new CliError(
      `--${baseline === undefined ? 'expect' : 'baseline'} expects a replay that is whole: merge the shards of both (memtape report --results), and compare them by memtape diff`,
      2,
    );
}
