// One pass over a trace before it is replayed or judged: its servers and connections, the CAS tokens that its requests
// name, and the keys that it shows to have been present before its first exchange, with their values.

import { opcodeInfo, type Family } from '../protocol/opcode.ts';
import { uint32 } from '../protocol/header.ts';
import { MAX_KEY_BYTES, isStore, readExtras, silentStatus, wasThere } from '../protocol/semantics.ts';
import { Status } from '../protocol/status.ts';
import { Outcome, RowFlag, type Batch, type Connection } from './batch.ts';
import { TraceError } from './error.ts';
import { KeyTable } from './keytable.ts';
import { Membership, Sharding, type Shard } from './shard.ts';
import { namesVersion, tokenOf } from './token.ts';

/** Bytes of values kept for prefill; keys that come after are present with a placeholder. */
const MAX_VALUE_BYTES = 512 * 1024 * 1024;

/** Keys of a batch by server and tenant; of more, those beyond are looked up each time. */
const MAX_SETTLED = 1 << 24;
/** A place of keys is a server and, times this, a tenant's space. */
const MAX_SERVERS = 2 ** 20;

/** A key that the recorded server had before the first exchange on it. */
export interface PresentKey {
  /** Number of the server, in the order of first sight. */
  server: number;
  /** The user whose keys it is among; empty where tenants share their keys. */
  tenant: string;
  /** latin1 */
  key: string;
  value: Buffer;
  flags: number;
  /** The trace shows that the key was there, and not what it held: `value` stands in for it. */
  placeholder: boolean;
}

export interface SurveyedConnection extends Connection {
  /** Number of its server, in the order of first sight. */
  serverIndex: number;
  /** Number of the tenant whose keys it uses; 0 where tenants share them. */
  space: number;
  exchanges: number;
}

/** Keys that the trace shows absent at first, or does not tell of. */
interface OtherKeys {
  server: number;
  tenant: string;
  /** latin1 */
  keys: string[];
}

/**
 * Whether the same key of two SASL users is one item (stock memcached) or two (services of many tenants). `auto`: two,
 * unless the trace shows one tenant reading what another stored.
 */
export type TenantMode = 'auto' | 'isolated' | 'shared';

/** How long the stretch that was looked over is, and where it begins. */
export type SurveyedStretch = Pick<Survey, 'exchanges' | 'firstIndex' | 'lastNs' | 'members'>;

export interface SurveyOptions {
  tenants?: TenantMode;
  /** What keys held before the first exchange is not asked for: `present` and `others` stay empty. */
  leavesKeys?: boolean;
  /** Only exchanges of this shard are looked over; what else there is tells of servers, connections, tenants and time. */
  shard?: Shard;
  onProgress?: (rows: number) => void;
}

export interface Survey {
  exchanges: number;
  /** With those of other shards. */
  allExchanges: number;
  /** Of a shard: which of all exchanges are its own. */
  members?: Membership;
  /** Index in the trace of the first of them. */
  firstIndex: number;
  /** By number, in the order of first sight. */
  servers: string[];
  /** By id. */
  connections: SurveyedConnection[];
  present: PresentKey[];
  others: OtherKeys[];
  /** By `space` of a connection; one empty name where tenants share their keys. */
  tenants: string[];
  /** The trace shows tenants that read what others stored. */
  tenantsShare: boolean;
  /** By server: the tokens that requests name. */
  tokens: Set<number>[];
  /** Time of the last event, ns since the trace's start. */
  lastNs: number;
}

/** Reads the whole trace, and releases its batches. @throws TraceError CHECKSUM, BROKEN */
export async function surveyTrace(
  batches: AsyncIterable<Batch>,
  options: SurveyOptions = {},
): Promise<Survey> {
  const surveyor = new Surveyor(options);
  for await (const batch of batches) {
    surveyor.take(batch);
    batch.release();
    options.onProgress?.(surveyor.rows);
  }
  return surveyor.close();
}

class Surveyor {
  readonly #survey: Survey;
  readonly #tenants: TenantMode;
  readonly #leavesKeys: boolean;
  readonly #shard: Shard | undefined;
  readonly #sharding: Sharding | undefined;
  readonly #servers = new Map<string, number>();
  readonly #spaces = new Map<string, number>();
  readonly #keys = new KeyTable();
  /** By number of the key; null: it was absent, or nobody can tell, and nothing is left to learn of it. */
  readonly #histories: (KeyHistory | null)[] = [];
  readonly #sharing = new Sharing();
  #valueBytes = 0;
  /** Of the batch at hand, by number of the key and place: 1 where nothing is left to learn. */
  #settled = new Uint8Array(0);

