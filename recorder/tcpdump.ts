// Live capture: tcpdump does it, with the right to, and writes pcap to a pipe that is read like any other capture.

import { spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { RecorderError } from './error.ts';
import { portRanges } from './ports.ts';

export interface LiveCapture {
  /** Classic pcap; it ends after stop(), or when tcpdump does. */
  readonly packets: Readable;
  /** How many packets the kernel has dropped so far, as tcpdump said last; null where it has not. */
  readonly droppedSoFar: number | null;
  /** Asks tcpdump to say it again. */
  ask(): void;
  /** Asks tcpdump to hand over what it has, and to end. */
  stop(): void;
  /** Once the packets have ended: how many the kernel dropped, null if tcpdump did not say. @throws RecorderError */
  dropped(): Promise<number | null>;
}

export interface LiveOptions {
  interface: string;
  ports: readonly number[];
  /** In tcpdump's language; the ports if absent. */
  filter?: string;
}

const MAX_SAID = 65_536;
/** More than what tcpdump says of its counts at a time. */
const TAIL_CHARACTERS = 512;
/** What the kernel holds when tcpdump is told to end is lost: it is given the time to hand it over. */
const HAND_OVER_MS = 1_100;

/** Resolves once tcpdump listens. @throws RecorderError UNREADABLE where it cannot: missing, not permitted, no such interface */
export async function captureLive({ interface: name, ports, filter }: LiveOptions): Promise<LiveCapture> {
  const wanted = filter ?? portRanges(ports).map(filterOf).join(' or ');
  // Whole packets. In immediate mode the kernel's buffer has a slot of the snap length for each packet, 128 of them in
  // 32 MiB; without, packets are packed densely, and handed over after a second at the latest. Nor is each packet written
  // to the pipe by itself (-U), which costs more than all the rest.
  const args = ['-i', name, '-s', '0', '-n', '-B', '65536', '-w', '-', wanted];
  const child = spawn('tcpdump', args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    // Systems keep it where only root's path leads.
    env: { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` },
  });
  let said = '';
  let tail = '';
  let droppedSoFar: number | null = null;
  const gone = new Promise<Ending>((resolve) => {
    child.once('error', resolve);
    child.once('close', (code, signal) => resolve(signal ?? code ?? 1));
  });
  await new Promise<void>((resolve, reject) => {
    child.stderr.on('data', (chunk: Buffer) => {
      const text = chunk.toString();
      if (said.length < MAX_SAID) said += text;
      tail = (tail + text).slice(-TAIL_CHARACTERS);
      const last = [...tail.matchAll(/(\d+) packets? dropped by kernel/g)].at(-1);
      if (last !== undefined) droppedSoFar = Number(last[1]);
      if (said.includes('listening on')) resolve();
    });
    void gone.then((how) => reject(refusal(how, name, said)));
  });
  let stopping: NodeJS.Timeout | undefined;
  let wasTold = false;
  void gone.then(() => clearTimeout(stopping));
  return {
    packets: child.stdout,
    get droppedSoFar() {
      return droppedSoFar;
    },
    ask: () => {
      // Elsewhere the signal would end it.
      if (process.platform === 'linux') child.kill('SIGUSR1');
    },
    stop: () => {
      stopping ??= setTimeout(() => {
        wasTold = true;
        child.kill('SIGINT');
      }, HAND_OVER_MS);
    },
    dropped: async () => {
      const how = await gone;
      // Something else than this recorder has ended it.
      if (how !== 0 && !wasTold) throw death(how, name, tail);
      if (how !== 0 && droppedSoFar === null) throw refusal(how, name, said);
      return droppedSoFar;
    },
  };
}

function filterOf(range: string): string {
  return `${range.includes('-') ? 'portrange' : 'port'} ${range}`;
}

/** An exit code, a signal, or what kept it from being started. */
type Ending = Error | number | string;

/** tcpdump ended by itself, or by somebody's hand, while it was capturing. */
function death(how: Ending, name: string, tail: string): RecorderError {
  const why = typeof how === 'string' ? `was killed by ${how}` : `ended with ${String(how)}`;
  const said = /tcpdump: (.*)\s*$/.exec(tail)?.[1] ?? '';
  const words = said === '' || /captured|listening on/.test(said) ? '' : ` (${said})`;
  return new RecorderError(
    'UNREADABLE',
    `tcpdump, which captured from ${name}, ${why}${words}: the recording ends there`,
  );
}

function refusal(how: Ending, name: string, said: string): RecorderError {
  const text = said
    .split('\n')
    .filter((line) => line.trim() !== '' && !line.includes('listening on'))
    .join(' ')
    .replaceAll('tcpdump: ', '')
    .trim();
  if (how instanceof Error) {
    const isMissing = (how as NodeJS.ErrnoException).code === 'ENOENT';
    const hint =
      'tcpdump is needed to capture from an interface: apt-get install tcpdump (or your system’s package)';
    return new RecorderError('UNREADABLE', isMissing ? hint : `tcpdump: ${how.message}`, { cause: how });
  }
  if (/permission|not permitted/i.test(text))
    return new RecorderError(
      'UNREADABLE',
      `capturing from ${name} is not permitted: run as root, or allow tcpdump: setcap cap_net_raw,cap_net_admin=eip $(which tcpdump); or record through a proxy: --listen with --upstream (tcpdump: ${text})`,
    );
  return new RecorderError(
    'UNREADABLE',
    `cannot capture from ${name}: ${text || `tcpdump ended with ${how}`}`,
  );
}
