// A recorded trace rewritten by scenarios: two passes that gather what they need to know, and one through their stages, in
// the order in which they were given, to the answers that the requests then get. Of the trace a block is in memory, of its
// connections and keys all, and values as far as there is room.

import { rm } from 'node:fs/promises';
import { ConfigError } from '../../config/error.ts';
import { TraceReader, TraceWriter } from '../../trace/file.ts';
import { emptyCapture } from '../../trace/meta.ts';
import { version } from '../../trace/version.ts';
import { Answerer } from './answerer.ts';
import { ClockStage } from './change.ts';
import { factsOf, type Facts } from './facts.ts';
import { Lines } from './line.ts';
import { Payloads } from './payload.ts';
import { rowOf, type Row } from './row.ts';
import { Sink } from './sink.ts';
import { Context, type Stage, type TraceDrill } from './stage.ts';
import { World } from './world.ts';

export interface RewriteOptions {
  /** What the trace says that was done to it. */
  name: string;
  /** Other draws. Default 1. */
  seed?: number;
  /** Rows read, of three times those of the trace. */
  onProgress?: (read: number) => void;
}

export interface Rewritten {
  exchanges: number;
  connections: number;
  /** Before. */
  recorded: number;
  /** Recorded requests whose expected answer is another now. */
  reanswered: number;
  /** In words, what else is to know. */
  notes: string[];
  /** Commands that a replay runs at its servers meanwhile. */
  drills: TraceDrill[];
}

/** memcached's -I, unless the trace shows larger items; and what stands beside a value, at most. */
const MAX_ITEM_BYTES = 1024 * 1024;
const ITEM_OVERHEAD = 512;
/** Rows between two looks at how far the writer is. */
const LOOK_ROWS = 4096;

/**
 * @param stagesOf makes the stages, in their order, of what the trace shows
 * @throws ConfigError where the trace cannot have it · TraceError of either file; the output is then removed
 */
export async function rewriteTrace(
  input: string,
  output: string,
  stagesOf: (context: Context) => Stage[],
  { name, seed = 1, onProgress }: RewriteOptions,
): Promise<Rewritten> {
  const trace = await TraceReader.open(input, { values: 'to change' });
  try {
    if (trace.exchangeCount === 0) throw new ConfigError(`${input}: expected exchanges, got none`);
    const payloads = new Payloads(trace.meta.privacy);
    const facts = await factsOf(trace, payloads, onProgress);
    const lines = new Lines(facts.survey, facts.refills);
    const context = new Context(facts, lines, payloads, seed);
    const stages = stagesOf(context);
    const writer = await TraceWriter.create(output, {
      ...trace.meta,
      writer: `memtape ${version}`,
      source: `${trace.meta.source}, with ${name}, seed ${seed}`,
    });
    try {
      const sink = new Sink(writer, trace.meta.privacy.values !== 'full');
      const startSeconds = Number(BigInt(trace.meta.startNs) / 1_000_000n) / 1000;
      const world = new World(worldOptions(facts, stages, payloads, startSeconds));
      const answerer = new Answerer(world, (row) => sink.take(row));
      const first = chained(stages, answerer);
      for await (const batch of trace.batches()) {
        for (let n = 0; n < batch.count; n++) {
          first.push(rowOf(batch, n, lines.recorded[batch.connection[n]!]!));
          if (n % LOOK_ROWS === LOOK_ROWS - 1) await writer.drained();
        }
        await writer.drained();
        onProgress?.(2 * facts.survey.exchanges + batch.firstIndex + batch.count);
      }
      for (const stage of stages) stage.end();
      answerer.end();
      for (const line of lines.recorded) sink.meet(line);
      sink.end();
      await writer.finish({
        capture: trace.end?.capture ?? emptyCapture(),
        casRequests: sink.casRequests,
      });
      return {
        exchanges: sink.exchanges,
        connections: sink.connections,
        recorded: facts.survey.exchanges,
        reanswered: world.counts.reanswered,
        notes: context.notes.flatMap((note) => note() ?? []),
        drills: context.drills,
      };
    } catch (error) {
      await writer.abort();
      await rm(output, { force: true });
      throw error;
    }
  } finally {
    await trace.close();
  }
}

function chained(stages: readonly Stage[], answerer: Answerer): { push(row: Row): void } {
  for (const [n, stage] of stages.entries()) {
    const after = stages[n + 1] ?? answerer;
    stage.next = (row) => after.push(row);
  }
  return stages[0] ?? answerer;
}

function worldOptions(
  facts: Facts,
  stages: readonly Stage[],
  payloads: Payloads,
  startSeconds: number,
): ConstructorParameters<typeof World>[0] {
  const { survey, refill, hasRefillRows, largest } = facts;
  return {
    payloads,
    startSeconds,
    maxItemBytes: Math.max(MAX_ITEM_BYTES, largest + ITEM_OVERHEAD),
    servers: survey.servers.length,
    present: survey.present.map((key) => ({
      place: survey.tenants.indexOf(key.tenant) * survey.servers.length + key.server,
      key,
    })),
    refill,
    hasRefillRows,
    usesCas: facts.usesCas || stages.some((stage) => stage.usesCas),
    firstToken: facts.firstToken,
    isRetimed: stages.some((stage) => stage instanceof ClockStage),
  };
}
