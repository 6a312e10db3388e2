// A capture that the kernel makes: clients in a network namespace of their own reach memcached in another through a host with
// a bridge and nft's address translation, and tcpdump listens on all interfaces of that host, so that each packet is seen up
// to four times under two or three addresses. What is recorded of it has to be what the clients say that they did, and what a
// capture at the client shows. `node dist/scripts/namespaces.js [OPERATIONS]`; needs root, ip, nft, memcached, tcpdump and
// pylibmc. Prints a table in Markdown; ends with 1 where counts differ, and with 3 where the machine does not let it run.

import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { PYTHON } from '../fixtures/pylibmc.ts';
import { opcodeName } from '../protocol/opcode.ts';
import { recordCapture } from '../recorder/record.ts';
import { TraceReader } from '../trace/file.ts';

const OPERATIONS = Number(process.argv[2] ?? 2000);
const PORT = 11_211;
const [HOST, CLIENT, SERVER] = ['h', 'c', 's'].map((name) => `mt${process.pid}${name}`) as [
  string,
  string,
  string,
];
const VIRTUAL = '10.77.0.1';

const python = `
import pylibmc, random, sys
r = random.Random(7); sets = gets = 0
for n in range(3):
    mc = pylibmc.Client([sys.argv[1]], binary=True, behaviors={"tcp_nodelay": True})
    for i in range(int(sys.argv[2]) // 3):
        key = "py:%d" % r.randrange(300)
        if r.random() < 0.4: mc.set(key, "v" * r.randrange(1, 3000)); sets += 1
        else: mc.get(key); gets += 1
print(sets, gets)
`;

const translations: Record<string, string> = {
  DNAT: '',
  'DNAT and SNAT':
    'chain post { type nat hook postrouting priority srcnat; ip daddr 172.31.0.2 tcp dport 11211 masquerade; }',
};

