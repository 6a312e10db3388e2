// Who is slow: of each key how many of its answers took long. That is asked of places only (a server, a tenant, a
// partition), which belong to keys; and of all exchanges, so they are counted by number, and named once a batch.

import type { Batch } from '../trace/batch.ts';
import type { Attribution, KeyCounts } from './attribution.ts';

export class Slowness {
  readonly #attribution: Attribution;
  readonly #address: (target: number) => string;
  readonly #tenant: (connection: number) => string;
  /** Tenants by connection, numbered. */
  readonly #tenants = new Map<string, number>();
  readonly #tenantOf: (number | undefined)[] = [];
  #batch: Batch | undefined;
  /** Of the batch, by the numbers of key, target and tenant. */
  readonly #counts = new Map<number, KeyCounts>();

  constructor(
    attribution: Attribution,
    address: (target: number) => string,
    tenant: (connection: number) => string,
  ) {
    this.#attribution = attribution;
    this.#address = address;
    this.#tenant = tenant;
  }

  /** An answer. @param atNs when its request was sent */
  add(batch: Batch, row: number, target: number, isSlow: boolean, atNs: number): void {
    if (batch !== this.#batch) {
      this.end();
      this.#batch = batch;
    }
    if (batch.keyLength[row] === 0) return;
    const connection = batch.connection[row]!;
    const tenant = (this.#tenantOf[connection] ??= this.#numberOf(this.#tenant(connection)));
    // 65,536 targets, and less than 2^22 keys in a batch and tenants each.
    const place = (batch.keyId[row]! * 0x400000 + tenant) * 0x10000 + target;
    let counts = this.#counts.get(place);
    if (counts === undefined)
      this.#counts.set(
        place,
        (counts = {
          server: this.#address(target),
          tenant: this.#tenant(connection),
          key: batch.key(row).toString('latin1'),
          total: 0,
          failures: 0,
          sinceSeconds: Infinity,
        }),
      );
    counts.total++;
    if (!isSlow) return;
    counts.failures++;
    counts.sinceSeconds = Math.min(counts.sinceSeconds, atNs / 1e9);
  }

  /** There are no more. */
  end(): void {
    for (const counts of this.#counts.values()) this.#attribution.addKey(counts);
    this.#counts.clear();
  }

  #numberOf(tenant: string): number {
    let number = this.#tenants.get(tenant);
    if (number === undefined) this.#tenants.set(tenant, (number = this.#tenants.size));
    return number;
  }
}
