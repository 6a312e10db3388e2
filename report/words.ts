// A report in sentences: what the verdict means, what each kind of finding is, what failures share, what to do next. Every
// rendering that speaks to people takes its words from here. What comes from traffic stands apart from our own words, so
// that each rendering can show it in its own safe way.

import { isPlace, type Culprit } from '../diff/attribution.ts';
import type { DriftKind, Finding, UntestableKind, ViolationKind } from '../diff/verdict.ts';
import { figure, micros, percent, plural, share, shares, visible } from './format.ts';
import type {
  Consistency,
  EvaluatedThreshold,
  NamedReport,
  Report,
  ReportVerdict,
  ServerReport,
} from './shape.ts';
import { unitOf } from './threshold.ts';

/** A sentence: our own words, and what is quoted from traffic, options or addresses. */
export type Sentence = (string | { quoted: string })[];

export const verdictNames: Readonly<Record<ReportVerdict, string>> = {
  pass: 'Passed',
  fail: 'Failed',
  insufficient: 'Not enough evidence',
  invalid: 'Invalid',
  aborted: 'Aborted',
};

/** The worst first: of several reports, the first of these that one has. */
export const severity: readonly ReportVerdict[] = ['fail', 'aborted', 'invalid', 'insufficient', 'pass'];

export function worstOf(reports: readonly NamedReport[]): ReportVerdict {
  return severity.find((verdict) => reports.some(({ report }) => report.verdict === verdict)) ?? 'aborted';
}

export const meanings: Readonly<Record<ViolationKind | DriftKind | UntestableKind, string>> = {
  'wrong-value': 'a value that nothing in this replay gave the key',
  'stale-value': 'a value that was replaced, removed or long expired before it was asked for',
  'foreign-value': 'the value of another key, or of another tenant',
  resurrected: 'a key that was gone, that nothing stored again, and that was there',
  vanished: 'a key that is gone, had not expired, and that its server says it did not evict',
  'wrong-flags': 'the value with other flags than it was stored with',
  'wrong-key': 'the answer names another key than the request',
  'wrong-status': 'a status that no correct server can give here',
  cas: 'a CAS that succeeded with a version long replaced, or failed with the current one',
  counter: 'a number that no order of the increments leads to',
  unanswered: 'no answer in time',
  closed: 'the connection was closed, or refused, instead of an answer',
  malformed: 'bytes that are no answer to the request',
  orphan: 'an answer to no request',
  lost: 'a key that was there in the recording, and is legally missing here: evicted, or its server was emptied',
  found: 'a key that was missing in the recording, and is legally there',
  raced: 'requests that overlap took effect in another order',
  temporal: 'near an expiry, which came earlier or later',
  capacity: 'the server had no room for what the recorded one stored',
  unexplained: 'what the key held is not known well enough to call it wrong',
  gap: 'the capture has a hole here',
  unrecorded: 'the recording has no answer to compare with',
  ambiguous: 'which of several alike requests was answered is not known',
  unproven: 'nothing proved the silence of a quiet request',
  undecided: 'too many requests on the key at once to try all of their orders',
  masked: 'the trace hides what would be compared',
  unseen: 'somebody whose requests are not in the recording stored the version',
  unjudged: 'the window that holds them could not be judged',
};

export function meaningOf(kind: string): string {
  return (meanings as Record<string, string>)[kind] ?? '';
}

/** `10×`, `max speed`, `--rate 50k`. */
function paceOf({ schedule: { rate, speed } }: Report): string {
  if (rate !== null) return `--rate ${visible(rate)}`;
  return speed === 'max' ? 'max speed' : `${speed}×`;
}

/** How what got lost on a server is accounted for. */
export function lossesOf({ losses: { kind, evicted, lost } }: ServerReport): string {
  const keys = `${plural(lost, 'key')} got lost`;
  switch (kind) {
    case 'exact':
      return `${keys}, and it says that it evicted ${figure(evicted ?? 0)}`;
    case 'restarted':
      return `${keys}, and it restarted meanwhile`;
    case 'shared':
      return `${keys}, and others used it meanwhile, so that any may be their doing`;
    default:
      return `${keys}, and it does not say what it evicted, so that any may be legal`;
  }
}

