// What a file is, by its first bytes, and which command takes such a file: for messages to somebody who gave a command the
// wrong one.

import { closeSync, existsSync, openSync, readSync, readdirSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { nearest } from '../config/nearest.ts';
import { CliError } from './error.ts';
import { FileKind, kindOfHead } from '../trace/block.ts';

export type Kind =
  | 'capture'
  | 'trace'
  | 'results'
  | 'model'
  | 'gate'
  | 'drills'
  | 'report'
  | 'page'
  | 'parquet'
  | 'packed';

interface KindRow {
  /** `PATH is …` */
  is: string;
  /** What to do with it, by its path. */
  way: (path: string) => string;
}

const kinds: Readonly<Record<Kind, KindRow>> = {
  capture: { is: 'a capture', way: (path) => `memtape record ${path} -o FILE makes a trace of it` },
  trace: {
    is: 'a trace',
    way: (path) => `memtape info ${path}, memtape audit ${path} and memtape replay ${path} take it`,
  },
  results: {
    is: 'a results file',
    way: (path) => `memtape diff TRACE ${path} makes its report, with the trace that was replayed`,
  },
  model: {
    is: 'a model',
    way: (path) => `memtape synth ${path} -o FILE makes a trace of it, and memtape replay ${path} replays it`,
  },
  gate: { is: 'a gate file', way: (path) => `memtape gate ${path} runs it` },
  drills: { is: 'a list of drills', way: (path) => `memtape replay TRACE --drill ${path} runs them` },
  report: { is: 'a report as JSON', way: () => 'memtape diff TRACE RESULTS makes it again, in other forms' },
  page: { is: 'an HTML page', way: () => 'a browser shows it' },
  parquet: { is: 'a Parquet file', way: () => 'memtape writes such files, and reads none' },
  packed: {
    is: 'a packed file',
    way: (path) =>
      `if it is a capture, memtape record ${path} -o FILE takes it; if it is a trace, unpack it first`,
  },
};

const HEAD_BYTES = 4096;

/** What the file is; undefined where that is not known, or it cannot be read. Only regular files are looked into. */
export function kindOf(path: string): Kind | undefined {
  const head = headOf(path);
  if (head === undefined) return undefined;
  return kindOfBytes(head) ?? kindOfText(head.toString('utf8'));
}

function headOf(path: string): Buffer | undefined {
  try {
    if (!statSync(path).isFile()) return undefined;
    const file = openSync(path, 'r');
    try {
      const head = Buffer.alloc(HEAD_BYTES);
      return head.subarray(0, readSync(file, head, 0, HEAD_BYTES, 0));
    } finally {
      closeSync(file);
    }
  } catch {
    return undefined;
  }
}

const captureMagics = new Set(['d4c3b2a1', 'a1b2c3d4', '4d3cb2a1', 'a1b23c4d', '0a0d0d0a', '34cdb2a1']);

function kindOfBytes(head: Buffer): Kind | undefined {
  const ours = kindOfHead(head);
  if (ours !== undefined) return ours === FileKind.results ? 'results' : 'trace';
  const magic = head.toString('hex', 0, 4);
  if (captureMagics.has(magic)) return 'capture';
  if (magic === '28b52ffd' || magic.startsWith('1f8b')) return 'packed';
  return head.toString('latin1', 0, 4) === 'PAR1' ? 'parquet' : undefined;
}

function kindOfText(text: string): Kind | undefined {
  const format = /(?:^|[\s{,"])format["']?\s*:\s*["']?(memtape-[a-z-]+)\/\d/.exec(text)?.[1];
  if (format === 'memtape-model') return 'model';
  if (format === 'memtape-gate') return 'gate';
  if (format === 'memtape-report' || format === 'memtape-gate-report') return 'report';
  if (/^\s*<(!doctype|html)/i.test(text)) return 'page';
  return /^- +(at|run): /m.test(text) && /^ +(at|run): /m.test(text) ? 'drills' : undefined;
}

/**
 * Refuses a file that is not there, with the nearest name, and one of another kind than the command takes, with the
 * command that takes it. What is of no known kind is left to whoever reads it.
 * @throws CliError
 */
export function expectKind(path: string, ...wanted: readonly Kind[]): void {
  if (!existsSync(path)) throw missing(path);
  const kind = kindOf(path);
  if (kind === undefined || wanted.includes(kind)) return;
  const { is, way } = kinds[kind];
  const expected = wanted.map((one) => kinds[one].is).join(' or ');
  throw new CliError(`${path}: expected ${expected}, got ${is}: ${way(path)}`, 2);
}

/**
 * @param others names that may have been meant besides those of files
 * @param advice where no name is near
 */
export function missing(path: string, others: Iterable<string> = [], advice = ''): CliError {
  const folder = dirname(path);
  let names: string[] = [];
  try {
    names = readdirSync(folder);
  } catch {
    // Then the folder is what is not there.
  }
  const meant = nearest(basename(path), [...others, ...names]);
  const known = meant !== undefined && names.includes(meant) ? join(folder, meant) : meant;
  const hint = known === undefined ? advice : `did you mean ${known}?`;
  return new CliError(`cannot read ${path}: there is no such file${hint === '' ? '' : `; ${hint}`}`, 2);
}

/** What it is, in words: `a trace`. */
export function nameOfKind(kind: Kind): string {
  return kinds[kind].is;
}
