// How clients choose a server by key. The formulas are the clients' own: whoever computes them otherwise sends requests
// to servers that do not have the key. A server's place is its number in the list, and with ketama also its name.

import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';

/** From the key buffer[at, at + length) to the number of a server. */
export type Distribution = (buffer: Buffer, at: number, length: number) => number;

export const distributionNames = ['ketama', 'ketama-weighted', 'modula', 'jump', 'memjs'] as const;
export type DistributionName = (typeof distributionNames)[number];

/** A server as its client names it. */
export interface NamedServer {
  host: string;
  port: number;
}

/** memcached's own port, which ketama leaves out of a server's name. */
const DEFAULT_PORT = 11_211;
/** Points of a server on libmemcached's ring; of the weighted ring, where four come from each digest. */
const POINTS = 100;
const WEIGHTED_POINTS = 160;
const POINTS_PER_DIGEST = 4;

const makers: Readonly<Record<DistributionName, (servers: readonly NamedServer[]) => Distribution>> = {
  modula:
    ({ length: count }) =>
    (buffer, at, length) =>
      oneAtATime(buffer, at, length) % count,
  memjs:
    ({ length: count }) =>
    (buffer, at, length) =>
      memjsHash(buffer, at, length) % count,
  jump:
    ({ length: count }) =>
    (buffer, at, length) =>
      jump(fnv1a64(buffer, at, length), count),
  ketama: (servers) => onRing(ketamaRing(servers), oneAtATime),
  'ketama-weighted': (servers) => onRing(weightedRing(servers), md5Hash),
};

/** The distribution over these servers, at least one. */
export function createDistribution(name: DistributionName, servers: readonly NamedServer[]): Distribution {
  return servers.length === 1 ? () => 0 : makers[name](servers);
}

/** Jenkins' one-at-a-time hash, libmemcached's default. Bytes are signed, as in C on x86. */
function oneAtATime(buffer: Buffer, at: number, length: number): number {
  let hash = 0;
  for (let n = at; n < at + length; n++) {
    const byte = (buffer[n]! << 24) >> 24;
    hash = (hash + byte) | 0;
    hash = (hash + (hash << 10)) | 0;
    hash ^= hash >>> 6;
  }
  hash = (hash + (hash << 3)) | 0;
  hash ^= hash >>> 11;
  return (hash + (hash << 15)) >>> 0;
}

/** The first four bytes of MD5, the lowest first: libmemcached's MD5 hash, and that of every libketama. */
function md5Hash(buffer: Buffer, at: number, length: number): number {
  return createHash('md5')
    .update(buffer.subarray(at, at + length))
    .digest()
    .readUInt32LE(0);
}

/** memjs hashes the UTF-16 units of the key, as Java does its strings. */
function memjsHash(buffer: Buffer, at: number, length: number): number {
  const text = buffer.toString('utf8', at, at + length);
  let hash = 0;
  for (let n = 0; n < text.length; n++) hash = (31 * hash + text.charCodeAt(n)) | 0;
  return Math.abs(hash);
}

/** The halves of the offset, and what the prime has below 2^40. */
const FNV_OFFSET_HIGH = 0xcbf29ce4;
const FNV_OFFSET_LOW = 0x84222325;
const FNV_PRIME_LOW = 0x1b3;

/** FNV-1a in 32 bits. */
export function fnv1a32(buffer: Buffer, at: number, length: number): number {
  let hash = 0x811c9dc5;
  for (let n = at; n < at + length; n++) hash = Math.imul(hash ^ buffer[n]!, 0x01000193);
  return hash >>> 0;
}

/** What MurmurHash3 makes of four bytes. */
function scrambled(block: number): number {
  const product = Math.imul(block, 0xcc9e2d51);
  return Math.imul((product << 15) | (product >>> 17), 0x1b873593);
}

