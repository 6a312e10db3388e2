// What the packet sources hand on: the bytes of each recorded connection, as a sink per connection takes them. Whoever
// pairs requests with answers writes the factory; the recording proxy feeds the same sinks without packets.

import type { ConnectionEnd } from '../trace/batch.ts';

/** A connection at its first sight. Times in ns since the trace's zero. */
export interface StreamInfo {
  /** `10.0.0.7:51234`, `[::1]:51234` */
  client: string;
  server: string;
  /** Time of the SYN; -1 where the connection was open before the capture began. */
  openNs: number;
  /** Time of the first packet seen. */
  firstNs: number;
  midstream: boolean;
}

/**
 * Bytes of both directions of one connection, each direction in order, as they become contiguous. Times never go
 * backwards over all calls on one sink.
 */
export interface StreamSink {
  /** data[start, end) is valid during the call only. `ns`: capture time of the packet that carried the bytes. */
  data(fromClient: boolean, data: Buffer, start: number, end: number, ns: number): void;
  /**
   * `bytes` bytes of this direction are missing for good; Infinity: nobody knows how many. `wasCut`: the snap length cut
   * them off, so nothing else is missing with them.
   */
  gap(fromClient: boolean, bytes: number, ns: number, wasCut?: boolean): void;
  /** Requests so far that were whole. */
  readonly requests?: number;
  /**
   * Over UDP: what the server says next answers one of the requests from number `from` up to `to`, and says nothing of those
   * before number `toldFrom`.
   */
  answering?(from: number, to: number, toldFrom: number): void;
  /**
   * The server says, over UDP, that it has nothing to answer to the requests from number `from` up to `to`; or to the first of
   * them only, and answers follow.
   */
  silent?(from: number, to: number, ns: number): void;
  /** Over UDP: an answer to one of these requests is missing. */
  lost?(from: number, to: number): void;
  /** The stream's info names other addresses now. */
  renamed?(): void;
  /** The last call. */
  end(how: ConnectionEnd, ns: number): void;
}

export interface StreamFactory {
  /** Called at a connection's SYN, or at its first payload where the SYN was not captured. */
  open(info: StreamInfo): StreamSink;
}
