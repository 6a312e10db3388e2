// The pictures of the HTML report in docs: `node dist/scripts/screenshots.js [PAGE]`. memjs clients are recorded for half a
// minute and replayed through a proxy with four memcached backends, of which one restarts, and with it the proxy's faults:
// it keeps its old sockets, and a byte in some answers of another backend is wrong. PAGE keeps the page itself. Needs
// memcached and chromium.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { diffOf, withFiles } from '../library/replayed.ts';
import { runClients, settled } from '../fixtures/clients.ts';
import { startMemcached } from '../embedded/memcached.ts';
import { parseProxyFault } from '../embedded/proxy/fault.ts';
import { startFaultProxy } from '../embedded/proxy.ts';
import { startProxy } from '../recorder/proxy.ts';
import { parseDrills } from '../replayer/drillfile.ts';
import { replay } from '../replayer/replay.ts';
import { renderHtml } from '../report/html.ts';
import { makeReport } from '../report/report.ts';
import type { Report } from '../report/shape.ts';
import { parseThreshold } from '../report/threshold.ts';
import { parseHostPort } from '../trace/address.ts';

const SECONDS = 36;
const EXCHANGES = 36_000;
const BACKENDS = 4;
const RESTARTED = 2;
const RESTART_AT = '12s';
const faults = ['stale-sockets', 'corrupt=1/1500,backend=0'];
const folder = mkdtempSync(join(tmpdir(), 'memtape-screenshots-'));
/** Where the process id stands of the server that the drill starts. */
const pidFile = join(folder, 'pid');

async function record(trace: string): Promise<void> {
  const production = await startMemcached();
  const proxy = await startProxy({ listen: ['127.0.0.1:0'], upstream: [production.address], output: trace });
  const [address] = proxy.addresses;
  await runClients({
    address: address!,
    seed: 7,
    clients: 8,
    exchanges: EXCHANGES,
    seconds: SECONDS,
    calls: {},
  });
  await settled(() => proxy.open === 0);
  await proxy.stop();
  await production.stop();
}

/** The command that starts an empty server on the port of one that it kills. */
function restart(pid: number, port: number): string {
  return `kill -9 ${pid}; while kill -0 ${pid} 2>/dev/null; do sleep 0.05; done; sleep 0.5; setsid memcached -u nobody -l 127.0.0.1 -p ${port} >/dev/null 2>&1 & echo $! > ${pidFile}`;
}

async function judge(trace: string): Promise<Report> {
  const results = join(folder, 'results');
  const servers = await Promise.all(Array.from({ length: BACKENDS }, async () => startMemcached()));
  const backends = servers.map(({ address }) => address);
  const release = await startFaultProxy({
    backends,
    faults: faults.map((text) => parseProxyFault(text)),
    seed: 1,
  });
  const { process: restarted, port, address: server } = servers[RESTARTED]!;
  const drills = [{ at: RESTART_AT, name: 'restart a backend', run: restart(restarted.pid!, port), server }];
  try {
    const { survey } = await replay({
      trace,
      results,
      targets: [release.address],
      drills: parseDrills(JSON.stringify(drills), 'drills'),
    });
    const judging = { survey, backends: backends.map((address) => parseHostPort(address, 0)) };
    const judged = await withFiles(trace, results, async (files) => diffOf(files, judging));
    return makeReport({
      ...judged,
      thresholds: ['violations == 0', 'drift.lost < 0.5%', 'latency.fromSent.p99 < 20ms'].map((text) =>
        parseThreshold(text),
      ),
    });
  } finally {
    await release.stop();
    await Promise.all(servers.map(async (running) => running.stop()));
    process.kill(Number(readFileSync(pidFile, 'utf8')));
  }
}

async function photograph(page: string): Promise<void> {
  const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
  try {
    for (const colorScheme of ['light', 'dark'] as const) {
      const view = await browser.newPage({ colorScheme, viewport: { width: 1280, height: 1700 } });
      await view.goto(`file://${page}`);
      // Down to the charts: what comes below is for those who open the page.
      const below = await view.locator('#shared').boundingBox();
      const clip = { x: 0, y: 0, width: 1280, height: below!.y - 20 };
      await view.screenshot({ path: `docs/report-${colorScheme}.png`, clip });
      await view.close();
    }
  } finally {
    await browser.close();
  }
}

try {
  const trace = join(folder, 'shop.tape');
  await record(trace);
  const page = process.argv[2] ?? join(folder, 'report.html');
  writeFileSync(page, renderHtml([{ name: 'shop.tape', report: await judge(trace) }]));
  await photograph(page);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
