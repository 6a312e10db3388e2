// What explains the answers of a key: an order of its operations; and what those who look for one share.

import { Status } from '../protocol/status.ts';
import { Presence, type Item, type Step } from './item.ts';
import { UNKNOWN, type Operation } from './operation.ts';
import type { ViolationKind } from './verdict.ts';

/** An operation in the order that explains the answers. */
export interface Executed {
  ordinal: number;
  step: Step;
  /** The item after it. */
  item: Item;
  /** Before it, evictions and expiries that came first included. */
  before: Item;
}

export interface Wrong {
  ordinal: number;
  kind: ViolationKind;
  why: string;
}

export interface Explanation {
  /** The cheapest order; operations that are wrong, or were perhaps never executed, are not in it. */
  order: Executed[];
  wrong: Wrong[];
  /** Operations of which it takes too long to say. */
  undecided: number[];
  /** Of the steps of the order. */
  cost: number;
  /** Nothing was cut short: no order needs fewer losses. */
  isWhole: boolean;
  /** How hard it was tried: successors that were looked at. */
  work: number;
}

/** Quickly: whether the item can give the answer, as far as presence, value and version tell. */
export function mayShow({ family, status, read, cas }: Operation, item: Item): boolean {
  if (family !== 'get') return status !== Status.notFound || item.presence !== Presence.present;
  if (status === Status.notFound) return item.presence !== Presence.present;
  if (status !== Status.ok) return true;
  if (item.presence === Presence.absent) return false;
  if (cas !== 0 && item.cas !== 0 && cas !== item.cas) return false;
  return item.value === read || item.value === UNKNOWN || item.isLoose;
}

/** Items with the same name are the same to all that may come. */
export function itemName(item: Item): string {
  const { presence, value, isLoose, flags, cas, mustExpireNs, mayExpireNs, by, told } = item;
  // A version without an id that is known is told from others by who made it.
  const version = cas !== 0 || presence === Presence.absent ? cas : `b${by}`;
  return `${presence} ${value} ${isLoose ? 1 : 0} ${flags} ${version} ${mustExpireNs} ${mayExpireNs} ${told?.hash ?? 0}`;
}
