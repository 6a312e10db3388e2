// What a command has of the world around it: its streams, its environment, its folder, the signals that it hears. The
// binary gives it those of the process; a test, or a program that runs commands, gives it others.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { createColors } from 'picocolors';
import type { Palette } from '../report/text.ts';
import { Printer, type Stream } from './printer.ts';

/** Told of SIGINT and the like, as `process` is. */
interface Signals {
  on(signal: NodeJS.Signals, listener: () => void): unknown;
  off(signal: NodeJS.Signals, listener: () => void): unknown;
}

export interface World {
  /** Asked for where a command reads it. */
  readonly stdin: Readable;
  stdout: Stream;
  stderr: Stream;
  env: NodeJS.ProcessEnv;
  cwd: string;
  signals: Signals;
  /** Ends what cannot be ended in order. */
  quit: (code: number) => void;
}

export class Shell {
  readonly stdout: Printer;
  readonly stderr: Printer;
  readonly env: NodeJS.ProcessEnv;
  /** Ends what cannot be ended in order. */
  readonly quit: (code: number) => void;
  readonly colors: ReturnType<typeof createColors>;
  readonly #world: World;
  readonly #leftovers = new Set<string>();
  readonly #listeners: [signal: NodeJS.Signals, listener: () => void][] = [];

  constructor(world: World) {
    this.#world = world;
    this.stdout = new Printer(world.stdout);
    this.stderr = new Printer(world.stderr);
    this.env = world.env;
    this.quit = world.quit;
    this.colors = createColors(hasColors(world));
  }

  get stdin(): Readable {
    return this.#world.stdin;
  }

  /** The colours of reports, where the terminal has any. */
  get palette(): Palette {
    const { bold, green, red, yellow, dim } = this.colors;
    return {
      good: (text) => bold(green(text)),
      bad: (text) => bold(red(text)),
      warn: yellow,
      dim,
      strong: bold,
    };
  }

  /** A path as the process finds it: as it was typed where the folders are the same. Devices and `-` stay. */
  readonly path = (typed: string): string => {
    const { cwd } = this.#world;
    return typed === '-' || cwd === process.cwd() ? typed : resolve(cwd, typed);
  };

  /** Hears of a signal until the command ends. */
  readonly listen = (signal: NodeJS.Signals, listener: () => void): void => {
    this.#world.signals.on(signal, listener);
    this.#listeners.push([signal, listener]);
  };

  /** A folder that goes with `remove`, or when the command ends, in whatever way. */
  temporaryFolder(name = 'memtape-'): string {
    const folder = mkdtempSync(join(tmpdir(), name));
    this.#leftovers.add(folder);
    return folder;
  }

  /** Goes when the command ends, unless it is kept. */
  addLeftover(path: string): void {
    this.#leftovers.add(path);
  }

  keep(path: string): void {
    this.#leftovers.delete(path);
  }

  remove(path: string): void {
    this.#leftovers.delete(path);
    rmSync(path, { recursive: true, force: true });
  }

  ignore(listener: () => void): void {
    for (const [signal, known] of this.#listeners)
      if (known === listener) this.#world.signals.off(signal, listener);
  }

  /** The command is over: nothing is left of what was not finished, and nobody listens. */
  clear(): void {
    for (const [signal, listener] of this.#listeners.splice(0)) this.#world.signals.off(signal, listener);
    for (const path of this.#leftovers) this.remove(path);
  }
}

/** As picocolors decides for the process. */
function hasColors({ env, stdout }: World): boolean {
  if ((env['NO_COLOR'] ?? '') !== '') return false;
  if ((env['FORCE_COLOR'] ?? '') !== '') return true;
  return (stdout.isTTY === true && env['TERM'] !== 'dumb') || (env['CI'] ?? '') !== '';
}
