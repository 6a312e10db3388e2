// What people write of drills. Apart from those who run them: most replays have none, and need neither YAML nor schemas.

import { z } from 'zod';
import { duration, readYaml } from '../config/yaml.ts';

export const drillSchema = z.strictObject({
  at: duration.describe("time since the replay's start"),
  run: z.string().min(1).describe('a shell command'),
  name: z.string().min(1).optional().describe('what reports call it; default: the command'),
  server: z.string().min(1).optional().describe('the target or backend that it is about; default: all'),
  timeout: duration.optional().describe('it is stopped after this; default 30s'),
});
const drillsSchema = z.array(drillSchema).min(1);

/** `at` and `timeout` in milliseconds. */
export type Drill = z.output<typeof drillSchema>;

/** A drill file: a YAML list. @throws ConfigError */
export function parseDrills(text: string, path: string): Drill[] {
  return readYaml(text, path, drillsSchema);
}
