// Where a report goes: the terminal, files of several kinds, and the pages of a CI run.

import { appendFileSync } from 'node:fs';
import type { Command } from 'commander';
import { renderAnnotations } from '../report/annotations.ts';
import type { NamedReport } from '../report/shape.ts';
import { renderText } from '../report/text.ts';
import { CliError } from './error.ts';
import { checkPlaces, writePlace, type PlaceOptions } from './place.ts';
import type { Shell } from './shell.ts';
import { safeJson } from './text.ts';

export const outputKinds = ['json', 'html', 'junit', 'markdown'] as const;
type OutputKind = (typeof outputKinds)[number];

/** Paths; `-` and `auto` as the options of a command have them. */
export type OutputOptions = { [Kind in OutputKind]?: string };

export function outputOptions(command: Command, shell: Shell): Command {
  return command
    .option('--json <file>', 'write the report as JSON; - for standard output', shell.path)
    .option('--html <file>', 'write it as one page that needs nothing else, to look into', shell.path)
    .option('--junit <file>', 'write it as JUnit XML, for CI', shell.path)
    .option(
      '--markdown <file|auto>',
      'write it as Markdown; auto: append it to the summary of the GitHub Actions job, where there is one',
      (text) => (text === 'auto' ? text : shell.path(text)),
    );
}

/** Files of these that are written, by the option that names each. */
function filesOf(options: OutputOptions): [kind: OutputKind, path: string][] {
  return outputKinds.flatMap((kind): [OutputKind, string][] => {
    const path = options[kind];
    const isApart = (kind === 'json' && path === '-') || (kind === 'markdown' && path === 'auto');
    return path === undefined || isApart ? [] : [[kind, path]];
  });
}

/** How the reports of these options are written. @param where who names a kind; default: its option */
function placesOf(
  options: OutputOptions,
  inputs: readonly string[],
  where = (kind: OutputKind): string => `--${kind}`,
): [path: string, options: PlaceOptions][] {
  return filesOf(options).map(([kind, path]) => [
    path,
    { option: where(kind), replacing: 'reports', inputs },
  ]);
}

/**
 * Whether everything can be written, before anything is sent.
 * @param inputs files that are read
 * @param more other outputs of the command
 * @throws CliError with the option
 */
export function checkOutputs(
  options: OutputOptions,
  inputs: readonly string[],
  more: readonly [path: string, options: PlaceOptions][] = [],
  where?: (kind: OutputKind) => string,
): void {
  checkPlaces([...placesOf(options, inputs, where), ...more]);
}

/**
 * One report: on standard output, and wherever the options say.
 * @param code of the verdict
 * @returns the exit code: the verdict's stands, but nothing passes of which a part could not be written
 */
export async function printReport(
  shell: Shell,
  named: NamedReport,
  options: OutputOptions,
  code: number,
): Promise<number> {
  const json = `${safeJson(named.report, 2)}\n`;
  shell.stdout.write(options.json === '-' ? json : renderText(named.report, shell.palette, named.name));
  return writeReports(shell, [named], json, options, code);
}

/** The files that the options name, of one report or several. @returns as printReport */
export async function writeReports(
  shell: Shell,
  reports: readonly NamedReport[],
  json: string,
  options: OutputOptions,
  code: number,
): Promise<number> {
  const text: Record<OutputKind, () => Promise<string>> = {
    json: async () => json,
    html: async () => (await import('../report/html.ts')).renderHtml(reports),
    junit: async () => (await import('../report/junit.ts')).renderJunit(reports),
    markdown: async () => markdownOf(reports),
  };
  let isWhole = true;
  const attempt = async (work: () => Promise<void>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof CliError)) throw error;
      // The others are written all the same.
      shell.stderr.write(`memtape: ${error.message}\n`);
      isWhole = false;
    }
  };
  for (const [kind, path] of filesOf(options))
    await attempt(async () =>
      writePlace(shell, path, await text[kind](), { option: `--${kind}`, replacing: 'reports' }),
    );
  const summary = shell.env['GITHUB_STEP_SUMMARY'] ?? '';
  if (options.markdown === 'auto' && summary !== '')
    await attempt(async () => append(summary, await markdownOf(reports)));
  // The runner reads both streams, and standard output may be JSON.
  if (shell.env['GITHUB_ACTIONS'] === 'true')
    shell.stderr.write(`${renderAnnotations(reports).join('\n')}\n`);
  return isWhole || code !== 0 ? code : 2;
}

async function markdownOf(reports: readonly NamedReport[]): Promise<string> {
  return (await import('../report/markdown.ts')).renderMarkdown(reports);
}

/** The summary is the runner's file. @throws CliError */
function append(path: string, text: string): void {
  try {
    appendFileSync(path, text);
  } catch (cause) {
    throw new CliError(`cannot write the summary to ${path}: ${(cause as Error).message}`, 2, { cause });
  }
}
