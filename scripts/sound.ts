// What a command that ended badly may leave: of what a recording wrote, whole blocks that can be read; of every other file,
// all of it or nothing under its name.

import { existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { FileKind, kindOfFile } from '../trace/block.ts';
import { ResultsReader } from '../trace/file.ts';
import { readable } from './recorder.ts';

/** A trace without a block of rows yet: what was recorded was not written. */
const HEAD_BYTES = 600;
const PART = /^\.memtape-[0-9a-f]{12}\.part(\d+)?$/;

export interface Left {
  /** Files, those without anything in them aside. */
  files: number;
  /** What can be read of traces. */
  exchanges: number;
  /** What is wrong with them. */
  wrong: string[];
}

/** @param isLive traces were written by a recording, block by block */
export async function whatIsLeft(folder: string, isLive: boolean): Promise<Left> {
  const left: Left = { files: 0, exchanges: 0, wrong: [] };
  const names = existsSync(folder) ? readdirSync(folder, { recursive: true, encoding: 'utf8' }) : [];
  for (const name of names) {
    const path = join(folder, name);
    const stat = statSync(path);
    if (!stat.isFile() || stat.size === 0) continue;
    left.files++;
    try {
      await look(path, isLive || PART.test(name), stat.size, left);
    } catch (error) {
      left.wrong.push(`${name}, ${stat.size} bytes: ${(error as Error).message}`);
    }
  }
  return left;
}

async function look(path: string, mayBeCut: boolean, bytes: number, left: Left): Promise<void> {
  if (PART.test(path.split('/').at(-1)!) && kindOfFile(path) === undefined) return;
  if (path.endsWith('.html')) return expectEnd(path, '</html>');
  if (path.endsWith('.junit')) return expectEnd(path, '</testsuites>');
  if (path.endsWith('.json')) return void JSON.parse(readFileSync(path, 'utf8'));
  const kind = kindOfFile(path);
  // A header of which a part was written.
  if (kind === undefined && mayBeCut && bytes < HEAD_BYTES) return;
  if (kind === FileKind.trace) {
    try {
      const { exchanges, isCut } = await readable(path);
      left.exchanges += exchanges;
      if (isCut && !mayBeCut) throw new Error('it is cut');
    } catch (error) {
      if (!mayBeCut || bytes >= HEAD_BYTES) throw error;
    }
  } else if (kind === FileKind.results) await lookAtResults(path, mayBeCut);
  else if (!path.endsWith('.csv')) throw new Error('expected a trace or results');
}

async function lookAtResults(path: string, mayBeCut: boolean): Promise<void> {
  const results = await ResultsReader.open(path);
  try {
    for await (const batch of results.batches())
      if (batch.count === 0) throw new Error('a block without rows');
    if (results.truncated && !mayBeCut) throw new Error('it is cut');
  } finally {
    await results.close();
  }
}

function expectEnd(path: string, end: string): void {
  if (!readFileSync(path, 'utf8').trimEnd().endsWith(end)) throw new Error(`expected it to end with ${end}`);
}
