// `memtape gate`: the runs of a gate file one after the other, a verdict on each, and one on all of them.

import type { Command } from 'commander';
import { auditTrace } from '../library/audit.ts';
import { makeGateReport, renderSummary } from '../report/gate.ts';
import { crossedBy, failedBy, type Crossing } from '../report/live.ts';
import { reportOfNothing } from '../report/nothing.ts';
import { exitCodes } from '../report/report.ts';
import type { NamedReport, Report } from '../report/shape.ts';
import { renderText } from '../report/text.ts';
import { ReplayError } from '../replayer/error.ts';
import { TraceError } from '../trace/error.ts';
import { auditOptionsOf } from './audit.ts';
import { startEmbedded } from './embedded.ts';
import { CliError, Verdict } from './error.ts';
import { gateJsonSchema, readGate } from './gatefile.ts';
import { withHint } from './hint.ts';
import { expectKind } from './kind.ts';
import { outputOptions, writeReports, type OutputOptions } from './output.ts';
import { outputsOf, planGate, type Plan } from './plan.ts';
import { checkEmbedded } from './needs.ts';
import { runReplay, type RunOptions } from './replaying.ts';
import type { Shell } from './shell.ts';
import { INTERRUPTED, onInterrupt } from './signal.ts';
import { formatCount, formatDuration, plural, safeJson } from './text.ts';

interface GateOptions extends OutputOptions {
  only: string[];
  dryRun?: true;
  schema?: true;
  quiet?: true;
}

const examples = `
Exit codes, of the first of these that a run has:
  1 it failed · 5 its target could not be reached, or it was aborted · 4 invalid · 3 not enough evidence · 0 it passed
  2 the file is wrong, and nothing was sent · 130 interrupted

Examples:
  memtape gate                                  memtape.gate.yaml in this folder
  memtape gate release.yaml --dry-run           what would be done, and how long it takes
  memtape gate release.yaml --only incident
  memtape gate --json gate.json --junit gate.xml --markdown auto
  memtape gate --schema > gate.schema.json      for an editor`;

export function gateCommand(command: Command, shell: Shell): void {
  outputOptions(command, shell)
    .option(
      '--only <name>',
      'this run alone (repeatable)',
      (name: string, before: string[]) => [...before, name],
      [],
    )
    .option('--dry-run', 'check everything that needs no target, print the plan, and send nothing')
    .option('--schema', 'print the JSON Schema of gate files')
    .option('--quiet', 'no progress')
    .addHelpText('after', examples)
    .action(async (file: string, options: GateOptions) => {
      if (options.schema === true) {
        shell.stdout.write(`${JSON.stringify(gateJsonSchema(), null, 2)}\n`);
        return;
      }
      await runGate(shell, shell.path(file), options);
    });
}

async function runGate(
  shell: Shell,
  file: string,
  { only, dryRun, quiet, ...given }: GateOptions,
): Promise<void> {
  expectKind(file, 'gate');
  const gate = readGate(file, shell.env);
  const plans = await planGate(shell, gate, file, only);
  const outputs = outputsOf(gate, file, given, plans);
  const { palette } = shell;
  if (dryRun === true) {
    shell.stdout.write(renderPlans(plans, shell));
    return;
  }
  const interrupt = onInterrupt(shell);
  const say = (text: string): void => {
    if (outputs.json !== '-') shell.stdout.write(text);
  };
  const done: NamedReport[] = [];
  // What was done is saved even where memtape itself is at fault.
  let defect: unknown;
  try {
    for (const plan of plans) {
      if (interrupt.signal.aborted) break;
      say(`${palette.strong(plan.name)}  ${palette.dim(described(plan))}\n`);
      const report = await runPlan(shell, plan, interrupt.signal, quiet === true);
      done.push({ name: plan.name, report });
      say(`${told(report, shell)}\n`);
      if (report.verdict !== 'pass' && gate.value.stopOnFailure === true) break;
    }
  } catch (error) {
    defect = error;
  } finally {
    interrupt.ignore();
  }
  const { aborted } = interrupt.signal;
  const skipped = plans.slice(done.length).map(({ name }) => name);
  const report = makeGateReport(done, skipped, !aborted && defect === undefined);
  say(renderSummary(report, palette));
  const json = `${safeJson(report, 2)}\n`;
  if (outputs.json === '-') shell.stdout.write(json);
  const verdict = aborted ? INTERRUPTED : exitCodes[report.verdict];
  const code = await writeReports(shell, report.runs, json, outputs, verdict);
  if (defect !== undefined) throw defect;
  throw new Verdict(code);
}

