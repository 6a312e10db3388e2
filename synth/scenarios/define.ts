// What a scenario is, and the parts that several are made of.

import { z } from 'zod';
import { duration } from '../../config/yaml.ts';
import type { Model, ModelEvent, StreamModel } from '../model/model.ts';
import type { Addition, Context, Stage } from '../rewrite/stage.ts';

export const share = z.coerce.number().min(0).max(1);
export const count = z.coerce.number().int().positive();
/** Few enough that each may cost memory. */
export const some = count.max(100_000);
export const at = duration.optional();

export interface Scenario {
  name: string;
  about: string;
  parameters: z.ZodObject;
  /** @param total length of the run, ms */
  onModel: (model: Model, parameters: never, total: number) => Model;
  /** Stages that rewrite a recorded trace. @throws ConfigError where it lacks what is needed */
  onTrace: (context: Context, parameters: never, total: number) => Stage[];
}

export function scenario<Shape extends z.ZodRawShape>(
  name: string,
  about: string,
  shape: Shape,
  on: {
    model: (model: Model, parameters: z.output<z.ZodObject<Shape>>, total: number) => Model;
    trace: (context: Context, parameters: z.output<z.ZodObject<Shape>>, total: number) => Stage[];
  },
): Scenario {
  const { model: onModel, trace: onTrace } = on;
  return { name, about, parameters: z.strictObject(shape), onModel, onTrace };
}

/** The time that a scenario begins at where nobody said: a third into the run. */
export function begin(given: number | undefined, total: number): number {
  return given ?? total / 3;
}

export function span(given: number | undefined, total: number): number {
  return given ?? total / 3;
}

export function withStream(model: Model, name: string, stream: StreamModel, of = 0): Model {
  return {
    ...model,
    tenants: model.tenants.map((tenant, n) =>
      n === of ? { ...tenant, streams: [...(tenant.streams ?? []), { name, ...stream }] } : tenant,
    ),
  };
}

export function withEvents(model: Model, ...events: ModelEvent[]): Model {
  return {
    ...model,
    tenants: model.tenants.map((tenant) => ({ ...tenant, events: [...(tenant.events ?? []), ...events] })),
  };
}

/** Streams for a time: nothing before, nothing after. */
export function during(
  from: number,
  length: number,
  perSecond: number,
): Pick<StreamModel, 'from' | 'to' | 'arrivals'> {
  return { from, to: from + length, arrivals: { rate: perSecond } };
}

/** Requests that are added to a trace for a time. @param together how many leave at once */
export function steady(perSecond: number, from: number, length: number, together = 1): Addition {
  return { arrivals: { rate: perSecond }, from, to: from + length, together };
}

/** How requests for hot keys rise to a peak, and halve again and again. Times in ms. */
export function riseAndFall(
  from: number,
  rise: number,
  halfLife: number,
  peak: number,
): { at: number; rate: number }[] {
  const curve = [
    { at: from, rate: 0 },
    { at: from + rise, rate: peak },
  ];
  for (let n = 1; n <= 8; n++) curve.push({ at: from + rise + n * halfLife, rate: peak / 2 ** n });
  return curve;
}
