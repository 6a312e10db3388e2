// One direction of a connection: its frames, and how far its bytes can be told apart as such.

import { FrameDecoder } from '../protocol/decoder.ts';
import { Magic } from '../protocol/header.ts';

/** How far one direction can be understood. */
export const Sync = { framed: 0, lost: 1, gone: 2 } as const;
export type Sync = (typeof Sync)[keyof typeof Sync];

const nothing: Buffer = Buffer.alloc(0);

/** One direction: its frames, and whether they can be told. */
export class Side {
  readonly magic: Magic;
  readonly decoder: FrameDecoder;
  sync: Sync;
  /** The stream's last bytes, where a header may begin in them: kept while the next frame is looked for. */
  tail: Buffer = nothing;
  /** There were any bytes of it. */
  heard = false;
  /** Since the first of them was found. */
  frames = 0;

  constructor(
    magic: Magic,
    midstream: boolean,
    frame: ConstructorParameters<typeof FrameDecoder>[0]['frame'],
  ) {
    this.magic = magic;
    this.sync = midstream ? Sync.lost : Sync.framed;
    this.decoder = new FrameDecoder({ frame }, { magic, looksBehindUnknown: magic === Magic.request });
  }

  isLost(): boolean {
    return this.sync === Sync.lost;
  }

  lose(sync: Sync): void {
    this.sync = sync;
    this.tail = nothing;
    this.decoder.reset();
  }
}
