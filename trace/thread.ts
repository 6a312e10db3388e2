// A thread that reads a trace ahead of a replay, or writes its results behind it; background.ts is its other side.

import { readlinkSync } from 'node:fs';
import { setPriority } from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';
import { giveBatch, takeResults, type Order, type Report, type Task } from './background.ts';
import { ColumnEncoder } from './column.ts';
import { TraceError } from './error.ts';
import { ResultsWriter } from './file.ts';
import { encodeResults } from './rows.ts';
import { openSource } from './source.ts';
import { TraceView } from './view.ts';

/** What waits for this thread can wait longer; the replay, and a target on the same machine, cannot. */
const NICENESS = 10;

/** Of this thread alone: Linux takes its id for a process's. Elsewhere all threads are alike. */
function stepBack(): void {
  try {
    const id = Number(/\d+$/.exec(readlinkSync('/proc/thread-self'))?.[0]);
    if (id > 0 && id !== process.pid) setPriority(id, NICENESS);
  } catch {
    // No Linux, or no right to: then it goes as it goes.
  }
}

const port = parentPort!;
const task = workerData as Task;

function tell(report: Report, transfer: ArrayBuffer[] = []): void {
  port.postMessage(report, transfer);
}

function fail(error: unknown): void {
  const code = error instanceof TraceError ? error.code : undefined;
  tell({ failed: { code, message: (error as Error).message } });
}

async function read(of: Extract<Task, { kind: 'read' }>): Promise<void> {
  const wanted = { batches: 0, stop: false };
  let wake: (() => void) | undefined;
  port.on('message', (order: Order) => {
    if ('abort' in order) wanted.stop = true;
    else wanted.batches++;
    wake?.();
  });
  const trace = await openSource(of.source);
  try {
    const view = new TraceView(trace, of.view);
    view.adopt(of.survey);
    for await (const batch of view.batches()) {
      while (wanted.batches === 0 && !wanted.stop) await new Promise<void>((resolve) => (wake = resolve));
      if (wanted.stop) break;
      wanted.batches--;
      const { parts, transfer } = giveBatch(batch);
      tell({ batch: parts }, transfer);
    }
  } finally {
    await trace.close();
  }
  tell({ end: true });
}

async function write(of: Extract<Task, { kind: 'write' }>): Promise<void> {
  const orders: Order[] = [];
  let wake: (() => void) | undefined;
  port.on('message', (order: Order) => {
    orders.push(order);
    wake?.();
  });
  const writer = await ResultsWriter.create(of.path, of.meta);
  const columns = new ColumnEncoder();
  for (;;) {
    const order = orders.shift();
    if (order === undefined) {
      await new Promise<void>((resolve) => (wake = resolve));
      continue;
    }
    if ('trial' in order) encodeResults(columns, takeResults(order.trial));
    else if ('results' in order) {
      try {
        writer.append(takeResults(order.results));
        await writer.drained();
      } catch (error) {
        await writer.abort();
        throw error;
      }
      tell({ written: true });
    } else if ('finish' in order) {
      await writer.finish(order.finish);
      return tell({ end: true });
    } else if ('abort' in order) {
      await writer.abort();
      return tell({ end: true });
    }
  }
}

stepBack();
await (task.kind === 'read' ? read(task) : write(task)).catch(fail);
port.close();
