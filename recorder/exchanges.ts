// What is told of the connections of a recording: each becomes rows of a window (dialogue.ts), and their owner hears of those
// that are not binary, or were given up.

import type { Capture } from '../trace/meta.ts';
import { Dialogue, type RemarkKind, type Shared } from './dialogue.ts';
import type { StreamFactory, StreamInfo, StreamSink } from './stream.ts';
import type { Window } from './window.ts';

/** Something about the traffic that its owner should hear: a connection that is not binary, or was given up. */
export interface Remark {
  client: string;
  server: string;
  kind: RemarkKind;
  text: string;
}

const MAX_REMARKS = 100;

/** Turns connections' streams into rows of a window. */
export class Exchanges implements StreamFactory, Shared {
  readonly window: Window;
  readonly capture: Capture;
  /** The latest time that any stream spoke of, ns since the trace's zero. */
  lastNs = 0;
  /** The first hundred. */
  readonly remarks: Remark[] = [];
  /** Requests of all connections that wait, and memory for frames that are not whole yet. */
  outstanding = 0;
  heldBytes = 0;

  constructor(window: Window, capture: Capture) {
    this.window = window;
    this.capture = capture;
  }

  open(info: StreamInfo): StreamSink {
    return new Dialogue(this, info);
  }

  remark(info: StreamInfo, kind: RemarkKind, text: string): void {
    if (this.remarks.length < MAX_REMARKS)
      this.remarks.push({ client: info.client, server: info.server, kind, text });
  }
}
