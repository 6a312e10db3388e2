// What a server answers to requests of one connection, worked out one by one over protocol/semantics.ts: an object for
// each item, and nothing of sockets. CAS ids are foretold, since nobody else asks the server.

import { applyDelta, parseCounter, readsPastItsEnd } from '../../protocol/counter.ts';
import { DO_NOT_CREATE, expiresAt } from '../../protocol/expiry.ts';
import { counterExtras, encodeRequest, expiryExtras, storeExtras, type Frame } from '../../protocol/frame.ts';
import { families, opcodeInfo, opcodeName, type Family } from '../../protocol/opcode.ts';
import {
  Effect,
  counterTexts,
  decide,
  decideCounter,
  effectOfRefusal,
  isSilent,
  isStore,
  itemBytes,
  makesVersion,
  shapeOf,
  type Decision,
  type Found,
} from '../../protocol/semantics.ts';
import { Status, statuses } from '../../protocol/status.ts';
import type { Ask } from './sequence.ts';

interface Item {
  /** latin1. A counter has several where an answer may have held it as it changed. */
  texts: readonly string[];
  flags: number;
  cas: number;
  expiresAt: number;
  /** An answer with it may be on its way. */
  isHeld: boolean;
  /** A FLUSH took it; it is removed when it is looked up. */
  isFlushed: boolean;
  /** It was flushed as room was made for another item, and may have been removed then. */
  isUncertain: boolean;
}

/** Undefined: silence. */
export interface Expected {
  opcode: number;
  opaque: number;
  status: number;
  /** latin1 */
  extras: string;
  key: string;
  values: readonly string[];
  cas: number;
}

/** Of a request, decided: what it makes of the item in each of its texts. */
interface Outcome {
  decision: Decision;
  texts: readonly string[];
  results: readonly bigint[];
}

/** These make room for an item before they look for one, and memcached removes what was flushed to make it. */
const allocates: ReadonlySet<Family> = new Set([
  'set',
  'add',
  'replace',
  'append',
  'prepend',
  'incr',
  'decr',
]);
const NEVER_MADE = 2 ** 40;
const nothing = { extras: '', key: '', values: [''], cas: 0 };

export class Interpreter {
  readonly #maxItemBytes: number;
  readonly #nowSeconds = Math.floor(Date.now() / 1000);
  readonly #items = new Map<string, Item>();
  /** By key: the id of the version before the one that is there. */
  readonly #older = new Map<string, number>();
  #cas: number;

  /** @param cas the id that the server gave last */
  constructor(maxItemBytes: number, cas: number) {
    this.#maxItemBytes = maxItemBytes;
    this.#cas = cas;
  }