  constructor({ tenants = 'auto', leavesKeys = false, shard }: SurveyOptions) {
    this.#tenants = tenants;
    this.#leavesKeys = leavesKeys;
    this.#shard = shard;
    this.#sharding = shard === undefined ? undefined : new Sharding(shard.of);
    this.#survey = {
      exchanges: 0,
      allExchanges: 0,
      ...(shard === undefined ? {} : { members: new Membership() }),
      firstIndex: 0,
      servers: [],
      connections: [],
      present: [],
      others: [],
      tenants: tenants === 'shared' ? [''] : [],
      tenantsShare: false,
      tokens: [],
      lastNs: 0,
    };
  }

  /** Rows taken so far. */
  get rows(): number {
    return this.#survey.allExchanges;
  }

  take(batch: Batch): void {
    const survey = this.#survey;
    this.#connect(batch);
    survey.lastNs = Math.max(survey.lastNs, lastOf(batch));
    const places = Math.max(1, survey.servers.length) * survey.tenants.length;
    // Few keys are undecided after the first batches.
    this.#settled = new Uint8Array(Math.min(batch.keyCount * places, MAX_SETTLED));
    const shards = this.#sharding?.shardsOf(batch);
    if (shards !== undefined) survey.members!.add(shards, batch.count, this.#shard!);
    for (let row = 0; row < batch.count; row++) {
      const connection = survey.connections[batch.connection[row]!];
      if (connection === undefined) throw unknownConnection(batch.connection[row]!);
      if (shards !== undefined && shards[row] !== this.#shard!.index - 1) {
        // Whether tenants share their keys must come out alike in all shards.
        this.#compare(batch, row, connection);
        continue;
      }
      connection.exchanges++;
      survey.exchanges++;
      if (namesVersion(batch, row))
        survey.tokens[connection.serverIndex]!.add(tokenOf(batch.casHigh[row]!, batch.casLow[row]!));
      this.#compare(batch, row, connection);
      if (this.#leavesKeys || !hasItem(batch, row)) continue;
      const { serverIndex, space } = connection;
      const place = batch.keyId[row]! * places + space * survey.servers.length + serverIndex;
      if (this.#settled[place] !== 1 && this.#learn(batch, row, connection)) this.#settled[place] = 1;
    }
    survey.allExchanges += batch.count;
  }

  /** New connections come in the order of their ids; what a hand-made file does is put right. */
  #connect(batch: Batch): void {
    const survey = this.#survey;
    for (const connection of batch.connections.toSorted((a, b) => a.id - b.id)) {
      let serverIndex = this.#servers.get(connection.server);
      if (serverIndex === undefined) {
        serverIndex = this.#servers.size;
        this.#servers.set(connection.server, serverIndex);
        survey.servers.push(connection.server);
        survey.tokens.push(new Set());
      }
      if (connection.id > survey.connections.length) throw unknownConnection(connection.id);
      const exchanges = survey.connections[connection.id]?.exchanges ?? 0;
      let space = this.#tenants === 'shared' ? 0 : this.#spaces.get(connection.tenant);
      if (space === undefined) {
        space = this.#spaces.size;
        this.#spaces.set(connection.tenant, space);
        survey.tenants.push(connection.tenant);
      }
      survey.connections[connection.id] = { ...connection, serverIndex, space, exchanges };
    }
  }

  /** Whether tenants share their keys. */
  #compare(batch: Batch, row: number, { serverIndex, space }: SurveyedConnection): void {
    if (this.#tenants === 'auto' && this.#survey.tenants.length > 1 && hasItem(batch, row))
      this.#sharing.see(batch, row, serverIndex, space);
  }

  /** What the row tells of its key before the first exchange. @returns nothing is left to learn of that */
  #learn(batch: Batch, row: number, { serverIndex, space }: SurveyedConnection): boolean {
    const place = serverIndex + space * MAX_SERVERS;
    const key = this.#keys.numberOf(place, batch.heap, batch.keyAt[row]!, batch.keyLength[row]!);
    if (key === this.#histories.length) this.#histories.push(new KeyHistory());
    const history = this.#histories[key]!;
    if (history === null || (history.settled && history.watchedUntilNs < 0)) return true;
    const before = history.value;
    const keepsValue = this.#valueBytes < MAX_VALUE_BYTES;
    if (history.watchedUntilNs >= 0) history.watch(batch, row, keepsValue);
    else history.learn(batch, row, keepsValue);
    if (history.value !== before) this.#valueBytes += history.value?.length ?? 0;
    if (!history.settled || history.watchedUntilNs >= 0) return false;
    // Most keys of a trace are such.
    if (!history.present) this.#histories[key] = null;
    return true;
  }

  close(): Survey {
    const survey = this.#survey;
    survey.tenantsShare = this.#sharing.isShown;
    const others = new Map<number, OtherKeys>();
    for (const [number, history] of this.#histories.entries()) {
      const place = this.#keys.placeOf(number);
      const server = place % MAX_SERVERS;
      const tenant = survey.tenants[Math.floor(place / MAX_SERVERS)]!;
      const key = this.#keys.keyOf(number);
      if (history === null || !history.present) {
        let group = others.get(place);
        if (group === undefined) others.set(place, (group = { server, tenant, keys: [] }));
        group.keys.push(key);
        continue;
      }
      survey.present.push({
        server,
        tenant,
        key,
        value: history.value ?? Buffer.from('0'),
        flags: history.flags,
        placeholder: history.value === undefined,
      });
    }
    survey.others = [...others.values()];
    return survey;
  }
}

/** Time of the last event of a batch, ns. */
function lastOf({ count, requestEndNs, answerNs }: Batch): number {
  let lastNs = 0;
  for (let row = 0; row < count; row++) {
    if (requestEndNs[row]! > lastNs) lastNs = requestEndNs[row]!;
    if (answerNs[row]! > lastNs) lastNs = answerNs[row]!;
  }
  return lastNs;
}

/**
 * It was sent, and names a key that a server may hold: memcached answers 0x04 to a longer one, and closes the connection that
 * named it.
 */
function hasItem(batch: Batch, row: number): boolean {
  const length = batch.keyLength[row]!;
  return length > 0 && length <= MAX_KEY_BYTES && batch.outcome[row] !== Outcome.conditional;
}

/** Keys that tenants are watched on. */
const MAX_WATCHED = 100_000;

/** Who stored what last on a key; evidence that tenants see each other's items, or that they do not. */
class Sharing {
  /** By server and key: what each tenant stored last, and who stored last of all. */
  readonly #stored = new Map<string, { byTenant: Map<number, string>; last: number }>();
  #shared = 0;
  #isolated = 0;

  see(batch: Batch, row: number, server: number, space: number): void {
    if (batch.outcome[row] !== Outcome.answered && batch.outcome[row] !== Outcome.silent) return;
    const family = opcodeInfo(batch.opcode[row]!)?.family;
    if (statusOf(batch, row) !== Status.ok || (!isStore(family) && family !== 'get')) return;
    const name = `${server} ${batch.key(row).toString('latin1')}`;
    let key = this.#stored.get(name);
    if (isStore(family)) {
      if (key === undefined) {
        if (this.#stored.size === MAX_WATCHED) return;
        this.#stored.set(name, (key = { byTenant: new Map(), last: space }));
      }
      key.byTenant.set(space, sketch(batch.value(row)));
      key.last = space;
      return;
    }
    // Only where the last store was another tenant's, of another value, does a hit tell the two apart.
    if (key === undefined || key.last === space || batch.outcome[row] !== Outcome.answered) return;
    const value = sketch(batch.answerValue(row));
    const own = key.byTenant.get(space);
    const foreign = key.byTenant.get(key.last);
    if (own === foreign) return;
    if (value === foreign) this.#shared++;
    else if (value === own) this.#isolated++;
  }

  get isShown(): boolean {
    return this.#shared > this.#isolated;
  }
}

/** Enough of a value to tell it from others. */
function sketch(value: Buffer): string {
  return `${value.length} ${value.toString('latin1', 0, 32)}`;
}

export function unknownConnection(id: number): TraceError {
  return new TraceError(
    'BROKEN',
    `the trace is broken: it names connection ${id} and does not tell of all up to it`,
  );
}

/** The status of an exchange that was answered, or whose silence was. */
function statusOf(batch: Batch, row: number): number {
  return batch.outcome[row] === Outcome.answered ? batch.status[row]! : silentStatus(batch.opcode[row]!);
}

const empty = Buffer.alloc(0);

/** What the exchanges of one key, in the order of their requests, reveal of its state before the first of them. */
class KeyHistory {
  present = false;
  value: Buffer | undefined;
  flags = 0;
  settled = false;
  /** End of the exchange that showed the key present, ns: what overlaps it may have been executed before it. */
  watchedUntilNs = -1;
  /** Its CAS id, 0 where it has none. */
  #cas = 0;
  /** The key was deleted, or may have been, while it was under way: that it was absent says nothing then. */
  #removed = false;
  /** Appended and prepended before the value was seen. */
  #before: Buffer[] | undefined;
  #after: Buffer[] | undefined;

  /** A later request on the key: did it overlap the exchange that showed the key present, and come before it? */
  watch(batch: Batch, row: number, keepValue: boolean): void {
    if (batch.requestNs[row]! > this.watchedUntilNs) this.watchedUntilNs = -1;
    else if (this.value !== undefined && batch.valueLength[row]! > 0 && this.value.equals(batch.value(row)))
      this.#restart();
    else if (this.#precedes(batch, row)) {
      this.#restart();
      this.learn(batch, row, keepValue);
    }
  }

  #restart(): void {
    this.watchedUntilNs = -1;
    this.present = false;
    this.value = undefined;
    this.flags = 0;
    this.#before = undefined;
    this.#after = undefined;
  }

  // A change with a lower CAS id, and what found the key absent.
  #precedes(batch: Batch, row: number): boolean {
    if (batch.outcome[row] !== Outcome.answered) return false;
    const family = opcodeInfo(batch.opcode[row]!)?.family;
    const status = batch.status[row]!;
    if (family === 'delete' && status === Status.ok) this.#removed = true;
    if (this.#removed) return false;
    const cas = tokenOf(batch.answerCasHigh[row]!, batch.answerCasLow[row]!);
    if (status === Status.ok && family !== 'get' && cas !== 0 && cas <= this.#cas) return true;
    if (family === 'add') return status === Status.ok;
    return status === Status.notFound || (family !== 'set' && status === Status.notStored);
  }

  learn(batch: Batch, row: number, keepValue: boolean): void {
    const info = opcodeInfo(batch.opcode[row]!);
    if (info === undefined) return;
    const outcome = batch.outcome[row]!;
    if (outcome === Outcome.gap || outcome === Outcome.indeterminate || outcome === Outcome.unanswered) {
      // A change of unknown success: what follows says nothing about the beginning.
      if (info.mutates && info.family !== 'touch' && info.family !== 'gat') this.settled = true;
      return;
    }
    if ((batch.flags[row]! & RowFlag.ambiguous) !== 0) return;
    this.#family(info.family, batch, row, keepValue);
    if (!this.settled || !this.present || outcome !== Outcome.answered || info.family === 'delete') return;
    this.watchedUntilNs = batch.answerNs[row]!;
    this.#cas = tokenOf(batch.answerCasHigh[row]!, batch.answerCasLow[row]!);
  }

  #family(family: Family, batch: Batch, row: number, keepValue: boolean): void {
    const opcode = batch.opcode[row]!;
    const status = statusOf(batch, row);
    const hasCas = namesVersion(batch, row);
    const isThere = wasThere(opcode, hasCas, status) === true;
    switch (family) {
      case 'get':
      case 'gat':
        if (isThere) this.#hit(batch, row, keepValue);
        else this.settled = true;
        return;
      case 'touch':
        if (isThere) this.present = true;
        else this.settled = true;
        return;
      case 'add':
        // What an ADD with the right CAS id replaced, as a SET does, was a version that no exchange showed.
        if (status === Status.exists) this.present = true;
        else this.settled = true;
        return;
      case 'set':
        if (status === Status.exists) this.present = true;
        this.settled = true;
        return;
      case 'replace':
      case 'delete':
        if (isThere) this.present = true;
        this.settled = true;
        return;
      case 'append':
      case 'prepend':
        if (isThere) this.present = true;
        if (status !== Status.ok) {
          this.settled = true;
          return;
        }
        if (family === 'append') (this.#after ??= []).push(Buffer.from(batch.value(row)));
        else (this.#before ??= []).unshift(Buffer.from(batch.value(row)));
        return;
      case 'incr':
      case 'decr':
        if (isThere) this.present = true;
        this.settled = true;
        if (batch.outcome[row] === Outcome.answered && status === Status.ok)
          this.#counter(family, batch, row);
        return;
      default:
    }
  }

  #hit(batch: Batch, row: number, keepValue: boolean): void {
    this.settled = true;
    this.present = true;
    if (!keepValue) return;
    const before = this.#before === undefined ? empty : Buffer.concat(this.#before);
    const after = this.#after === undefined ? empty : Buffer.concat(this.#after);
    const value = batch.answerValue(row);
    const end = value.length - after.length;
    if (before.length > end) return;
    if (!value.subarray(0, before.length).equals(before) || !value.subarray(end).equals(after)) return;
    this.value = Buffer.from(value.subarray(before.length, end));
    this.flags = batch.answerExtrasLength[row]! >= 4 ? uint32(batch.heap, batch.answerExtrasAt[row]!) : 0;
  }

  /** What was counted from, if it was not created: then it is the result that the initial value is. */
  #counter(family: 'incr' | 'decr', batch: Batch, row: number): void {
    const extras = readExtras(batch.opcode[row]!, batch.extras(row));
    if (extras === undefined || batch.answerValueLength[row] !== 8) return;
    const result = batch.answerValue(row).readBigUInt64BE(0);
    if (extras.mayCreate && result === extras.initial) return;
    this.present = true;
    const delta = family === 'incr' ? -extras.delta : extras.delta;
    this.value = Buffer.from(BigInt.asUintN(64, result + delta).toString());
  }
}
