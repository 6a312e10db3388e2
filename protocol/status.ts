// Response statuses of the memcached binary protocol, and the texts that memcached 1.4.5 and later sends with them.

export const Status = {
  ok: 0x00,
  notFound: 0x01,
  exists: 0x02,
  tooLarge: 0x03,
  invalid: 0x04,
  notStored: 0x05,
  nonNumeric: 0x06,
  authFailed: 0x20,
  authContinue: 0x21,
  unknownCommand: 0x81,
  outOfMemory: 0x82,
} as const;

export type Status = (typeof Status)[keyof typeof Status];

/** One row a status: its name in reports, and the body that memcached sends with it. */
export const statuses: Readonly<Record<number, { name: string; text: string }>> = {
  [Status.ok]: { name: 'ok', text: '' },
  [Status.notFound]: { name: 'not found', text: 'Not found' },
  [Status.exists]: { name: 'exists', text: 'Data exists for key.' },
  [Status.tooLarge]: { name: 'too large', text: 'Too large.' },
  [Status.invalid]: { name: 'invalid arguments', text: 'Invalid arguments' },
  [Status.notStored]: { name: 'not stored', text: 'Not stored.' },
  [Status.nonNumeric]: { name: 'non-numeric', text: 'Non-numeric server-side value for incr or decr' },
  [Status.authFailed]: { name: 'auth failure', text: 'Auth failure.' },
  [Status.authContinue]: { name: 'auth continue', text: '' },
  [Status.unknownCommand]: { name: 'unknown command', text: 'Unknown command' },
  [Status.outOfMemory]: { name: 'out of memory', text: 'Out of memory allocating item' },
  // Not memcached's own: proxies and Couchbase answer them.
  0x83: { name: 'not supported', text: 'Not supported' },
  0x84: { name: 'internal error', text: 'Internal error' },
  0x85: { name: 'busy', text: 'Busy' },
  0x86: { name: 'temporary failure', text: 'Temporary failure' },
};

/** The status as a person reads it, for instance `0x01 not found`. */
export function statusLabel(status: number): string {
  return `0x${status.toString(16).padStart(2, '0')} ${statuses[status]?.name ?? 'unknown status'}`;
}
