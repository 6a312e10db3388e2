// The part of pcap-parser 0.2.1 that the recorder uses; the package has no types of its own.

declare module 'pcap-parser' {
  import type { EventEmitter } from 'node:events';

  interface GlobalHeader {
    linkLayerType: number;
    snapshotLength: number;
  }

  interface CapturedPacket {
    header: {
      timestampSeconds: number;
      timestampMicroseconds: number;
      capturedLength: number;
      originalLength: number;
    };
    data: Buffer;
  }

  interface Parser extends EventEmitter {
    on(event: 'globalHeader', listener: (header: GlobalHeader) => void): this;
    on(event: 'packet', listener: (packet: CapturedPacket) => void): this;
    on(event: 'error', listener: (error: Error) => void): this;
    on(event: 'end', listener: () => void): this;
  }

  /** Any object with `on`, `pause` and `resume` will do for the source. */
  export function parse(source: Pick<EventEmitter, 'on'> & { pause(): unknown; resume(): unknown }): Parser;
}
