// How many servers and connections a trace needs, and whether this process may open as many files.

import { NEVER } from '../trace/batch.ts';
import { TraceReader } from '../trace/file.ts';
import { openFileLimit, starvedHint } from './descriptors.ts';
import { CliError } from './error.ts';
import { isModel } from './source.ts';
import { plural } from './text.ts';

export interface Needs {
  servers: number;
  /** Open at the same time. */
  connections: number;
}

export async function needsOf(path: string): Promise<Needs> {
  const trace = await TraceReader.open(path);
  try {
    const servers = new Set<string>();
    const changes: [atNs: number, by: 1 | -1][] = [];
    for await (const batch of trace.batches())
      for (const { server, openNs, closeNs } of batch.connections) {
        servers.add(server);
        changes.push([openNs === NEVER ? 0 : openNs, 1]);
        if (closeNs !== NEVER) changes.push([closeNs, -1]);
      }
    let connections = 0;
    let open = 0;
    for (const [, by] of changes.toSorted(([a, one], [b, other]) => a - b || other - one))
      connections = Math.max(connections, (open += by));
    return { servers: Math.max(1, servers.size), connections };
  } finally {
    await trace.close();
  }
}

/** A gate's run against servers of its own, or behind a proxy of its own. @throws CliError as checkDescriptors */
export async function checkEmbedded(source: string): Promise<void> {
  if (openFileLimit() < RARELY_ENOUGH && !isModel(source))
    checkDescriptors((await needsOf(source)).connections);
}

/** Below this many open files, connections are counted beforehand. */
const RARELY_ENOUGH = 1024;
/** What a process has open beside its connections. */
const OTHER_FILES = 40;

/** An embedded server that cannot take a connection closes it, which would look like a fault. @throws CliError */
export function checkDescriptors(connections: number): void {
  const limit = openFileLimit();
  const needed = 2 * connections + OTHER_FILES;
  if (needed > limit)
    throw new CliError(
      `expected about ${needed} open files to be allowed, for ${plural(connections, 'connection')} to an embedded server, got ${limit}; ${starvedHint}`,
      2,
    );
}
