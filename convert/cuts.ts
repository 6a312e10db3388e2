// The first, coarse cuts of a trace that is to be minimized: guesses at what a finding is about, read off one of its
// exchanges. Each may be wrong; whoever asks tries them.

import { TraceReader } from '../trace/file.ts';

/** An exchange at which the finding showed. */
export interface Sighting {
  /** Index in the trace; -1 where it belongs to no exchange. */
  index: number;
  connection: number;
  /** latin1; empty: none. */
  key: string;
}

export interface Cut {
  /** For people: what it keeps. */
  name: string;
  /** By index in the trace: 1 where it is kept. */
  rows: Uint8Array;
}

/**
 * What may be enough, the most promising first: all up to the first sighting; its key; the keys of all sightings; its
 * connection; the connections that use its key. Two passes over the trace.
 * @param sightings at least one
 * @throws TraceError CHECKSUM, BROKEN
 */
export async function coarseCuts(path: string, sightings: readonly Sighting[]): Promise<Cut[]> {
  const trace = await TraceReader.open(path, { values: 'as they stand' });
  try {
    const [first] = sightings as readonly [Sighting];
    const cut = (name: string): Cut => ({ name, rows: new Uint8Array(trace.exchangeCount) });
    const before = cut('up to the finding');
    const ofKey = cut('its key');
    const ofKeys = cut('the keys of its examples');
    const ofConnection = cut('its connection');
    const ofUsers = cut('the connections that use its key');
    const keys = new Set(sightings.map(({ key }) => key).filter((key) => key !== ''));
    const users = new Set<number>();
    for await (const batch of trace.batches())
      for (let row = 0; row < batch.count; row++) {
        const index = batch.firstIndex + row;
        if (index <= first.index) before.rows[index] = 1;
        if (batch.connection[row] === first.connection) ofConnection.rows[index] = 1;
        if (batch.keyLength[row] === 0) continue;
        const key = batch.key(row).toString('latin1');
        if (keys.has(key)) ofKeys.rows[index] = 1;
        if (key !== first.key) continue;
        ofKey.rows[index] = 1;
        users.add(batch.connection[row]!);
      }
    for await (const batch of trace.batches())
      for (let row = 0; row < batch.count; row++)
        if (users.has(batch.connection[row]!)) ofUsers.rows[batch.firstIndex + row] = 1;
    return [
      ...(first.index >= 0 ? [before] : []),
      ...(first.key === '' ? [] : [ofKey]),
      ...(keys.size > 1 ? [ofKeys] : []),
      ofConnection,
      ...(first.key === '' ? [] : [ofUsers]),
    ];
  } finally {
    await trace.close();
  }
}
