// `memtape serve`: the embedded cluster on the command line, until a signal ends it.

import { Command, InvalidArgumentError } from 'commander';

import { readAuthFile } from './auth.ts';
import { CliError } from './error.ts';
import { parseCount, parseSize } from './units.ts';
import { startCluster, type Cluster, type ClusterOptions } from '../fixtures/cluster.ts';
import { FaultFile, parseFault, type FaultSpec } from '../fixtures/fault.ts';

interface ServeOptions {
  backends: number;
  host: string;
  port: number;
  memory: number;
  authFile?: string;
  cas: boolean;
  fault: FaultSpec[];
  faultLog?: string;
  json?: true;
}

const examples = `
Examples:
  memtape serve                                     one server on a free port of 127.0.0.1
  memtape serve --backends 4 --port 11311           four servers, on ports 11311 to 11314
  memtape serve --auth-file users.txt               SASL PLAIN for the users of a file of user:password lines
  memtape serve --fault corrupt=1/1000,seed=7 --fault-log faults.jsonl
                                                    one answer in a thousand has a wrong byte; each is in the log`;

export function serveCommand(): Command {
  return new Command('serve')
    .description('Run an embedded memcached cluster, which can be told to have faults.')
    .option('--backends <n>', 'how many servers', (text) => parseCount(text), 1)
    .option('--host <host>', 'where to listen', '127.0.0.1')
    .option('--port <port>', 'port of the first server, the others follow; 0: free ones', parsePort, 0)
    .option('--memory <size>', 'what the items of one server may take', parseSize, 64 * 1024 * 1024)
    .option('--auth-file <file>', 'ask for SASL PLAIN, with these users (lines of user:password)')
    .option('--no-cas', 'no CAS ids, as memcached -C')
    .option(
      '--fault <spec>',
      'corrupt=1/1000[,seed=N]: change a byte in this share of the values',
      addFault,
      [],
    )
    .option('--fault-log <file>', 'write every fault to this file, one JSON object a line')
    .option('--json', 'print the addresses as one line of JSON')
    .addHelpText('after', examples)
    .action(async (_options, command: Command) => serve(command.opts<ServeOptions>()));
}

async function serve(options: ServeOptions): Promise<void> {
  const { backends, port } = options;
  if (port !== 0 && port + backends - 1 > 65_535)
    throw new CliError(`expected ports up to 65535, got ${backends} backends from port ${port} on`, 2);
  const users = options.authFile === undefined ? undefined : readAuthFile(options.authFile);
  const file = options.faultLog === undefined ? undefined : openFaultFile(options.faultLog);
  const [fault] = options.fault;
  const signal = nextSignal();
  try {
    const cluster = await listen({
      backends,
      host: options.host,
      port,
      memoryBytes: options.memory,
      cas: options.cas,
      ...(users === undefined ? {} : { users }),
      ...(fault === undefined ? {} : { fault }),
      ...(file === undefined ? {} : { faultFile: file }),
    });
    print(cluster, options.json === true);
    await signal.arrived;
    await cluster.stop();
    process.stderr.write(`${totals(cluster)}\n`);
  } finally {
    signal.ignore();
    file?.close();
  }
}

async function listen(options: ClusterOptions): Promise<Cluster> {
  try {
    return await startCluster(options);
  } catch (cause) {
    const { code, message, port } = cause as NodeJS.ErrnoException & { port?: number };
    const where = `${options.host}:${port ?? options.port}`;
    const why = code === 'EADDRINUSE' ? 'the port is in use' : message;
    throw new CliError(`cannot listen on ${where}: ${why}`, 2, { cause });
  }
}

function print({ addresses }: Cluster, json: boolean): void {
  const lines = addresses.map((address, index) => `backend ${index + 1} listening on ${address}`);
  process.stdout.write(`${json ? JSON.stringify({ backends: addresses }) : lines.join('\n')}\n`);
}

function totals({ servers }: Cluster): string {
  const sum = (of: 'connections' | 'requests' | 'corrupted'): number =>
    servers.reduce((total, { counters }) => total + counters[of], 0);
  return `${sum('connections')} connections, ${sum('requests')} requests, ${sum('corrupted')} corrupted answers`;
}

function nextSignal(): { arrived: Promise<void>; ignore(): void } {
  const controller = new AbortController();
  const arrived = new Promise<void>((resolve) =>
    controller.signal.addEventListener('abort', () => resolve(), { once: true }),
  );
  const arrive = (): void => controller.abort();
  process.on('SIGINT', arrive);
  process.on('SIGTERM', arrive);
  return {
    arrived,
    ignore: () => {
      process.off('SIGINT', arrive);
      process.off('SIGTERM', arrive);
    },
  };
}

function openFaultFile(path: string): FaultFile {
  try {
    return new FaultFile(path);
  } catch (cause) {
    throw new CliError(`cannot write the fault log ${path}: ${(cause as Error).message}`, 2, { cause });
  }
}

function parsePort(text: string): number {
  const port = parseCount(text, 0);
  if (port > 65_535) throw new CliError(`expected a port from 0 to 65535, got ${JSON.stringify(text)}`, 2);
  return port;
}

function addFault(text: string, before: FaultSpec[]): FaultSpec[] {
  if (before.length > 0) throw new InvalidArgumentError('only one fault at a time so far');
  try {
    return [parseFault(text)];
  } catch (cause) {
    throw new CliError((cause as Error).message, 2, { cause });
  }
}