/** What was done: `5,002 requests at 10× in 0.50 s (9,948/s)`. */
export function deedOf(report: Report): string {
  const { exchanges, schedule } = report;
  if (report.audit !== undefined)
    return `${plural(exchanges.sent, 'recorded exchange')} over ${schedule.durationSeconds.toFixed(2)} s, judged by the recording itself`;
  return `${plural(exchanges.sent, 'request')} at ${paceOf(report)} in ${schedule.durationSeconds.toFixed(2)} s (${figure(Math.round(schedule.achievedRate))}/s)${doersOf(report)}`;
}

/** `, by 4 shards that began within 0.21 ms` */
function doersOf({ shards }: Report): string {
  if (shards === undefined) return '';
  if (shards.only !== null) return `, shard ${shards.only}/${shards.of} alone`;
  const starts = shards.all.flatMap(({ startSeconds }) => (startSeconds === null ? [] : [startSeconds]));
  const spread = starts.length > 1 ? ` that began within ${micros(Math.max(...starts) * 1e6)}` : '';
  return `, by ${plural(shards.of, 'shard')}${spread}`;
}

/** What does not hold for a replay that was divided; undefined for others. */
export function shardsSentence({ shards }: Report): Sentence | undefined {
  if (shards === undefined || shards.of === 1) return undefined;
  if (shards.only !== null)
    return [
      `This is shard ${shards.only}/${shards.of} alone: memtape report TRACE RESULTS… judges all of them as one.`,
    ];
  return [
    'Each shard kept the order of its own keys; none waited for answers that a client had received from another before it sent.',
  ];
}

/** `2,901 of 2,901 reads that could be judged were right: at least 99.87% (2.9 nines) at 95% confidence.` */
export function consistencySentence({ judged, wrong, low, nines, smallestSeen }: Consistency): string {
  if (judged === 0) return 'No read could be judged.';
  const sure =
    wrong === 0
      ? `, and wrong reads would have been seen if they were ${shareOf(smallestSeen)} of all or more`
      : '';
  return `${figure(judged - wrong)} of ${plural(judged, 'read')} that could be judged were right: at least ${shareOf(low)} (${nines.toFixed(1)} nines) with 95% confidence${sure}.`;
}

/** As many digits as tell it from 0 and from 1. */
function shareOf(value: number): string {
  const apart = Math.min(value, 1 - value) * 100;
  const digits = apart <= 0 ? 0 : Math.min(9, Math.max(1, 1 - Math.floor(Math.log10(apart))));
  return `${(value * 100).toFixed(digits)}%`;
}

/** `The hit rate of mc3:11211 fell from 91.2% to 12.0% at 12.3 s.` */
export function breakSentence({ place, before, after, atSeconds }: AuditBreak): Sentence {
  return [
    'The hit rate of ',
    { quoted: place },
    ` fell from ${percent(before)} to ${percent(after)} at ${atSeconds.toFixed(1)} s.`,
  ];
}

type AuditBreak = NonNullable<Report['audit']>['breaks'][number];

type Class = readonly [name: string, count: number, share: string];

/** What became of all exchanges, with shares that add up to 100%. An orphan is a violation, and belongs to no exchange. */
export function classesOf({
  matched,
  drift,
  violations,
  untestable,
  skipped,
}: Report['exchanges']): readonly [Class, Class, Class, Class, Class] {
  const [a, b, c, d, e] = shares([matched, drift, violations, untestable, skipped]);
  return [
    ['matched', matched, a!],
    ['drift', drift, b!],
    ['violations', violations, c!],
    ['untestable', untestable, d!],
    ['skipped', skipped, e!],
  ];
}

