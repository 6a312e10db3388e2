// Sessions to look at: something happened that may let them send. First come, first served, each once at a time.

import type { Session } from './session.ts';

export class Attention {
  readonly #sessions: Session[] = [];
  /** How many of them were looked at. */
  #seen = 0;

  touch(session: Session): void {
    if (session.isTouched) return;
    session.isTouched = true;
    this.#sessions.push(session);
  }

  /** Takes the next one; undefined: none is left. */
  next(): Session | undefined {
    const session = this.#sessions[this.#seen];
    if (session === undefined) {
      this.#sessions.length = 0;
      this.#seen = 0;
      return undefined;
    }
    this.#seen++;
    session.isTouched = false;
    return session;
  }
}
