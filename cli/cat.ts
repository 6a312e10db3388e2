// `memtape cat`: the exchanges of a trace, for people and for other tools.

import { once } from 'node:events';
import { Command, Option } from 'commander';
import { opcodeName, opcodeNamed } from '../protocol/opcode.ts';
import { statusLabel } from '../protocol/status.ts';
import { NEVER, Outcome, outcomeNames, type Batch, type Connection } from '../trace/batch.ts';
import { globPattern } from '../trace/glob.ts';
import { TraceReader } from '../trace/file.ts';
import { CliError } from './error.ts';
import { printable } from './text.ts';
import { parseCount, parseDuration } from '../config/units.ts';

interface CatOptions {
  format: 'text' | 'jsonl' | 'csv';
  key?: RegExp;
  opcode?: Set<number>;
  connection?: number;
  from?: number;
  to?: number;
  limit: number;
}

const examples = `
Examples:
  memtape cat capture.tape --limit 20
  memtape cat capture.tape --key 'user:*' --opcode get,getkq
  memtape cat capture.tape --connection 3 --from 1s --to 2s
  memtape cat capture.tape --format jsonl > capture.jsonl

Text columns: time, connection, request, key, bytes sent → answer, bytes received, time to the answer.`;

export function catCommand(): Command {
  return new Command('cat')
    .description('Print the exchanges of a trace.')
    .argument('<file>', 'a trace')
    .addOption(new Option('--format <format>', 'how').choices(['text', 'jsonl', 'csv']).default('text'))
    .option('--key <glob>', 'only keys like this; * and ? stand for any text and any byte', globPattern)
    .option('--opcode <names>', 'only these, for instance get,set', parseOpcodes)
    .option('--connection <n>', 'only this connection', (text) => parseCount(text, 0))
    .option('--from <time>', 'from this long after the start', parseDuration)
    .option('--to <time>', 'until this long after the start', parseDuration)
    .option('--limit <n>', 'at most so many', (text) => parseCount(text), Infinity)
    .addHelpText('after', examples)
    .action(async (file: string, options: CatOptions) => cat(file, options));
}

async function cat(file: string, options: CatOptions): Promise<void> {
  const trace = await TraceReader.open(file);
  const out = process.stdout;
  const connections = new Map<number, Connection>();
  const format = formats[options.format];
  let left = options.limit;
  try {
    if (format.head !== '') out.write(`${format.head}\n`);
    for await (const batch of trace.batches()) {
      for (const connection of batch.connections) connections.set(connection.id, connection);
      let text = '';
      for (let row = 0; row < batch.count && left > 0; row++) {
        if (!matches(batch, row, options)) continue;
        left--;
        text += `${format.line(batch, row, connections.get(batch.connection[row]!))}\n`;
        if (text.length < 65_536) continue;
        if (!out.write(text)) await once(out, 'drain');
        text = '';
      }
      if (text !== '' && !out.write(text)) await once(out, 'drain');
      if (left === 0) break;
    }
  } finally {
    await trace.close();
  }
}

function matches(batch: Batch, row: number, options: CatOptions): boolean {
  const { key, opcode, connection, from, to } = options;
  if (opcode !== undefined && !opcode.has(batch.opcode[row]!)) return false;
  if (connection !== undefined && batch.connection[row] !== connection) return false;
  if (from !== undefined && batch.requestNs[row]! < from * 1e6) return false;
  if (to !== undefined && batch.requestNs[row]! > to * 1e6) return false;
  return key === undefined || key.test(batch.key(row).toString('latin1'));
}

interface Format {
  head: string;
  line: (batch: Batch, row: number, connection: Connection | undefined) => string;
}

const KEY_CELLS = 36;

const formats: Record<CatOptions['format'], Format> = {
  text: {
    head: '',
    line: (batch, row) => {
      const seconds = (batch.requestNs[row]! / 1e9).toFixed(6).padStart(12);
      const outcome = batch.outcome[row]!;
      const answered = outcome === Outcome.answered;
      const answer = answered
        ? `${statusLabel(batch.status[row]!)} ${batch.answerValueLength[row]} B`
        : outcomeNames[outcome as Outcome];
      const sent = `${batch.valueLength[row]} B`;
      return `${seconds}  #${String(batch.connection[row]).padEnd(4)} ${opcodeName(batch.opcode[row]!).padEnd(8)} ${printable(batch.key(row), 60).padEnd(KEY_CELLS)} ${sent.padStart(9)} → ${answer}${latency(batch, row)}`;
    },
  },
  jsonl: { head: '', line: (batch, row, connection) => JSON.stringify(asJson(batch, row, connection)) },
  csv: {
    head: 'index,seconds,connection,server,opcode,key,keyBytes,valueBytes,outcome,status,answerBytes,latencyMicros',
    line: (batch, row, connection) => {
      const answered = batch.outcome[row] === Outcome.answered;
      const fields = [
        batch.firstIndex + row,
        batch.requestNs[row]! / 1e9,
        batch.connection[row]!,
        connection?.server ?? '',
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

function latency(batch: Batch, row: number): string {
  return batch.answerNs[row] === NEVER ? '' : `  ${micros(batch, row)} µs`;
}

function micros(batch: Batch, row: number): number {
  return Math.round((batch.answerNs[row]! - batch.requestEndNs[row]!) / 1000);
}

function csvField(field: string | number): string {
  const text = String(field);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function asJson(batch: Batch, row: number, connection: Connection | undefined): Record<string, unknown> {
  const outcome = batch.outcome[row]! as Outcome;
  const cas = batch.cas(row);
  return {
    index: batch.firstIndex + row,
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
    ...(batch.valueLength[row]! > 0 ? { value: text(batch.value(row)) } : {}),
    outcome: outcomeNames[outcome],
    ...(batch.answerNs[row] === NEVER ? {} : { answerSeconds: batch.answerNs[row]! / 1e9 }),
    ...(outcome === Outcome.answered
      ? {
          answer: {
            status: batch.status[row],
            frames: batch.frames[row],
            cas: batch.answerCas(row).toString(),
            extras: batch.answerExtras(row).toString('hex'),
            key: text(batch.answerKey(row)),
            value: text(batch.answerValue(row)),
          },
        }
      : {}),
  };
}

/** A string where the bytes are UTF-8, else their base64. */
function text(data: Buffer): string | { base64: string } {
  const decoded = data.toString('utf8');
  return Buffer.from(decoded).equals(data) ? decoded : { base64: data.toString('base64') };
}

function parseOpcodes(names: string): Set<number> {
  return new Set(
    names.split(',').map((name) => {
      const opcode = opcodeNamed(name.trim().toLowerCase());
      if (opcode === undefined)
        throw new CliError(`expected opcode names such as get,set,getkq; got ${JSON.stringify(name)}`, 2);
      return opcode;
    }),
  );
}