/** `drift.lost is 2.50% (baseline: 0.10%).` */
function changeSentence({ metric, baseline, candidate, unit }: Change): Sentence {
  return [{ quoted: metric }, ` is ${changed(candidate, unit)} (baseline: ${changed(baseline, unit)}).`];
}

/** A figure of a difference, in its unit. */
export function changed(value: number, unit: Change['unit']): string {
  return unit === 'share' ? percent(value) : micros(value);
}

/** Those differences from the baseline that are worse. */
function regressionsOf({ baseline }: Report): Change[] {
  return baseline?.changes.filter(({ isRegression }) => isRegression) ?? [];
}

type Change = NonNullable<Report['baseline']>['changes'][number];

/** Shards of which it is said what became of them. */
const LOST_SHOWN = 5;

/** The place that explains most, else whatever does. */
function placeOf({ attribution }: Report): Culprit | undefined {
  return attribution.find(({ factor }) => /^(server|tenant|partition)$/.test(factor)) ?? attribution[0];
}

/** In one sentence what is wrong, where, and since when; where nothing is, why the verdict is what it is. */
export function gistOf(report: Report): Sentence {
  const { verdict, findings } = report;
  const place = placeOf(report);
  if (place !== undefined && (verdict === 'fail' || place.of !== 'violations'))
    return placeGist(report, place);
  const worst = findings.find((finding) => finding.class === 'violation');
  if (verdict === 'fail' && worst !== undefined) {
    const since = onsetOf(report);
    return [
      `${plural(report.exchanges.violations, 'answer is', 'answers are')} wrong`,
      ...(since === undefined ? [] : [`, since ${since.toFixed(1)} s`, ...afterDrill(report, since)]),
      `; most are ${worst.kind}: ${meaningOf(worst.kind)}; no one place has them.`,
    ];
  }
  const [worse] = regressionsOf(report);
  if (worse !== undefined) return ['It is worse than its baseline: ', ...changeSentence(worse)];
  return reasonOf(report);
}

function placeGist(report: Report, culprit: Culprit): Sentence {
  const { sinceSeconds } = culprit;
  return [
    ...whereOf(culprit),
    `, from ${sinceSeconds.toFixed(1)} s on`,
    ...afterDrill(report, sinceSeconds),
    '.',
  ];
}

/** `60 of the 70 failing exchanges are on server a:11211`, `All 12 lost keys are of tenant alice` */
function whereOf(
  { factor, value, of, failures, allFailures, unit }: Culprit,
  within?: Culprit['within'],
): Sentence {
  const count =
    failures === allFailures
      ? `All ${figure(failures)}`
      : `${figure(failures)} of the ${figure(allFailures)}`;
  return [
    `${count} ${failing[of].what(unit)}`,
    ...(within === undefined ? [] : [' of ', { quoted: within }]),
    ` are ${places[factor]} `,
    { quoted: value },
  ];
}

/** Drills are no news later than this. */
const SOON_SECONDS = 5;

/** `, 0.3 s after the drill …`, where one went before. */
function afterDrill({ drills }: Report, since: number): Sentence {
  const before = drills.findLast(({ atSeconds }) => atSeconds <= since && since - atSeconds <= SOON_SECONDS);
  if (before === undefined) return [];
  return [`, ${(since - before.atSeconds).toFixed(1)} s after the drill `, { quoted: before.name }];
}

/** When the first wrong answer was asked for, seconds, to the width of a bin of the timeline. */
function onsetOf({ timeline: { servers, binSeconds } }: Report): number | undefined {
  const first = servers
    .map(({ violations }) => violations.findIndex((count) => count > 0))
    .filter((bin) => bin >= 0);
  return first.length === 0 ? undefined : Math.min(...first) * binSeconds;
}

