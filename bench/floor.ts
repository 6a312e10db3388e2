// The floor under every replayer in Node: the same requests from bytes that were made before, over bare sockets, each
// answer's frame found and its body compared; no schedule, no order, no results, no verdict. `node dist/bench/floor.js PORT
// REQUESTS DEPTH` prints the requests a second; its CPU is measured from outside, as that of the others is.

import { connect, type Socket } from 'node:net';
import { encodeRequest, storeExtras } from '../protocol/frame.ts';
import { HEADER_BYTES, bodyLengthAt, statusAt } from '../protocol/header.ts';
import { Opcode } from '../protocol/opcode.ts';
import { Random } from '../synth/laws/random.ts';
import { CONNECTIONS, SETS, keyOf, valueOf, KEYS } from './traffic.ts';

/** Segments made beforehand; connections take them by turns. */
const SEGMENTS = 2_000;

interface Segment {
  requests: Buffer;
  /** Bodies of the answers, in order. */
  bodies: Buffer[];
}

const [port, requests, depth] = process.argv.slice(2).map(Number) as [number, number, number];
const random = new Random(7);
const flags = Buffer.alloc(4);

function made(): Segment {
  const asked: Buffer[] = [];
  const bodies: Buffer[] = [];
  for (let n = 0; n < depth; n++) {
    const key = random.int(KEYS);
    const isSet = random.chance(SETS);
    asked.push(isSet ? set(key) : encodeRequest({ opcode: Opcode.get, key: keyOf(key) }));
    bodies.push(isSet ? Buffer.alloc(0) : Buffer.concat([flags, valueOf(key)]));
  }
  return { requests: Buffer.concat(asked), bodies };
}

function set(key: number): Buffer {
  return encodeRequest({
    opcode: Opcode.set,
    key: keyOf(key),
    value: valueOf(key),
    extras: Buffer.from(storeExtras(0, 0)),
  });
}

function opened(): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    socket.once('connect', () => resolve(socket)).once('error', reject);
  });
}

async function fill(): Promise<void> {
  const socket = await opened();
  let heard = 0;
  const filled = new Promise<void>((resolve) =>
    socket.on('data', (data: Buffer) => {
      if ((heard += data.length) >= HEADER_BYTES * KEYS) resolve();
    }),
  );
  for (let key = 0; key < KEYS; key++) socket.write(set(key));
  await filled;
  socket.destroy();
}

/** One connection: a segment, its answers, the next segment. */
function run(socket: Socket, next: () => Segment | undefined, onDone: () => void): void {
  let current: Segment | undefined;
  let answered = 0;
  let rest = Buffer.alloc(0);
  const send = (): void => {
    current = next();
    answered = 0;
    if (current === undefined) onDone();
    else socket.write(current.requests);
  };
  socket.on('data', (chunk: Buffer) => {
    const data = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let at = 0;
    for (
      let segment = current;
      segment !== undefined && data.length - at >= HEADER_BYTES;
      segment = current
    ) {
      const end = at + HEADER_BYTES + bodyLengthAt(data, at);
      if (end > data.length) break;
      const body = segment.bodies[answered]!;
      if (statusAt(data, at) !== 0 || data.compare(body, 0, body.length, at + HEADER_BYTES, end) !== 0)
        throw new Error(`expected ${body.length} bytes as stored, got ${end - at - HEADER_BYTES} others`);
      at = end;
      if (++answered === segment.bodies.length) send();
    }
    rest = Buffer.from(data.subarray(at));
  });
  send();
}

await fill();
const bursts = Math.ceil(requests / depth);
const segments = Array.from({ length: Math.min(SEGMENTS, bursts) }, made);
const sockets = await Promise.all(Array.from({ length: CONNECTIONS }, opened));
let left = bursts;
const began = performance.now();
await Promise.all(
  sockets.map(
    (socket) =>
      new Promise<void>((resolve) =>
        run(socket, () => (left-- > 0 ? segments[left % segments.length] : undefined), resolve),
      ),
  ),
);
const seconds = (performance.now() - began) / 1000;
for (const socket of sockets) socket.destroy();
process.stdout.write(`${((bursts * depth) / seconds).toFixed(0)}\n`);
