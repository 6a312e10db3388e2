// A worker of a replay: an engine on a thread of its own; workers.ts is its other side.

import { parentPort, workerData } from 'node:worker_threads';
import { TraceError } from '../trace/error.ts';
import { systemClock } from './clock.ts';
import { run } from './run.ts';
import { Share } from './share.ts';
import type { Command, News, WorkerTask } from './workers.ts';

const port = parentPort!;
const { work, worker, shared } = workerData as WorkerTask;
const interrupt = new AbortController();
const started = new Promise<number>((resolve) => {
  port.on('message', (command: Command) => {
    if ('abort' in command) {
      interrupt.abort();
      resolve(systemClock.nowNs());
    } else resolve((command.start - performance.timeOrigin) * 1e6);
  });
});

function tell(news: News): void {
  port.postMessage(news, []);
}

try {
  const { end, finish } = await run(work, (progress) => tell({ progress }), interrupt.signal, {
    share: new Share(shared, worker),
    begin: async () => {
      tell({ ready: true });
      return started;
    },
  });
  await finish(end);
  tell({ end });
} catch (error) {
  const code = error instanceof TraceError ? error.code : undefined;
  tell({ failed: { code, message: (error as Error).message } });
}
port.close();
