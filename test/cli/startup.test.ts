// What a command loads before it begins: its own modules and no more. Time would say the same, and noise with it.

import { execFile } from 'node:child_process';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { program } from '../support/endings.ts';
import { batchOf, temporary, writeTape } from '../support/tape.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** Tells of each module on standard error, as Node loads it. */
const hook = `
  import { writeSync } from 'node:fs';
  export async function load(url, context, next) {
    if (url.startsWith('file:')) writeSync(2, 'loaded ' + url + '\\n');
    return next(url, context);
  }`;
const register = `
  import { register } from 'node:module';
  register(${JSON.stringify(`data:text/javascript,${encodeURIComponent(hook)}`)});`;

/** Modules, as paths from the root; packages by their names. */
async function loadedBy(...args: string[]): Promise<string[]> {
  const preload = `data:text/javascript,${encodeURIComponent(register)}`;
  const { stderr } = await promisify(execFile)(process.execPath, ['--import', preload, program, ...args]);
  const all = Array.from(stderr.matchAll(/^loaded (file:.*)$/gm), ([, url]) =>
    relative(root, fileURLToPath(url!)).replace(/^node_modules\/((@[^/]+\/)?[^/]+)\/.*/, '$1'),
  );
  return [...new Set(all)].toSorted();
}

const base = [
  'commander',
  'dist/cli/commands.js',
  'dist/cli/descriptors.js',
  'dist/cli/error.js',
  'dist/cli/hint.js',
  'dist/cli/main.js',
  'dist/cli/printer.js',
  'dist/cli/process.js',
  'dist/cli/program.js',
  'dist/cli/run.js',
  'dist/cli/shell.js',
  'dist/cli/signal.js',
  'dist/config/error.js',
  'dist/config/nearest.js',
  'dist/trace/version.js',
  'picocolors',
];

test.each(['--version', '--help', 'help'])(
  '%s loads the tree of commands, and none of them',
  async (word) => {
    expect(await loadedBy(word)).toEqual(base);
  },
);

test('info and cat load what reads a trace', async () => {
  const tape = temporary('a.tape');
  await writeTape(tape, [batchOf([{ op: 'get', key: 'a', answer: 'b' }])]);
  for (const command of ['info', 'cat']) {
    const loaded = await loadedBy(command, tape);
    // Latencies are told as reports tell them.
    const own = /^dist\/(cli|trace|protocol|convert|config)\/|^dist\/report\/format\.js$/;
    expect(loaded.filter((name) => !own.test(name))).toEqual(['commander', 'picocolors']);
    expect(loaded.length).toBeLessThan(60);
  }
});

test('a replay loads no rendering, no metrics, no client and no model that it was not asked for', async () => {
  const tape = temporary('a.tape');
  await writeTape(tape, [batchOf([{ op: 'set', key: 'a', value: 'b' }])]);
  const loaded = await loadedBy('replay', tape, '--speed', 'max', '--quiet');
  const packages = 'prom-client memjs hyparquet-writer uplot cli-progress fzstd zod yaml bullmq ioredis';
  for (const name of packages.split(' ')) expect(loaded).not.toContain(name);
  expect(loaded).not.toContain('dist/synth/model/model.js');
  for (const name of ['html', 'style', 'junit', 'markdown'])
    expect(loaded).not.toContain(`dist/report/${name}.js`);
});
