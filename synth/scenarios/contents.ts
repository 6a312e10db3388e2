// Scenarios of what the cache holds: what expires, is deleted, is of another size, or is changed by many at once.

import { z } from 'zod';
import { ConfigError } from '../../config/error.ts';
import { duration, rate, size } from '../../config/yaml.ts';
import { counterExtras, storeExtras } from '../../protocol/frame.ts';
import { Opcode } from '../../protocol/opcode.ts';
import type { ModelEvent } from '../model/model.ts';
import { exponential } from '../laws/random.ts';
import { ExpiryStage, SizeStage, VersionStage } from '../rewrite/change.ts';
import { Sort } from '../rewrite/facts.ts';
import type { Line } from '../rewrite/line.ts';
import { AddingStage, EventStage } from '../rewrite/stage.ts';
import { meanRate } from '../model/transform.ts';
import { at, begin, count, during, scenario, some, span, steady, withEvents, withStream } from './define.ts';

export const thunderingHerd = scenario(
  'thunderingHerd',
  'a popular key is deleted, and everybody who misses it stores it again',
  {
    at,
    key: z.coerce.number().int().min(0).optional(),
    clients: some.optional(),
    refillDelay: duration.optional(),
    times: count.max(10_000).optional(),
  },
  {
    model: (model, { at: given, key = 0, clients = 500, refillDelay, times = 1 }, total) =>
      withEvents(
        model,
        ...Array.from({ length: times }, (_, n): ModelEvent => ({
          kind: 'herd',
          at: begin(given, total) + (n * total) / (3 * times),
          key,
          clients,
          ...(refillDelay === undefined ? {} : { refillDelay }),
        })),
      ),
    trace: (context, { at: given, key: rank = 0, clients = 500, refillDelay = 0, times = 1 }, total) => {
      const all = context.values().filter(({ reads }) => reads > 0);
      const key = all[rank];
      if (key === undefined)
        throw new ConfigError(
          `thunderingHerd: key: expected a rank below ${all.length}, as many keys are read; got ${rank}`,
        );
      const times0 = Array.from({ length: times }, (_, n) => begin(given, total) + (n * total) / (3 * times));
      return [
        new EventStage(context, times0, (ns, stage) => {
          stage.ask(key.place, ns, (line) => context.request(line, ns, Opcode.delete, key.name));
          for (let client = 0; client < clients; client++) {
            const own = stage.lineOf(key.place, ns);
            if (own === undefined) return;
            const row = context.request(own, ns + context.facts.latencyNs + client, Opcode.get, key.name);
            row.follow = { kind: 'refill', delayNs: exponential(stage.random) * refillDelay * 1e6 };
            stage.later(row);
          }
        }),
      ];
    },
  },
);

export const ttlAvalanche = scenario(
  'ttlAvalanche',
  'what is stored in a while expires all at once',
  { at, for: duration.optional() },
  {
    model: (model, { at: given, for: length }, total) => {
      const until = begin(given, total) + span(length, total);
      return withEvents(model, {
        kind: 'ttl',
        at: Math.max(0, until - Math.max(1000, span(length, total))),
        for: Math.max(1000, span(length, total)),
      });
    },
    trace: (context, { at: given, for: length }, total) => {
      const until = begin(given, total) + span(length, total);
      const long = Math.max(1000, span(length, total));
      const from = Math.max(0, until - long);
      return [new ExpiryStage(context, { from, until: from + long })];
    },
  },
);

export const deployColdCache = scenario(
  'deployColdCache',
  'a new version of the application, in waves, with keys of its own',
  { at, waves: count.max(1000).optional(), every: duration.optional() },
  {
    model: (model, { at: given, waves = 3, every }, total) =>
      withEvents(
        model,
        ...Array.from(
          wavesOf(begin(given, total), waves, every ?? total / (2 * waves)),
          (wave): ModelEvent => ({ kind: 'version', ...wave }),
        ),
      ),
    trace: (context, { at: given, waves = 3, every }, total) => [
      new VersionStage(context, wavesOf(begin(given, total), waves, every ?? total / (2 * waves))),
    ],
  },
);

/** ms, and the share of those that have deployed by then. */
function wavesOf(from: number, waves: number, gap: number): { at: number; share: number }[] {
  return Array.from({ length: waves }, (_, n) => ({ at: from + n * gap, share: (n + 1) / waves }));
}

export const sizeShift = scenario(
  'sizeShift',
  'what is stored from some time on is larger, or smaller',
  { at, factor: z.coerce.number().positive().optional() },
  {
    model: (model, { at: given, factor = 4 }, total) =>
      withEvents(model, { kind: 'sizes', at: begin(given, total), factor }),
    trace: (context, { at: given, factor = 4 }, total) => [
      new SizeStage(context, { at: begin(given, total), factor }),
    ],
  },
);

export const invalidationStorm = scenario(
  'invalidationStorm',
  'many keys are deleted in a short time, and read again',
  { at, for: duration.optional(), factor: z.coerce.number().positive().optional() },
  {
    model: (model, { at: given, for: length, factor = 0.5 }, total) =>
      withStream(model, 'invalidations', {
        ...during(begin(given, total), span(length, total) / 2, meanRate(model) * factor),
        mix: { delete: 1 },
      }),
    trace: (context, { at: given, for: length, factor = 0.5 }, total) => {
      const rates = steady(context.facts.rate * factor, begin(given, total), span(length, total) / 2);
      return [
        new AddingStage(context, rates, (ns, stage) => {
          const key = context.draw(stage.random);
          stage.ask(key.place, ns, (line) => context.request(line, ns, Opcode.delete, key.name));
        }),
      ];
    },
  },
);

