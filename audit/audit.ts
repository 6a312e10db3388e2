// A recording judged by itself: every answer in it by what the rest of it shows was done to the key. The replay's judge does
// it; production is the target, and what was recorded is what it answered.

import { Judgement, type JudgementOptions } from '../diff/judgement.ts';
import type { Diff } from '../diff/ledger.ts';
import { Places } from '../diff/places.ts';
import type { Replay } from '../diff/sides.ts';
import { NEVER } from '../trace/batch.ts';
import { emptyEnd, type Capture, type ResultsEnd, type ResultsMeta } from '../trace/meta.ts';
import type { Trace } from '../trace/source.ts';
import type { Survey, TenantMode } from '../trace/survey.ts';
import { version } from '../trace/version.ts';
import { TraceView } from '../trace/view.ts';
import { breaksOf, type Break } from './breaks.ts';
import { Consistency, type ConsistencyBy } from './consistency.ts';
import { Restarts } from './restarts.ts';
import { RecordingSides, type Circumspection } from './sides.ts';

export interface AuditOptions extends Omit<JudgementOptions, 'witness'> {
  tenants?: TenantMode;
  /** The stretch of it that is judged, ns since its start. Default: all of it. */
  fromNs?: number;
  toNs?: number;
  /** A request that had no answer for so long is *unanswered*, ms. Default 1000. */
  timeoutMs?: number;
  /** What the recorder counted; undefined: the file was cut before it, and what was lost is not known. */
  capture?: Capture | undefined;
  onProgress?: (exchanges: number) => void;
}

export interface Audit {
  diff: Diff;
  /** As those of a replay, so that one report serves both. */
  meta: ResultsMeta;
  end: ResultsEnd;
  consistency: ConsistencyBy;
  breaks: Break[];
  /** The capture lacks bytes of what was sent. */
  isLossy: boolean;
  /** From when on every request that may still act is in the recording, seconds since its start. */
  beginsSeconds: number;
}

const DEFAULT_TIMEOUT_MS = 1000;

/** Judges a recording. @param hash of the trace, in hexadecimal @throws TraceError CHECKSUM, BROKEN */
export async function audit(trace: Trace, hash: string, options: AuditOptions = {}): Promise<Audit> {
  const { tenants = 'auto', fromNs, toNs, timeoutMs = DEFAULT_TIMEOUT_MS, capture, onProgress } = options;
  const view = new TraceView(trace, {
    ...(fromNs === undefined ? {} : { fromNs }),
    ...(toNs === undefined ? {} : { toNs }),
  });
  const survey = await view.survey(tenants, undefined, true);
  const meta = metaOf(view, survey, hash, options);
  const about = {
    ...(await foretold(view, survey, timeoutMs * 1e6)),
    patienceNs: timeoutMs * 1e6,
    isLossy: capture === undefined || isLossy(capture),
  };
  // Of connections that were open before, and where the capture lacks requests, answers to nothing are to be expected.
  const orphanCount = capture === undefined || about.isLossy || capture.midstream > 0 ? 0 : capture.orphans;
  const end: ResultsEnd = { ...emptyEnd(), durationNs: survey.lastNs, orphanCount };
  const replay: Replay = { meta, end, batches: nothing };
  const sides = new RecordingSides(view, replay, survey, about);
  const { backends = [], distribution = 'ketama' } = options;
  const places = new Places(meta.targets, backends, distribution);
  const consistency = new Consistency(survey, places, backends.length > 0);
  const restarts = new Restarts(meta.targets.length);
  const judgement = new Judgement(sides, null, { ...options, witness: consistency });
  let done = 0;
  for await (const { batch, results, rows } of sides.join()) {
    for (let row = 0; row < rows; row++) restarts.see(batch, row, results, row);
    judgement.take(batch, 0, results, 0, rows);
    onProgress?.((done += rows));
  }
  for (const [target, hasRestarted] of restarts.all.entries()) if (hasRestarted) judgement.restarted(target);
  const diff = await judgement.close();
  const { timeline } = diff;
  return {
    diff,
    meta,
    end,
    consistency: consistency.by,
    breaks: breaksOf(diff.places, timeline.targets, timeline.binNs),
    isLossy: about.isLossy,
    beginsSeconds: about.beginsNs / 1e9,
  };
}

/** A recording is on both sides. */
async function* nothing(): AsyncGenerator<never> {}

function metaOf(view: TraceView, { servers }: Survey, hash: string, options: AuditOptions): ResultsMeta {
  const { timeoutMs = DEFAULT_TIMEOUT_MS, fromNs, toNs } = options;
  return {
    format: 'memtape-results/1',
    writer: version,
    trace: hash,
    startTime: new Date(view.startSeconds * 1000).toISOString(),
    speed: 1,
    order: 'none',
    route: 'index',
    prefill: 'none',
    targets: servers,
    timeoutMs,
    ...(fromNs === undefined ? {} : { fromNs }),
    ...(toNs === undefined ? {} : { toNs }),
  };
}

/** A request that the capture lacks may have changed anything. */
function isLossy(capture: Capture): boolean {
  const { gaps, missingBytes, desynchronised, requestsOnly, answersOnly, kernelDropped } = capture;
  return gaps + missingBytes + desynchronised + requestsOnly + answersOnly + (kernelDropped ?? 0) > 0;
}

/** So many exchanges tell whether a server has CAS ids. */
const TELLING_ROWS = 20_000;

/**
 * What the first exchanges tell of all. Connections that were open before the recording may have had requests under way, which
 * are not in it. Servers answer in order: once one of its own requests was answered, those before have acted.
 * @param mostNs nothing is waited for longer
 */
async function foretold(
  view: TraceView,
  survey: Survey,
  mostNs: number,
): Promise<Pick<Circumspection, 'beginsNs' | 'tellsIds'>> {
  const waiting = new Set(survey.connections.filter(({ openNs }) => openNs < 0).map(({ id }) => id));
  const tellsIds = survey.servers.map(() => false);
  let beginsNs = 0;
  let rows = 0;
  for await (const batch of view.batches()) {
    for (let row = 0; row < batch.count; row++) {
      const connection = batch.connection[row]!;
      const answerNs = batch.answerNs[row]!;
      if (answerNs === NEVER) continue;
      const target = survey.connections[connection]!.serverIndex;
      tellsIds[target] ||= (batch.answerCasHigh[row]! | batch.answerCasLow[row]!) !== 0;
      if (batch.requestNs[row]! <= mostNs && waiting.delete(connection))
        beginsNs = Math.max(beginsNs, Math.min(answerNs, mostNs));
    }
    rows += batch.count;
    if (rows >= TELLING_ROWS && (waiting.size === 0 || batch.requestNs[batch.count - 1]! > mostNs)) break;
  }
  return { beginsNs, tellsIds };
}
