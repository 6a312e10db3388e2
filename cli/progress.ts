// Progress on stderr: a bar on a terminal, a plain line every few seconds elsewhere, nothing where asked to be quiet.

import { createRequire } from 'node:module';
import type { SingleBar } from 'cli-progress';
import type { Shell } from './shell.ts';
import { formatCount, formatDuration } from './text.ts';

const LINE_EVERY_MS = 5_000;
const BAR_EVERY_MS = 100;

export interface ProgressOptions {
  quiet?: boolean;
  /** What is being done, for instance `recording`. */
  label: string;
  /** What is counted, for instance `exchanges`. */
  unit: string;
}

/** `total` 0: unknown, and then there is no bar and no time left. */
export class Progress {
  readonly #printer: Shell['stderr'];
  readonly #options: ProgressOptions;
  readonly #total: number;
  readonly #startMs = performance.now();
  #bar: SingleBar | undefined;
  #shownMs = performance.now();

  constructor({ stderr }: Pick<Shell, 'stderr'>, total: number, options: ProgressOptions) {
    this.#options = options;
    this.#total = total;
    this.#printer = stderr;
    if (options.quiet === true || !stderr.isTTY || total <= 0) return;
    // Only a terminal needs it.
    const bars = createRequire(import.meta.url)('cli-progress') as typeof import('cli-progress');
    this.#bar = new bars.SingleBar(
      {
        format: `${options.label} {bar} {percentage}%  {note}`,
        stream: stderr.stream,
        hideCursor: true,
        clearOnComplete: true,
        fps: 1000 / BAR_EVERY_MS,
      },
      bars.Presets.shades_classic,
    );
    this.#bar.start(total, 0, { note: '' });
  }

  /**
   * @param done of the total
   * @param count of the unit, for the rate
   * @param note for instance `2 violations`
   */
  update(done: number, count: number, note = ''): void {
    if (this.#options.quiet === true) return;
    const now = performance.now();
    if (now - this.#shownMs < (this.#printer.isTTY ? BAR_EVERY_MS : LINE_EVERY_MS)) return;
    this.#shownMs = now;
    const text = this.#text(now, done, count, note);
    if (this.#bar !== undefined) this.#bar.update(Math.min(done, this.#total), { note: text });
    else if (this.#printer.isTTY) this.#printer.write(`\r\x1b[K${this.#options.label}: ${text}`);
    else this.#printer.write(`${this.#options.label}: ${this.#share(done)}${text}\n`);
  }

  /** Clears the bar. */
  stop(): void {
    if (this.#bar !== undefined) this.#bar.stop();
    else if (this.#printer.isTTY && this.#options.quiet !== true) this.#printer.write('\r\x1b[K');
    this.#bar = undefined;
  }

  #share(done: number): string {
    return this.#total > 0 ? `${Math.floor((Math.min(done, this.#total) / this.#total) * 100)}%, ` : '';
  }

  #text(now: number, done: number, count: number, note: string): string {
    const seconds = (now - this.#startMs) / 1000;
    const parts = [
      `${formatCount(count)} ${this.#options.unit}`,
      `${formatCount(Math.round(count / Math.max(seconds, 0.001)))}/s`,
    ];
    if (this.#total > 0 && done > 0 && done < this.#total)
      parts.push(`${formatDuration((seconds * (this.#total - done)) / done)} left`);
    if (note !== '') parts.push(note);
    return parts.join(', ');
  }
}
