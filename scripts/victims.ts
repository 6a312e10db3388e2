// What the proofs of faults attack: commands that write files, and recording proxies, with the files that they need, a server,
// and traffic.

import { mkdirSync, mkdtempSync, readdirSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startMemcached } from '../embedded/memcached.ts';
import { Random } from '../synth/laws/random.ts';
import { childrenOf, kill, run } from './attack.ts';
import { load, type LoadOptions, type Proxy } from './recorder.ts';

export const folder = mkdtempSync(join(tmpdir(), 'memtape-faults-'));
export const random = new Random(23);
export const isRoot = process.getuid?.() === 0;
/** How often something was wrong. */
export const found = { wrong: 0 };

export function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

export function fault(name: string, lines: readonly string[]): void {
  found.wrong += lines.length;
  for (const line of lines) say(`WRONG  ${name}: ${line}`);
}

let made = 0;
export function fresh(): string {
  const path = join(folder, `run-${made++}`);
  mkdirSync(path);
  return path;
}

const tape = join(folder, 'a.tape');
const capture = join(folder, 'a.pcap');
const results = join(folder, 'a.results');

/** Commands that write, into a folder. */
export const writers: Readonly<Record<string, (to: string) => string[]>> = {
  record: (to) => ['record', capture, '-o', join(to, 'out.tape')],
  replay: (to) =>
    ['replay', tape, '--speed', 'max', '--timeout', '20s', '--results', join(to, 'out.results')].concat(
      ['html', 'json', 'junit'].flatMap((kind) => [`--${kind}`, join(to, `out.${kind}`)]),
    ),
  diff: (to) => ['diff', tape, results, '--html', join(to, 'out.html'), '--json', join(to, 'out.json')],
  filter: (to) => ['filter', tape, '-o', join(to, 'out.tape')],
  convert: (to) => ['convert', tape, join(to, 'out.csv')],
  synth: (to) => ['synth', 'etc', '-o', join(to, 'out.tape'), '--requests', '15000'],
};
const quiet = (words: readonly string[]): string[] => [...words, '--quiet'];
/** `convert` prints no progress that could be turned off. */
export const wordsOf = (name: string, to: string): string[] =>
  name === 'convert' ? writers[name]!(to) : quiet(writers[name]!(to));
export const proxies: Readonly<Record<string, readonly string[]>> = {
  'record --listen': [],
  'record --rotate': ['--rotate', '1MB'],
  'record --ring': ['--ring', '2s'],
};

/** How long each takes alone, and how much it writes. */
export const alone = new Map<string, { ms: number; bytes: number }>();

export async function prepare(): Promise<void> {
  for (const words of [
    ['synth', 'etc', '-o', tape, '--requests', '15000', '--quiet'],
    ['convert', tape, capture],
    ['replay', tape, '--speed', 'max', '--timeout', '20s', '--results', results, '--quiet'],
  ]) {
    const { code, said } = await run(words);
    if (code !== 0) throw new Error(`memtape ${words[0]} ended with ${code}: ${said}`);
  }
  for (const name of Object.keys(writers)) {
    const to = fresh();
    const { code, said, ms } = await run(wordsOf(name, to));
    if (code !== 0) throw new Error(`memtape ${name} ended with ${code}: ${said}`);
    alone.set(name, { ms, bytes: Math.max(...readdirSync(to).map((file) => statSync(join(to, file)).size)) });
  }
}

export const server = await startMemcached(['-I', '2m']);

export const pour = (address: string, options: Partial<LoadOptions> = {}): Promise<number> =>
  load(address, { random, seconds: 3, valueBytes: 5000, ...options });

/** SIGINT ends it, in time, with one of these codes. A wrapper's child is what is told. */
export async function endProxy(how: string, proxy: Proxy, codes: readonly number[]): Promise<void> {
  const from = performance.now();
  for (const pid of [proxy.child.pid!, ...childrenOf(proxy.child.pid!)]) kill(pid, 'SIGINT');
  const code = await Promise.race([proxy.ended, sleep(20_000, -1)]);
  if (code === -1) proxy.child.kill('SIGKILL');
  const ms = performance.now() - from;
  if (code === null || !codes.includes(code) || ms > 15_000)
    fault(how, [`exit ${code} after ${(ms / 1000).toFixed(1)} s: ${proxy.said().slice(0, 500)}`]);
}
