// Starts real memcached servers for tests: on 127.0.0.1, on a free port, stopped by their own process id.

import { spawn, type ChildProcess } from 'node:child_process';
import { connect, createServer } from 'node:net';

export interface Memcached {
  host: string;
  port: number;
  address: string;
  process: ChildProcess;
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

/**
 * A fresh memcached of the machine's own package.
 * @throws Error that says what to install where there is none; a test that needs it must fail, not skip.
 */
export async function startMemcached(args: readonly string[] = []): Promise<Memcached> {
  for (let attempt = 1; ; attempt++) {
    const port = await freePort();
    const child = spawn(
      'memcached',
      ['-u', 'nobody', '-l', '127.0.0.1', '-p', String(port), '-U', '0', ...args],
      {
        stdio: ['ignore', 'ignore', 'pipe'],
      },
    );
    let errors = '';
    child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
    const failed = new Promise<Error>((resolve) => {
      child.once('error', (error: NodeJS.ErrnoException) =>
        resolve(
          error.code === 'ENOENT'
            ? new Error("this test needs memcached: apt-get install memcached (or your system's package)")
            : error,
        ),
      );
      child.once('exit', (code) => resolve(new Error(`memcached exited with ${code}: ${errors.trim()}`)));
    });
    const outcome = await Promise.race([failed, answers(port)]);
    if (outcome === true) {
      return {
        host: '127.0.0.1',
        port,
        address: `127.0.0.1:${port}`,
        process: child,
        stop: async () => {
          if (child.exitCode !== null || child.signalCode !== null) return;
          const gone = new Promise((resolve) => child.once('exit', resolve));
          child.kill('SIGKILL');
          await gone;
        },
      };
    }
    child.kill('SIGKILL');
    // Another process may have taken the port in between: that, and only that, is worth another try.
    if (attempt < 5 && /in use|failed to listen/i.test(outcome.message)) continue;
    throw outcome;
  }
}

async function answers(port: number): Promise<true | Error> {
  const deadline = Date.now() + 5_000;
  while (Date.now() < deadline) {
    const connected = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1');
      socket.once('connect', () => {
        socket.destroy();
        resolve(true);
      });
      socket.once('error', () => resolve(false));
    });
    if (connected) return true;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return new Error(`memcached did not answer on port ${port} within 5 s`);
}
