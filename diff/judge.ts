// Judges one exchange whose answer differs from the recorded one: is the difference legal, given what this replay did to
// the key? What cannot be decided is drift and says so; a violation is said only of what no correct server can answer.

import { uint32 } from '../protocol/header.ts';
import { opcodeInfo } from '../protocol/opcode.ts';
import { Status, statusLabel } from '../protocol/status.ts';
import { unpadded } from './answer.ts';
import type { KeyHistory } from './history.ts';
import type { Suspect } from './suspect.ts';
import type { DriftKind, Verdict, ViolationKind } from './verdict.ts';

/** memcached's clock ticks in seconds: an expiry is sharp to this. */
const EXPIRY_MARGIN_NS = 1.5e9;

export function judge(suspect: Suspect, history: KeyHistory): Verdict {
  const family = opcodeInfo(suspect.opcode)?.family;
  switch (family) {
    case 'get':
    case 'gat':
    case 'touch':
      return judgeRead(suspect, history);
    case 'incr':
    case 'decr':
      return judgeCounter(suspect, history, family);
    default:
      return judgeStatus(suspect, history);
  }
}

function drift(kind: DriftKind, why: string): Verdict {
  return { class: 'drift', kind, why };
}

function violation(kind: ViolationKind, why: string): Verdict {
  return { class: 'violation', kind, why };
}

function judgeRead(suspect: Suspect, history: KeyHistory): Verdict {
  const { recorded, replayed, fromNs, toNs, index } = suspect;
  if (replayed.status === Status.outOfMemory) return drift('capacity', 'the target has no memory to answer');
  if (replayed.status === Status.notFound) return gone(suspect, history);
  const isHit = recorded.status === Status.ok;
  const flags = replayed.extras.length === 4 ? uint32(replayed.extras, 0) : undefined;
  // TOUCH tells the flags of what it found, and no value.
  if (opcodeInfo(suspect.opcode)?.family === 'touch') {
    if (isHit) return judgeTouchFlags(flags, history);
    return found(suspect, history);
  }
  const value = replayed.value.toString('latin1');
  const shown = history.explain(value, flags, fromNs, toNs, index);
  switch (shown) {
    case 'live':
      if (isHit) return drift('raced', 'another value that this replay stored, and that was current then');
      if (history.hasExpired(value, fromNs, EXPIRY_MARGIN_NS))
        return violation('stale-value', 'the value was to expire, and should have been gone for long');
      return history.nearExpiry(suspect, EXPIRY_MARGIN_NS)
        ? drift('temporal', 'present, while in the recording it had expired')
        : drift(
            history.hasRace(suspect) ? 'raced' : 'found',
            'present, with a value that this replay stored',
          );
    case 'unknown':
      return drift('unexplained', 'what the key held before this replay is not known');
    case 'superseded':
      return violation('stale-value', 'the value was replaced before this request was sent');
    default:
  }
  if (history.explain(value, undefined, fromNs, toNs, index) === 'live')
    return violation('wrong-flags', 'the value is right, and nothing stored it with these flags');
  return violation('wrong-value', 'nothing that this replay did gives the key this value');
}

function judgeTouchFlags(flags: number | undefined, history: KeyHistory): Verdict {
  const known = history.changes.some((change) => change.value !== undefined && change.flags === flags);
  if (known) return drift('raced', 'the flags of another value that this replay stored');
  return violation('wrong-flags', 'nothing stored the key with these flags');
}

/** Recorded: the key was there. Replayed: it is not. That is always legal; the question is why. */
function gone(suspect: Suspect, history: KeyHistory): Verdict {
  if (history.mayHaveExpired(suspect, EXPIRY_MARGIN_NS))
    return drift('temporal', 'it had expired, or was about to');
  if (history.mayBeRemoved(suspect.fromNs, suspect.toNs, suspect.index))
    return drift('raced', 'removed by a request of this replay');
  if (history.hasRace(suspect)) return drift('raced', 'a change of the key was under way');
  return drift('lost', 'the key was present in the recording, and is not on the target');
}

/** Recorded: the key was absent. Replayed: it is there. */
function found(suspect: Suspect, history: KeyHistory): Verdict {
  const { fromNs, toNs, index } = suspect;
  if (history.nearExpiry(suspect, EXPIRY_MARGIN_NS))
    return drift('temporal', 'in the recording it had expired');
  if (!history.isKnown(fromNs))
    return drift('unexplained', 'what the key held before this replay is not known');
  if (!history.mayBePresent(fromNs, toNs, index))
    return violation(
      'wrong-status',
      'the key cannot be present: nothing stored it, or it was removed before',
    );
  return history.hasRace(suspect)
    ? drift('raced', 'a change of the key was under way')
    : drift('found', 'present, while it was absent in the recording');
}

