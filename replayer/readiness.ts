// Readiness: does a session's next row, with those that shared its segment, wait for anything that is not complete?

import type { KeyOrder } from './order.ts';
import { NONE, rowOf } from './handle.ts';
import type { Page } from './page.ts';
import type { Session } from './session.ts';
import type { Silence } from './silence.ts';
import type { Window } from './window.ts';

export class Readiness {
  /** Rows wait for one another, and nothing comes to be: they go as they are. */
  ignoresOrder = false;
  readonly #window: Window;
  readonly #keys: KeyOrder<Session>;
  readonly #silence: Silence;

  constructor(window: Window, keys: KeyOrder<Session>, silence: Silence) {
    this.#window = window;
    this.#keys = keys;
    this.#silence = silence;
  }

  /** Counts the rows into `readyRows`. Where one waits for a key, its session is touched when that has changed. */
  isReady(session: Session): boolean {
    for (;;) {
      const handle = session.nextUnchecked;
      if (handle === NONE || session.readyRows >= session.armed) return session.readyRows > 0;
      const page = this.#window.of(handle);
      const row = rowOf(handle);
      if (session.readyRows > 0 && page.joins[row] === 0) return true;
      if (this.#waits(session, page, row)) {
        this.#silence.isWanted = true;
        return false;
      }
      session.readyRows++;
      session.nextUnchecked = page.next[row]!;
    }
  }

  #waits(session: Session, page: Page, row: number): boolean {
    if (this.ignoresOrder) return false;
    if (page.connectionRequired[row]! > session.done) return true;
    const { sessions } = session.recorded;
    if (sessions.length > 1 && waitsForSibling(sessions, page, row)) return true;
    const key = page.keys[row];
    if (key === undefined) return false;
    if (key.done >= page.keyRequired[row]! && !this.#keys.isHeld(key, page.keyNode[row]!)) return false;
    key.waiters.push(session);
    return true;
  }
}

function waitsForSibling(sessions: readonly (Session | undefined)[], page: Page, row: number): boolean {
  const at = row * page.siblings;
  for (let target = 0; target < sessions.length; target++)
    if (page.siblingsRequired[at + target]! > (sessions[target]?.done ?? 0)) return true;
  return false;
}
