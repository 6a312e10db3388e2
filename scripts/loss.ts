// Captures that lack packets: `node dist/scripts/loss.js [SEEDS] [OPERATIONS]`. The traffic of real clients, those among
// them that give all requests the same opaque, is captured once and recorded whole; then 0.3% to 5% of its packets are
// taken out, each seed others, and it is recorded again. Every exchange must be as it truly was, or marked as unknown.
// Prints a table in Markdown: the share of the exchanges that are not known, marked or missing; ends with 1 where one is
// neither right nor marked.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parsePackets, writePackets } from '../fixtures/mangle.ts';
import { capture, clients } from './captured.ts';
import { lose, told, untrue } from './truth.ts';

const SEEDS = Number(process.argv[2] ?? 100);
const OPERATIONS = Number(process.argv[3] ?? 600);
const SHARES = [0.003, 0.01, 0.02, 0.05];
const folder = mkdtempSync(join(tmpdir(), 'memtape-loss-'));

let failed = 0;
process.stdout.write(
  `| client | packets | exchanges | ${SHARES.map((share) => `${share * 100}%`).join(' | ')} |\n|---|---|---|${'---|'.repeat(SHARES.length)}\n`,
);
for (const client of clients) {
  const { path, port } = await capture(client, OPERATIONS, folder);
  const bytes = readFileSync(path);
  const packets = parsePackets(bytes);
  const whole = await told(bytes, port);
  const cells: string[] = [];
  for (const share of SHARES) {
    let [right, marked, wrong] = [0, 0, 0];
    for (let seed = 1; seed <= SEEDS; seed++) {
      const lossy = writePackets(lose(packets, share, seed));
      const seen = await told(lossy, port);
      const found = untrue(seen, whole);
      right += seen.total - seen.marked - found.length;
      marked += seen.marked;
      wrong += found.length;
      if (found.length === 0) continue;
      failed++;
      process.stderr.write(
        `${client.name}, ${share}, seed ${seed}: ${found.length} wrong\n  ${found.slice(0, 3).join('\n  ')}\n`,
      );
      writeFileSync(`${path}.${share}.${seed}.pcap`, lossy);
    }
    const unknown = ((100 * (SEEDS * whole.total - right)) / (SEEDS * whole.total)).toFixed(1);
    cells.push(`${unknown}% not known, ${marked} marked${wrong > 0 ? `, ${wrong} WRONG` : ''}`);
  }
  process.stdout.write(`| ${client.name} | ${packets.length} | ${whole.total} | ${cells.join(' | ')} |\n`);
}
// What went wrong is in the captures, and live traffic does not come twice.
if (failed === 0) rmSync(folder, { recursive: true, force: true });
else process.stdout.write(`the captures are kept in ${folder}\n`);
process.exitCode = failed === 0 ? 0 : 1;