function run(command: string, args: readonly string[], input = ''): string {
  return execFileSync(command, args, { input, encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'] });
}
const ip = (...args: string[]): string => run('ip', args);
const within = (space: string, ...command: string[]): string => ip('netns', 'exec', space, ...command);

/** Client, host with a bridge, server: what a container's host looks like. */
function build(): void {
  for (const space of [HOST, CLIENT, SERVER]) {
    ip('netns', 'add', space);
    within(space, 'ip', 'link', 'set', 'lo', 'up');
  }
  for (const [space, name] of [
    [CLIENT, 'client'],
    [SERVER, 'server'],
  ] as const) {
    ip('-n', HOST, 'link', 'add', name, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', space);
    ip('-n', HOST, 'link', 'set', name, 'up');
    ip('-n', space, 'link', 'set', 'eth0', 'up');
  }
  ip('-n', HOST, 'link', 'add', 'bridge0', 'type', 'bridge');
  ip('-n', HOST, 'link', 'set', 'server', 'master', 'bridge0');
  ip('-n', HOST, 'link', 'set', 'bridge0', 'up');
  ip('-n', HOST, 'address', 'add', '172.31.0.1/24', 'dev', 'bridge0');
  ip('-n', HOST, 'address', 'add', `${VIRTUAL}/24`, 'dev', 'client');
  ip('-n', SERVER, 'address', 'add', '172.31.0.2/24', 'dev', 'eth0');
  ip('-n', CLIENT, 'address', 'add', '10.77.0.2/24', 'dev', 'eth0');
  ip('-n', SERVER, 'route', 'add', 'default', 'via', '172.31.0.1');
  ip('-n', CLIENT, 'route', 'add', 'default', 'via', VIRTUAL);
  within(HOST, 'sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward');
}

function translate(more: string): void {
  const rules = `
    flush ruleset
    table ip memtape {
      chain pre { type nat hook prerouting priority dstnat; ip daddr ${VIRTUAL} tcp dport ${PORT} dnat to 172.31.0.2:${PORT}; }
      ${more}
    }`;
  run('ip', ['netns', 'exec', HOST, 'nft', '-f', '-'], rules);
}

async function started(
  space: string,
  args: readonly string[],
  said: string | undefined,
): Promise<ChildProcess> {
  // `ip netns exec` becomes the program, so that its process id is the program's.
  const child = spawn('ip', ['netns', 'exec', space, ...args], { stdio: ['ignore', 'ignore', 'pipe'] });
  if (said !== undefined)
    await new Promise<void>((resolve) =>
      child.stderr.on('data', (text: Buffer) => text.includes(said) && resolve()),
    );
  return child;
}

async function stopped(child: ChildProcess): Promise<void> {
  const gone = new Promise((resolve) => child.once('close', resolve));
  child.kill('SIGINT');
  await gone;
}

interface Counted {
  exchanges: number;
  connections: number;
  packets: number;
  sets: number;
  reads: number;
  notes: readonly string[];
}

async function recorded(path: string, folder: string): Promise<Counted> {
  const output = join(folder, 'x.tape');
  const told = await recordCapture(path, { output, ports: [PORT], source: 'namespaces' });
  const counted = {
    exchanges: told.exchanges,
    connections: told.connections,
    packets: told.capture.packets,
    sets: 0,
    reads: 0,
    notes: told.notes,
  };
  const trace = await TraceReader.open(output);
  for await (const batch of trace.batches())
    for (let row = 0; row < batch.count; row++) {
      const name = opcodeName(batch.opcode[row]!);
      if (name === 'set') counted.sets++;
      if (name.startsWith('get')) counted.reads++;
    }
  await trace.close();
  return counted;
}

async function check(name: string, folder: string): Promise<{ row: string; isEqual: boolean }> {
  translate(translations[name]!);
  const [atHost, atClient] = ['host.pcap', 'client.pcap'].map((file) => join(folder, file)) as [
    string,
    string,
  ];
  const dump = ['tcpdump', '-s', '0', '-B', '65536', '-Z', 'root', '-n'];
  const dumps = [
    await started(HOST, [...dump, '-i', 'any', '-w', atHost, `tcp port ${PORT}`], 'listening'),
    await started(CLIENT, [...dump, '-i', 'eth0', '-w', atClient, `tcp port ${PORT}`], 'listening'),
  ];
  const said = within(CLIENT, PYTHON, '-c', python, `${VIRTUAL}:${PORT}`, String(OPERATIONS));
  await sleep(1200);
  for (const child of dumps) await stopped(child);
  const [sets, gets] = said.trim().split(' ').map(Number) as [number, number];
  const host = await recorded(atHost, folder);
  const client = await recorded(atClient, folder);
  const isEqual =
    host.sets === sets &&
    host.reads === gets &&
    host.exchanges === client.exchanges &&
    host.connections === client.connections;
  for (const note of host.notes) process.stderr.write(`${name}: ${note}\n`);
  const row = `| ${name} | ${sets} sets, ${gets} gets | ${client.packets} packets, ${client.exchanges} exchanges on ${client.connections} | ${host.packets} packets, ${host.exchanges} exchanges on ${host.connections}: ${host.sets} sets, ${host.reads} gets | ${isEqual ? 'equal' : 'DIFFERS'} |`;
  return { row, isEqual };
}

function remove(): void {
  for (const space of [HOST, CLIENT, SERVER])
    try {
      ip('netns', 'delete', space);
    } catch {
      // It was not made.
    }
}

const folder = mkdtempSync(join(tmpdir(), 'memtape-namespaces-'));
let server: ChildProcess | undefined;
try {
  try {
    build();
    translate('');
  } catch (error) {
    process.stdout.write(
      `not run: this machine does not let us make network namespaces with address translation (root, ip and nft are needed): ${(error as Error).message.split('\n')[0]}\n`,
    );
    process.exitCode = 3;
  }
  if (process.exitCode === undefined) {
    server = await started(
      SERVER,
      ['memcached', '-u', 'nobody', '-l', '0.0.0.0', '-p', String(PORT)],
      undefined,
    );
    await sleep(500);
    const rows: string[] = [];
    for (const name of Object.keys(translations)) {
      const { row, isEqual } = await check(name, folder);
      rows.push(row);
      if (!isEqual) process.exitCode = 1;
    }
    process.stdout.write(
      `| translation | the clients say | at the client | at the host, on all interfaces | |\n|---|---|---|---|---|\n${rows.join('\n')}\n`,
    );
  }
} finally {
  if (server !== undefined) await stopped(server);
  remove();
  rmSync(folder, { recursive: true, force: true });
}
