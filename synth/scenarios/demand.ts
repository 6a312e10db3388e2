// Scenarios of demand: who asks, how much, and for what.

import { z } from 'zod';
import { ConfigError } from '../../config/error.ts';
import { duration, rate } from '../../config/yaml.ts';
import { Opcode } from '../../protocol/opcode.ts';
import type { Tenant } from '../model/model.ts';
import { ClockStage, RankStage, dayClock } from '../rewrite/change.ts';
import type { Line } from '../rewrite/line.ts';
import { SurgeStage } from '../rewrite/repeat.ts';
import { AddingStage, joined } from '../rewrite/stage.ts';
import { meanRate } from '../model/transform.ts';
import {
  at,
  begin,
  count,
  during,
  riseAndFall,
  scenario,
  share,
  some,
  span,
  steady,
  withEvents,
  withStream,
} from './define.ts';

export const tenantSurge = scenario(
  'tenantSurge',
  'new tenants sign up, and their demand grows',
  {
    at,
    count: count.max(1000).optional(),
    ramp: duration.optional(),
    weight: z.coerce.number().positive().max(1000).optional(),
    cold: share.optional(),
  },
  {
    model: (model, parameters, total) => {
      const { count: tenants = 2, ramp = total / 6, weight = 1, cold = 0.1 } = parameters;
      const from = begin(parameters.at, total);
      const perSecond = meanRate(model) * weight;
      const [like] = model.tenants;
      // A surge on top of another one is of other tenants.
      const before = model.tenants.filter(({ name = '' }) => name.startsWith('surge-')).length;
      const added = Array.from({ length: tenants }, (_, n): Tenant => {
        const surge = `surge-${before + n + 1}`;
        const { arrivals: _arrivals, streams: _streams, events: _events, name: _name, ...rest } = like!;
        return {
          ...rest,
          name: surge,
          keys: { ...rest.keys, prefix: `${surge}:` },
          oneHit: cold,
          from,
          arrivals: {
            curve: [
              { at: from, rate: 0 },
              { at: from + ramp, rate: perSecond },
            ],
          },
        };
      });
      return { ...model, tenants: [...model.tenants, ...added] };
    },
    trace: (context, { at: given, count: tenants = 2, ramp, weight = 1, cold = 0.1 }, total) => [
      new SurgeStage(context, {
        names: Array.from({ length: tenants }, () => context.newTenant()),
        at: begin(given, total),
        ramp: ramp ?? total / 6,
        weight,
        cold,
      }),
    ],
  },
);

export const hotKey = scenario(
  'hotKey',
  'a few keys are suddenly asked for by everybody, and are forgotten again',
  {
    at,
    share: share.optional(),
    keys: count.optional(),
    rise: duration.optional(),
    halfLife: duration.optional(),
  },
  {
    model: (model, { at: given, share: part = 0.3, keys = 1, rise = 200, halfLife }, total) => {
      const from = begin(given, total);
      const peak = (meanRate(model) * part) / Math.max(0.01, 1 - part);
      return withStream(model, 'hot-key', {
        from,
        arrivals: { curve: riseAndFall(from, rise, halfLife ?? total / 6, peak) },
        mix: { get: 1 },
        popularity: {
          kind: 'few',
          keys,
          from:
            Math.floor(model.tenants[0]!.keys.space / 2) % Math.max(1, model.tenants[0]!.keys.space - keys),
        },
      });
    },
    trace: (context, { at: given, share: part = 0.3, keys = 1, rise = 200, halfLife }, total) => {
      const from = begin(given, total);
      const peak = (context.facts.rate * part) / Math.max(0.01, 1 - part);
      const curve = riseAndFall(from, rise, halfLife ?? total / 6, peak);
      // Of middling popularity, so that it is news; and something is there to be read.
      const all = context.values();
      const read = all.filter(({ reads, bytes }) => reads > 0 && bytes > 0);
      const from0 = read.length > 0 ? read : all;
      const first = Math.floor(from0.length / 2) % Math.max(1, from0.length - keys);
      const hot = from0.slice(first, first + keys);
      if (hot.length === 0) throw new ConfigError('hotKey: expected a trace with reads, got none');
      return [
        new AddingStage(context, { arrivals: { curve }, from, to: total }, (ns, stage) => {
          const key = stage.random.pick(hot);
          stage.ask(key.place, ns, (line) => context.read(line, ns, Opcode.get, key.name));
        }),
      ];
    },
  },
);

export const scan = scenario(
  'scan',
  'somebody reads all keys, one after the other',
  { at, for: duration.optional(), rate: rate.optional() },
  {
    model: (model, { at: given, for: length, rate: perSecond }, total) =>
      withStream(model, 'scan', {
        ...during(begin(given, total), span(length, total), perSecond ?? meanRate(model) / 2),
        mix: { get: 1 },
        popularity: { kind: 'scan' },
      }),
    trace: (context, { at: given, for: length, rate: perSecond }, total) => {
      const from = begin(given, total);
      const { keys } = context.facts;
      /** Of whoever scans, by place. */
      const own = new Map<number, Line | undefined>();
      let next = 0;
      return [
        new AddingStage(
          context,
          { arrivals: { rate: perSecond ?? context.facts.rate / 2 }, from, to: from + span(length, total) },
          (ns, stage) => {
            if (keys.length === 0) return;
            const key = keys[next++ % keys.length]!;
            if (!own.has(key.place)) {
              const like = stage.lineOf(key.place, ns);
              own.set(key.place, like === undefined ? undefined : context.lines.open(like, ns));
            }
            const line = own.get(key.place);
            if (line !== undefined) stage.later(context.request(line, ns, Opcode.get, key.name));
          },
        ),
      ];
    },
  },
);

