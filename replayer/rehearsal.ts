// A rehearsal: the first requests of a trace, sent to a server in this very thread that knows nothing. Code runs slowly
// the first times; after this, what is due in the first moments of a replay leaves in time.

import { createServer, type AddressInfo, type Socket } from 'node:net';
import { FrameDecoder } from '../protocol/decoder.ts';
import { Magic, opaqueAt, opcodeAt, putHeader, putUint16 } from '../protocol/header.ts';
import { isQuiet } from '../protocol/opcode.ts';
import { Status } from '../protocol/status.ts';
import type { Batch } from '../trace/batch.ts';
import type { ResultBatch } from '../trace/results.ts';
import { Engine, type EngineOptions } from './engine.ts';
import { rateSchedule } from './schedule.ts';

/** Requests, and how many of them a second. */
const REQUESTS = 10_000;
const RATE = 40_000;
const STATUS_AT = 6;

/** @param options of the engine that is to run; its targets hear nothing of this */
export async function rehearse(options: EngineOptions, batches: AsyncIterable<Batch>): Promise<void> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket)).on('error', () => undefined);
    const answer = Buffer.alloc(24);
    const decoder = new FrameDecoder(
      {
        frame: (data, at) => {
          const opcode = opcodeAt(data, at);
          if (isQuiet[opcode] === 1) return;
          putHeader(answer, 0, Magic.response, opcode, 0, 0, 0, 0, opaqueAt(data, at), 0, 0);
          putUint16(answer, STATUS_AT, Status.notFound);
          socket.write(Buffer.from(answer));
        },
      },
      { magic: Magic.request },
    );
    socket.on('data', (data: Buffer) => decoder.push(data, 0, data.length, 0));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const address = `127.0.0.1:${port}`;
  const { survey, route, gate, order, pipeline, recordedAtSeconds } = options;
  const engine = new Engine({
    survey,
    route,
    gate,
    order,
    pipeline,
    recordedAtSeconds,
    targets: options.targets.map(() => ({ host: '127.0.0.1', port, address })),
    schedule: rateSchedule([{ from: RATE, to: RATE, seconds: Infinity }], 0),
    timeoutMs: 200,
    leadMs: 20,
    sink: { append: (results: ResultBatch) => void results, drained: async () => undefined },
  });
  try {
    await engine.run(first(batches));
  } finally {
    for (const socket of sockets) socket.destroy();
    server.close();
  }
}

/** The first requests of the first batch. */
async function* first(batches: AsyncIterable<Batch>): AsyncGenerator<Batch> {
  for await (const batch of batches) {
    yield batch.slice(0, Math.min(REQUESTS, batch.count));
    return;
  }
}
