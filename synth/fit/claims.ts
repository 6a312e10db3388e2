// What a fitted model says of itself, as text: how near it comes to the traffic that it was fitted to and to other traffic of
// its kind, and where it is not to be trusted.

import type { Expected, LocalityError } from '../references/expected.ts';
import type { ModelInput } from '../model/model.ts';

const WIDTHS = [26, 8, 10, 12];

/** Empty for models that were not fitted. */
export function renderEvidence({ tenants }: Pick<ModelInput, 'tenants'>): string {
  return tenants
    .flatMap(({ name, locality }) =>
      locality === undefined || locality.kind === 'independent' || locality.expected === undefined
        ? []
        : [evidenceOf(name, locality.kind, locality.expected)],
    )
    .join('\n');
}

function evidenceOf(
  tenant: string | undefined,
  chosen: string,
  { candidates, halves, fitted, doubts }: Expected,
): string {
  const lines: string[] = [];
  if (tenant !== undefined) lines.push(`${tenant}:`);
  if (candidates.length > 0) {
    lines.push(
      'Errors of miss ratios and of popularity, fitted to the first half of the trace, on its second half:',
    );
    lines.push(cells('', 'LRU', 'five', 'popularity'));
    for (const { method, ...errors } of candidates) {
      const name = method === 'independent' ? 'independent draws' : method;
      lines.push(errorLine(method === chosen ? `${name} (this model)` : name, errors));
    }
    if (halves !== undefined) lines.push(errorLine('the first half itself', halves));
    if (fitted !== undefined) lines.push(errorLine('this model on all of it', fitted));
  }
  lines.push(...doubts.map((doubt) => `Doubt: ${doubt}`));
  return lines.map((line) => `${line}\n`).join('');
}

function errorLine(name: string, { lru, five, popularity }: LocalityError): string {
  return cells(name, ...[lru, five, popularity].map((error) => error.toFixed(4)));
}

function cells(...texts: readonly string[]): string {
  return texts
    .map((text, n) => (n === 0 ? `  ${text.padEnd(WIDTHS[n]!)}` : text.padStart(WIDTHS[n]!)))
    .join('')
    .trimEnd();
}
