// A target that answers as a test says: well, badly, or not at all.

import { createServer, type AddressInfo, type Socket } from 'node:net';
import { FrameDecoder } from '../../protocol/decoder.ts';
import { encodeResponse, readFrame, type Frame, type FrameInit } from '../../protocol/frame.ts';
import { Magic } from '../../protocol/header.ts';
import { Opcode } from '../../protocol/opcode.ts';

/** What to do with a request: an answer, bytes, or nothing. */
export type Script = (
  request: Frame,
  socket: Socket,
  number: number,
) => Partial<FrameInit> | Buffer | undefined;

export interface ScriptedTarget {
  address: string;
  /** Requests in the order in which they came, NOOPs and those of the prefill aside. */
  requests: Frame[];
  /** Bytes of each read from a client, as hex. */
  reads: string[];
  connections: number;
  stop(): Promise<void>;
}

/** NOOPs are answered by themselves; the script is asked for everything else, with the number of the request. */
export async function startScripted(script: Script): Promise<ScriptedTarget> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    target.connections++;
    const isPrefill = target.connections === 1;
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => undefined);
    const decoder = new FrameDecoder(
      {
        frame: (data, at, end) => {
          const view = readFrame(data, at, end);
          const request: Frame = {
            ...view,
            extras: Buffer.from(view.extras),
            key: Buffer.from(view.key),
            value: Buffer.from(view.value),
          };
          const { opcode, opaque } = request;
          if (opcode === Opcode.noop) socket.write(encodeResponse({ opcode, opaque }));
          if (isPrefill || opcode === Opcode.noop) return;
          target.requests.push(request);
          const answer = script(request, socket, target.requests.length - 1);
          if (Buffer.isBuffer(answer)) socket.write(answer);
          else if (answer !== undefined) socket.write(encodeResponse({ opcode, opaque, ...answer }));
        },
      },
      { magic: Magic.request },
    );
    socket.on('data', (data: Buffer) => {
      if (!isPrefill) target.reads.push(data.toString('hex'));
      decoder.push(data, 0, data.length, 0);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const target: ScriptedTarget = {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests: [],
    reads: [],
    connections: 0,
    stop: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return target;
}
