// What can be said of one exchange, and the tally of it over a replay: counts by class and kind, with the first few
// examples of each.

export const drifts = ['lost', 'found', 'raced', 'temporal', 'capacity', 'unexplained'] as const;
export type DriftKind = (typeof drifts)[number];
export const violations = [
  'wrong-value',
  'stale-value',
  'foreign-value',
  'resurrected',
  'vanished',
  'wrong-flags',
  'wrong-key',
  'wrong-status',
  'cas',
  'counter',
  'unanswered',
  'closed',
  'malformed',
  'orphan',
] as const;
export type ViolationKind = (typeof violations)[number];
export const untestables = [
  'gap',
  'unrecorded',
  'ambiguous',
  'unproven',
  'undecided',
  'masked',
  'unseen',
  'unjudged',
] as const;
export type UntestableKind = (typeof untestables)[number];

/** Why an exchange is no match. */
export type Verdict =
  | { class: 'drift'; kind: DriftKind; why: string }
  | { class: 'violation'; kind: ViolationKind; why: string }
  | { class: 'untestable'; kind: UntestableKind; why: string };

export interface Example {
  /** The index of the exchange in the trace; -1 for what belongs to no exchange. */
  index: number;
  connection: number;
  /** The target. */
  server: string;
  opcode: string;
  key: string;
  /** Since the replay's start. */
  atSeconds: number;
  expected: Record<string, unknown>;
  actual: Record<string, unknown>;
  why: string;
}

export interface Finding {
  class: Verdict['class'];
  kind: string;
  count: number;
  /** The earliest in the trace. */
  examples: Example[];
}

/** What a connection that ended takes with it. */
const follows: ReadonlySet<string> = new Set<ViolationKind>(['closed', 'orphan']);

const severity = { violation: 0, drift: 1, untestable: 2 };

export class Findings {
  readonly #limit: number;
  readonly #findings = new Map<string, Finding>();

  /** @param limit examples kept of each kind */
  constructor(limit: number) {
    this.#limit = limit;
  }

  add(verdict: Pick<Verdict, 'class' | 'kind'>, example: () => Example, count = 1): void {
    const id = `${verdict.class} ${verdict.kind}`;
    let finding = this.#findings.get(id);
    if (finding === undefined) {
      finding = { class: verdict.class, kind: verdict.kind, count: 0, examples: [] };
      this.#findings.set(id, finding);
    }
    finding.count += count;
    const { examples } = finding;
    if (examples.length < this.#limit) examples.push(example());
  }

  /** Violations first; causes before what follows from them, then the most frequent. */
  all(): Finding[] {
    for (const { examples } of this.#findings.values()) examples.sort((a, b) => a.index - b.index);
    return [...this.#findings.values()].toSorted(
      (a, b) =>
        severity[a.class] - severity[b.class] ||
        Number(follows.has(a.kind)) - Number(follows.has(b.kind)) ||
        b.count - a.count,
    );
  }

  /** Counts by kind of one class. */
  counts(of: Verdict['class']): Record<string, number> {
    return Object.fromEntries(
      this.all()
        .filter((finding) => finding.class === of)
        .map(({ kind, count }) => [kind, count]),
    );
  }
}
