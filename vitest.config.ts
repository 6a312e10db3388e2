import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 90_000,
    hookTimeout: 30_000,
    // Two cores: real servers and real clients run beside the tests.
    maxWorkers: 2,
  },
});
