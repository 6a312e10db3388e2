// Reports as one HTML page that needs nothing else: its script, its style, the charting library and the data are in it, and
// its policy lets nothing else run or load. What comes from traffic is data for the script, which shows it as text.

import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { documentOf } from './document.ts';
import type { NamedReport } from './shape.ts';
import { style } from './style.ts';
import {
  culpritMeasures,
  culpritSentence,
  deedOf,
  gistOf,
  headerOf,
  meanings,
  nextSteps,
  outcomeOf,
  reasonOf,
  valueOf,
  verdictNames,
  worstOf,
  type Sentence,
} from './words.ts';

/** What the page is handed: reports, and the sentences about them. */
export interface PageData {
  verdict: string;
  meanings: Readonly<Record<string, string>>;
  reports: PageReport[];
}

export interface PageReport extends NamedReport {
  words: {
    verdict: string;
    deed: string;
    /** What is wrong, where, since when. */
    gist: Sentence;
    reason: Sentence;
    header: { name: string; value: Sentence }[];
    next: Sentence[];
    attribution: { sentence: Sentence; measures: { name: string; share: number }[] }[];
    thresholds: { outcome: ReturnType<typeof outcomeOf>; value: string }[];
  };
}

/** @throws Error where the page's own script was not built */
export function renderHtml(reports: readonly NamedReport[]): string {
  const { script, library, css } = assets();
  const verdict = verdictNames[worstOf(reports)];
  return documentOf({
    title: `${verdict}: memtape report`,
    css,
    scripts: [library, script],
    body: `<noscript><p>This report is drawn by a script inside of it, which may not run here. memtape replay --markdown writes one that needs none.</p></noscript>
<script type="application/json" id="data">${embedded(dataOf(reports))}</script>`,
  });
}

function dataOf(reports: readonly NamedReport[]): PageData {
  return {
    verdict: verdictNames[worstOf(reports)],
    meanings,
    reports: reports.map(({ name, report }) => ({
      name,
      report,
      words: {
        verdict: verdictNames[report.verdict],
        deed: deedOf(report),
        gist: gistOf(report),
        reason: reasonOf(report),
        header: headerOf(report, name),
        next: nextSteps(report),
        attribution: report.attribution.map((culprit) => ({
          sentence: culpritSentence(culprit),
          measures: culpritMeasures(culprit),
        })),
        thresholds: report.thresholds.map((threshold) => ({
          outcome: outcomeOf(threshold),
          value: valueOf(threshold),
        })),
      },
    })),
  };
}

/** JSON that no parser of HTML sees an end or a comment in. */
function embedded(data: PageData): string {
  return JSON.stringify(data).replaceAll('<', '\\u003c');
}

interface Assets {
  script: string;
  library: string;
  css: string;
}

let loaded: Assets | undefined;

function assets(): Assets {
  loaded ??= load();
  return loaded;
}

function load(): Assets {
  const uplot = dirname(createRequire(import.meta.url).resolve('uplot/package.json'));
  const license = readFileSync(join(uplot, 'LICENSE'), 'utf8').trim();
  return {
    // Its licence asks to go with it.
    library: `/*!\n${license}\n*/\n${readFileSync(join(uplot, 'dist', 'uPlot.iife.min.js'), 'utf8')}`,
    css: `${readFileSync(join(uplot, 'dist', 'uPlot.min.css'), 'utf8')}\n${style}`,
    script: readFileSync(builtScript(), 'utf8'),
  };
}

/** Beside this module where that was built, else in the build of the checkout that it is part of. */
function builtScript(): string {
  const here = import.meta.dirname;
  const paths = [join(here, 'page.js'), join(here, '..', 'dist', 'report', 'page.js')];
  const path = paths.find((at) => existsSync(at));
  if (path === undefined) throw new Error('the script of the HTML report is missing; npm run build makes it');
  return path;
}
