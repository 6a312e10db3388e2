// An interrupt while a file is written: exit code 130, and nothing of the file is left.

import { EventEmitter } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { writeModel, type ModelRow } from '../../fixtures/model.ts';
import { NEVER } from '../../trace/batch.ts';
import { runMemtape, type Ran } from '../support/cli.ts';
import { temporary } from '../support/tape.ts';

const folder = mkdtempSync(join(tmpdir(), 'memtape-test-'));
const tape = join(folder, 'long.tape');

beforeAll(async () => {
  const value = Buffer.alloc(20, 'v');
  const rows = function* (): Generator<ModelRow> {
    for (let n = 0; n < 200_000; n++) {
      const at = n * 1_000;
      const key = Buffer.from(`key-${n % 5_000}`);
      yield { connection: 0, at, answeredAt: at + 500, isSet: n < 5_000, key, value, joins: false };
    }
  };
  await writeModel(tape, [{ openNs: 0, closeNs: NEVER }], rows());
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs the command, interrupted once it has begun to write. */
async function interrupted(output: string, ...words: string[]): Promise<Ran> {
  const signals = new EventEmitter();
  const ended = runMemtape(words, { signals });
  const state = { isOver: false };
  void ended.finally(() => (state.isOver = true));
  const folder = dirname(output);
  const isWriting = (): boolean =>
    readdirSync(folder).some((name) => name.endsWith('.part') && statSync(join(folder, name)).size > 0);
  while (!state.isOver && !isWriting()) await sleep(2);
  signals.emit('SIGINT');
  return ended;
}

test.each([
  ['filter', 'out.tape', (output: string) => ['filter', tape, '-o', output]],
  ['convert to csv', 'out.csv', (output: string) => ['convert', tape, output]],
  ['convert to pcap', 'out.pcap', (output: string) => ['convert', tape, output]],
  ['convert to oracleGeneral', 'out.oracleGeneral', (output: string) => ['convert', tape, output]],
  ['synth', 'out.tape', (output: string) => ['synth', 'etc', '-o', output, '--requests', '3000000']],
  ['synth scale', 'out.tape', (output: string) => ['synth', 'scale', tape, '-o', output, '--copies', '2']],
])('%s', async (_, name, words) => {
  const output = temporary(name);
  const { code, stderr } = await interrupted(output, ...words(output));
  expect(stderr).toContain(`interrupted; ${output} was not finished, and nothing of it is left`);
  expect([code, readdirSync(dirname(output))]).toEqual([130, []]);
});
