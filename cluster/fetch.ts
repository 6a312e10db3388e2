// A worker's way to the depot of a run: the trace comes whole, or not at all, also where the connection breaks off; and
// results are handed in until they were taken or refused.

import { createReadStream, createWriteStream, existsSync, statSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { request, type IncomingMessage } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { hashFile } from '../trace/file.ts';
import { ClusterError } from './error.ts';
import type { ShardJob, TraceJob } from './job.ts';

const WAIT_MS = 500;
/** Without a byte for so long a connection is given up, and another one made. */
const IDLE_MS = 15_000;
/** Attempts in a row of which none brought a byte. */
const MAX_VAIN = 20;

type Place = Pick<ShardJob, 'url' | 'token'>;

/**
 * Where the trace is: where it is for whoever runs it, on a machine that shares its folders; else a copy.
 * @param copy its path @throws ClusterError REFUSED
 */
export async function fetchTrace(
  trace: TraceJob,
  place: Place,
  copy: string,
  signal: AbortSignal,
  onProgress: (bytes: number) => void,
): Promise<string> {
  if (isSize(trace.path, trace.bytes) && (await hashFile(trace.path)) === trace.sum) return trace.path;
  if (isSize(copy, trace.bytes) && (await hashFile(copy)) === trace.sum) return copy;
  const part = `${copy}.part`;
  await rm(part, { force: true });
  let vain = 0;
  for (let have = 0; have < trace.bytes;) {
    try {
      await fetchFrom(place, part, have, signal, onProgress);
    } catch (error) {
      if (signal.aborted || error instanceof ClusterError) throw error;
    }
    const now = existsSync(part) ? statSync(part).size : 0;
    vain = now > have ? 0 : vain + 1;
    if (vain > MAX_VAIN)
      throw new ClusterError(
        'REFUSED',
        `cannot fetch the trace from ${place.url}: no byte came ${MAX_VAIN} times in a row`,
      );
    have = now;
    if (have < trace.bytes) await sleep(WAIT_MS, undefined, { signal });
  }
  if (!isSize(part, trace.bytes) || (await hashFile(part)) !== trace.sum) {
    await rm(part, { force: true });
    throw new ClusterError(
      'REFUSED',
      `the trace ${trace.name} changed while it was fetched: expected SHA-256 ${trace.sum}; run it again`,
    );
  }
  await rename(part, copy);
  return copy;
}

function isSize(path: string, bytes: number): boolean {
  try {
    return statSync(path).size === bytes;
  } catch {
    return false;
  }
}

async function fetchFrom(
  place: Place,
  part: string,
  have: number,
  signal: AbortSignal,
  onProgress: (bytes: number) => void,
): Promise<void> {
  const response = await call(place, 'GET', '/trace', have > 0 ? { range: `bytes=${have}-` } : {}, signal);
  const { statusCode } = response;
  if (statusCode !== (have > 0 ? 206 : 200)) {
    response.resume();
    throw new ClusterError('REFUSED', `${place.url} does not hand out the trace: it answered ${statusCode}`);
  }
  let bytes = have;
  // At its place, and not at the end: a write of a broken connection may still come.
  response.on('data', (chunk: Buffer) => onProgress((bytes += chunk.length)));
  await pipeline(response, createWriteStream(part, { flags: have > 0 ? 'r+' : 'w', start: have }), {
    signal,
  });
}

/**
 * Hands results in. @returns whether they were taken
 * @param patienceMs how long whoever runs it may be away
 */
export async function handIn(
  place: Place,
  index: number,
  attempt: string,
  path: string,
  signal: AbortSignal,
  patienceMs: number,
): Promise<boolean> {
  const sum = await hashFile(path);
  const { size } = statSync(path);
  const until = performance.now() + patienceMs;
  for (;;) {
    try {
      const headers = { 'x-sha256': sum, 'content-length': String(size) };
      const response = await call(place, 'PUT', `/results/${index}/${attempt}`, headers, signal, path);
      response.resume();
      if (response.statusCode === 204) return true;
      if (response.statusCode !== 422) return false;
    } catch {
      // It may be back.
    }
    if (signal.aborted || performance.now() > until) return false;
    await sleep(WAIT_MS);
  }
}

async function call(
  { url, token }: Place,
  method: string,
  path: string,
  headers: Record<string, string>,
  signal: AbortSignal,
  body?: string,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const sent = request(
      `${url}${path}`,
      {
        method,
        headers: { ...headers, authorization: `Bearer ${token}` },
        signal,
        timeout: IDLE_MS,
        agent: false,
      },
      resolve,
    );
    sent.on('timeout', () => sent.destroy(new Error('no byte in time')));
    sent.on('error', reject);
    if (body === undefined) sent.end();
    else pipeline(createReadStream(body), sent).catch(reject);
  });
}
