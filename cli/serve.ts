// `memtape serve`: the embedded cluster on the command line, until a signal ends it.

import type { Command } from 'commander';

import { given } from '../config/given.ts';
import { readAuthFile } from './auth.ts';
import { CliError } from './error.ts';
import { parseCount, parseSize } from '../config/units.ts';
import {
  startCluster,
  startMemcachedCluster,
  type BaseCluster,
  type Cluster,
  type ClusterOptions,
} from '../embedded/cluster.ts';
import { FaultFile, parseFault } from '../embedded/fault.ts';
import type { EmbeddedServer } from '../embedded/server.ts';
import { parseProxyFault } from '../embedded/proxy/fault.ts';
import { startFaultProxy } from '../embedded/proxy.ts';
import type { Shell } from './shell.ts';
import { onInterrupt } from './signal.ts';

interface ServeOptions {
  backends: number;
  host: string;
  port: number;
  memory: number;
  authFile?: string;
  cas: boolean;
  memcached?: true;
  fault: string[];
  proxy?: true;
  faultLog?: string;
  json?: true;
}

/** Real ones count nothing for us. */
type Server = Pick<EmbeddedServer, 'address' | 'port' | 'stop'> & Partial<Pick<EmbeddedServer, 'counters'>>;

const examples = `
Examples:
  memtape serve                                     one server on a free port of 127.0.0.1
  memtape serve --backends 4 --port 11311           four servers, on ports 11311 to 11314
  memtape serve --auth-file users.txt               SASL PLAIN for the users of a file of user:password lines
  memtape serve --backends 4 --proxy --fault stale-sockets,backend=2
                                                    a proxy in front that keeps its sockets to a backend that restarts
  memtape serve --fault corrupt=1/1000,seed=7 --fault-log faults.jsonl
                                                    one answer in a thousand has a wrong byte; each is in the log`;

export function serveCommand(command: Command, shell: Shell): void {
  command
    .option('--backends <n>', 'how many servers', (text) => parseCount(text), 1)
    .option('--host <host>', 'where to listen', '127.0.0.1')
    .option('--port <port>', 'port of the first server, the others follow; 0: free ones', parsePort, 0)
    .option('--memory <size>', 'what the items of one server may take', parseSize, 64 * 1024 * 1024)
    .option('--auth-file <file>', 'ask for SASL PLAIN, with these users (lines of user:password)', shell.path)
    .option('--memcached', 'real memcached processes instead of embedded servers')
    .option('--no-cas', 'no CAS ids, as memcached -C')
    .option('--proxy', 'a proxy in front, with ketama over the backends; users have keys of their own')
    .option(
      '--fault <spec>',
      'what is wrong: corrupt=1/1000[,seed=N] or forget-after=append+touch; with --proxy any of its faults, see docs/embedded-server.md (repeatable)',
      (text: string, before: string[]) => [...before, text],
      [],
    )
    .option('--fault-log <file>', 'write every fault to this file, one JSON object a line', shell.path)
    .option('--json', 'print the addresses as one line of JSON')
    .addHelpText('after', examples)
    .action(async () => serve(shell, command.opts<ServeOptions>()));
}

async function serve(shell: Shell, options: ServeOptions): Promise<void> {
  const { backends, port } = options;
  if (port !== 0 && port + backends - 1 > 65_535)
    throw new CliError(`expected ports up to 65535, got ${backends} backends from port ${port} on`, 2);
  const users = options.authFile === undefined ? undefined : readAuthFile(options.authFile);
  const file = options.faultLog === undefined ? undefined : openFaultFile(options.faultLog);
  const proxyFaults =
    options.proxy === true ? options.fault.map((text) => checked(() => parseProxyFault(text))) : [];
  if (options.proxy !== true && options.fault.length > 1)
    throw new CliError('without --proxy only one fault at a time', 2);
  const [fault] = options.proxy === true ? [] : options.fault.map((text) => checked(() => parseFault(text)));
  if (options.memcached === true && options.proxy !== true && (fault ?? users) !== undefined)
    throw new CliError('with --memcached, --fault and --auth-file need --proxy', 2);
  const interrupt = onInterrupt(shell);
  try {
    const cluster = await listen(options.memcached === true, {
      backends,
      host: options.host,
      port,
      memoryBytes: options.memory,
      cas: options.cas,
      // With a proxy in front, users are its matter.
      ...(users === undefined || options.proxy === true ? {} : { users }),
      ...given({ fault, faultFile: file }),
    });
    const proxy =
      options.proxy === true
        ? await startFaultProxy({
            backends: cluster.addresses,
            faults: proxyFaults,
            host: options.host,
            restart: async (backend) => cluster.restart(backend),
            ...given({ users }),
          })
        : undefined;
    print(shell, cluster, options.json === true, proxy?.address);
    await interrupt.arrived;
    await proxy?.stop();
    await cluster.stop();
    if (options.memcached !== true) shell.stderr.write(`${totals(cluster.servers)}\n`);
  } finally {
    interrupt.ignore();
    file?.close();
  }
}

async function listen(isReal: boolean, options: ClusterOptions): Promise<BaseCluster<Server>> {
  const { backends = 1, port = 0, memoryBytes = 0, cas } = options;
  try {
    if (!isReal) return await startCluster(options);
    const args = ['-m', String(Math.ceil(memoryBytes / 1024 / 1024)), ...(cas === false ? ['-C'] : [])];
    return await startMemcachedCluster({ backends, port, args });
  } catch (cause) {
    const { code, message, port } = cause as NodeJS.ErrnoException & { port?: number };
    const where = `${options.host}:${port ?? options.port}`;
    const why = code === 'EADDRINUSE' ? 'the port is in use' : message;
    throw new CliError(`cannot listen on ${where}: ${why}`, 2, { cause });
  }
}

function print(
  { stdout }: Shell,
  { addresses }: Pick<Cluster, 'addresses'>,
  json: boolean,
  proxy: string | undefined,
): void {
  const lines = addresses.map((address, index) => `backend ${index + 1} listening on ${address}`);
  if (proxy !== undefined) lines.push(`proxy listening on ${proxy}`);
  const all = { backends: addresses, ...given({ proxy }) };
  stdout.write(`${json ? JSON.stringify(all) : lines.join('\n')}\n`);
}

function totals(servers: readonly Server[]): string {
  const sum = (of: 'connections' | 'requests' | 'corrupted'): number =>
    servers.reduce((total, { counters }) => total + (counters?.[of] ?? 0), 0);
  return `${sum('connections')} connections, ${sum('requests')} requests, ${sum('corrupted')} corrupted answers`;
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

function checked<T>(parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    throw new CliError((cause as Error).message, 2, { cause });
  }
}
