// `memtape audit --interface` and `--listen`: production judged while it runs, window by window.

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { given } from '../config/given.ts';
import { Windows } from '../library/windows.ts';
import type { AuditTraceOptions } from '../library/audit.ts';
import { recordCapture } from '../recorder/record.ts';
import type { Rotation } from '../recorder/tapes.ts';
import { captureLive } from '../recorder/tcpdump.ts';
import type { Report } from '../report/shape.ts';
import { breakSentence, culpritSentence, plain } from '../report/words.ts';
import { CliError } from './error.ts';
import { startAuditMetrics, type AuditMetrics } from './metrics.ts';
import { openProxy, portsOf, type LiveOptions } from './recording.ts';
import type { Shell } from './shell.ts';
import { onInterrupt } from './signal.ts';
import { formatCount, plural, safeLine } from './text.ts';

export interface WatchOptions extends LiveOptions {
  /** Milliseconds. */
  window: number;
  /** Where windows with a violation are kept. */
  output?: string;
  metrics?: string;
  quiet?: true;
}

/** How often what is complete goes to the disk. */
const FLUSH_MS = 1_000;

/**
 * Judges traffic while it goes on, until the duration is over or somebody stops it.
 * @returns what all windows say together @throws CliError
 */
export async function watch(
  shell: Shell,
  options: WatchOptions,
  judging: Omit<AuditTraceOptions, 'thresholds' | 'onProgress'>,
  thresholds: readonly string[],
): Promise<Report> {
  const folder = shell.temporaryFolder();
  const metrics = options.metrics === undefined ? undefined : await startAuditMetrics(options.metrics);
  if (metrics !== undefined) shell.stderr.write(`metrics on ${metrics.url}\n`);
  const windows = new Windows({
    thresholds,
    windowSeconds: options.window / 1000,
    judging,
    ...(options.output === undefined ? {} : { keep: options.output }),
    onWindow: (window, all) => told(shell, options, window, all, metrics),
    onLost: (count, why) => {
      metrics?.lost(count);
      shell.stderr.write(`memtape: ${plural(count, 'window')} so far could not be judged: ${why}\n`);
    },
    onKept: (path) => shell.stderr.write(`memtape: kept ${path}\n`),
  });
  const output = join(folder, 'window.tape');
  const rotate: Rotation = { ns: options.window * 1e6, onFile: (path) => windows.add(path) };
  try {
    if (options.interface === undefined) await throughProxy(shell, options, output, rotate);
    else await fromInterface(shell, options.interface, options, output, rotate);
    const all = await windows.close();
    if (all === undefined)
      throw new CliError(
        windows.lost > 0
          ? `none of the ${plural(windows.lost, 'window')} could be judged`
          : 'no memcached binary traffic came: there is nothing to judge',
        3,
      );
    return all;
  } finally {
    await metrics?.stop();
    shell.remove(folder);
  }
}

/** A line for each window; more where something is wrong. */
function told(
  { stderr, palette }: Shell,
  { quiet }: WatchOptions,
  window: Report,
  all: Report,
  metrics: AuditMetrics | undefined,
): void {
  metrics?.update(window, all);
  const { exchanges, drift, audit, attribution } = window;
  const isWrong = exchanges.violations > 0;
  if (quiet === true && !isWrong) return;
  const time = new Date().toISOString().slice(11, 19);
  const line = `${time}  ${plural(exchanges.sent, 'exchange')}, ${formatCount(audit?.all.judged ?? 0)} reads judged, ${plural(exchanges.violations, 'violation')}, ${formatCount(drift['lost'] ?? 0)} lost`;
  stderr.write(`${isWrong ? palette.bad(line) : line}\n`);
  for (const broken of audit?.breaks ?? [])
    stderr.write(`          ${safeLine(plain(breakSentence(broken)))}\n`);
  if (isWrong && attribution[0] !== undefined)
    stderr.write(`          ${safeLine(plain(culpritSentence(attribution[0])))}\n`);
}

async function fromInterface(
  shell: Shell,
  name: string,
  options: WatchOptions,
  output: string,
  rotate: Rotation,
): Promise<void> {
  const ports = portsOf(options);
  const { filter, duration } = options;
  const live = await captureLive({ interface: name, ports, ...given({ filter }) });
  const interrupt = onInterrupt(shell);
  const stop = (): void => live.stop();
  interrupt.signal.addEventListener('abort', stop);
  const timer = duration === undefined ? undefined : setTimeout(stop, duration);
  // What the kernel dropped is in the window in which it is told.
  const asking = setInterval(() => live.ask(), FLUSH_MS);
  shell.stderr.write(`judging what passes ${name}; Ctrl-C ends it, and the report comes then\n`);
  try {
    const { broken } = await recordCapture(live.packets, {
      output,
      ports,
      rotate,
      source: `interface ${name}`,
      flushMs: FLUSH_MS,
      kernelDropped: async () => live.dropped(),
    });
    if (broken !== undefined) shell.stderr.write(`memtape: ${broken.message}\n`);
  } finally {
    live.stop();
    clearTimeout(timer);
    clearInterval(asking);
    interrupt.ignore();
  }
}

async function throughProxy(
  shell: Shell,
  options: WatchOptions,
  output: string,
  rotate: Rotation,
): Promise<void> {
  const { upstream, duration } = options;
  const interrupt = onInterrupt(shell);
  const proxy = await openProxy(shell, options, output, { rotate }, 'judging');
  for (const [n, address] of proxy.addresses.entries())
    shell.stderr.write(`judging what passes ${address} for ${upstream[n]}; Ctrl-C ends it\n`);
  const ends = [interrupt.arrived];
  if (duration !== undefined) ends.push(sleep(duration, undefined, { ref: false }));
  await Promise.race(ends);
  await proxy.stop();
  interrupt.ignore();
}
