// Fuzzing of all that reads: `node dist/scripts/fuzz.js TARGET|all --seconds N [--seed N] [--save]`. Inputs are made by
// structure (packets, files taken apart) or of others by changes; those that reach code which none reached before, by V8's
// own coverage, are kept and changed again. A find is an error that is not one of ours, or more than two seconds of a
// processor: it is written to the folder of finds, and the exit code is 1. `--save` puts what reached new code into
// fixtures/corpus. V8's coverage needs no native addon.

import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { Session, type Profiler } from 'node:inspector';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { z } from 'zod';
import { parseAuth } from '../cli/auth.ts';
import { CliError } from '../cli/error.ts';
import { ConfigError } from '../config/error.ts';
import { openYaml } from '../config/yaml.ts';
import { harmed, takeApart, type Parts } from '../fixtures/forge.ts';
import { startServer } from '../embedded/server.ts';
import { FrameDecoder } from '../protocol/decoder.ts';
import { ProtocolError } from '../protocol/error.ts';
import { encodeRequest, encodeResponse } from '../protocol/frame.ts';
import { Magic } from '../protocol/header.ts';
import { RecorderError } from '../recorder/error.ts';
import { recordCapture } from '../recorder/record.ts';
import { ReplayError } from '../replayer/error.ts';
import { replay } from '../replayer/replay.ts';
import { parseRouteMap } from '../replayer/target.ts';
import { ThresholdError, parseThreshold } from '../report/threshold.ts';
import { parseModel } from '../synth/model/model.ts';
import { Random } from '../synth/laws/random.ts';
import { summarise } from '../trace/summary.ts';
import { TraceReader } from '../trace/file.ts';
import { randomCapture, randomPcapng } from './packets.ts';
import { holdConversation, randomConversation } from './pairing.ts';
import { holdTo, resultsReaders, traceReaders } from './readers.ts';

interface Target {
  /** Where changes begin. */
  seeds: Buffer[];
  /** An input by structure; left out: seeds are changed. */
  make?: (random: Random) => Buffer;
  /** @throws one of `errors` where the input is none */
  read: (input: Buffer, random: Random) => unknown;
  errors: readonly (new (...args: never[]) => Error)[];
}

const MAX_MS = 2000;
const MAX_INPUT_BYTES = 200_000;
const root = new URL('../..', import.meta.url).pathname;
const memory = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
const folder = mkdtempSync(join(memory, 'memtape-fuzz-'));
const golden = join(root, 'fixtures/golden/format-1.tape');

function pick<T>(random: Random, from: readonly T[]): T {
  return from[random.int(from.length)]!;
}

const edges = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff];
const words = [
  '${',
  '}',
  ':-',
  '{',
  '[',
  '*a',
  '&a',
  '- ',
  ': ',
  '\n',
  '#',
  '"',
  '%',
  '1e309',
  '-0',
  '\0',
  '<<:',
  '|',
  '>=',
];

/** A few changes of an input, some of them with parts of another. */
function changed(random: Random, from: Buffer, other: Buffer): Buffer {
  let data = Buffer.from(from);
  for (let n = 1 + random.int(6); n > 0; n--) {
    const at = random.int(data.length + 1);
    const what = random.int(7);
    if (what === 0 && at < data.length) data[at] = random.int(256);
    else if (what === 1 && at + 4 <= data.length) data.writeUInt32BE(pick(random, edges), at);
    else if (what === 2 && at + 4 <= data.length) data.writeUInt32LE(pick(random, edges), at);
    else if (what === 3)
      data = Buffer.concat([data.subarray(0, at), Buffer.from(pick(random, words)), data.subarray(at)]);
    else if (what === 4) data = Buffer.concat([data.subarray(0, at), data.subarray(at + random.int(64))]);
    else if (what === 5) {
      const start = random.int(other.length + 1);
      data = Buffer.concat([
        data.subarray(0, at),
        other.subarray(start, start + random.int(400)),
        data.subarray(at),
      ]);
    } else {
      const piece = data.subarray(at, at + 1 + random.int(60));
      data = Buffer.concat([
        data.subarray(0, at),
        ...Array.from({ length: random.int(40) }, () => piece),
        data.subarray(at),
      ]);
    }
  }
  return data.subarray(0, MAX_INPUT_BYTES);
}

