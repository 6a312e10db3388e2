// `memtape cat`: the exchanges of a trace, for people and for other tools.

import { Option, type Command } from 'commander';
import { passes } from '../convert/filter.ts';
import { opcodeName } from '../protocol/opcode.ts';
import { statusLabel } from '../protocol/status.ts';
import { micros as inUnits } from '../report/format.ts';
import { NEVER, Outcome, outcomeNames, type Batch, type Connection } from '../trace/batch.ts';
import { TraceReader } from '../trace/file.ts';
import { originOfAnswer, originOfValue, type Origin } from '../trace/masked.ts';
import type { TraceMeta } from '../trace/meta.ts';
import { addFilterOptions, filterOf, type FilterOptions } from './filtering.ts';
import { expectKind } from './kind.ts';
import type { Shell } from './shell.ts';
import { csvField, printable, safeJson, safeLine } from './text.ts';

interface CatOptions extends FilterOptions {
  format: 'text' | 'jsonl' | 'csv';
  clock?: true;
  values?: true;
}

const examples = `
Examples:
  memtape cat capture.tape --limit 20
  memtape cat capture.tape --key 'user:*' --opcode get,getkq
  memtape cat capture.tape --connection 3 --from 1s --to 2s
  memtape cat capture.tape --server 10.0.0.2 --status 'not found' --limit 20
  memtape cat capture.tape --slower 5ms                        what took longest
  memtape cat capture.tape --clock --values --limit 20         times of the day in UTC, and what was stored and read
  memtape cat capture.tape --format jsonl > capture.jsonl

Times are seconds since the trace's start, or with --clock those of the day. The latency is the time from the request's last
byte to the answer's first. docs/toolbox.md has the columns: they are called the same in every format, and in Parquet.`;

export function catCommand(command: Command, shell: Shell): void {
  command.addOption(new Option('--format <format>', 'how').choices(['text', 'jsonl', 'csv']).default('text'));
  command
    .option('--clock', 'of text: times of the day in UTC, and not since the start')
    .option('--values', 'of text: what was stored and read, up to 48 bytes of each');
  addFilterOptions(command)
    .addHelpText('after', examples)
    .action(async (file: string, options: CatOptions) => cat(shell, file, options));
}

async function cat(shell: Shell, file: string, options: CatOptions): Promise<void> {
  const path = shell.path(file);
  expectKind(path, 'trace');
  const filter = filterOf(options);
  const trace = await TraceReader.open(path);
  const out = shell.stdout;
  const connections = new Map<number, Connection>();
  const format = formats[options.format];
  let left = options.limit ?? Infinity;
  try {
    const head = format.head(options);
    if (head !== '') out.write(`${head}\n`);
    for await (const batch of trace.batches()) {
      for (const connection of batch.connections) connections.set(connection.id, connection);
      let text = '';
      for (let row = 0; row < batch.count && left > 0; row++) {
        const connection = connections.get(batch.connection[row]!);
        if (!passes(filter, batch, row, connection)) continue;
        left--;
        text += `${format.line(batch, row, connection, trace.meta, options)}\n`;
        if (text.length < 65_536) continue;
        out.write(text);
        await out.drained();
        text = '';
        if (out.isGone) return;
      }
      if (text !== '') out.write(text);
      await out.drained();
      if (left === 0 || out.isGone) return;
    }
  } finally {
    await trace.close();
  }
}

/** What lines of text show besides. */
type Shown = Pick<CatOptions, 'clock' | 'values'>;

interface Format {
  head: (shown: Shown) => string;
  line: (batch: Batch, row: number, connection: Connection | undefined, meta: Told, shown: Shown) => string;
}

/** What of a trace its lines need. */
type Told = Pick<TraceMeta, 'privacy' | 'startNs'>;

const [SERVER_CELLS, OPCODE_CELLS, KEY_CELLS, SENT_CELLS, ANSWER_CELLS] = [21, 8, 36, 9, 24];
const [SECONDS_CELLS, CLOCK_CELLS, CONNECTION_CELLS] = [12, 27, 10];

export function textHead({ clock }: Shown = {}): string {
  return [
    clock === true ? 'time'.padEnd(CLOCK_CELLS) : 'seconds'.padStart(SECONDS_CELLS),
    'connection',
    'server'.padEnd(SERVER_CELLS),
    'opcode'.padEnd(OPCODE_CELLS),
    'key'.padEnd(KEY_CELLS),
    'value'.padStart(SENT_CELLS),
    '→',
    'answer'.padEnd(ANSWER_CELLS),
    'latency'.padStart(8),
  ].join(' ');
}

const csvColumns = [
  'index',
  'time',
  'seconds',
  'connection',
  'client',
  'server',
  'tenant',
  'opcode',
  'key',
  'keyBytes',
  'valueBytes',
  'outcome',
  'status',
  'answerBytes',
  'latencyMicros',
] as const;

const formats: Record<CatOptions['format'], Format> = {
  text: { head: textHead, line: textLine },
  jsonl: {
    head: () => '',
    line: (batch, row, connection, meta) => safeJson(asJson(batch, row, connection, meta)),
  },
  csv: {
    head: () => csvColumns.join(','),
    line: (batch, row, connection, meta) => {
      const answered = batch.outcome[row] === Outcome.answered;
      const fields = [
        batch.firstIndex + row,
        timeOf(batch, row, meta),
        batch.requestNs[row]! / 1e9,
        batch.connection[row]!,
        connection?.client ?? '',
        connection?.server ?? '',
        connection?.tenant ?? '',
        opcodeName(batch.opcode[row]!),
        printable(batch.key(row)),
        batch.keyLength[row]!,
        batch.valueLength[row]!,
        outcomeNames[batch.outcome[row] as Outcome],
        answered ? batch.status[row]! : '',
        answered ? batch.answerValueLength[row]! : '',
        batch.answerNs[row] === NEVER ? '' : micros(batch, row),
      ];
      return fields.map(csvField).join(',');
    },
  },
};

