// The second look, at keys on which something differs: what this replay did to them, and whether that explains the answers.

import { Status } from '../protocol/status.ts';
import { Result } from '../trace/results.ts';
import { tokenOf } from '../trace/token.ts';
import { replayedAnswer } from './answer.ts';
import { changeOf, initialChange } from './changes.ts';
import { isCounter } from './example.ts';
import { glance, masked } from './glance.ts';
import { KeyHistory } from './history.ts';
import { judge } from './judge.ts';
import type { Sides } from './sides.ts';
import { suspectOf, type Suspect } from './suspect.ts';
import type { Verdict } from './verdict.ts';

const none = Buffer.alloc(0);

/**
 * Judges the suspects of some keys, in one pass.
 * @param keys by name; whether the values that they had matter
 */
export async function judgeKeys(
  sides: Sides,
  keys: ReadonlyMap<string, boolean>,
  settle: (suspect: Suspect, verdict: Verdict) => void,
): Promise<void> {
  const histories = new Map<string, KeyHistory>();
  const suspects: Suspect[] = [];
  // The replayer asked the targets, before it began, whether they held any key that it did not set itself.
  const startsEmpty = sides.replay.end?.leftover === 0;
  const speed = sides.replay.meta.speed === 'max' ? 1 : sides.replay.meta.speed;
  const history = (name: string): KeyHistory => {
    let known = histories.get(name);
    if (known === undefined) histories.set(name, (known = new KeyHistory(!startsEmpty)));
    return known;
  };
  if (sides.replay.meta.prefill === 'auto') fill(sides, keys, histories);
  for await (const { batch, row, results, resultRow, rows } of sides.join()) {
    if (results === undefined) continue;
    for (let n = 0; n < rows; n++) {
      if (batch.keyLength[row + n] === 0 || results.result[resultRow + n] === Result.skipped) continue;
      const name = sides.nameOf(batch, row + n, results, resultRow + n);
      const needsValues = keys.get(name);
      if (needsValues === undefined) continue;
      const answer = replayedAnswer(batch, row + n, results, resultRow + n);
      const token = tokenOf(batch.answerCasHigh[row + n]!, batch.answerCasLow[row + n]!);
      if (needsValues && token !== 0 && answer !== undefined && !answer.silent && answer.status === Status.ok)
        history(name).learnToken(token, results.sentNs[resultRow + n]!, results.answeredNs[resultRow + n]!);
      const change = changeOf(batch, row + n, results, resultRow + n, answer, speed, needsValues);
      if (change !== undefined) history(name).add(change);
      if (glance(batch, row + n, results, resultRow + n, sides.hidesNumbers) === 'suspect')
        suspects.push(suspectOf(batch, row + n, results, resultRow + n, name));
    }
  }
  const historyOf = (suspect: Suspect): KeyHistory => history(suspect.name);
  doubtCounters(suspects, historyOf);
  for (const suspect of suspects) {
    const known = historyOf(suspect);
    const isHidden =
      suspect.replayed.status === Status.ok &&
      ((sides.hidesValues && known.hasConcatenation) || (sides.hidesNumbers && known.hasCounter));
    const verdict = isHidden ? masked : judge(suspect, known);
    settle(suspect, verdict);
  }
}

/** What stood there before the replay. */
function fill(
  { replay, survey }: Sides,
  keys: ReadonlyMap<string, boolean>,
  histories: Map<string, KeyHistory>,
): void {
  const { targets, route } = replay.meta;
  for (const { server, tenant, key, value, flags } of survey.present) {
    const space = Math.max(0, survey.tenants.indexOf(tenant));
    // Where the key decides, its requests went where it was set: no other target has it among the suspects.
    const places =
      route === 'single' || targets.length === 1 ? [0] : route === 'index' ? [server] : targets.keys();
    for (const target of places) {
      const name = `${target} ${space} ${key}`;
      if (!keys.has(name)) continue;
      const history = new KeyHistory(false);
      history.add(initialChange(keys.get(name) === true ? value : none, flags));
      histories.set(name, history);
    }
  }
}

/**
 * Finds the counters whose answers are wrong, so that what was read of them, or counted on from them, is judged by what
 * they must have been. Of two that race, the right one may look wrong until the other is doubted: hence the second look.
 */
function doubtCounters(suspects: readonly Suspect[], historyOf: (suspect: Suspect) => KeyHistory): void {
  const isWrong = (suspect: Suspect): boolean => {
    const verdict = judge(suspect, historyOf(suspect));
    return verdict.class === 'violation' && verdict.kind === 'counter';
  };
  const doubted = suspects.filter(({ opcode }) => isCounter(opcode)).filter(isWrong);
  for (const suspect of doubted) historyOf(suspect).doubt(suspect.index, true);
  for (const suspect of doubted) if (!isWrong(suspect)) historyOf(suspect).doubt(suspect.index, false);
}
