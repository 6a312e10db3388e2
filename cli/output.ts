// Where a report goes: the terminal, files of several kinds, and the pages of a CI run.

import { appendFileSync, writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import pc from 'picocolors';
import { renderAnnotations } from '../report/annotations.ts';
import { renderHtml } from '../report/html.ts';
import { renderJunit } from '../report/junit.ts';
import { renderMarkdown } from '../report/markdown.ts';
import type { NamedReport } from '../report/report.ts';
import { renderText, type Palette } from '../report/text.ts';
import { CliError } from './error.ts';

export const outputKinds = ['json', 'html', 'junit', 'markdown'] as const;

/** Paths; `-` and `auto` as the options of a command have them. */
export type OutputOptions = { [Kind in (typeof outputKinds)[number]]?: string };

export function outputOptions(command: Command): Command {
  return command
    .option('--json <file>', 'write the report as JSON; - for standard output')
    .option('--html <file>', 'write it as one page that needs nothing else, to look into')
    .option('--junit <file>', 'write it as JUnit XML, for CI')
    .option(
      '--markdown <file|auto>',
      'write it as Markdown; auto: append it to the summary of the GitHub Actions job, where there is one',
    );
}

/** The colours of reports, where the terminal has any. */
export const palette: Palette = {
  good: (text) => pc.bold(pc.green(text)),
  bad: (text) => pc.bold(pc.red(text)),
  warn: pc.yellow,
  dim: pc.dim,
  strong: pc.bold,
};

/** One report: on standard output, and wherever the options say. @throws CliError where a file cannot be written */
export function printReport(named: NamedReport, options: OutputOptions): void {
  const json = `${JSON.stringify(named.report, null, 2)}\n`;
  process.stdout.write(options.json === '-' ? json : renderText(named.report, palette));
  if (options.json !== undefined && options.json !== '-') write(options.json, json);
  writeRenderings([named], options);
}

/** The files that the options name, of one report or several. @throws CliError where one cannot be written */
export function writeRenderings(
  reports: readonly NamedReport[],
  { html, junit, markdown }: Omit<OutputOptions, 'json'>,
): void {
  if (html !== undefined) write(html, renderHtml(reports));
  if (junit !== undefined) write(junit, renderJunit(reports));
  if (markdown === 'auto') {
    const summary = process.env['GITHUB_STEP_SUMMARY'];
    if (summary !== undefined && summary !== '') write(summary, renderMarkdown(reports), appendFileSync);
  } else if (markdown !== undefined) write(markdown, renderMarkdown(reports));
  // The runner reads both streams, and standard output may be JSON.
  if (process.env['GITHUB_ACTIONS'] === 'true')
    process.stderr.write(`${renderAnnotations(reports).join('\n')}\n`);
}

/** @throws CliError where it cannot be written */
export function write(
  path: string,
  text: string,
  how: (path: string, text: string) => void = writeFileSync,
): void {
  try {
    how(path, text);
  } catch (cause) {
    throw new CliError(`cannot write the report to ${path}: ${(cause as Error).message}`, 2, { cause });
  }
}