/** An exchange as one line for people, under the head. */
export function textLine(
  batch: Batch,
  row: number,
  connection: Connection | undefined,
  meta: Told,
  { clock, values }: Shown = {},
): string {
  const { privacy } = meta;
  const at =
    clock === true
      ? timeOf(batch, row, meta)
      : (batch.requestNs[row]! / 1e9).toFixed(6).padStart(SECONDS_CELLS);
  const outcome = batch.outcome[row]!;
  const answered = outcome === Outcome.answered;
  const answer = answered
    ? `${statusLabel(batch.status[row]!)} ${batch.answerValueLength[row]} B${marks[originOfAnswer(batch, row, privacy)]}`
    : outcomeNames[outcome as Outcome];
  const sent = `${batch.valueLength[row]} B${marks[originOfValue(batch, row, privacy)]}`;
  const cells = [
    at,
    `#${batch.connection[row]}`.padEnd(CONNECTION_CELLS),
    safeLine(connection?.server ?? '').padEnd(SERVER_CELLS),
    opcodeName(batch.opcode[row]!).padEnd(OPCODE_CELLS),
    printable(batch.key(row), 60).padEnd(KEY_CELLS),
    sent.padStart(SENT_CELLS),
    '→',
    answer.padEnd(ANSWER_CELLS),
  ];
  const shown = values === true ? valuesOf(batch, row) : '';
  return `${cells.join(' ')}${latency(batch, row).padEnd(shown === '' ? 0 : 9)}${shown}`.trimEnd();
}

/** Bytes of a value that a line shows. */
const VALUE_BYTES = 48;

/** What was stored, and what was read. */
function valuesOf(batch: Batch, row: number): string {
  const stored = batch.valueLength[row]! > 0 ? ` value "${printable(batch.value(row), VALUE_BYTES)}"` : '';
  const isAnswered = batch.outcome[row] === Outcome.answered && batch.answerValueLength[row]! > 0;
  return isAnswered ? `${stored} answer "${printable(batch.answerValue(row), VALUE_BYTES)}"` : stored;
}

/** The time of a request in UTC, to the microsecond. */
function timeOf(batch: Batch, row: number, { startNs }: Told): string {
  const micros = (BigInt(startNs) + BigInt(Math.round(batch.requestNs[row]!))) / 1000n;
  const seconds = new Date(Number(micros / 1000n)).toISOString().slice(0, 19);
  return `${seconds}.${String(micros % 1_000_000n).padStart(6, '0')}Z`;
}

/** Bytes of which the trace has a hash or the size only, and those that nobody knows. */
const marks: Record<Origin, string> = { recorded: '', derived: ' (derived)', unknown: ' (unknown)' };

function latency(batch: Batch, row: number): string {
  return batch.answerNs[row] === NEVER ? '' : ` ${inUnits(micros(batch, row)).padStart(8)}`;
}

function micros(batch: Batch, row: number): number {
  return Math.round((batch.answerNs[row]! - batch.requestEndNs[row]!) / 1000);
}

function asJson(
  batch: Batch,
  row: number,
  connection: Connection | undefined,
  meta: Told,
): Record<string, unknown> {
  const { privacy } = meta;
  const outcome = batch.outcome[row]! as Outcome;
  const isAnswered = outcome === Outcome.answered;
  const cas = batch.cas(row);
  return {
    index: batch.firstIndex + row,
    time: timeOf(batch, row, meta),
    seconds: batch.requestNs[row]! / 1e9,
    connection: batch.connection[row],
    client: connection?.client,
    server: connection?.server,
    ...(connection !== undefined && connection.tenant !== '' ? { tenant: connection.tenant } : {}),
    opcode: opcodeName(batch.opcode[row]!),
    opaque: batch.opaque[row],
    ...(cas === 0n ? {} : { cas: cas.toString() }),
    ...(batch.extrasLength[row]! > 0 ? { extras: batch.extras(row).toString('hex') } : {}),
    ...(batch.keyLength[row]! > 0 ? { key: text(batch.key(row)) } : {}),
    ...(batch.valueLength[row]! > 0
      ? { value: value(batch.value(row), originOfValue(batch, row, privacy)) }
      : {}),
    keyBytes: batch.keyLength[row],
    valueBytes: batch.valueLength[row],
    outcome: outcomeNames[outcome],
    ...(isAnswered ? { status: batch.status[row], answerBytes: batch.answerValueLength[row] } : {}),
    ...(batch.answerNs[row] === NEVER
      ? {}
      : { latencyMicros: micros(batch, row), answerSeconds: batch.answerNs[row]! / 1e9 }),
    ...(isAnswered
      ? {
          answer: {
            status: batch.status[row],
            frames: batch.frames[row],
            cas: batch.answerCas(row).toString(),
            extras: batch.answerExtras(row).toString('hex'),
            key: text(batch.answerKey(row)),
            value: value(batch.answerValue(row), originOfAnswer(batch, row, privacy)),
          },
        }
      : {}),
  };
}

/** As text where it was recorded; else it says so, so that nobody takes it for what a client stored. */
function value(data: Buffer, origin: Origin): unknown {
  if (origin === 'recorded') return text(data);
  return origin === 'derived' ? { derived: text(data) } : { unknownBytes: data.length };
}

/** A string where the bytes are UTF-8, else their base64. */
function text(data: Buffer): string | { base64: string } {
  const decoded = data.toString('utf8');
  return Buffer.from(decoded).equals(data) ? decoded : { base64: data.toString('base64') };
}
