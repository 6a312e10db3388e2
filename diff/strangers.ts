// Values that their key never had: are they those of other keys, or of other tenants?

import type { Sides } from './sides.ts';
import type { Suspect } from './suspect.ts';
import type { Verdict } from './verdict.ts';

/** A value of so many bytes is hardly that of two keys by chance. */
const TELLING_BYTES = 6;
const MAX_STRANGE = 20_000;
const MAX_OWNERS = 4;

export class Strangers {
  readonly #sides: Sides;
  readonly #strange: { suspect: Suspect; value: Buffer; otherwise: Verdict }[] = [];

  constructor(sides: Sides) {
    this.#sides = sides;
  }

  /**
   * Takes it in, to be settled later; false where its value tells nothing, or there is no room to remember it.
   * @param otherwise what is to be said of it where the value is nobody's
   */
  take(suspect: Suspect, otherwise: Verdict): boolean {
    if (this.#strange.length >= MAX_STRANGE) return false;
    const { value } = suspect.replayed();
    if (value.length < TELLING_BYTES) return false;
    this.#strange.push({ suspect, value, otherwise });
    return true;
  }

  /** Whose are they? */
  async settle(settle: (suspect: Suspect, verdict: Verdict) => void): Promise<void> {
    const { survey, trace } = this.#sides;
    if (this.#strange.length === 0) return;
    const owners = new Map(this.#strange.map(({ value }) => [value.toString('latin1'), new Set<string>()]));
    const lengths = new Set(this.#strange.map(({ value }) => value.length));
    const own = (value: Buffer, owner: () => string): void => {
      if (!lengths.has(value.length)) return;
      const of = owners.get(value.toString('latin1'));
      if (of !== undefined && of.size < MAX_OWNERS) of.add(owner());
    };
    for (const { value, key, tenant } of survey.present) own(value, () => named(key, tenant));
    for await (const batch of trace.batches())
      for (let row = 0; row < batch.count; row++)
        if (batch.keyLength[row]! > 0 && lengths.has(batch.valueLength[row]!))
          own(batch.value(row), () =>
            named(batch.key(row).toString('latin1'), this.#sides.tenantOf(batch, row)),
          );
    for (const { suspect, value, otherwise } of this.#strange) {
      const tenant = survey.connections[suspect.connection]?.tenant ?? '';
      const self = named(suspect.key, survey.tenants.length > 1 ? tenant : '');
      const owner = [...owners.get(value.toString('latin1'))!].find((name) => name !== self);
      settle(
        suspect,
        owner === undefined
          ? otherwise
          : {
              class: 'violation',
              kind: 'foreign-value',
              why: `the value is that of another key: ${printable(owner)}`,
            },
      );
    }
  }
}

function named(key: string, tenant: string): string {
  return tenant === '' ? key : `${key} of ${tenant}`;
}

/** A key in a sentence. */
function printable(key: string): string {
  return key.replace(/[^\x20-\x7e]/g, '.').slice(0, 80);
}
