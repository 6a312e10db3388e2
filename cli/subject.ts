// What a trace is tried against, over and over, each time as if nothing had been there before: an embedded server that
// is made anew, or a target that a command or FLUSH empties.

import { spawn } from 'node:child_process';
import { startCluster, type ClusterOptions } from '../embedded/cluster.ts';
import type { ProxyFault } from '../embedded/proxy/fault.ts';
import { startFaultProxy } from '../embedded/proxy.ts';
import { flush } from '../replayer/flush.ts';
import type { Credentials, Target } from '../replayer/target.ts';
import { CliError } from './error.ts';

export interface Subject {
  /** Calls `use` with the addresses of targets that are empty. @throws what emptying them throws, and what `use` does */
  fresh<T>(use: (addresses: readonly string[]) => Promise<T>): Promise<T>;
}

/** Where `memtape serve` is told to listen when a try is to be made again. */
export const EMBEDDED_PORT = 11_311;

/** @param proxy in front of the servers, with these faults; none where undefined */
export function embedded(options: ClusterOptions, proxy?: readonly ProxyFault[]): Subject {
  return {
    fresh: async (use) => {
      const cluster = await startCluster({ memoryBytes: 1e9, ...options });
      try {
        if (proxy === undefined) return await use(cluster.addresses);
        const front = await startFaultProxy({
          backends: cluster.addresses,
          // Ports differ from try to try; who has which key does not.
          names: cluster.addresses.map((_, n) => ({ host: '127.0.0.1', port: EMBEDDED_PORT + n })),
          faults: proxy,
          restart: async (backend) => cluster.restart(backend),
        });
        try {
          return await use([front.address]);
        } finally {
          await front.stop();
        }
      } finally {
        await cluster.stop();
      }
    },
  };
}

/** @param credentials of whoever may empty the targets */
export function flushed(
  targets: readonly Target[],
  credentials: Credentials | undefined,
  timeoutMs: number,
): Subject {
  return {
    fresh: async (use) => {
      await Promise.all(targets.map(async (target) => flush(target, credentials, timeoutMs)));
      return use(targets.map(({ address }) => address));
    },
  };
}

/** @param command of the shell, which returns once the targets are empty and take requests */
export function reset(addresses: readonly string[], command: string): Subject {
  return {
    fresh: async (use) => {
      await runShell(command);
      return use(addresses);
    },
  };
}

const OUTPUT_KEPT = 500;
const TIMEOUT_MS = 60_000;

async function runShell(command: string): Promise<void> {
  const child = spawn(command, { shell: true, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (text: Buffer) => (said = (said + text.toString()).slice(-OUTPUT_KEPT)));
  const timer = setTimeout(() => {
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
  }, TIMEOUT_MS);
  // Not 'close': a server that it left in the background may keep its output open.
  const why = await new Promise<string | undefined>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code) => {
      if (code === 0) resolve(undefined);
      else if (code === null) resolve(`stopped after ${TIMEOUT_MS / 1000} s`);
      else resolve(`exit code ${code}`);
    });
  });
  clearTimeout(timer);
  child.stdout.destroy();
  child.stderr.destroy();
  if (why !== undefined)
    throw new CliError(
      `--reset ${JSON.stringify(command)}: ${[why, said.trim()].filter(Boolean).join(': ')}`,
      5,
    );
}
