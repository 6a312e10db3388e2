// How long things took: answers, in all and by operation and tenant, and what kept requests from being sent.

import type { Histogram } from 'hdr-histogram-js';
import { opcodeName } from '../protocol/opcode.ts';
import type { Survey } from '../trace/survey.ts';
import { Samples } from './samples.ts';

export class Durations {
  readonly fromIntended = new Samples();
  readonly fromSent = new Samples();
  readonly recorded = new Samples();
  readonly lag = new Samples();
  readonly blocked = new Samples();
  readonly #byOpcode: (Samples | undefined)[] = [];
  readonly #byConnection: (Samples | undefined)[] = [];
  readonly #byTenant = new Map<string, Samples>();

  ofOpcode(opcode: number): Samples {
    return (this.#byOpcode[opcode] ??= new Samples());
  }

  /** Those of its tenant. */
  ofConnection(connection: number, { connections }: Pick<Survey, 'connections'>): Samples {
    return (this.#byConnection[connection] ??= this.#ofTenant(connections[connection]?.tenant ?? ''));
  }

  #ofTenant(tenant: string): Samples {
    let samples = this.#byTenant.get(tenant);
    if (samples === undefined) this.#byTenant.set(tenant, (samples = new Samples()));
    return samples;
  }

  /** All of them as histograms, in microseconds. */
  histograms(): {
    latency: Record<'fromIntended' | 'fromSent' | 'recorded', Histogram> &
      Record<'byOperation' | 'byTenant', Map<string, Histogram>>;
    lag: Histogram;
    blocked: Histogram;
  } {
    const byOperation = new Map<string, Histogram>();
    for (const [opcode, samples] of this.#byOpcode.entries())
      if (samples !== undefined) byOperation.set(opcodeName(opcode), samples.histogram());
    const byTenant = new Map(Array.from(this.#byTenant, ([name, samples]) => [name, samples.histogram()]));
    return {
      latency: {
        fromIntended: this.fromIntended.histogram(),
        fromSent: this.fromSent.histogram(),
        recorded: this.recorded.histogram(),
        byOperation,
        byTenant,
      },
      lag: this.lag.histogram(),
      blocked: this.blocked.histogram(),
    };
  }
}
