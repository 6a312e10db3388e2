// The process in which a worker of a cluster replays its shard; cluster/sender.ts is what it does, and what it hears.

import { given } from '../config/given.ts';
import { runSender, type Channel } from '../cluster/sender.ts';
import { codeOf } from './run.ts';
import { targetsOf, type TargetOptions } from './target.ts';

await runSender(
  process as unknown as Channel,
  // The environment is the worker's own: passwords that it holds were told to nobody.
  (secrets) => {
    const { tls, credentialsOf } = targetsOf({ env: process.env }, secrets as TargetOptions);
    return {
      ...given({ tls, credentialsOf }),
    };
  },
  (error) => codeOf(error) ?? 5,
);
process.disconnect();
