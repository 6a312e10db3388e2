// Models made out of models.

import type { Model } from './model.ts';

/** The model at another average rate: every stream's changes in proportion. */
export function atRate(model: Model, rate: number): Model {
  const factor = rate / meanRate(model);
  return mapArrivals(model, factor);
}

/** Requests a second, of all streams together. */
export function meanRate(model: Model): number {
  return model.tenants
    .flatMap((tenant) => [tenant, ...(tenant.streams ?? [])])
    .reduce((sum, { arrivals }) => {
      const { rate, curve = [], counts, every = 1000 } = arrivals ?? {};
      if (counts !== undefined)
        return sum + (counts.reduce((total, count) => total + count, 0) * 1000) / (counts.length * every);
      return (
        sum + (rate ?? curve.reduce((total, point) => total + point.rate, 0) / Math.max(1, curve.length))
      );
    }, 0);
}

function mapArrivals(model: Model, factor: number): Model {
  const scaled = (arrivals: NonNullable<Model['tenants'][number]['arrivals']>): typeof arrivals => ({
    ...arrivals,
    ...(arrivals.rate === undefined ? {} : { rate: arrivals.rate * factor }),
    // The same counts, in less time.
    ...(arrivals.counts === undefined ? {} : { every: (arrivals.every ?? 1000) / factor }),
    ...(arrivals.curve === undefined
      ? {}
      : { curve: arrivals.curve.map(({ at, rate }) => ({ at, rate: rate * factor })) }),
  });
  return {
    ...model,
    tenants: model.tenants.map((tenant) => ({
      ...tenant,
      ...(tenant.arrivals === undefined ? {} : { arrivals: scaled(tenant.arrivals) }),
      ...(tenant.streams === undefined
        ? {}
        : {
            streams: tenant.streams.map((stream) => ({
              ...stream,
              ...(stream.arrivals === undefined ? {} : { arrivals: scaled(stream.arrivals) }),
            })),
          }),
    })),
  };
}