/** Pushes it in pieces of any length. */
function decode(input: Buffer, random: Random, magic: Magic): void {
  let bytes = 0;
  const decoder = new FrameDecoder({ frame: (_data, at, end) => (bytes += end - at) }, { magic });
  for (let at = 0; at < input.length;) {
    const end = Math.min(input.length, at + 1 + random.int(random.chance(0.5) ? 8 : 4000));
    decoder.push(input, at, end, 0);
    at = end;
  }
  if (bytes > input.length) throw new Error(`${bytes} bytes of frames out of ${input.length}`);
}

async function record(input: Buffer): Promise<void> {
  const output = join(folder, 'recorded.tape');
  const { exchanges } = await recordCapture(Readable.from([input]), {
    output,
    ports: [11_211],
    source: 'fuzz',
  });
  if (exchanges === 0) return;
  const trace = await TraceReader.open(output);
  try {
    const summary = await summarise(trace);
    if (summary.exchanges !== exchanges || summary.truncated)
      throw new Error(`${exchanges} exchanges became ${summary.exchanges}`);
  } finally {
    await trace.close();
  }
}

async function hold(
  kind: 'trace' | 'results',
  input: Buffer,
  readers: Parameters<typeof holdTo>[0],
): Promise<void> {
  const path = join(folder, `input.${kind}`);
  writeFileSync(path, input);
  for (const { reader, code, message } of await holdTo(readers, path, folder))
    if (code === 'DEFECT') throw new Error(`${reader}: ${message}`);
}

const frames = (encode: typeof encodeRequest | typeof encodeResponse): Buffer[] =>
  [0, 1, 5, 9, 10, 16, 29].map((opcode) =>
    Buffer.concat(
      Array.from({ length: 5 }, (_, n) =>
        encode({ opcode, opaque: n, key: `key${n}`, value: 'v'.repeat(n * 20) }),
      ),
    ),
  );
const texts = (...of: string[]): Buffer[] => of.map((text) => Buffer.from(text));
const anything = z.strictObject({ name: z.string(), list: z.array(z.strictObject({ x: z.number() })) });

async function targetsOf(address: string): Promise<Record<string, Target>> {
  const results = join(folder, 'sound.results');
  await replay({ trace: golden, results, targets: [address], speed: 'max', timeoutMs: 1000 });
  const sound: Record<'trace' | 'results', Parts> = {
    trace: takeApart(readFileSync(golden)),
    results: takeApart(readFileSync(results)),
  };
  const { info, cat, survey, csv, merge, fit } = traceReaders(address);
  const examples = ['memtape.gate.yaml', 'operations.yaml'].map((name) =>
    readFileSync(join(root, 'examples', name)),
  );
  return {
    captures: { seeds: [], make: randomCapture, read: record, errors: [RecorderError] },
    pcap: {
      seeds: [readFileSync(join(root, 'fixtures/captures/memjs.pcap')).subarray(0, 20_000)],
      read: record,
      errors: [RecorderError],
    },
    pcapng: { seeds: [], make: randomPcapng, read: record, errors: [RecorderError] },
    pairing: { seeds: [], make: randomConversation, read: holdConversation, errors: [] },
    requests: {
      seeds: frames(encodeRequest),
      read: (input, random) => decode(input, random, Magic.request),
      errors: [ProtocolError],
    },
    answers: {
      seeds: frames(encodeResponse),
      read: (input, random) => decode(input, random, Magic.response),
      errors: [ProtocolError],
    },
    traces: {
      seeds: [],
      make: (random) => harmed(random, 'trace', sound.trace, false),
      read: (input) =>
        hold('trace', input, { info, cat, survey, csv, merge, fit } as Parameters<typeof holdTo>[0]),
      errors: [],
    },
    results: {
      seeds: [],
      make: (random) => harmed(random, 'results', sound.results, false),
      read: (input) => hold('results', input, resultsReaders(golden)),
      errors: [],
    },
    yaml: {
      seeds: examples,
      read: (input) => openYaml(input.toString(), 'a.yaml', anything, { values: { A: '1' } }),
      errors: [ConfigError],
    },
    models: {
      seeds: examples,
      read: (input) => parseModel(input.toString(), 'a.yaml'),
      errors: [ConfigError],
    },
    auth: {
      seeds: texts('alice:secret\nbob:s:t\n', '# nobody\r\nx:\n'),
      read: (input) => parseAuth(input.toString(), 'users'),
      errors: [CliError],
    },
    maps: {
      seeds: texts('user:* 127.0.0.1:11211\n* 127.0.0.1:11212\n', '# all\n* a:1\n'),
      read: (input) => parseRouteMap(input.toString(), 'map'),
      errors: [ReplayError],
    },
    thresholds: {
      seeds: texts('violations == 0', 'drift.lost < 0.5%', 'latency.fromIntended.p99{operation=get} < 2ms'),
      read: (input) => parseThreshold(input.toString()),
      errors: [ThresholdError],
    },
  };
}

