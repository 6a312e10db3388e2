// What the table of connections holds: a connection, or what seems to be a copy of one.

export abstract class Entry {
  /** The client's address, then the server's. */
  readonly addresses: Uint8Array;
  readonly clientPort: number;
  readonly serverPort: number;
  readonly hash: number;
  // Links of the table: entries of the same hash, and neighbours in the list by last activity.
  sameHash: Entry | undefined;
  older: Entry | undefined;
  newer: Entry | undefined;
  closed = false;

  constructor(key: EntryKey) {
    this.addresses = key.addresses;
    this.clientPort = key.clientPort;
    this.serverPort = key.serverPort;
    this.hash = key.hash;
  }

  /** Ends it early: the capture is over, its table is full, or its ports were reused (then it had closed). */
  abstract finish(reused: boolean): void;
}

export interface EntryKey {
  addresses: Uint8Array;
  clientPort: number;
  serverPort: number;
  hash: number;
}

/** A connection that is not recorded, known so that its packets are passed over at once. */
export class Ignored extends Entry {
  finish(): void {
    this.closed = true;
  }
}
