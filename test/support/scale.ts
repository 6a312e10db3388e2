// How much of what is random the tests try. `npm test` takes a sample; `npm run proof tests` takes many times as much.

const SCALE = Number(process.env['TEST_SCALE'] ?? 1);

/** @param sample how many `npm test` takes */
export const runs = (sample: number): number => Math.ceil(sample * SCALE);