/** Places of our own code that ran for the first time: in this mode V8 tells each of them once. */
class Coverage {
  readonly #session = new Session();
  readonly #seen = new Set<string>();

  constructor() {
    this.#session.connect();
    this.#session.post('Profiler.enable');
    this.#session.post('Profiler.startPreciseCoverage', { callCount: false, detailed: true });
  }

  /** How many there are that were not there before. */
  fresh(): number {
    const before = this.#seen.size;
    this.#session.post('Profiler.takePreciseCoverage', (_error, taken) => this.#take(taken));
    return this.#seen.size - before;
  }

  #take({ result }: Profiler.TakePreciseCoverageReturnType): void {
    for (const { url, functions } of result) {
      if (!url.includes('/dist/') || url.includes('node_modules')) continue;
      for (const { ranges } of functions)
        for (const { startOffset, endOffset, count } of ranges)
          if (count > 0) this.#seen.add(`${url} ${startOffset} ${endOffset}`);
    }
  }
}

interface Fuzzed {
  runs: number;
  kept: number;
  found: number;
  slowestMs: number;
}

async function fuzz(
  name: string,
  target: Target,
  seconds: number,
  seed: number,
  saves: boolean,
): Promise<Fuzzed> {
  const corpusFolder = join(root, 'fixtures/corpus', name);
  const saved = existsSync(corpusFolder)
    ? readdirSync(corpusFolder).map((file) => readFileSync(join(corpusFolder, file)))
    : [];
  const corpus = [...target.seeds, ...saved];
  const queue = [...corpus];
  const coverage = new Coverage();
  const done: Fuzzed = { runs: 0, kept: 0, found: 0, slowestMs: 0 };
  const until = performance.now() + seconds * 1000;
  while (performance.now() < until && done.found < 10) {
    const random = new Random(seed, done.runs++);
    const known = queue.shift();
    const isMade = target.make !== undefined && (corpus.length === 0 || random.chance(0.7));
    const input =
      known ?? (isMade ? target.make!(random) : changed(random, pick(random, corpus), pick(random, corpus)));
    const from = process.cpuUsage();
    let find: string | undefined;
    try {
      await target.read(input, random);
    } catch (error) {
      if (!target.errors.some((kind) => error instanceof kind))
        find = (error as Error).stack ?? String(error);
    }
    const { user, system } = process.cpuUsage(from);
    const ms = (user + system) / 1000;
    done.slowestMs = Math.max(done.slowestMs, ms);
    if (ms > MAX_MS && input.length < MAX_INPUT_BYTES) find ??= `${ms.toFixed(0)} ms of a processor`;
    if (find !== undefined) {
      done.found++;
      const path = join(tmpdir(), `memtape-find-${name}-${seed}-${done.runs}`);
      writeFileSync(path, input);
      process.stderr.write(`${name}, run ${done.runs} of seed ${seed}, kept as ${path}: ${find}\n`);
    }
    if (coverage.fresh() === 0 || known !== undefined) continue;
    done.kept++;
    corpus.push(input);
    if (!saves || input.length > 4096) continue;
    mkdirSync(corpusFolder, { recursive: true });
    writeFileSync(join(corpusFolder, `${seed}-${done.runs}`), input);
  }
  return done;
}

function option(name: string, otherwise: number): number {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? otherwise : Number(process.argv[at + 1]);
}

const server = await startServer();
let found = 0;
try {
  const targets = await targetsOf(server.address);
  const wanted = process.argv[2] ?? 'all';
  const names = wanted === 'all' ? Object.keys(targets) : [wanted];
  if (names.some((name) => targets[name] === undefined))
    throw new Error(`expected all, or one of ${Object.keys(targets).join(', ')}, got ${wanted}`);
  const seconds = option('seconds', 60) / names.length;
  for (const name of names) {
    const fuzzed = await fuzz(
      name,
      targets[name]!,
      seconds,
      option('seed', 1),
      process.argv.includes('--save'),
    );
    found += fuzzed.found;
    process.stdout.write(
      `${name}: ${fuzzed.runs} runs in ${seconds.toFixed(0)} s, ${fuzzed.kept} reached new code, ${fuzzed.found} finds, the slowest ${fuzzed.slowestMs.toFixed(0)} ms\n`,
    );
  }
} finally {
  await server.stop();
}
process.exitCode = found === 0 ? 0 : 1;
