// Files whose every number may be wrong while their checksums are right, before all that reads traces and results:
// `npm run fuzz -- traces` makes more of them. What each reader says is a code of ours, or that it read the file.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  columnsOf,
  harmed,
  putTogether,
  rawOf,
  takeApart,
  varint,
  withRaw,
  type Parts,
} from '../../fixtures/forge.ts';
import { startServer, type EmbeddedServer } from '../../embedded/server.ts';
import { replay } from '../../replayer/replay.ts';
import { holdTo, resultsReaders, traceReaders } from '../../scripts/readers.ts';
import { Random } from '../../synth/laws/random.ts';
import { TraceReader } from '../../trace/file.ts';

const golden = new URL('../../fixtures/golden/format-1.tape', import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), 'memtape-forged-'));
let server: EmbeddedServer;
let trace: Parts;
let results: Parts;

beforeAll(async () => {
  server = await startServer();
  const path = join(folder, 'sound.results');
  await replay({ trace: golden, results: path, targets: [server.address], speed: 'max', timeoutMs: 500 });
  trace = takeApart(readFileSync(golden));
  results = takeApart(readFileSync(path));
});

afterAll(async () => {
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
});

test('what is taken apart is the same once it is put together', () => {
  expect(takeApart(putTogether(trace))).toEqual(trace);
  for (const part of trace.parts.filter(({ type }) => type === 2))
    expect(rawOf(columnsOf('trace', part)).equals(part.raw)).toBe(true);
  for (const part of results.parts.filter(({ type }) => type === 2))
    expect(rawOf(columnsOf('results', part)).equals(part.raw)).toBe(true);
});

test('what has more rows than its bytes can be is not taken apart', () => {
  const part = results.parts.find(({ type }) => type === 2);
  for (const rows of [part!.rows + 1, part!.raw.length])
    expect(() => columnsOf('results', { ...part!, rows })).toThrow(RangeError);
});

test.each(['trace', 'results'] as const)(
  'a harmed %s ends no reader but with an error of ours',
  async (kind) => {
    const readers = kind === 'trace' ? traceReaders(server.address) : resultsReaders(golden);
    const path = join(folder, `harmed.${kind}`);
    const codes = new Set<string>();
    const defects: string[] = [];
    for (let seed = 0; seed < (kind === 'trace' ? 8 : 16); seed++) {
      writeFileSync(path, harmed(new Random(7, seed), kind, kind === 'trace' ? trace : results, false));
      for (const { reader, code, message } of await holdTo(readers, path, folder)) {
        codes.add(code);
        if (code === 'DEFECT') defects.push(`seed ${seed}, ${reader}: ${message}`);
      }
    }
    expect(defects).toEqual([]);
    expect(codes).toContain('BROKEN');
    expect(codes).toContain('read');
  },
);

/** What a reader says of the file: the message of its error. */
async function said(file: Buffer): Promise<string> {
  const path = join(folder, 'one.tape');
  writeFileSync(path, file);
  try {
    const reader = await TraceReader.open(path);
    try {
      for await (const batch of reader.batches()) void batch.count;
    } finally {
      await reader.close();
    }
    return 'read';
  } catch (error) {
    return (error as Error).message.replace(`${path}: `, '');
  }
}

function changed(change: (parts: Parts) => void): Parts {
  const parts = { ...trace, parts: [...trace.parts] };
  change(parts);
  return parts;
}

test.each([
  ['whole', true],
  ['cut', false],
])('blocks of a %s file are in their order, each once', async (_name, hasIndex) => {
  const swapped = changed(({ parts }) => ([parts[1], parts[2]] = [parts[2]!, parts[1]!]));
  const twice = changed(({ parts }) => parts.splice(2, 0, parts[1]!));
  const without = changed(({ parts }) => parts.splice(1, 1));
  for (const forged of [swapped, twice, without])
    expect(await said(putTogether({ ...forged, hasIndex }))).toMatch(
      /^the block at byte \d+ is broken: expected its first row to be number \d+, got \d+$/,
    );
});

