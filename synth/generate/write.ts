// Generated workloads as trace files.

import { emptyCapture, type TraceMeta } from '../../trace/meta.ts';
import { TraceWriter } from '../../trace/file.ts';
import { version } from '../../trace/version.ts';
import type { ModelGenerator } from './generator.ts';
import { START_NS } from './space.ts';

/**
 * Writes all that the generator makes.
 * @param name what the trace says it is from
 * @throws TraceError WRITE · RangeError where the workload touches too many keys
 */
export async function writeTrace(
  generator: ModelGenerator,
  path: string,
  name: string,
  { startNs = START_NS, onProgress }: { startNs?: bigint; onProgress?: (requests: number) => void } = {},
): Promise<void> {
  const writer = await TraceWriter.create(path, { ...metaOf(generator, name), startNs: startNs.toString() });
  try {
    for (const batch of generator.batches()) {
      writer.append(batch);
      await writer.drained();
      onProgress?.(generator.requests);
    }
    await writer.finish({ capture: emptyCapture(), casRequests: generator.casRequests });
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

/** The opening block of a generated trace. */
export function metaOf(generator: ModelGenerator, name: string): TraceMeta {
  return {
    format: 'memtape/1',
    writer: `memtape ${version}`,
    startNs: START_NS.toString(),
    source: `model ${name}, seed ${generator.seed}`,
    ports: [11_211],
    privacy: { values: 'full', keys: 'clear' },
  };
}