  /** The request as it is to be sent. */
  encode(ask: Ask, opaque: number): Buffer {
    const { opcode, key } = ask;
    const { family } = opcodeInfo(opcode)!;
    if (family === 'noop') return encodeRequest({ opcode, opaque });
    if (family === 'flush')
      return encodeRequest({
        opcode,
        opaque,
        ...(ask.expiry + ask.flags === 0 ? {} : { extras: expiryExtras(ask.expiry) }),
      });
    const base = { opcode, opaque, key, cas: BigInt(this.#named(ask)) };
    const value = Buffer.from(ask.value, 'latin1');
    if (isStore(family)) return encodeRequest({ ...base, value, extras: storeExtras(ask.flags, ask.expiry) });
    if (family === 'append' || family === 'prepend') return encodeRequest({ ...base, value });
    if (family === 'incr' || family === 'decr')
      return encodeRequest({ ...base, extras: counterExtras(ask.delta, ask.initial, ask.expiry) });
    if (family === 'touch' || family === 'gat')
      return encodeRequest({ ...base, extras: expiryExtras(ask.expiry) });
    return encodeRequest(base);
  }

  /**
   * Does the answer follow from what is known? It does not where texts that the counter may have would be answered
   * differently, where an item that a FLUSH took may have come back, nor where memcached reads past the item's end.
   * @param hasMinus items with a minus sign were on this server: its memory is full of them
   */
  isDefinite(ask: Ask, hasMinus: boolean): boolean {
    const item = this.#peek(ask.key);
    if (item === undefined) return true;
    const { family } = opcodeInfo(ask.opcode)!;
    if (item.isUncertain) return family === 'set' && ask.version === 'none';
    const counts = family === 'incr' || family === 'decr';
    const all = item.texts.map((text) => this.#decide(ask, family, { ...item, texts: [text] }));
    if (all.some(({ decision }) => decision !== all[0]!.decision)) return false;
    return (
      !counts || !item.texts.some((text) => readsPast(text) && (hasMinus || numberOf(text) === undefined))
    );
  }

  /** May memcached find a minus sign behind the item, and answer that it is no number? */
  readsPastItsEnd({ opcode, key }: Ask): boolean {
    const { family } = opcodeInfo(opcode)!;
    return (family === 'incr' || family === 'decr') && this.#peek(key)?.texts.some(readsPast) === true;
  }

  /** Executes the request. */
  run(ask: Ask, opaque: number): Expected | undefined {
    const { opcode, key } = ask;
    const { family } = opcodeInfo(opcode)!;
    const base = { ...nothing, opcode, opaque, status: Status.ok };
    if (family === 'noop') {
      for (const item of this.#items.values()) item.isHeld = false;
      return base;
    }
    if (family === 'flush') {
      this.#flush(ask.expiry);
      return isSilent(opcode, Status.ok) ? undefined : base;
    }
    if (allocates.has(family)) for (const item of this.#items.values()) item.isUncertain ||= item.isFlushed;
    const refusal = this.#refusal(ask, family);
    if (refusal !== undefined) return this.#failure(ask, opaque, refusal);
    const before = this.#find(key);
    const outcome = this.#decide(ask, family, before);
    const after = this.#apply(ask, outcome, before);
    const { status } = outcome.decision;
    if (isSilent(opcode, status)) return undefined;
    if (status !== Status.ok) return this.#failure(ask, opaque, status);
    const shape = shapeOf(opcode, status)!;
    const shown = after ?? before;
    const isRead = family === 'get' || family === 'gat' || family === 'touch';
    if (isRead) shown!.isHeld = true;
    return {
      ...base,
      extras: shape.extras === 4 ? bigEndian(shown!.flags, 4) : '',
      key: shape.key ? key : '',
      values:
        shape.value === 0
          ? ['']
          : shape.value === 8
            ? outcome.results.map((result) => bigEndian(result, 8))
            : shown!.texts,
      cas: families[family].tellsCas ? shown!.cas : 0,
    };
  }

  /** Forgets all keys: the next sequence has others. */
  clear(): void {
    this.#items.clear();
    this.#older.clear();
  }

  #failure({ opcode, key }: Ask, opaque: number, status: Status): Expected | undefined {
    if (isSilent(opcode, status)) return undefined;
    const shape = shapeOf(opcode, status)!;
    return {
      ...nothing,
      opcode,
      opaque,
      status,
      ...(shape.key ? { key } : { values: [statuses[status]!.text] }),
    };
  }

  /** What is too large is refused before anything is looked up. */
  #refusal({ key, flags, value }: Ask, family: Family): Status | undefined {
    const isConcat = family === 'append' || family === 'prepend';
    if (!isStore(family) && !isConcat) return undefined;
    if (itemBytes(key.length, isConcat ? 0 : flags, value.length) <= this.#maxItemBytes) return undefined;
    if (effectOfRefusal(family) === Effect.remove) this.#remove(key);
    return Status.tooLarge;
  }

  #decide(ask: Ask, family: Family, item: Item | undefined): Outcome {
    const named = this.#named(ask);
    const found: Found = {
      isThere: item !== undefined,
      hasCas: named !== 0,
      casAgrees: named === 0 || item?.cas === named,
    };
    const texts = item?.texts ?? [];
    if (family === 'incr' || family === 'decr') return this.#decideCounter(ask, family, found, item);
    const decision = decide(family, found);
    switch (decision.effect) {
      case Effect.store:
        return { decision, texts: [ask.value], results: [] };
      case Effect.concatenate: {
        const joined = texts.map((text) => (family === 'append' ? text + ask.value : ask.value + text));
        const most = Math.max(...joined.map(({ length }) => length));
        if (itemBytes(ask.key.length, item!.flags, most) <= this.#maxItemBytes)
          return { decision, texts: joined, results: [] };
        return { decision: { status: Status.notStored, effect: Effect.none }, texts, results: [] };
      }
      default:
        return { decision, texts, results: [] };
    }
  }

  #decideCounter(ask: Ask, family: 'incr' | 'decr', found: Found, item: Item | undefined): Outcome {
    const texts = item?.texts ?? [];
    const all = texts.map(numberOf);
    const decision = decideCounter(
      found,
      texts[0] === '' || this.#isChunked(ask.key, item),
      all.every((number) => number !== undefined),
      ask.expiry !== DO_NOT_CREATE,
    );
    if (decision.effect === Effect.create)
      return { decision, texts: [ask.initial.toString()], results: [ask.initial] };
    if (decision.effect !== Effect.count) return { decision, texts, results: [] };
    const results = all.map((number) => applyDelta(number!, ask.delta, family === 'incr'));
    const after = results.flatMap((result, n) => {
      const possible = counterTexts(result, texts[n]!.length);
      return item!.isHeld ? possible : possible.slice(0, 1);
    });
    return { decision, texts: [...new Set(after)], results };
  }

  /** Items that memcached keeps in several pieces are never numbers. */
  #isChunked(key: string, item: Item | undefined): boolean {
    if (item === undefined) return false;
    const [text = ''] = item.texts;
    return itemBytes(key.length, item.flags, text.length) > this.#maxItemBytes / 2;
  }

  /** Returns what is there afterwards. */
  #apply(ask: Ask, { decision: { effect }, texts }: Outcome, before: Item | undefined): Item | undefined {
    const { key } = ask;
    if (effect === Effect.remove) this.#remove(key);
    if (effect === Effect.touch) before!.expiresAt = expiresAt(ask.expiry, this.#nowSeconds);
    if (!makesVersion(effect)) return effect === Effect.remove ? undefined : before;
    if (before !== undefined) this.#older.set(key, before.cas);
    const cas = ++this.#cas;
    const isNew = effect === Effect.store || effect === Effect.create;
    const item: Item = {
      texts,
      flags: isNew ? (effect === Effect.store ? ask.flags : 0) : before!.flags,
      cas,
      expiresAt: isNew ? expiresAt(ask.expiry, this.#nowSeconds) : before!.expiresAt,
      // A counter may be the same item as before, written in place.
      isHeld: effect === Effect.count && before!.isHeld,
      isFlushed: false,
      isUncertain: false,
    };
    this.#items.set(key, item);
    return item;
  }

  /**
   * At once; or later than this test lasts, which brings back what an earlier one took and nobody looked up. So does a
   * time before the server's start, which memcached takes for no flush at all.
   */
  #flush(delay: number): void {
    if (delay === 0 || expiresAt(delay, this.#nowSeconds) <= this.#nowSeconds) this.#cas++;
    for (const item of this.#items.values()) item.isFlushed = delay === 0;
  }

  #named({ key, version }: Ask): number {
    if (version === 'none') return 0;
    if (version === 'never') return NEVER_MADE;
    const item = this.#items.get(key);
    if (version === 'right') return item?.cas ?? this.#older.get(key) ?? NEVER_MADE;
    return this.#older.get(key) ?? NEVER_MADE;
  }

  #peek(key: string): Item | undefined {
    const item = this.#items.get(key);
    return item === undefined || item.isFlushed || item.expiresAt <= this.#nowSeconds ? undefined : item;
  }

  #find(key: string): Item | undefined {
    const item = this.#peek(key);
    if (item === undefined) this.#remove(key);
    return item;
  }

  #remove(key: string): void {
    const item = this.#items.get(key);
    if (item !== undefined) this.#older.set(key, item.cas);
    this.#items.delete(key);
  }
}

function numberOf(text: string): bigint | undefined {
  const bytes = Buffer.from(text, 'latin1');
  return parseCounter(bytes, bytes.length);
}

function readsPast(text: string): boolean {
  const bytes = Buffer.from(text, 'latin1');
  return readsPastItsEnd(bytes, bytes.length);
}

function bigEndian(number: number | bigint, bytes: number): string {
  return Buffer.from(number.toString(16).padStart(bytes * 2, '0'), 'hex').toString('latin1');
}

/** What an answer has that was not expected; empty where they agree. */
export function differencesOf(expected: Expected, frame: Frame): string[] {
  const different: string[] = [];
  const compare = (what: string, wanted: number | string, got: number | string): void => {
    if (wanted !== got) different.push(`${what} ${JSON.stringify(wanted)}, got ${JSON.stringify(got)}`);
  };
  compare('opcode', opcodeName(expected.opcode), opcodeName(frame.opcode));
  compare('opaque', expected.opaque, frame.opaque);
  compare('status', expected.status, frame.status);
  compare('extras', expected.extras, frame.extras.toString('latin1'));
  compare('key', expected.key, frame.key.toString('latin1'));
  compare('cas', expected.cas, Number(frame.cas));
  const value = frame.value.toString('latin1');
  if (!expected.values.includes(value)) compare('value', expected.values.join(' or '), value);
  return different;
}
