// Starts a server program of the machine's own packages on 127.0.0.1, and waits until it takes connections.

import { spawn, type ChildProcess } from 'node:child_process';
import { connect, createServer } from 'node:net';

export interface Program {
  process: ChildProcess;
  /** Kills the process, where it still runs, and waits for its end. */
  stop(): Promise<void>;
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port to be had');
  return address.port;
}

const TIMEOUT_MS = 10_000;
const SAID_CHARS = 300;

/**
 * @param name of the program, and of its package
 * @param place its port, or the path of its unix socket
 * @throws Error that says what to install where there is none, or else what the program printed before it ended
 */
export async function startProgram(
  name: string,
  args: readonly string[],
  place: number | string,
  env: NodeJS.ProcessEnv = {},
): Promise<Program> {
  const child = spawn(name, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => (said += chunk.toString()));
  let isOver = false;
  const failed = new Promise<Error>((done) => {
    const resolve = (error: Error): void => {
      isOver = true;
      done(error);
    };
    child.once('error', (error: NodeJS.ErrnoException) =>
      resolve(
        error.code === 'ENOENT'
          ? new Error(`${name} is needed: apt-get install ${name} (or your system's package)`)
          : error,
      ),
    );
    child.once('exit', (code) =>
      resolve(new Error(`${name} exited with ${code}: ${said.trim().slice(-SAID_CHARS)}`)),
    );
  });
  const outcome = await Promise.race([failed, answers(place, () => isOver)]);
  if (outcome === false) {
    child.kill('SIGKILL');
    throw new Error(`${name} did not answer on ${place} within ${TIMEOUT_MS / 1000} s`);
  }
  if (outcome !== true) throw outcome;
  return {
    process: child,
    stop: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      await gone;
    },
  };
}

/** Tries until it answers, for so long; false where it does not, or has ended. */
async function answers(place: number | string, isOver: () => boolean): Promise<boolean> {
  const deadline = Date.now() + TIMEOUT_MS;
  while (Date.now() < deadline && !isOver()) {
    const connected = await new Promise<boolean>((resolve) => {
      const socket = typeof place === 'string' ? connect(place) : connect(place, '127.0.0.1');
      socket.once('connect', () => {
        socket.destroy();
        resolve(true);
      });
      socket.once('error', () => resolve(false));
    });
    if (connected) return true;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return false;
}
