// Redis, as a cluster needs it: reached, let in, and not throwing away what is put there. Its password is in no message.

import { Redis, type RedisOptions } from 'ioredis';
import { ClusterError } from './error.ts';

const CONNECT_MS = 5_000;
const MAX_RETRY_MS = 1_000;

/** `redis://[user:password@]host[:port][/database]`, or rediss:// for TLS. @throws ClusterError USAGE */
export function parseRedisUrl(text: string): URL {
  let url: URL | undefined;
  try {
    url = new URL(text);
  } catch {
    // What it is instead may hold a password.
  }
  if (url === undefined || !/^rediss?:$/.test(url.protocol) || url.hostname === '')
    throw new ClusterError(
      'USAGE',
      'expected Redis as redis://HOST:6379 or rediss://HOST:6379 (with USER:PASSWORD@ before the host, or the whole in MEMTAPE_REDIS), got something else',
    );
  return url;
}

/** For messages: without user and password. */
export function placeOf(url: URL): string {
  return `${url.protocol}//${url.hostname}${url.port === '' ? '' : `:${url.port}`}`;
}

function optionsOf(url: URL): RedisOptions {
  const database = Number(url.pathname.slice(1));
  return {
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: Number(url.port || 6379),
    ...(url.username === '' ? {} : { username: decodeURIComponent(url.username) }),
    ...(url.password === '' ? {} : { password: decodeURIComponent(url.password) }),
    ...(database > 0 ? { db: database } : {}),
    ...(url.protocol === 'rediss:' ? { tls: {} } : {}),
    connectTimeout: CONNECT_MS,
    // Commands wait for Redis as long as it is away; who sends them says how long that may be.
    maxRetriesPerRequest: null,
  };
}

/** A connection that comes back by itself. Nothing is reached yet. */
export function openRedis(url: URL, onError: (error: Error) => void = () => undefined): Redis {
  const redis = new Redis({
    ...optionsOf(url),
    retryStrategy: (times) => Math.min(MAX_RETRY_MS, 50 * 2 ** Math.min(times, 10)),
  });
  // Without a listener each failed attempt would be printed.
  redis.on('error', onError);
  return redis;
}

/** Whether it is there, lets us in, and keeps what it is given. @throws ClusterError REDIS, USAGE */
export async function checkRedis(url: URL): Promise<void> {
  const place = placeOf(url);
  const redis = new Redis({ ...optionsOf(url), lazyConnect: true, retryStrategy: () => null });
  let failure: Error | undefined;
  redis.on('error', (error: Error) => (failure ??= error));
  try {
    await redis.connect();
    const memory = await redis.info('memory');
    const policy = /^maxmemory_policy:(\S+)/m.exec(memory)?.[1] ?? 'noeviction';
    if (policy !== 'noeviction')
      throw new ClusterError(
        'USAGE',
        `${place} may evict what a run keeps there (maxmemory-policy ${policy}): expected noeviction; redis-cli config set maxmemory-policy noeviction, or another Redis`,
      );
  } catch (cause) {
    if (cause instanceof ClusterError) throw cause;
    throw explained(place, failure ?? (cause as Error));
  } finally {
    redis.disconnect();
  }
}

function explained(place: string, cause: Error): ClusterError {
  const { message } = cause;
  if (/NOAUTH|WRONGPASS|invalid (username-)?password|without any password configured/i.test(message))
    return new ClusterError(
      'USAGE',
      `${place} refuses the password: expected another USER:PASSWORD in --redis or MEMTAPE_REDIS`,
      { cause },
    );
  if (/NOPERM/i.test(message))
    return new ClusterError('USAGE', `${place} forbids this user what a run needs: ${message}`, { cause });
  const { code } = cause as NodeJS.ErrnoException;
  const why =
    code === 'ECONNREFUSED'
      ? 'connection refused; is it running?'
      : code === 'ETIMEDOUT'
        ? 'no answer'
        : message;
  return new ClusterError('REDIS', `cannot reach Redis at ${place}: ${why}`, { cause });
}