function judgeCounter(suspect: Suspect, history: KeyHistory, family: 'incr' | 'decr'): Verdict {
  const { recorded, replayed, fromNs, toNs, index, requestExtras } = suspect;
  if (replayed.status !== Status.ok) {
    if (replayed.status === Status.notStored)
      return drift('raced', 'another connection created the counter at the same time');
    if (replayed.status === Status.nonNumeric) return judgeNonNumeric(suspect, history);
    return judgeStatus(suspect, history);
  }
  if (replayed.value.length !== 8 || requestExtras.length < 20)
    return violation('malformed', 'the answer of a counter has eight bytes');
  const result = replayed.value.readBigUInt64BE(0);
  const delta = requestExtras.readBigUInt64BE(0);
  const creates = requestExtras.readUInt32BE(16) !== 0xffffffff;
  if (creates && result === requestExtras.readBigUInt64BE(8)) {
    if (history.mayHaveExpired(suspect, EXPIRY_MARGIN_NS))
      return drift('temporal', 'the counter was made anew: it had expired, or was about to');
    // Absence is always legal, and a counter that is made anew begins with its initial value.
    return recorded.status === Status.ok && history.hasRace(suspect)
      ? drift('raced', 'the counter was made anew')
      : drift('lost', 'the counter was made anew: it was not on the target');
  }
  const base = BigInt.asUintN(64, family === 'incr' ? result - delta : result + delta).toString();
  let shown = history.explain(base, undefined, fromNs, toNs, index);
  // A DECR stops at 0.
  if (shown !== 'live' && family === 'decr' && result === 0n)
    shown = flooredFrom(suspect, history, delta, shown);
  if (shown === 'live') return drift('raced', 'another order of the changes of the counter');
  if (shown === 'unknown') return drift('unexplained', 'what the counter was before is not known');
  return violation(
    'counter',
    shown === 'superseded'
      ? 'the result comes from a value that was replaced before'
      : 'no value that the counter had gives this result',
  );
}

function flooredFrom(
  { fromNs, toNs, index }: Suspect,
  history: KeyHistory,
  delta: bigint,
  otherwise: 'superseded' | 'never' | 'unknown',
): ReturnType<KeyHistory['explain']> {
  const below = history.changes.some(({ value }) => {
    const number = value === undefined ? undefined : unpadded(Buffer.from(value, 'latin1'));
    return (
      number !== undefined &&
      BigInt(number.toString('latin1')) <= delta &&
      history.explain(number.toString('latin1'), undefined, fromNs, toNs, index) === 'live'
    );
  });
  return below ? 'live' : otherwise;
}

function judgeNonNumeric(suspect: Suspect, history: KeyHistory): Verdict {
  // Concatenation can make a number of anything, and anything of a number.
  const open = history.changes.some(
    ({ value, family }) =>
      family === 'append' ||
      family === 'prepend' ||
      (value !== undefined && unpadded(Buffer.from(value, 'latin1')) === undefined),
  );
  if (open) return drift('raced', 'the key held something else than a number');
  if (!history.isKnown(suspect.fromNs)) return drift('unexplained', 'what the key held before is not known');
  return violation('wrong-status', 'every value that the key had is a number');
}

function judgeStatus(suspect: Suspect, history: KeyHistory): Verdict {
  const { recorded, replayed, opcode } = suspect;
  const family = opcodeInfo(opcode)?.family;
  switch (replayed.status) {
    case Status.outOfMemory:
    case Status.tooLarge:
      return drift('capacity', `the target answers ${statusLabel(replayed.status)}`);
    case Status.notFound:
      return gone(suspect, history);
    case Status.notStored:
      // APPEND and PREPEND say so of an absent key, and where the result would not fit.
      return gone(suspect, history);
    case Status.exists:
      if (suspect.requestCas !== 0) return judgeCas(suspect, history, 'another change came first');
      return family === 'add'
        ? found(suspect, history)
        : violation('wrong-status', 'only ADD and CAS can find a key in the way');
    case Status.ok:
      if (suspect.requestCas !== 0)
        return judgeCas(suspect, history, 'the change that came first in the recording did not');
      // An ADD that found the key, and now does not: it is always legal for a key to be gone.
      if (family === 'add') return gone(suspect, history);
      if (recorded.status === Status.tooLarge || recorded.status === Status.outOfMemory)
        return drift('capacity', 'the target had the room that the recorded server lacked');
      return found(suspect, history);
    default:
      return violation('wrong-status', `no answer to this operation: ${statusLabel(replayed.status)}`);
  }
}

/** A token is as old as the read that it came from: any change by another connection since may have come between. */
function judgeCas(suspect: Suspect, history: KeyHistory, why: string): Verdict {
  const { requestCas, fromNs, toNs, index, replayed } = suspect;
  const token = history.tokenAt(requestCas, fromNs, toNs, index);
  if (token === 'superseded' && replayed.status === Status.ok)
    return violation('cas', 'it succeeded, and the version that it names had been replaced before');
  if (token === 'current' && replayed.status === Status.exists)
    return violation('cas', 'it failed, and nothing can have replaced the version that it names');
  return history.hasOtherWriters(suspect.connection)
    ? drift('raced', why)
    : drift('unexplained', `${why}, and no other connection changes the key`);
}
