// Files that are open when something fails are closed: Node would close them when they are collected, and warn of it.

import { readdirSync, readlinkSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { describe, expect, test } from 'vitest';
import { startServer } from '../../embedded/server.ts';
import { replay } from '../../replayer/replay.ts';
import { TraceWriter } from '../../trace/file.ts';
import { batchOf, temporary, testMeta, writeTape } from '../support/tape.ts';

/** What of this folder this process has open. */
function openFiles(folder: string): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      const path = readlinkSync(`/proc/self/fd/${fd}`);
      return path.startsWith(folder) ? [path] : [];
    } catch {
      return [];
    }
  });
}

describe.runIf(process.platform === 'linux')('nothing stays open', () => {
  test('where the opening block is too long', async () => {
    const path = temporary('long.tape');
    const meta = { ...testMeta, source: 'x'.repeat(20 * 1024 * 1024) };
    await expect(TraceWriter.create(path, meta)).rejects.toMatchObject({ code: 'WRITE' });
    expect(openFiles(dirname(path))).toEqual([]);
  });

  test('where a trace goes away between its survey and its replay', async () => {
    const [trace, results] = [temporary('gone.tape'), temporary('gone.results')];
    await writeTape(trace, [batchOf([{ op: 'get', key: 'a', status: 1 }])]);
    const server = await startServer();
    const observer = { begin: () => rmSync(trace), rows: () => undefined, giveUp: () => undefined };
    try {
      const run = replay({ trace, results, targets: [server.address], observer });
      await expect(run).rejects.toMatchObject({ code: 'READ' });
    } finally {
      await server.stop();
    }
    expect([...openFiles(dirname(trace)), ...openFiles(dirname(results))]).toEqual([]);
  });
});
