// Writes the JSON Schemas of what memtape reads and writes into docs/schemas, from the code: `npm run schemas`.

import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { capacityJsonSchema } from '../capacity/report.ts';
import { gateReportJsonSchema } from '../report/gate.ts';
import { reportJsonSchema } from '../report/schema.ts';

const folder = 'docs/schemas';
const gate = execFileSync(process.execPath, ['dist/cli/main.js', 'gate', '--schema'], { encoding: 'utf8' });
const schemas = {
  report: reportJsonSchema(),
  'gate-report': gateReportJsonSchema(),
  capacity: capacityJsonSchema(),
  gate: JSON.parse(gate) as object,
};
mkdirSync(folder, { recursive: true });
for (const [name, schema] of Object.entries(schemas))
  writeFileSync(`${folder}/${name}.schema.json`, `${JSON.stringify(schema, null, 2)}\n`);
