// Is this a frame's header? For streams whose beginning was not seen, and after a hole: the next frame is looked for at
// the start of a segment, where clients and servers begin their writes, and then at each of its bytes, where frames are sent
// in bulk. A value may contain whole frames, so what lies behind the first header in the same segment has to be plausible
// too; and whoever asks takes back what turns out to be none (see Pairing.cancel).

import {
  HEADER_BYTES,
  Magic,
  bodyLengthAt,
  casHighAt,
  casLowAt,
  datatypeAt,
  extrasLengthAt,
  keyLengthAt,
  magicAt,
  opcodeAt,
  statusAt,
} from '../protocol/header.ts';
import { opcodeInfo } from '../protocol/opcode.ts';
import { DEFAULT_MAX_BODY_BYTES } from '../protocol/decoder.ts';
import { MAX_KEY_BYTES, shapeOf } from '../protocol/semantics.ts';
import { Status, statuses } from '../protocol/status.ts';

const MAX_CHAIN = 3;

/** Whether data[at, end) begins with up to three plausible frames, as far as it goes. */
export function beginsWithFrames(data: Buffer, at: number, end: number, magic: Magic): boolean {
  const plausible = magic === Magic.request ? isRequest : isResponse;
  for (let frames = 0; frames < MAX_CHAIN && end - at >= HEADER_BYTES; frames++) {
    if (!plausible(data, at)) return false;
    at += HEADER_BYTES + bodyLengthAt(data, at);
    if (frames === MAX_CHAIN - 1 || at >= end) return true;
  }
  // A header cut by the segment's end: its magic must do.
  return at < end && magicAt(data, at) === magic;
}

/**
 * Where in data[at, end) a frame begins: at its start, or at a byte behind it from which whole headers lead on, as far as
 * there are any. -1: nowhere that is to be seen yet.
 */
export function findFrames(data: Buffer, at: number, end: number, magic: Magic): number {
  if (beginsWithFrames(data, at, end, magic)) return at;
  for (;;) {
    at = data.indexOf(magic, at + 1);
    if (at < 0 || at + HEADER_BYTES > end) return -1;
    if (isStrict(data, at, magic) && beginsWithFrames(data, at, end, magic)) return at;
  }
}

/** Where in the last bytes of data[at, end) a header may begin of which the rest is to come; `end` where none may. */
export function cutHeaderAt(data: Buffer, at: number, end: number, magic: Magic): number {
  const found = data.indexOf(magic, Math.max(at, end - HEADER_BYTES + 1));
  return found < 0 || found > end ? end : found;
}

/** What a header inside a segment has besides, since values are made of any bytes. */
function isStrict(data: Buffer, at: number, magic: Magic): boolean {
  if (bodyLengthAt(data, at) > DEFAULT_MAX_BODY_BYTES) return false;
  if (magic === Magic.request) return statusAt(data, at) === 0;
  const shape = shapeOf(opcodeAt(data, at), statusAt(data, at));
  if (shape === undefined) return true;
  const head = extrasLengthAt(data, at) + keyLengthAt(data, at);
  if (!shape.key && keyLengthAt(data, at) > 0) return false;
  return shape.value < 0 || bodyLengthAt(data, at) === head + shape.value;
}

function isRequest(data: Buffer, at: number): boolean {
  const info = opcodeInfo(opcodeAt(data, at));
  if (magicAt(data, at) !== Magic.request || info === undefined) return false;
  const extras = extrasLengthAt(data, at);
  const key = keyLengthAt(data, at);
  const body = bodyLengthAt(data, at);
  if (datatypeAt(data, at) !== 0 || !info.extras.includes(extras) || key > MAX_KEY_BYTES) return false;
  if (info.key === 'required' ? key === 0 : info.key === 'none' && key > 0) return false;
  return info.value ? body >= extras + key : body === extras + key;
}

function isResponse(data: Buffer, at: number): boolean {
  const info = opcodeInfo(opcodeAt(data, at));
  if (magicAt(data, at) !== Magic.response || info === undefined) return false;
  const status = statusAt(data, at);
  const extras = extrasLengthAt(data, at);
  if (datatypeAt(data, at) !== 0 || statuses[status] === undefined) return false;
  if (extras + keyLengthAt(data, at) > bodyLengthAt(data, at)) return false;
  if (status !== Status.ok) return extras === 0 && casHighAt(data, at) === 0 && casLowAt(data, at) === 0;
  return extras === (info.success === 'item' || info.success === 'flags' ? 4 : 0);
}
