// What is still to be sent, the earliest first; of the same time, what came in first.

export interface Timed {
  ns: number;
}

export class TimeQueue<Event extends Timed> {
  readonly #events: { event: Event; number: number }[] = [];
  #next = 0;

  get size(): number {
    return this.#events.length;
  }

  /** When the first is due; Infinity where there is none. */
  get firstNs(): number {
    return this.#events[0]?.event.ns ?? Infinity;
  }

  push(event: Event): void {
    const events = this.#events;
    const entry = { event, number: this.#next++ };
    let at = events.length;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(entry, events[parent]!)) break;
      events[at] = events[parent]!;
      at = parent;
    }
    events[at] = entry;
  }

  pop(): Event | undefined {
    const events = this.#events;
    const first = events[0];
    const last = events.pop();
    if (first === undefined || last === undefined || events.length === 0) return first?.event;
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= events.length) break;
      if (child + 1 < events.length && isBefore(events[child + 1]!, events[child]!)) child++;
      if (!isBefore(events[child]!, last)) break;
      events[at] = events[child]!;
      at = child;
    }
    events[at] = last;
    return first.event;
  }
}

function isBefore(a: { event: Timed; number: number }, b: { event: Timed; number: number }): boolean {
  return a.event.ns < b.event.ns || (a.event.ns === b.event.ns && a.number < b.number);
}
