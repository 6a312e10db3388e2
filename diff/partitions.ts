// Keys by every way that clients and proxies are known to spread them, for every number of servers: so a broken backend
// behind a proxy that shows one address is found from outside.

import {
  createDistribution,
  fnv1a64,
  jump,
  keyHashes,
  type DistributionName,
  type NamedServer,
} from '../protocol/distribution.ts';
import { noneOf, type Tally } from './tally.ts';

const MAX_SERVERS = 16;

/** A key, whether it failed, and since when. */
export interface Spread {
  /** latin1 */
  readonly key: string;
  /** Of its failures, as a tally has it; 0: there were none. */
  readonly weight: number;
  readonly sinceSeconds: number;
}

/** One tally for each way to spread the keys. */
export interface Partitions {
  /** Over the backends that are known to stand there. */
  readonly known: readonly Tally[];
  /** Over any number of servers. */
  readonly guessed: readonly Tally[];
}

/**
 * @param backends what is known to stand there
 * @param told how it is known to share the keys
 */
export function partitions(
  keys: readonly Spread[],
  backends: readonly NamedServer[],
  told: DistributionName | undefined,
): Partitions {
  const known: Tally[] = [];
  const guessed: Tally[] = [];
  const bytes = keys.map(({ key }) => Buffer.from(key, 'latin1'));
  const failing = [...keys.keys()].filter((n) => keys[n]!.weight > 0);
  /** Keys are many, and so are the ways to spread them: counted by number, named afterwards. */
  const spread = (
    into: Tally[],
    servers: number,
    at: (n: number) => number,
    name: (server: number) => string,
  ): void => {
    const totals = new Uint32Array(servers);
    for (let n = 0; n < keys.length; n++) totals[at(n)]!++;
    const entries = Array.from(totals, (total) => ({ ...noneOf(), total }));
    for (const n of failing) {
      const entry = entries[at(n)]!;
      const { weight, sinceSeconds } = keys[n]!;
      entry.failed++;
      entry.weight += weight;
      if (sinceSeconds < entry.sinceSeconds) entry.sinceSeconds = sinceSeconds;
    }
    const used = entries.map((entry, n) => [name(n), entry] as const).filter(([, { total }]) => total > 0);
    into.push(new Map(used));
  };
  const hashed = Object.entries(keyHashes).map(
    ([name, hash]) => [name, Uint32Array.from(bytes, (key) => hash(key, 0, key.length))] as const,
  );
  // By key and number of servers.
  const jumped = new Uint8Array(keys.length * (MAX_SERVERS + 1));
  for (const [n, key] of bytes.entries())
    jumped.set(jumps(fnv1a64(key, 0, key.length)), n * (MAX_SERVERS + 1));
  for (let servers = 2; servers <= MAX_SERVERS; servers++) {
    for (const [name, hashes] of hashed)
      spread(
        guessed,
        servers,
        (n) => hashes[n]! % servers,
        (at) => `${at} of ${servers} (${name} modulo)`,
      );
    spread(
      guessed,
      servers,
      (n) => jumped[n * (MAX_SERVERS + 1) + servers]!,
      (at) => `${at} of ${servers} (jump)`,
    );
  }
  if (backends.length > 1)
    for (const name of told === undefined ? (['ketama', 'ketama-weighted'] as const) : [told]) {
      const distribution = createDistribution(name, backends);
      spread(
        known,
        backends.length,
        (n) => distribution(bytes[n]!, 0, bytes[n]!.length),
        (at) => {
          const { host, port } = backends[at]!;
          return `${host}:${port}, ${at} of ${backends.length} (${name})`;
        },
      );
    }
  return { known, guessed };
}

/** By number of servers: with fewer, a key stays where it is, unless its server is one of those that are gone. */
function jumps(hash: bigint): Uint8Array {
  const of = new Uint8Array(MAX_SERVERS + 1);
  for (let servers = MAX_SERVERS; servers > 0;) {
    const bucket = jump(hash, servers);
    of.fill(bucket, bucket + 1, servers + 1);
    servers = bucket;
  }
  return of;
}