/** What was replayed to whom, when and by what: the parts of a header. */
export function headerOf({ environment }: Report, name?: string): { name: string; value: Sentence }[] {
  const { trace, targets, route, startTime, version } = environment;
  return [
    {
      name: 'trace',
      value:
        name === undefined ? [{ quoted: trace }] : [{ quoted: name }, ` (${trace.slice(0, SHORT_HASH)})`],
    },
    { name: 'targets', value: list(targets) },
    ...(route === null ? [] : [{ name: 'route', value: [route] }]),
    ...(startTime === null
      ? []
      : [{ name: 'began', value: [`${startTime.slice(0, 19).replace('T', ' ')} UTC`] }]),
    { name: 'memtape', value: [version] },
  ];
}

/** Enough of a hash to tell traces apart. */
const SHORT_HASH = 'sha256:'.length + 12;

/** Why the verdict is what it is. */
export function reasonOf(report: Report): Sentence {
  const divided = shardsSentence(report);
  return [...verdictReason(report), ...(divided === undefined ? [] : [' ', ...divided])];
}

function verdictReason(report: Report): Sentence {
  const { verdict, exchanges, thresholds, schedule, coverage } = report;
  const { violations, drift } = exchanges;
  if (verdict === 'pass' && report.audit !== undefined && violations === 0)
    return [
      `Every answer that could be judged is one that a correct server gives. ${consistencySentence(report.audit.all)}`,
    ];
  if (verdict === 'pass')
    return violations > 0
      ? [`Every threshold holds; ${plural(violations, 'violation')} stayed within them.`]
      : [
          ...worseThanBaseline(report),
          drift > 0
            ? `Every answer is as recorded, or differs only as a correct server may (${figure(drift)} do).`
            : 'Every answer that could be judged is as recorded.',
        ];
  if (verdict === 'fail') {
    const crossed = thresholds.filter(({ evaluated, ok }) => evaluated && !ok);
    return [
      ...(violations > 0
        ? [
            `No correct server can have given ${figure(violations)} of the answers (${share(violations, exchanges.total)}). `,
          ]
        : []),
      `${crossed.length === 1 ? 'A threshold is' : `${crossed.length} thresholds are`} crossed: `,
      ...list(crossed.map(({ expression }) => expression)),
      '.',
    ];
  }
  if (verdict === 'invalid')
    return [
      `memtape itself was late: it sent 1% of the requests ${micros(schedule.lagMicros.p99)} or more after they were due, and ${micros(schedule.maxLagMicros)} is allowed. The measured latency says nothing about the target.`,
    ];
  const lost = report.shards?.all.filter((shard) => shard.lost !== null) ?? [];
  if (verdict === 'aborted' && lost.length > 0)
    return [
      `The replay is not whole, and has no verdict: ${plural(lost.length, 'shard')} of ${report.shards!.of} ${lost.length === 1 ? 'is' : 'are'} lost.`,
      ...lost
        .slice(0, LOST_SHOWN)
        .flatMap((shard): Sentence => [
          ` Shard ${shard.index}/${report.shards!.of} `,
          { quoted: shard.lost! },
          '.',
        ]),
    ];
  const [trouble] = report.incidents.examples;
  if (verdict === 'aborted' && exchanges.sent === 0 && trouble !== undefined)
    return ['The replay did not begin: ', { quoted: trouble.note }, '.'];
  if (verdict === 'aborted')
    return [
      `The replay did not come to its end: ${plural(exchanges.sent, 'request was', 'requests were')} sent.`,
    ];
  if (exchanges.sent === 0)
    return [`Nothing was ${report.audit === undefined ? 'sent' : 'recorded'}, so nothing can be said.`];
  const open = thresholds.filter(({ evaluated, ok }) => !evaluated || !ok);
  return [
    'Nothing was seen to fail, and too little was seen to pass.',
    ...(open.length > 0 ? [' Open: ', ...list(open.map(({ expression }) => expression)), '.'] : []),
    ...(coverage.covered < coverage.backends
      ? [
          ` ${figure(coverage.covered)} of ${plural(coverage.backends, 'backend')} had ${plural(coverage.minimum, 'exchange')} or more.`,
        ]
      : []),
  ];
}

function worseThanBaseline(report: Report): string[] {
  const count = regressionsOf(report).length;
  return count === 0 ? [] : [`It is worse than the baseline in ${plural(count, 'way')}. `];
}