export const popularityShift = scenario(
  'popularityShift',
  'other keys are popular from some time on',
  { at, by: z.coerce.number().int().optional(), steps: count.max(1000).optional() },
  {
    model: (model, { at: given, by, steps = 1 }, total) =>
      withEvents(
        model,
        ...Array.from({ length: steps }, (_, n) => ({
          kind: 'shift' as const,
          at: begin(given, total) + (n * total) / (3 * steps),
          by: by ?? Math.floor(model.tenants[0]!.keys.space / (2 * steps)),
        })),
      ),
    trace: (context, { at: given, by, steps = 1 }, total) => [
      new RankStage(
        context,
        Array.from({ length: steps }, (_, n) => ({
          at: begin(given, total) + (n * total) / (3 * steps),
          by,
        })),
      ),
    ],
  },
);

export const diurnal = scenario(
  'diurnal',
  'the demand of a day, in the time of the run',
  { amplitude: z.coerce.number().gt(1).max(1000).optional(), period: duration.optional() },
  {
    model: (model, { amplitude = 1.53, period }, total) => {
      const length = period ?? total;
      // From the quietest to the busiest hour as said, with the mean as it was.
      const swing = (amplitude - 1) / (amplitude + 1);
      const points = Array.from({ length: 25 }, (_, n) => ({
        at: (n * length) / 24,
        factor: 1 - swing * Math.cos((2 * Math.PI * n) / 24),
      }));
      return {
        ...model,
        tenants: model.tenants.map((tenant) => {
          const scaled = scaledCurve(tenant, points);
          return { ...scaled, arrivals: { ...scaled.arrivals, repeats: length } };
        }),
      };
    },
    trace: (context, { amplitude = 1.53, period }, total) => {
      const length = period ?? total;
      if (length === 0) throw new ConfigError('diurnal: period: expected a duration above 0');
      return [new ClockStage(context, dayClock(amplitude, length * 1e6))];
    },
  },
);

function scaledCurve(tenant: Tenant, points: readonly { at: number; factor: number }[]): Tenant {
  const base = meanRate({ format: 'memtape-model/1', tenants: [{ ...tenant, streams: [] }] });
  return {
    ...tenant,
    arrivals: {
      ...(tenant.arrivals?.gaps === undefined ? {} : { gaps: tenant.arrivals.gaps }),
      curve: points.map((point) => ({ at: point.at, rate: base * point.factor })),
    },
  };
}

export const writeBurst = scenario(
  'writeBurst',
  'many stores in a short time',
  { at, for: duration.optional(), factor: z.coerce.number().positive().optional() },
  {
    model: (model, { at: given, for: length, factor = 1 }, total) =>
      withStream(model, 'write-burst', {
        ...during(begin(given, total), span(length, total) / 2, meanRate(model) * factor),
        mix: { set: 1 },
      }),
    trace: (context, { at: given, for: length, factor = 1 }, total) => {
      const rates = steady(context.facts.rate * factor, begin(given, total), span(length, total) / 2);
      return [
        new AddingStage(context, rates, (ns, stage) => {
          const key = context.draw(stage.random);
          stage.ask(key.place, ns, (line) => context.store(line, ns, key));
        }),
      ];
    },
  },
);

export const multigetIncast = scenario(
  'multigetIncast',
  'pages that need many keys at once',
  { at, for: duration.optional(), keys: some.optional(), rate: rate.optional() },
  {
    model: (model, { at: given, for: length, keys = 100, rate: perSecond }, total) =>
      withStream(model, 'incast', {
        ...during(begin(given, total), span(length, total), perSecond ?? meanRate(model)),
        mix: { get: 1 },
        multiget: { share: 1, keys: Math.min(keys, model.tenants[0]!.keys.space) },
      }),
    trace: (context, { at: given, for: length, keys = 100, rate: perSecond }, total) => {
      const together = Math.max(1, Math.min(keys, context.values().length));
      const rates = steady(
        perSecond ?? context.facts.rate,
        begin(given, total),
        span(length, total),
        together,
      );
      return [
        new AddingStage(context, rates, (ns, stage) => {
          const { place } = context.draw(stage.random);
          const line = stage.lineOf(place, ns);
          if (line === undefined) return;
          const names = context.several(place, keys, stage.random);
          let n = 0;
          for (const name of names) {
            const row = context.read(line, ns, Opcode.getkq, name);
            stage.later(n++ > 0 ? joined(row) : row);
          }
          stage.later(joined(context.request(line, ns, Opcode.noop)));
        }),
      ];
    },
  },
);

export const pipelineFlood = scenario(
  'pipelineFlood',
  'clients that send hundreds of requests before they read an answer',
  { at, for: duration.optional(), depth: some.optional(), rate: rate.optional() },
  {
    model: (model, { at: given, for: length, depth = 200, rate: perSecond }, total) =>
      withStream(model, 'flood', {
        ...during(begin(given, total), span(length, total), perSecond ?? meanRate(model)),
        mix: { get: 1 },
        onMiss: 'none',
        pipeline: depth,
      }),
    trace: (context, { at: given, for: length, depth = 200, rate: perSecond }, total) => {
      const rates = steady(perSecond ?? context.facts.rate, begin(given, total), span(length, total), depth);
      return [
        new AddingStage(context, rates, (ns, stage) => {
          const { place } = context.draw(stage.random);
          const line = stage.lineOf(place, ns);
          if (line === undefined) return;
          for (let n = 0; n < depth; n++) {
            const key = context.draw(stage.random, place);
            const row = context.request(line, ns, Opcode.get, key.name);
            stage.later(n > 0 ? joined(row) : row);
          }
        }),
      ];
    },
  },
);
