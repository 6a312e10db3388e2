// The recorder against tshark's memcache dissector: real clients' traffic, as captured and mangled in ways that a network
// or a capture has, counted by both. `node dist/scripts/tshark.js [OPERATIONS]`; needs memcached, tcpdump, tshark, and the
// clients; prints a table in Markdown, and ends with 1 where they differ.

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { runClients } from '../fixtures/clients.ts';
import { PYTHON } from '../fixtures/pylibmc.ts';
import { startMemcached } from '../fixtures/memcached.ts';
import { addFrames as add, differences, tsharkCounts, type Counts } from '../fixtures/tshark.ts';
import { manglings, parsePackets, writePackets } from '../fixtures/mangle.ts';
import { recordCapture } from '../recorder/record.ts';
import { Outcome } from '../trace/batch.ts';
import { TraceReader } from '../trace/file.ts';

const OPERATIONS = Number(process.argv[2] ?? 3000);
const folder = mkdtempSync(join(tmpdir(), 'memtape-tshark-'));

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

interface Client {
  name: string;
  run(address: string): Promise<void>;
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

const clients: Client[] = [
  {
    name: 'memjs',
    run: (address) =>
      runClients({
        address,
        seed: 3,
        clients: 4,
        exchanges: OPERATIONS,
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
    run: (address) =>
      run('memcaslap', ['-s', address, '-B', '-T', '1', '-c', '8', '-x', String(OPERATIONS), '-X', '600']),
  },
  { name: 'pylibmc', run: (address) => run(PYTHON, ['-c', python, address, String(OPERATIONS)]) },
  { name: 'php-memcached', run: (address) => run('php', ['-r', php, address, String(OPERATIONS)]) },
];

interface Seen {
  outcome: Outcome;
  answer: string;
}

interface Recorded {
  counts: Counts;
  /** By connection, opcode, opaque, key and value. */
  exchanges: Map<string, Seen[]>;
  total: number;
  marked: number;
}

async function recorded(path: string, port: number): Promise<Recorded> {
  const output = join(folder, 'x.tape');
  const out: Recorded = { counts: new Map(), exchanges: new Map(), total: 0, marked: 0 };
  const { exchanges } = await recordCapture(path, { output, ports: [port], source: 'x' });
  if (exchanges === 0) return out;
  const trace = await TraceReader.open(output);
  const ports: string[] = [];
  for await (const batch of trace.batches()) {
    for (const { id, client } of batch.connections) ports[id] = client.slice(client.lastIndexOf(':'));
    for (let row = 0; row < batch.count; row++) {
      const opcode = batch.opcode[row]!;
      add(out.counts, 'request', opcode);
      if (batch.frames[row]! > 0) add(out.counts, 'response', opcode, batch.frames[row]);
      const key = batch.key(row).toString('hex');
      const value = batch.value(row).toString('base64');
      const name = `${ports[batch.connection[row]!]} ${opcode} ${batch.opaque[row]} ${key} ${value}`;
      const outcome = batch.outcome[row] as Outcome;
      const answer = `${batch.status[row]} ${batch.answerCas(row)} ${batch.answerValue(row).toString('base64')}`;
      const same = out.exchanges.get(name);
      if (same === undefined) out.exchanges.set(name, [{ outcome, answer }]);
      else same.push({ outcome, answer });
      out.total++;
      if (outcome === Outcome.gap || outcome === Outcome.indeterminate) out.marked++;
    }
  }
  await trace.close();
  return out;
}

/** Exchanges of a lossy capture that are neither as they truly were nor marked. */
function wrong(lossy: Recorded, whole: Recorded): string[] {
  const found: string[] = [];
  for (const [name, list] of lossy.exchanges) {
    const truth = whole.exchanges.get(name) ?? [];
    for (const { outcome, answer } of list) {
      if (outcome === Outcome.gap || outcome === Outcome.indeterminate) continue;
      if (
        !truth.some(
          (other) => other.outcome === outcome && (outcome !== Outcome.answered || other.answer === answer),
        )
      )
        found.push(
          `${name}: ${outcome} ${answer.slice(0, 60)}; truly ${JSON.stringify(truth).slice(0, 160)}`,
        );
    }
  }
  return found;
}

async function capture(client: Client): Promise<{ path: string; port: number }> {
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
  await client.run(server.address);
  await sleep(1200);
  const gone = new Promise((resolve) => dump.on('close', resolve));
  dump.kill('SIGINT');
  await gone;
  await server.stop();
  return { path, port: server.port };
}

let failed = 0;
const fail = (what: string, details: readonly string[]): void => {
  failed++;
  process.stderr.write(`${what}: ${details.length} wrong\n  ${details.slice(0, 8).join('\n  ')}\n`);
};

const rows: string[] = [];
try {
  for (const client of clients) {
    const { path, port } = await capture(client);
    const theirs = tsharkCounts(path, port);
    const whole = await recorded(path, port);
    const packets = parsePackets(readFileSync(path));
    const frames = [...whole.counts.values()].reduce((sum, n) => sum + n, 0);
    const plain = differences(whole.counts, theirs);
    if (plain.length > 0) fail(`${client.name}, as captured`, plain);
    const cells: string[] = [];
    for (const mangling of manglings) {
      const { name, lossy } = mangling;
      const mangled = join(folder, 'mangled.pcap');
      writeFileSync(mangled, writePackets(mangling.mangle(packets)));
      const seen = await recorded(mangled, port);
      if (!lossy) {
        const other = differences(seen.counts, theirs);
        if (other.length > 0) fail(`${client.name}, ${name}`, other);
        cells.push(other.length === 0 ? 'equal' : `${other.length} differ`);
        continue;
      }
      const false_ = wrong(seen, whole);
      if (false_.length > 0) fail(`${client.name}, ${name}`, false_);
      cells.push(
        `${seen.total - seen.marked} right, ${seen.marked} marked${false_.length > 0 ? `, ${false_.length} WRONG` : ''}`,
      );
    }
    rows.push(
      `| ${client.name} | ${packets.length} | ${frames} | ${plain.length === 0 ? 'equal' : 'differs'} | ${cells.join(' | ')} |`,
    );
  }
} finally {
  // What went wrong is in the captures, and live traffic does not come twice.
  if (failed === 0) rmSync(folder, { recursive: true, force: true });
  else process.stdout.write(`the captures are kept in ${folder}\n`);
}
const names = ['client', 'packets', 'frames', 'as captured', ...manglings.map(({ name }) => name)];
process.stdout.write(`| ${names.join(' | ')} |\n|${names.map(() => '---|').join('')}\n${rows.join('\n')}\n`);
process.exitCode = failed === 0 ? 0 : 1;