/** One run. A target that cannot be reached, or a replay that cannot be done, is a verdict and no end of the gate. */
async function runPlan(shell: Shell, plan: Plan, interrupted: AbortSignal, quiet: boolean): Promise<Report> {
  const { source, options, aborting } = plan;
  if (plan.isAudit) return auditRun(source, options);
  const embedded = plan.embedded === undefined ? undefined : await startEmbedded(plan.embedded);
  const early = new AbortController();
  let crossings: Crossing[] = [];
  let hasBegun = false;
  const asked = {
    ...options,
    ...(embedded === undefined ? {} : { target: embedded.targets }),
    ...(embedded === undefined || embedded.backends.length === 0 || options.backends !== undefined
      ? {}
      : { backends: embedded.backends }),
    ...(quiet ? { quiet: true as const } : {}),
  };
  try {
    if (embedded !== undefined) await checkEmbedded(source);
    const { report } = await runReplay(
      shell,
      source,
      asked,
      AbortSignal.any([interrupted, early.signal]),
      (progress) => {
        if (!hasBegun) embedded?.begin();
        hasBegun = true;
        if (crossings.length > 0) return;
        crossings = crossedBy(aborting, progress);
        if (crossings.length > 0) early.abort();
      },
    );
    return crossings.length > 0 ? failedBy(report, crossings) : report;
  } catch (error) {
    if (!(error instanceof ReplayError || error instanceof TraceError || error instanceof CliError))
      throw error;
    const { speed, rate, order, threshold } = options;
    return reportOfNothing({
      source,
      targets: asked.target ?? [],
      speed,
      rate: rate?.text ?? null,
      order,
      thresholds: threshold,
      why: withHint(error),
    });
  } finally {
    await embedded?.stop();
  }
}

/** A trace that is judged by itself. One that cannot be read is a verdict, too. */
async function auditRun(source: string, options: RunOptions): Promise<Report> {
  try {
    return await auditTrace(source, auditOptionsOf(options));
  } catch (error) {
    if (!(error instanceof TraceError)) throw error;
    const of = { source, targets: [], speed: 1, rate: null, order: 'none', thresholds: options.threshold };
    return reportOfNothing({ ...of, why: withHint(error) });
  }
}

/** In a line where it passed. */
function told(report: Report, { palette }: Shell): string {
  const text = renderText(report, palette);
  return report.verdict === 'pass' ? `${text.split('\n', 1)[0]}\n` : text;
}

function described({ source, options, embedded, isAudit, exchanges, seconds }: Plan): string {
  if (isAudit) return `${source}, judged by itself, about ${plural(exchanges, 'exchange')}`;
  const to = options.target?.join(', ') ?? `embedded${embedded?.proxy === true ? ', behind a proxy' : ''}`;
  const pace =
    options.rate !== undefined
      ? `--rate ${options.rate.text}`
      : options.speed === 'max'
        ? 'max speed'
        : `${options.speed}×`;
  const long = seconds === null ? 'as long as it takes' : `about ${formatDuration(seconds)}`;
  return `${source} to ${to}, about ${plural(exchanges, 'exchange')} at ${pace}, ${long}`;
}

function renderPlans(plans: readonly Plan[], { palette }: Shell): string {
  const paced = plans.reduce((sum, { seconds }) => sum + (seconds ?? 0), 0);
  const isOpen = plans.some(({ seconds }) => seconds === null);
  return [
    ...plans.flatMap((plan) => [
      `${palette.strong(plan.name)}  ${described(plan)}`,
      ...(plan.options.drills ?? []).map(
        ({ at, run, name }) => `  drill at ${formatDuration(at / 1000)}: ${name ?? run}`,
      ),
      ...plan.options.threshold.map(
        (threshold) => `  ${threshold.expression}${plan.aborting.includes(threshold) ? ' (aborts)' : ''}`,
      ),
    ]),
    `${plural(plans.length, 'run')}, about ${formatCount(plans.reduce((sum, { exchanges }) => sum + exchanges, 0))} exchanges, ${formatDuration(paced)}${isOpen ? ' and what runs at max speed' : ''}`,
    '',
  ].join('\n');
}