function list(quoted: readonly string[]): Sentence {
  return quoted.flatMap((text, n): Sentence => [...(n > 0 ? [', '] : []), { quoted: text }]);
}

const failing = {
  violations: { what: (unit: string) => `failing ${unit}`, do: 'fail', title: 'of what failed' },
  'hang-ups': {
    what: (unit: string) => `${unit} before a hang-up`,
    do: 'are the last before a hang-up',
    title: 'of what was answered last before the server hung up',
  },
  lost: { what: (unit: string) => `lost ${unit}`, do: 'are lost', title: 'of what got lost' },
  capacity: { what: (unit: string) => `refused ${unit}`, do: 'are refused', title: 'of what was refused' },
  slow: { what: (unit: string) => `slow ${unit}`, do: 'are slow', title: 'of what was slow' },
} as const;

const titles: Readonly<Record<Culprit['factor'], string>> = {
  server: 'server',
  tenant: 'tenant',
  opcode: 'operation',
  partition: 'partition',
  connection: 'connection',
  prefix: 'prefix',
  size: 'value size',
  phase: 'phase',
};

/** Where exchanges or keys are that have something in common. */
const places: Readonly<Record<Culprit['factor'], string>> = {
  server: 'on server',
  tenant: 'of tenant',
  opcode: 'of operation',
  partition: 'in partition',
  connection: 'on connection',
  prefix: 'of prefix',
  size: 'of value size',
  phase: 'in phase',
};

/** `All 82 failing keys are in partition …, which has only 29.1% of all keys: …` */
export function culpritSentence(culprit: Culprit): Sentence {
  const { of, within, failures, total, all, unit, lift, sinceSeconds } = culprit;
  return [
    ...whereOf(culprit, within),
    `, which has ${share(total, all)} of all ${unit}: ${figure(failures)} of its ${figure(total)} ${failing[of].do}, ${lift.toFixed(1)} times as often as all do. The first was at ${sinceSeconds.toFixed(3)} s.`,
  ];
}

/** What its bars are of. */
export function culpritMeasures({ of, unit, failures, allFailures, total, all }: Culprit): {
  name: string;
  share: number;
}[] {
  return [
    { name: `its share ${failing[of].title}`, share: failures / allFailures },
    { name: `its share of all ${unit}`, share: total / all },
  ];
}

/** How a threshold came out, in a word. */
export function outcomeOf({ ok, evaluated }: EvaluatedThreshold): 'ok' | 'crossed' | 'no samples' {
  if (!evaluated) return 'no samples';
  return ok ? 'ok' : 'crossed';
}

/** What a threshold's metric came to, in its unit. */
export function valueOf(threshold: EvaluatedThreshold): string {
  const { value } = threshold;
  if (value === null) return '–';
  switch (unitOf(threshold)) {
    case 'micros':
      return micros(value);
    case 'percent':
      return percent(value);
    default:
      return figure(Number(value.toFixed(6)));
  }
}

/** How much may be untestable before it is worth a word. */
const MUCH_UNTESTABLE = 0.1;

