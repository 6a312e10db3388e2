// `memtape convert`: traces from and to the formats of other tools.

import { createReadStream, statSync } from 'node:fs';
import { basename } from 'node:path';
import { Option, type Command } from 'commander';
import { CsvParser, writeCsv, type Written } from '../convert/csv.ts';
import { makeTape, type Input, type Made } from '../convert/input.ts';
import { OracleParser, writeOracle } from '../convert/oracle.ts';
import { writePcap } from '../convert/pcap.ts';
import { RecorderError } from '../recorder/error.ts';
import { unpack } from '../recorder/packed.ts';
import { TraceReader } from '../trace/file.ts';
import { CliError } from './error.ts';
import { expectKind } from './kind.ts';
import { forceOption, replacing } from './place.ts';
import { Progress } from './progress.ts';
import type { Shell } from './shell.ts';
import { formatBytes, plural } from './text.ts';
import { writeWhole } from './whole.ts';

const formats = ['tape', 'csv', 'oracleGeneral', 'pcap', 'parquet'] as const;
type Format = (typeof formats)[number];

interface Options {
  fromFormat?: Format;
  toFormat?: Format;
  force?: true;
  quiet?: true;
}

const examples = `
Examples:
  memtape convert cluster52.csv.zst cluster52.tape         Twitter's cache-trace, to replay it
  memtape convert w01.oracleGeneral.zst w01.tape           libCacheSim's, to replay it
  memtape convert capture.tape capture.oracleGeneral       for libCacheSim
  memtape convert capture.tape capture.pcap                for Wireshark
  memtape convert capture.tape capture.parquet             for DuckDB, pandas and the like

Formats, by the extension or by name: tape; csv (Twitter's cache-trace); oracleGeneral; pcap and parquet (output only).
Inputs that end in .gz or .zst are unpacked. docs/toolbox.md says what each format keeps of a trace.`;

export function convertCommand(command: Command, shell: Shell): void {
  command
    .addOption(new Option('--from-format <format>', 'of the input').choices(formats))
    .addOption(new Option('--to-format <format>', 'of the output').choices(formats))
    .option(...forceOption)
    .option('--quiet', 'no progress')
    .addHelpText('after', examples)
    .action(async (input: string, output: string, options: Options) =>
      convert(shell, shell.path(input), shell.path(output), options),
    );
}

async function convert(shell: Shell, input: string, output: string, options: Options): Promise<void> {
  const from = options.fromFormat ?? formatOf(input, '--from-format');
  const to = options.toFormat ?? formatOf(output, '--to-format');
  if (/\.(gz|zst)$/i.test(output))
    throw new CliError(`${output}: expected an output that is not packed; pack it afterwards`, 2);
  if (from === 'tape' && to === 'tape')
    throw new CliError('expected another format; memtape filter makes a trace of a trace', 2);
  if (from === 'pcap') throw new CliError(`expected another input; try: memtape record ${input} -o OUT`, 2);
  if (from === 'parquet') throw new CliError('parquet is written, not read', 2);
  if (from !== 'tape' && to !== 'tape')
    throw new CliError(`expected a trace on one side, got ${from} and ${to}; convert to a .tape first`, 2);
  if (from === 'tape') expectKind(input, 'trace');
  const place = { option: '<out>', replacing: replacing(options.force), inputs: [input] };
  const line = await writeWhole(shell, output, place, async (path, check) => {
    const job: Job = { shell, input, output: path, quiet: options.quiet === true, check };
    return from === 'tape' ? write(job, to as keyof typeof writers) : read(job, from);
  });
  shell.stdout.write(`${output}: ${line}\n`);
}

/** What each output is written by; its promise is of the line that says what was written. */
const writers: Record<
  Exclude<Format, 'tape'>,
  (trace: TraceReader, path: string, onProgress: (exchanges: number) => void) => Promise<string>
> = {
  csv: async (...args) => rowsLine(await writeCsv(...args)),
  oracleGeneral: async (...args) => rowsLine(await writeOracle(...args)),
  pcap: async (...args) => {
    const { packets, fileBytes } = await writePcap(...args);
    return `${plural(packets, 'packet')}, ${formatBytes(fileBytes)}`;
  },
  parquet: async (...args) => {
    // Its library takes longer to load than all other commands to begin.
    const { writeParquet } = await import('../convert/parquet.ts');
    const { rows, fileBytes } = await writeParquet(...args);
    return `${plural(rows, 'row')}, ${formatBytes(fileBytes)}`;
  },
};