test.each([
  ['outcome', 1, 6, /expected 0 to 5 \(answered to conditional\) in its row 0, got 6/],
  ['outcome', 1, 255, /expected 0 to 5 .* got 255/],
])('a column of names: %s', async (_name, column, value, message) => {
  const forged = changed(({ parts }) => {
    const columns = columnsOf('trace', parts[1]!);
    columns.bytes[column]![0] = value;
    parts[1] = withRaw(parts[1]!, rawOf(columns));
  });
  expect(await said(putTogether(forged))).toMatch(message);
});

/** Files of some hundred kilobytes that ask for much more. */
const bombs: Record<string, () => Parts> = {
  'strings in a dictionary': () =>
    changed(({ parts }) => {
      const raw = Buffer.concat([Buffer.from([1, 0, 0, 0, 0]), varint(100e6), Buffer.alloc(100e6)]);
      parts[1] = { ...withRaw(parts[1]!, raw), rows: 1 };
    }),
  rows: () =>
    changed(({ parts }) => {
      const rows = 4_000_000;
      parts[1] = { ...withRaw(parts[1]!, Buffer.alloc(rows * 27)), rows };
    }),
  connections: () =>
    changed(({ parts }) => {
      const columns = columnsOf('trace', parts[1]!);
      columns.json = Buffer.from(`[${'[],'.repeat(20e6)}[]]`);
      parts[1] = withRaw(parts[1]!, rawOf(columns));
    }),
  'an opening block': () =>
    changed(({ parts }) => {
      const { raw } = parts[0]!;
      parts[0] = withRaw(parts[0]!, Buffer.concat([raw, Buffer.alloc(20e6, ' ')]));
    }),
  'levels of a closing block': () =>
    changed(({ parts }) => {
      parts[parts.length - 1] = withRaw(parts.at(-1)!, Buffer.from('['.repeat(15e6)));
    }),
  'tokens of values': () =>
    changed(({ parts }) => {
      const opening = JSON.parse(parts[0]!.raw.toString()) as object;
      const privacy = { values: 'size', keys: 'clear' };
      parts[0] = withRaw(parts[0]!, Buffer.from(JSON.stringify({ ...opening, privacy })));
      const columns = columnsOf('trace', parts[1]!);
      const bytes = columns.lengths[2]!.reduce((sum, length) => sum + length, 0);
      const tokens = columns.lengths[2]!.map((_, n) => {
        const token = Buffer.alloc(13);
        token.writeUInt32LE(500e6 + n, 1);
        return token;
      });
      columns.lengths[2] = tokens.map(() => 13);
      columns.strings = Buffer.concat([columns.strings.subarray(0, -bytes), ...tokens]);
      parts[1] = withRaw(parts[1]!, rawOf(columns));
    }),
};

/** Of docs/security.md: what reading a file may take, whatever is in it. */
const MAX_MEGABYTES = 512;

test.each(Object.keys(bombs))('%s: no more than what docs/security.md says', (name) => {
  const path = join(folder, 'bomb.tape');
  writeFileSync(path, putTogether(bombs[name]!()));
  const module = new URL('../../dist/library/tape.js', import.meta.url).pathname;
  // The peak that resourceUsage() tells would be that of the process which this one was forked from.
  const code = `import { readFileSync } from 'node:fs';
    import { openTrace } from ${JSON.stringify(module)};
    const said = await openTrace(process.argv[1]).then((tape) => tape.summary()).then(() => 'read', (error) => error.code);
    const [, peak] = /VmHWM:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'));
    process.stdout.write(said + ' ' + peak);`;
  const [how, kilobytes] = execFileSync(process.execPath, ['--input-type=module', '-e', code, path], {
    encoding: 'utf8',
    timeout: 60_000,
  }).split(' ');
  expect(how).toBe('BROKEN');
  expect(Number(kilobytes) / 1024).toBeLessThan(MAX_MEGABYTES);
});
