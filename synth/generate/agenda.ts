// What is still to come: tasks by time, the earliest first; of one time, in the order in which they were put.

export class Agenda<Task> {
  readonly #tasks: { ns: number; turn: number; task: Task }[] = [];
  #turn = 0;

  get nextNs(): number {
    return this.#tasks[0]?.ns ?? Infinity;
  }

  put(ns: number, task: Task): void {
    const tasks = this.#tasks;
    const entry = { ns, turn: this.#turn++, task };
    let at = tasks.length;
    tasks.push(entry);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(entry, tasks[parent]!)) break;
      tasks[at] = tasks[parent]!;
      at = parent;
    }
    tasks[at] = entry;
  }

  /** Takes the earliest; undefined: there is none. */
  take(): Task | undefined {
    const tasks = this.#tasks;
    const first = tasks[0];
    const last = tasks.pop();
    if (first === undefined || last === undefined || tasks.length === 0) return first?.task;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= tasks.length) break;
      if (child + 1 < tasks.length && isBefore(tasks[child + 1]!, tasks[child]!)) child++;
      if (!isBefore(tasks[child]!, last)) break;
      tasks[at] = tasks[child]!;
      at = child;
    }
    tasks[at] = last;
    return first.task;
  }
}

function isBefore(a: { ns: number; turn: number }, b: { ns: number; turn: number }): boolean {
  return a.ns < b.ns || (a.ns === b.ns && a.turn < b.turn);
}
