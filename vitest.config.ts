import { statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { defineConfig } from 'vitest/config';

/** Where the tests' files go: into memory, where there is room, since every trace is synchronised with its disk. */
function folder(): string {
  const inMemory = '/dev/shm';
  try {
    const { bavail, bsize } = statfsSync(inMemory);
    return bavail * bsize > 2 ** 31 ? inMemory : tmpdir();
  } catch {
    return tmpdir();
  }
}

/** What these measure of the memory of their process is nobody else's. */
const measured = [
  'test/protocol/decoder.test.ts',
  'test/recorder/bounds.test.ts',
  'test/recorder/layers.test.ts',
];

export default defineConfig({
  test: {
    testTimeout: 90_000,
    hookTimeout: 30_000,
    env: { TMPDIR: folder() },
    // Those that are asked for at the same time mostly wait.
    maxConcurrency: 16,
    // Two cores: real servers and real clients run beside the tests, and some of these go by the clock.
    maxWorkers: 2,
    projects: [
      {
        extends: true,
        // One process takes file after file, each with modules of its own: to start a process takes as long as many a file.
        test: { name: 'tests', include: ['test/**/*.test.ts'], exclude: measured, isolate: false },
      },
      { extends: true, test: { name: 'memory', include: measured } },
    ],
  },
});
