// `memtape cluster worker`: takes shards of runs from the queue, until it is stopped.

import { fileURLToPath } from 'node:url';
import { parseRedisUrl } from '../cluster/redis.ts';
import { runWorker } from '../cluster/worker.ts';
import { CliError, Verdict } from './error.ts';
import type { Shell } from './shell.ts';
import { INTERRUPTED, onInterrupt } from './signal.ts';
import { targetsOf, type TargetOptions } from './target.ts';

export interface WorkerCommandOptions extends TargetOptions {
  redis?: string;
  once?: true;
  quiet?: true;
}

export async function work(shell: Shell, options: WorkerCommandOptions): Promise<void> {
  const { redis, once, quiet, ...secrets } = options;
  const url = redisOf(shell, redis);
  // A wrong file is told now, and not to the first run.
  targetsOf(shell, secrets);
  const folder = shell.temporaryFolder();
  const interrupt = onInterrupt(shell);
  try {
    await runWorker({
      redis: url,
      folder,
      sender: senderModule(),
      secrets,
      once: once === true,
      signal: interrupt.signal,
      onEvent: (text) => {
        if (quiet !== true) shell.stderr.write(`worker: ${text}\n`);
      },
    });
  } finally {
    interrupt.ignore();
    shell.remove(folder);
  }
  throw new Verdict(interrupt.signal.aborted ? INTERRUPTED : 0);
}

/** @throws CliError, ClusterError */
export function redisOf({ env }: Shell, given: string | undefined): URL {
  const text = given ?? env['MEMTAPE_REDIS'];
  if (text === undefined || text === '')
    throw new CliError(
      'expected --redis redis://HOST:6379, or MEMTAPE_REDIS in the environment, got neither',
      2,
    );
  return parseRedisUrl(text);
}

/** Tests run the sources, and processes the build. */
function senderModule(): string {
  const file = import.meta.url.endsWith('.ts') ? '../dist/cli/sender.js' : './sender.js';
  return fileURLToPath(new URL(file, import.meta.url));
}
