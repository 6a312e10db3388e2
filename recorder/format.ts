// What the capture formats have in common: a file comes in chunks, is cut into slabs of whole records, and the packets of
// a slab are handed on.

import type { LinkReader } from './link.ts';

export interface PacketHandler {
  /**
   * One captured packet. Time since 1970, in seconds and nanoseconds of the second.
   * @param data valid during the call
   * @param wireBytes its length on the wire
   * @param id of the interface, from 0
   */
  packet(link: LinkReader, seconds: number, nanos: number, data: Buffer, wireBytes: number, id: number): void;
  /** Packets that the kernel dropped on one interface, as the capture tells. */
  dropped?(packets: number): void;
}

export interface CaptureFormat {
  /** Offset in the file of the first byte not handed on yet. */
  readonly offset: number;
  /** Of the first interface; -1 where that is not known yet. */
  readonly linkType: number;
  /** Another file begins where this one ended, as `cat` puts them: what there is of it. Nothing more is taken then. */
  readonly rest: Buffer | undefined;
  /** The whole records that are now complete; a slab is valid until the next one is asked for. @throws RecorderError */
  slabs(chunk: Buffer): Generator<Buffer>;
  /** The packets of a slab. @throws RecorderError */
  read(slab: Buffer, handler: PacketHandler): void;
  /** The file has ended: where the record stands that the end cut, if it cut one. @throws RecorderError */
  end(): number | null;
}
