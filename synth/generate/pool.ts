// A tenant's connections: which of them a request takes, and when each ends and is followed by another.

import { NEVER } from '../../trace/batch.ts';
import { hash } from '../laws/hash.ts';
import type { ModelEvent } from '../model/model.ts';
import { exponential, type Random } from '../laws/random.ts';

/** Of what is drawn for a key: its place in an order. */
export const ORDER = 3;

interface PoolOptions {
  tenant: string;
  count: number;
  lifetimeNs: number;
  assignment: 'random' | 'round-robin' | 'by-key';
  events: readonly ModelEvent[];
}

/** A connection that is new. */
export interface Opened {
  tenant: string;
  openNs: number;
  /** NEVER: it stays open. */
  closeNs: number;
}

interface Slot {
  id: number;
  openNs: number;
  closeNs: number;
}

export class ConnectionPool {
  readonly #options: PoolOptions;
  readonly #random: Random;
  readonly #open: (connection: Opened) => number;
  readonly #slots: Slot[];
  /** By connection that was not replaced yet: when it ends. */
  readonly #closeNs = new Map<number, number>();
  #turn = 0;
  /** None ever ends. */
  readonly #isSteady: boolean;

  /** @param open tells of a new one, and returns its id */
  constructor(options: PoolOptions, random: Random, open: (connection: Opened) => number) {
    this.#options = options;
    this.#random = random;
    this.#open = open;
    this.#isSteady = options.lifetimeNs === Infinity && options.events.length === 0;
    this.#slots = Array.from({ length: options.count }, () => ({ id: -1, openNs: 0, closeNs: 0 }));
  }

  /** The connection for a request; -1: all are down. */
  at(ns: number, random: Random, id: number): number {
    const { assignment } = this.#options;
    const slots = this.#slots;
    const start =
      assignment === 'random'
        ? Math.floor(random.float() * slots.length)
        : assignment === 'by-key'
          ? hash(1, Math.abs(id), ORDER) % slots.length
          : this.#turn++ % slots.length;
    for (let n = 0; n < slots.length; n++) {
      const slot = slots[(start + n) % slots.length]!;
      if (slot.id === -1 || ns >= slot.closeNs) this.#replace(slot, ns);
      if (ns >= slot.openNs) return slot.id;
    }
    return -1;
  }

  isOpen(connection: number, ns: number): boolean {
    if (this.#isSteady) return true;
    return ns < (this.#closeNs.get(connection) ?? -Infinity);
  }

  #replace(slot: Slot, ns: number): void {
    const wasOpen = slot.id !== -1;
    const { lifetimeNs, events, tenant } = this.#options;
    this.#closeNs.delete(slot.id);
    let closeNs = lifetimeNs === Infinity ? Infinity : ns + exponential(this.#random) * lifetimeNs;
    let openNs = wasOpen ? ns : 0;
    for (const event of events) {
      if (event.kind === 'churn') {
        const [from, to] = [event.at * 1e6, (event.at + event.for) * 1e6];
        if (ns >= from && ns < to)
          closeNs = Math.min(closeNs, ns + exponential(this.#random) * event.lifetime * 1e6);
        else if (ns < from)
          closeNs = Math.min(closeNs, from + exponential(this.#random) * event.lifetime * 1e6);
      } else if (event.kind === 'reconnect') {
        const at = event.at * 1e6;
        if (ns < at && this.#random.float() < (event.share ?? 1)) closeNs = Math.min(closeNs, at);
        else if (wasOpen && slot.closeNs === at) {
          openNs = at + (event.down + this.#random.float() * (event.jitter ?? 0)) * 1e6;
        }
      }
    }
    closeNs = closeNs === Infinity ? Infinity : Math.max(openNs + 1, Math.round(closeNs));
    slot.openNs = Math.round(openNs);
    slot.closeNs = closeNs;
    slot.id = this.#open({ tenant, openNs: slot.openNs, closeNs: closeNs === Infinity ? NEVER : closeNs });
    this.#closeNs.set(slot.id, closeNs);
  }
}
