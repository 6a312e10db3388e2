// Real clients behind the kernel's own address translation: scripts/namespaces.ts, briefly. It needs root, ip and nft.

import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';

const CANNOT_RUN = 3;

test('behind a bridge and DNAT, on all interfaces, counts are those of the clients', (context) => {
  const { status, stdout } = spawnSync(process.execPath, ['dist/scripts/namespaces.js', '300'], {
    encoding: 'utf8',
  });
  context.skip(status === CANNOT_RUN, stdout.trim());
  expect(stdout.match(/equal \|/g)).toHaveLength(2);
  expect(status).toBe(0);
});
