// Brute force for the oracle's tests, written from the protocol's specification alone and apart from diff/: every order of
// some operations on one key that their intervals allow, with an eviction anywhere, on an item that is a plain object.

/** An operation and its answer; times in seconds. */
export interface Step {
  op:
    | 'get'
    | 'gat'
    | 'touch'
    | 'set'
    | 'add'
    | 'replace'
    | 'append'
    | 'prepend'
    | 'delete'
    | 'incr'
    | 'decr'
    | 'flush';
  from: number;
  to: number;
  /** Nobody knows whether it was executed. */
  open?: boolean;
  value?: string;
  flags?: number;
  ttl?: number;
  delta?: bigint;
  initial?: bigint;
  /** INCR and DECR make what is absent. */
  creates?: boolean;
  /** CAS id in the request; 0: none. */
  token?: number;
  // The answer.
  status: number;
  /** Silence: no id, no result. */
  silent?: boolean;
  read?: string;
  readFlags?: number;
  /** 0: none. */
  cas?: number;
  result?: bigint;
}

interface Thing {
  value: string;
  flags: number;
  /** Which step made this version; -1: it was there. */
  version: number;
  /** Seconds; it must be gone after. */
  dies: number;
}

const MARGIN = 1.5;
const MAX = 2n ** 64n;

/** As C's strtoull and memcached's checks around it take a value. */
export function toNumber(text: string): bigint | undefined {
  const match = /^[ \t\n\v\f\r]*([+-]?)(\d+)(?=$|[ \t\n\v\f\r\0])/.exec(text);
  if (match === null) return undefined;
  const number = BigInt(match[2]!);
  if (number >= MAX) return undefined;
  if (match[1] !== '-') {
    // A number past 2^63 with a minus sign anywhere before a NUL is refused.
    return number >= MAX / 2n && text.split('\0')[0]!.includes('-') ? undefined : number;
  }
  const wrapped = (MAX - number) % MAX;
  return wrapped >= MAX / 2n ? undefined : wrapped;
}

/** The version has this id, if no other has it and it has no other. */
function tell(
  ids: ReadonlyMap<number, number>,
  version: number,
  id: number,
): ReadonlyMap<number, number> | null {
  if (id === 0) return ids;
  const known = ids.get(version);
  if (known !== undefined) return known === id ? ids : null;
  for (const other of ids.values()) if (other === id) return null;
  return new Map([...ids, [version, id]]);
}

/**
 * Is there an order in which a correct server answers so?
 * @param initial what was there before
 * @param restarts the server may have restarted, at any time and any number of times: it then is empty, and counts ids anew
 */
