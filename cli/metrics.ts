// Metrics of a running replay, for Prometheus: `--metrics ADDR`.

import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Counter, Gauge, Registry, collectDefaultMetrics } from 'prom-client';
import type { ReplayProgress } from '../replayer/replay.ts';
import type { Report } from '../report/shape.ts';
import { formatHostPort, parseHostPort } from '../trace/address.ts';
import { CliError } from './error.ts';

const DEFAULT_PORT = 9_150;

export interface MetricsServer {
  /** `http://127.0.0.1:9150/metrics` */
  url: string;
  update(progress: ReplayProgress): void;
  stop(): Promise<void>;
}

const counters = [
  ['sent', 'requests_sent_total', 'Requests sent.'],
  ['answered', 'requests_answered_total', 'Requests answered.'],
  ['differ', 'answers_different_total', 'Answers that are not byte for byte the recorded ones.'],
  ['failed', 'requests_failed_total', 'Requests without an answer, or with none that is valid.'],
  ['done', 'exchanges_done_total', 'Exchanges that are complete, skipped ones included.'],
] as const;

/** Serves a registry. @throws CliError where it cannot listen there */
async function serve(address: string, registry: Registry): Promise<Pick<MetricsServer, 'url' | 'stop'>> {
  collectDefaultMetrics({ register: registry });
  let server: Server;
  try {
    const { host, port } = parseHostPort(address.replace(/^:/, '127.0.0.1:'), DEFAULT_PORT);
    server = createServer((request, response) => {
      if (request.url !== '/metrics') {
        response.writeHead(404).end('memtape: see /metrics\n');
        return;
      }
      void registry.metrics().then((text) => {
        response.writeHead(200, { 'content-type': registry.contentType });
        response.end(text);
      });
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, host, resolve);
    });
  } catch (cause) {
    throw new CliError(`cannot serve metrics on ${address}: ${(cause as Error).message}`, 2, { cause });
  }
  const bound = server.address() as AddressInfo;
  return {
    url: `http://${formatHostPort(bound.address, bound.port)}/metrics`,
    stop: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** @throws CliError where it cannot listen there */
export async function startMetrics(address: string): Promise<MetricsServer> {
  const registry = new Registry();
  const registers = [registry];
  const counted = counters.map(([field, name, help]) => ({
    field,
    counter: new Counter({ name: `memtape_replay_${name}`, help, registers }),
    seen: 0,
  }));
  const gauge = (name: string, help: string): Gauge =>
    new Gauge({ name: `memtape_replay_${name}`, help, registers });
  const total = gauge('exchanges', 'Exchanges of the whole replay.');
  const position = gauge('position_seconds', 'How far the schedule is.');
  const lag = gauge(
    'lag_seconds',
    'The latest request by our own fault, of those sent since the last update.',
  );
  return {
    ...(await serve(address, registry)),
    update: (progress) => {
      for (const one of counted) {
        one.counter.inc(progress[one.field] - one.seen);
        one.seen = progress[one.field];
      }
      total.set(progress.total);
      position.set(progress.positionNs / 1e9);
      lag.set(progress.lagNs / 1e9);
    },
  };
}

/** Of a recording that is judged while it goes on. */
export interface AuditMetrics extends Pick<MetricsServer, 'url' | 'stop'> {
  /** A window was judged; and all so far. */
  update(window: Report, all: Report): void;
  /** So many windows could not be judged. */
  lost(count: number): void;
}

const auditCounters = [
  ['exchanges_total', 'Exchanges that were recorded, by server.'],
  ['violations_total', 'Answers that no correct server gives, by server.'],
  ['drift_total', 'Keys that got lost, and stores that found no room, by server.'],
  ['reads_judged_total', 'Reads that could be judged, by server.'],
  ['reads_wrong_total', 'Those of them that were wrong, by server.'],
] as const;

/** @throws CliError where it cannot listen there */
export async function startAuditMetrics(address: string): Promise<AuditMetrics> {
  const registry = new Registry();
  const registers = [registry];
  const counters = auditCounters.map(
    ([name, help]) => new Counter({ name: `memtape_audit_${name}`, help, labelNames: ['server'], registers }),
  );
  const [exchanges, violations, drift, judged, wrong] = counters as [
    Counter,
    Counter,
    Counter,
    Counter,
    Counter,
  ];
  const hitRate = new Gauge({
    name: 'memtape_audit_hit_rate',
    help: 'Hits of all reads in the last window, by server.',
    labelNames: ['server'],
    registers,
  });
  const lostWindows = new Gauge({
    name: 'memtape_audit_windows_lost',
    help: 'Windows that could not be judged.',
    registers,
  });
  const sure = new Gauge({
    name: 'memtape_audit_consistency',
    help: 'Share of right reads that is sure with 95% confidence, of all windows.',
    registers,
  });
  return {
    ...(await serve(address, registry)),
    update: (window, all) => {
      for (const one of window.servers) {
        const labels = { server: one.address };
        exchanges.inc(labels, one.exchanges);
        violations.inc(labels, one.violations);
        drift.inc(labels, one.drift);
        if (one.hitRate !== null) hitRate.set(labels, one.hitRate);
      }
      for (const one of window.audit?.servers ?? []) {
        judged.inc({ server: one.server }, one.judged);
        wrong.inc({ server: one.server }, one.wrong);
      }
      sure.set(all.audit?.all.low ?? 0);
    },
    lost: (count) => lostWindows.set(count),
  };
}
