// Writes the JSON Schemas of what memtape writes into docs/schemas, from the code: `npm run schemas`.

import { mkdirSync, writeFileSync } from 'node:fs';
import { reportJsonSchema } from '../report/schema.ts';

const folder = 'docs/schemas';
mkdirSync(folder, { recursive: true });
writeFileSync(`${folder}/report.schema.json`, `${JSON.stringify(reportJsonSchema(), null, 2)}\n`);