export function isLegal(
  steps: readonly Step[],
  initial: { value: string; flags: number } | null,
  restarts = false,
): boolean {
  const seen = new Set<string>();
  const overlaps = (a: Step, b: Step): boolean => a.from <= b.to && b.from <= a.to;
  const changes = (step: Step): boolean => step.op !== 'get';

  /** @param ids version -> CAS id, as answers told them */
  const visit = (done: number, thing: Thing | null, ids: ReadonlyMap<number, number>): boolean => {
    if (steps.every((step, n) => (done & (1 << n)) !== 0 || step.open === true)) return true;
    let name = String(done);
    if (thing !== null) name += ` ${thing.value} ${thing.flags} ${thing.version} ${thing.dies}`;
    for (const [version, id] of ids) name += ` ${version}:${id}`;
    if (seen.has(name)) return false;
    seen.add(name);
    if (thing !== null && visit(done, null, ids)) return true;
    if (restarts && ids.size > 0 && visit(done, null, new Map())) return true;
    for (let n = 0; n < steps.length; n++) {
      if ((done & (1 << n)) !== 0) continue;
      const step = steps[n]!;
      // What was over before it began comes first; what may never have been executed need not.
      const isBlocked = steps.some(
        (other, m) => (done & (1 << m)) === 0 && other.open !== true && m !== n && other.to < step.from,
      );
      if (isBlocked) continue;
      for (const [after, told] of outcomes(step, n, thing, ids))
        if (visit(done | (1 << n), after, told)) return true;
    }
    return false;
  };

  /** memcached may give a read beside an INCR or DECR the id of the new version with the old value. */
  const idOf = (step: Step): number => {
    const isEarly = steps.some(
      ({ op, cas, result, ...other }) =>
        (op === 'incr' || op === 'decr') &&
        cas === step.cas &&
        result !== undefined &&
        overlaps({ op, ...other }, step) &&
        step.read !== undefined &&
        step.read.trimEnd() !== result.toString(),
    );
    return isEarly ? 0 : (step.cas ?? 0);
  };

  type Outcome = [after: Thing | null, ids: ReadonlyMap<number, number>];

  const outcomes = (
    step: Step,
    n: number,
    thing: Thing | null,
    ids: ReadonlyMap<number, number>,
  ): Outcome[] => {
    const { op, status, token = 0 } = step;
    const dies = step.ttl === undefined || step.ttl === 0 ? Infinity : step.to + step.ttl + MARGIN;
    // An item past its expiry is as good as none; it may be reclaimed at any time before, as any other.
    if (thing !== null && thing.dies < step.from) return [];
    if (op === 'flush') return [[null, ids]];
    if (status === 3 || status === 0x82) return step.open ? [] : [[op === 'set' ? null : thing, ids]];
    const results: Outcome[] = [];
    const out = (
      after: Thing | null,
      wants: number,
      told: number,
      tells: ReadonlyMap<number, number> = ids,
    ): void => {
      if (step.open) {
        if (wants === 0) results.push([after, tells]);
        return;
      }
      if (wants !== status) return;
      if (wants !== 0 || step.silent === true || after === null) {
        results.push([after, tells]);
        return;
      }
      const known = tell(tells, told, idOf(step));
      if (known !== null) results.push([after, known]);
    };
    /** What may be true of the version's id and the one that the request names. */
    const named = (): [agrees: boolean, ids: ReadonlyMap<number, number>][] => {
      if (token === 0) return [[true, ids]];
      const id = ids.get(thing!.version);
      if (id !== undefined) return [[id === token, ids]];
      const may = tell(ids, thing!.version, token);
      return may === null
        ? [[false, ids]]
        : [
            [true, may],
            [false, ids],
          ];
    };
    const fresh = (): Thing => ({ value: step.value ?? '', flags: step.flags ?? 0, version: n, dies });
    switch (op) {
      case 'get':
      case 'gat':
      case 'touch': {
        if (thing === null) {
          out(null, 1, -1);
          break;
        }
        if (!step.open && status === 0) {
          if (op !== 'touch' && step.read !== thing.value) break;
          if (step.readFlags !== thing.flags) break;
        }
        out(op === 'get' ? thing : { ...thing, dies: step.open ? Infinity : dies }, 0, thing.version);
        break;
      }
      case 'set':
      case 'add':
      case 'replace': {
        if (token !== 0) {
          if (thing === null) out(null, 1, n);
          else
            for (const [agrees, told] of named()) {
              if (agrees) out(fresh(), 0, n, told);
              else out(thing, 2, n, told);
            }
        } else if (op === 'add' && thing !== null) out(thing, 2, n);
        else if (op === 'replace' && thing === null) out(null, 1, n);
        else out(fresh(), 0, n);
        break;
      }
      case 'append':
      case 'prepend':
        if (thing === null) out(null, 5, n);
        else
          for (const [agrees, told] of named()) {
            const value = op === 'append' ? thing.value + step.value! : step.value! + thing.value;
            if (agrees) out({ ...thing, value, version: n }, 0, n, told);
            else out(thing, 2, n, told);
          }
        break;
      case 'delete':
        if (thing === null) out(null, 1, n);
        else
          for (const [agrees, told] of named()) {
            if (agrees) out(null, 0, n, told);
            else out(thing, 2, n, told);
          }
        break;
      default: {
        if (status === 5 && !step.open) {
          // Another connection made the counter between two steps of this one.
          if (steps.some((other) => other !== step && changes(other) && overlaps(other, step)))
            results.push([thing, ids]);
          break;
        }
        if (thing === null) {
          if (step.creates !== true) out(null, 1, n);
          else if (step.open || step.silent || step.result === step.initial)
            out({ value: step.initial!.toString(), flags: 0, version: n, dies }, 0, n);
          break;
        }
        if (thing.value === '') {
          out(thing, 6, n);
          break;
        }
        for (const [agrees, told] of named()) {
          if (!agrees) {
            out(thing, 2, n, told);
            continue;
          }
          const before = toNumber(thing.value);
          if (before === undefined) {
            out(thing, 6, n, told);
            continue;
          }
          // A minus sign may stand somewhere behind so large a number, in memory that was freed.
          if (before >= MAX / 2n && !thing.value.includes('\0')) out(thing, 6, n, told);
          const delta = step.delta!;
          const sum = op === 'incr' ? (before + delta) % MAX : before > delta ? before - delta : 0n;
          if (!step.open && !step.silent && status === 0 && step.result !== sum) continue;
          const digits = sum.toString();
          const texts = new Set([digits]);
          if (digits.length < thing.value.length) texts.add(digits.padEnd(thing.value.length));
          for (const value of texts) out({ ...thing, value, version: n }, 0, n, told);
        }
      }
    }
    return results;
  };
  return visit(0, initial === null ? null : { ...initial, version: -1, dies: Infinity }, new Map());
}