/** MurmurHash3 in 32 bits, seed 0. */
function murmur3(buffer: Buffer, at: number, length: number): number {
  const end = at + length;
  let hash = 0;
  let place = at;
  for (; place + 4 <= end; place += 4) {
    hash ^= scrambled(buffer.readUInt32LE(place));
    hash = (Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64) | 0;
  }
  let tail = 0;
  for (let n = end - 1; n >= place; n--) tail = (tail << 8) | buffer[n]!;
  if (place < end) hash ^= scrambled(tail);
  hash ^= length;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** Hashes that clients and proxies take modulo the number of servers. */
export const keyHashes: Readonly<Record<string, (buffer: Buffer, at: number, length: number) => number>> = {
  'one-at-a-time': oneAtATime,
  crc32: (buffer, at, length) => crc32(buffer.subarray(at, at + length)),
  // As libmemcached, and the memcache clients of PHP and Perl, use it.
  'crc32 of 15 bits': (buffer, at, length) => (crc32(buffer.subarray(at, at + length)) >>> 16) & 0x7fff,
  fnv1a: fnv1a32,
  murmur3,
  md5: md5Hash,
  memjs: memjsHash,
};

export function fnv1a64(buffer: Buffer, at: number, length: number): bigint {
  let high = FNV_OFFSET_HIGH;
  let low = FNV_OFFSET_LOW;
  for (let n = at; n < at + length; n++) {
    low = (low ^ buffer[n]!) >>> 0;
    // Times 2^40 + 435: the first part shifts the lower half into the upper one, the second carries into it.
    const product = low * FNV_PRIME_LOW;
    high = (Math.imul(high, FNV_PRIME_LOW) + Math.floor(product / 2 ** 32) + (low << 8)) >>> 0;
    low = product % 2 ** 32;
  }
  return (BigInt(high) << 32n) | BigInt(low);
}

/** Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm" (2014). */
export function jump(hash: bigint, buckets: number): number {
  let key = hash;
  let bucket = -1;
  let next = 0;
  while (next < buckets) {
    bucket = next;
    key = BigInt.asUintN(64, key * 2862933555777941757n + 1n);
    next = Math.floor((bucket + 1) * (0x80000000 / (Number(key >> 33n) + 1)));
  }
  return bucket;
}

/** Points in ascending order, and whose they are. */
interface Ring {
  points: Uint32Array;
  owners: Uint32Array;
}

function ringOf(points: { point: number; owner: number }[]): Ring {
  points.sort((a, b) => a.point - b.point || a.owner - b.owner);
  return {
    points: Uint32Array.from(points, ({ point }) => point),
    owners: Uint32Array.from(points, ({ owner }) => owner),
  };
}

function pointName({ host, port }: NamedServer, index: number): string {
  return port === DEFAULT_PORT ? `${host}-${index}` : `${host}:${port}-${index}`;
}

/** libmemcached's MEMCACHED_BEHAVIOR_KETAMA (pylibmc: `ketama`). */
function ketamaRing(servers: readonly NamedServer[]): Ring {
  return ringOf(
    servers.flatMap((server, owner) =>
      Array.from({ length: POINTS }, (_, index) => {
        const name = Buffer.from(pointName(server, index));
        return { point: oneAtATime(name, 0, name.length), owner };
      }),
    ),
  );
}

/** libmemcached's MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED with equal weights: the ring of libketama. */
function weightedRing(servers: readonly NamedServer[]): Ring {
  // As libmemcached rounds it, in single precision.
  const share = Math.fround(Math.fround(1) / Math.fround(servers.length));
  const ofAll = Math.fround(Math.fround(Math.fround(share * WEIGHTED_POINTS) / 4) * servers.length);
  const digests = Math.floor(Math.fround(ofAll + Math.fround(0.0000000001)));
  return ringOf(
    servers.flatMap((server, owner) =>
      Array.from({ length: digests }, (_, index) => {
        const digest = createHash('md5').update(pointName(server, index)).digest();
        return Array.from({ length: POINTS_PER_DIGEST }, (_point, n) => ({
          point: digest.readUInt32LE(n * 4),
          owner,
        }));
      }).flat(),
    ),
  );
}

/** The first point that is not below the key's hash; after the last comes the first. */
function onRing(
  { points, owners }: Ring,
  hash: (buffer: Buffer, at: number, length: number) => number,
): Distribution {
  return (buffer, at, length) => {
    const wanted = hash(buffer, at, length);
    let low = 0;
    let high = points.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (points[middle]! < wanted) low = middle + 1;
      else high = middle;
    }
    return owners[low === points.length ? 0 : low]!;
  };
}