function rowsLine({ rows, skipped, fileBytes }: Written): string {
  const left =
    skipped === 0
      ? ''
      : `; ${plural(skipped, 'exchange was', 'exchanges were')} left out, because the format has no row for them`;
  return `${plural(rows, 'row')}, ${formatBytes(fileBytes)}${left}`;
}

interface Job {
  shell: Shell;
  input: string;
  /** Where it is written, until it is whole. */
  output: string;
  quiet: boolean;
  check: () => void;
}

async function write(job: Job, to: keyof typeof writers): Promise<string> {
  const { input, output, check } = job;
  const trace = await TraceReader.open(input);
  const progress = progressOf(job, trace.exchangeCount);
  try {
    const written = await writers[to](trace, output, (done) => {
      check();
      progress.update(done, done);
    });
    const isDerived = to === 'pcap' && trace.meta.privacy.values !== 'full';
    const line = isDerived
      ? `${written}; its values are derived bytes: the trace has their ${trace.meta.privacy.values === 'hash' ? 'hashes' : 'sizes'} only`
      : written;
    return trace.truncated ? `${line} (${input} was cut; what is before the cut was taken)` : line;
  } finally {
    progress.stop();
    await trace.close();
  }
}

const parsers = { csv: CsvParser, oracleGeneral: OracleParser };

async function read(job: Job, from: keyof typeof parsers): Promise<string> {
  const { input, output, check } = job;
  const Parser = parsers[from];
  const size = sizeOf(input);
  const progress = progressOf(job, size * 2);
  let done = 0;
  const source: Input = {
    source: `${from} ${basename(input)}`,
    parser: (take) => new Parser(input, take),
    open: () => bytesOf(input, (bytes) => (done += bytes)),
  };
  let made: Made;
  try {
    made = await makeTape(source, output, (requests) => {
      check();
      progress.update(done, requests);
    });
  } finally {
    progress.stop();
  }
  return `${plural(made.exchanges, 'exchange')} on ${plural(made.connections, 'connection')}, ${formatBytes(made.fileBytes)}`;
}

async function* bytesOf(path: string, count: (bytes: number) => void): AsyncGenerator<Buffer> {
  const raw = counted(path, count);
  try {
    yield* /\.(gz|zst)$/i.test(path) ? unpack(raw) : raw;
  } catch (cause) {
    if (!(cause instanceof RecorderError)) throw cause;
    throw new CliError(`${path}: ${cause.message}`, 2, { cause });
  }
}

async function* counted(path: string, count: (bytes: number) => void): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of createReadStream(path, { highWaterMark: 262_144 })) {
      count((chunk as Buffer).length);
      yield chunk as Buffer;
    }
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

function sizeOf(path: string): number {
  try {
    return statSync(path).size;
  } catch (cause) {
    throw unreadable(path, cause);
  }
}

function unreadable(path: string, cause: unknown): CliError {
  return new CliError(`cannot read ${path}: ${(cause as Error).message}`, 2, { cause });
}

function progressOf({ shell, quiet }: Job, total: number): Progress {
  return new Progress(shell, total, { label: 'converting', unit: 'exchanges', quiet });
}

const extensions: readonly [pattern: RegExp, format: Format][] = [
  [/\.tape$/i, 'tape'],
  [/\.oraclegeneral(\.bin)?(\.gz|\.zst)?$/i, 'oracleGeneral'],
  [/\.csv(\.gz|\.zst)?$/i, 'csv'],
  [/\.pcap$/i, 'pcap'],
  [/\.parquet$/i, 'parquet'],
];

function formatOf(path: string, option: string): Format {
  const format = extensions.find(([pattern]) => pattern.test(path))?.[1];
  if (format !== undefined) return format;
  throw new CliError(
    `${path}: expected a name that ends in .tape, .csv, .oracleGeneral, .pcap or .parquet, or ${option}`,
    2,
  );
}