export const counterContention = scenario(
  'counterContention',
  'many connections count on few counters',
  { at, for: duration.optional(), keys: some.optional(), rate: rate.optional() },
  {
    model: (model, { at: given, for: length, keys = 3, rate: perSecond }, total) =>
      withStream(model, 'counters', {
        ...during(begin(given, total), span(length, total), perSecond ?? meanRate(model) / 4),
        mix: { incr: 0.9, decr: 0.1 },
        popularity: { kind: 'few', keys },
      }),
    trace: (context, { at: given, for: length, keys = 3, rate: perSecond }, total) => {
      const from = begin(given, total);
      const known = context.facts.ranked.filter(({ sort }) => sort === Sort.counter);
      const place = known[0]?.place ?? context.facts.ranked[0]?.place ?? 0;
      // Where the trace has fewer counters, further ones of our own.
      const counters = Array.from(
        { length: keys },
        (_, n) => known[n] ?? { place, name: `memtape:counter:${n + 1}` },
      );
      const rates = {
        arrivals: { rate: perSecond ?? context.facts.rate / 4 },
        from,
        to: from + span(length, total),
      };
      return [
        new AddingStage(context, rates, (ns, stage) => {
          const counter = stage.random.pick(counters);
          const line = stage.lineOf(counter.place, ns);
          if (line === undefined) return;
          const opcode = stage.random.chance(0.9) ? Opcode.incr : Opcode.decr;
          const row = context.request(line, ns, opcode, counter.name);
          row.extras = counterExtras(1n, 0n, 0);
          stage.later(row);
        }),
      ];
    },
  },
);

export const casConflict = scenario(
  'casConflict',
  'many connections change few keys with CAS',
  { at, for: duration.optional(), keys: some.optional(), rate: rate.optional() },
  {
    model: (model, { at: given, for: length, keys = 3, rate: perSecond }, total) =>
      withStream(model, 'cas', {
        ...during(begin(given, total), span(length, total), perSecond ?? meanRate(model) / 4),
        mix: { cas: 1 },
        popularity: { kind: 'few', keys },
      }),
    trace: (context, { at: given, for: length, keys = 3, rate: perSecond }, total) => {
      const from = begin(given, total);
      const all = context.values().slice(0, keys);
      if (all.length === 0) throw new ConfigError('casConflict: expected a trace with keys, got none');
      const rates = {
        arrivals: { rate: perSecond ?? context.facts.rate / 4 },
        from,
        to: from + span(length, total),
      };
      const adding = new AddingStage(context, rates, (ns, stage) => {
        const key = stage.random.pick(all);
        const line = stage.lineOf(key.place, ns);
        if (line === undefined) return;
        const row = context.request(line, ns, Opcode.get, key.name);
        row.follow = { kind: 'cas', delayNs: 1 };
        stage.later(row);
      });
      adding.usesCas = true;
      return [adding];
    },
  },
);

const POISON_KEYS = 100;
const POISON_CONNECTIONS = 4;

export const poisonSizes = scenario(
  'poisonSizes',
  'keys near 250 bytes and values near 1 MiB',
  { at, for: duration.optional(), rate: rate.optional(), value: size.optional() },
  {
    model: (model, { at: given, for: length, rate: perSecond = 20, value = 1024 * 1024 - 512 }, total) => ({
      ...model,
      tenants: [
        ...model.tenants,
        {
          name: 'poison',
          keys: { space: POISON_KEYS, prefix: 'poison:', length: { kind: 'uniform', min: 240, max: 250 } },
          values: { size: { kind: 'uniform', min: value / 2, max: value } },
          connections: { count: POISON_CONNECTIONS },
          mix: { get: 0.5, set: 0.5 },
          popularity: { kind: 'uniform' },
          ...during(begin(given, total), span(length, total), perSecond),
        },
      ],
    }),
    trace: (context, { at: given, for: length, rate: perSecond = 20, value = 1024 * 1024 - 512 }, total) => {
      const from = begin(given, total);
      const place = context.facts.ranked[0]?.place ?? 0;
      const lines: (Line | undefined)[] = [];
      const rates = { arrivals: { rate: perSecond }, from, to: from + span(length, total) };
      return [
        new AddingStage(context, rates, (ns, stage) => {
          const { random } = stage;
          const n = random.int(POISON_CONNECTIONS);
          if (lines[n] === undefined) {
            const like = stage.lineOf(place, ns);
            if (like === undefined) return;
            lines[n] = context.lines.open(like, ns);
          }
          const key = random.int(POISON_KEYS);
          const name = `poison:${key}`.padEnd(240 + (key % 11), '.');
          const isRead = random.chance(0.5);
          const row = context.request(lines[n], ns, isRead ? Opcode.get : Opcode.set, name);
          if (isRead) row.follow = context.onMiss(lines[n]);
          else {
            row.extras = storeExtras(0, 0);
            row.value = context.fresh(Math.round(value / 2 + (random.float() * value) / 2));
          }
          stage.later(row);
        }),
      ];
    },
  },
);

export const flushAll = scenario(
  'flushAll',
  'somebody flushes the cache; a replay sends it with --allow flush',
  { at },
  {
    model: (model, { at: given }, total) => withEvents(model, { kind: 'flush', at: begin(given, total) }),
    trace: (context, { at: given }, total) => [
      new EventStage(context, [begin(given, total)], (ns, stage) => {
        const flushed = new Set<string>();
        for (const { server, place } of context.lines.recorded) {
          if (flushed.has(server)) continue;
          flushed.add(server);
          const line = stage.lineOf(place, ns);
          if (line !== undefined) stage.later(context.request(line, ns, Opcode.flush));
        }
      }),
    ],
  },
);