/** What a person should do now, the most telling first; never empty. */
export function nextSteps(report: Report): Sentence[] {
  const { verdict, attribution, findings, exchanges, prefill, coverage, thresholds, incidents } = report;
  const steps: Sentence[] = [];
  const place = placeOf(report);
  const worst = findings.find((finding) => finding.class === 'violation');
  if (verdict === 'aborted' && report.shards?.all.some(({ lost }) => lost !== null) === true)
    steps.push([
      'Replay again with all shards, under a new run: a shard that is repeated alone is no part of this one.',
    ]);
  else if (verdict === 'aborted')
    steps.push(['See that the targets run and can be reached from here, then replay again.']);
  if (verdict === 'invalid')
    steps.push([
      'Lower --speed or --rate, give it more --workers, or use a quieter machine; then replay again.',
    ]);
  if (place !== undefined && (verdict === 'fail' || place.of !== 'violations'))
    steps.push([
      `Look at ${titles[place.factor]} `,
      { quoted: place.value },
      ` first, around ${place.sinceSeconds.toFixed(1)} s into the ${report.audit === undefined ? 'replay' : 'recording'}.`,
    ]);
  if (worst !== undefined) steps.push(firstLook(worst));
  steps.push(...regressionSteps(report));
  const open = thresholds.filter(({ evaluated }) => !evaluated);
  if (open.length > 0 && verdict === 'insufficient')
    steps.push([
      'Use a trace with traffic that ',
      ...list(open.map(({ expression }) => expression)),
      ' measures.',
    ]);
  if (coverage.covered < coverage.backends)
    steps.push([
      `${plural(coverage.backends - coverage.covered, 'place')} had fewer than ${plural(coverage.minimum, 'exchange')}: use a longer trace, or --loop.`,
    ]);
  if (prefill.leftover !== null && prefill.leftover > 0)
    steps.push([
      `The targets held ${plural(prefill.leftover, 'key')} of the trace beforehand, and what is read of them cannot be judged: start from an empty target (`,
      { quoted: '--flush-before' },
      ' empties them).',
    ]);
  if (prefill.failed > 0)
    steps.push([
      `The targets refused ${plural(prefill.failed, 'key')} of the prefill: give them more memory.`,
    ]);
  if (exchanges.untestable > MUCH_UNTESTABLE * exchanges.total)
    steps.push([
      `${share(exchanges.untestable, exchanges.total)} could not be judged: see below what the recording lacks.`,
    ]);
  if (verdict === 'pass' && attribution.some(({ of, factor }) => of === 'lost' && isPlace(factor)))
    steps.push([
      'What was lost has something in common. If that should fail, say ',
      { quoted: "--threshold 'drift.lost < 0.5%'" },
      '.',
    ]);
  for (const broken of report.audit?.breaks ?? []) steps.push(breakSentence(broken));
  if (report.audit?.isLossy === true)
    steps.push([
      'The capture lacks bytes of what was sent, so that less can be judged: see what `memtape info` says is missing.',
    ]);
  if (verdict === 'fail' && report.baseline === undefined && report.audit === undefined)
    steps.push([
      'Replay the same trace to the last good release (',
      { quoted: '--baseline' },
      '). If it fails there too, this release is not the cause.',
    ]);
  if (incidents.count > 0 && verdict !== 'pass')
    steps.push([
      `Connections were in trouble ${plural(incidents.count, 'time')}: the log of the target says why.`,
    ]);
  if (steps.length === 0 && report.audit !== undefined) steps.push(['Nothing.']);
  if (steps.length === 0)
    steps.push([
      'Nothing. Keep the results (',
      { quoted: '--results' },
      ') to compare the next release with.',
    ]);
  return steps;
}

/** Regressions that are told one by one. */
const REGRESSIONS_TOLD = 3;

function regressionSteps(report: Report): Sentence[] {
  const worse = regressionsOf(report);
  if (worse.length === 0) return [];
  const told = worse.slice(0, REGRESSIONS_TOLD).flatMap((change) => [' ', changeSentence(change)].flat());
  return [
    [
      'Find out why it is worse than the baseline:',
      ...told,
      ...(worse.length > REGRESSIONS_TOLD ? [` ${worse.length - REGRESSIONS_TOLD} more are below.`] : []),
    ],
    ...(report.verdict === 'pass'
      ? [
          [
            'If that should fail, say ',
            { quoted: "--threshold 'baseline.regressions == 0'" },
            '.',
          ] as Sentence,
        ]
      : []),
  ];
}

function firstLook({ kind, count }: Finding): Sentence {
  return [`Open the examples of ${kind} (${figure(count)}): ${meaningOf(kind)}.`];
}

/** A sentence without any markup. */
export function plain(sentence: Sentence): string {
  return sentence.map((part) => (typeof part === 'string' ? part : visible(part.quoted))).join('');
}
