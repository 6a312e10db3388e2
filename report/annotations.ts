// Reports as annotations of a GitHub Actions run: one line each, which the runner shows on the page of the run.

import { plural } from './format.ts';
import type { NamedReport } from './shape.ts';
import { gistOf, meaningOf, plain, reasonOf, verdictNames } from './words.ts';

/** GitHub shows ten of a kind in a step. */
const FINDINGS_SHOWN = 5;

/** Lines to print where GITHUB_ACTIONS is set. */
export function renderAnnotations(reports: readonly NamedReport[]): string[] {
  return reports.flatMap(({ name, report }) => {
    const { verdict, findings } = report;
    const [gist, reason] = [plain(gistOf(report)), plain(reasonOf(report))];
    const level = verdict === 'pass' ? 'notice' : 'error';
    const title = `memtape: ${verdictNames[verdict]}, ${name}`;
    return [
      annotation(level, title, gist === reason ? reason : `${gist}\n${reason}`),
      ...findings
        .filter((finding) => finding.class === 'violation')
        .slice(0, FINDINGS_SHOWN)
        .map(({ kind, count }) =>
          annotation(
            verdict === 'pass' ? 'warning' : 'error',
            `memtape: ${kind}, ${name}`,
            `${plural(count, 'time')}: ${meaningOf(kind)}`,
          ),
        ),
    ];
  });
}

function annotation(level: 'notice' | 'warning' | 'error', title: string, text: string): string {
  return `::${level} title=${escape(title).replaceAll(':', '%3A').replaceAll(',', '%2C')}::${escape(text)}`;
}

function escape(text: string): string {
  return text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A');
}
