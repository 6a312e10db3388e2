// Real clients, and their traffic as tcpdump captures it, for the proofs of the recorder.

import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { runClients } from '../fixtures/clients.ts';
import { startMemcached } from '../embedded/memcached.ts';
import { PYTHON } from '../fixtures/pylibmc.ts';

const python = `
import pylibmc, random, sys
r = random.Random(7)
for binary_client in range(3):
    mc = pylibmc.Client([sys.argv[1]], binary=True, behaviors={"tcp_nodelay": True})
    for n in range(int(sys.argv[2]) // 3):
        key, what = "py:%d" % r.randrange(300), r.random()
        try:
            if what < 0.3: mc.set(key, "v" * r.randrange(1, 3000), time=r.choice([0, 60]))
            elif what < 0.6: mc.get(key)
            elif what < 0.75: mc.get_multi(["py:%d" % r.randrange(300) for _ in range(10)])
            elif what < 0.8: mc.add(key, "a")
            elif what < 0.85: mc.replace(key, "r")
            elif what < 0.9: mc.delete(key)
            elif what < 0.95:
                mc.set("count", "5"); mc.incr("count", 2)
            else: mc.append(key, "more")
        except pylibmc.Error: pass
`;
const php = `
$m = new Memcached(); $m->setOption(Memcached::OPT_BINARY_PROTOCOL, true); $m->setOption(Memcached::OPT_TCP_NODELAY, true);
[$host, $port] = explode(':', $argv[1]); $m->addServer($host, (int) $port); mt_srand(5);
for ($n = 0; $n < (int) $argv[2]; $n++) { $k = 'php:' . mt_rand(0, 200);
  switch (mt_rand(0, 7)) { case 0: case 1: $m->set($k, str_repeat('p', mt_rand(1, 2000))); break;
    case 2: case 3: $m->get($k); break; case 4: $m->getMulti(['php:1', 'php:2', $k]); break;
    case 5: $m->delete($k); break; case 6: $m->increment('n' . mt_rand(0, 9), 1, 5); break; default: $m->add($k, 'x'); } }
`;

export interface Client {
  name: string;
  run(address: string, operations: number): Promise<void>;
}

/** Ends when the program does; memccapable fails where a server has learnt something new, which is no matter here. */
function run(command: string, args: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    // The system's own Python first: it is the one that has Debian's packages.
    const env = { ...process.env, PATH: `/usr/bin:${process.env['PATH']}` };
    const child = spawn(command, args, { stdio: 'ignore', env });
    child.on('error', reject).on('close', () => resolve());
  });
}

export const clients: readonly Client[] = [
  {
    name: 'memjs',
    run: (address, operations) =>
      runClients({
        address,
        seed: 3,
        clients: 4,
        exchanges: operations,
        seconds: 1,
        largeBytes: 70_000,
        calls: {},
      }),
  },
  {
    name: 'memccapable -b',
    run: (address) => run('memccapable', ['-b', '-h', '127.0.0.1', '-p', address.split(':')[1]!]),
  },
  {
    name: 'memcaslap -B',
    run: (address, operations) =>
      run('memcaslap', ['-s', address, '-B', '-T', '1', '-c', '8', '-x', String(operations), '-X', '600']),
  },
  { name: 'pylibmc', run: (address, operations) => run(PYTHON, ['-c', python, address, String(operations)]) },
  {
    name: 'php-memcached',
    run: (address, operations) => run('php', ['-r', php, address, String(operations)]),
  },
];

/** @param operations of each client */
export async function capture(
  client: Client,
  operations: number,
  folder: string,
): Promise<{ path: string; port: number }> {
  const server = await startMemcached(['-I', '2m']);
  const path = join(folder, `${client.name.split(' ')[0]}.pcap`);
  const dump = spawn(
    'tcpdump',
    ['-i', 'lo', '-s', '0', '-B', '65536', '-Z', 'root', '-w', path, `tcp port ${server.port}`],
    {
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  );
  await new Promise<void>((resolve) =>
    dump.stderr.on('data', (text: Buffer) => text.includes('listening') && resolve()),
  );
  await client.run(server.address, operations);
  await sleep(1200);
  const gone = new Promise((resolve) => dump.on('close', resolve));
  dump.kill('SIGINT');
  await gone;
  await server.stop();
  return { path, port: server.port };
}
