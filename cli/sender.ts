// The process in which a worker of a cluster replays its shard; cluster/sender.ts is what it does, and what it hears.

import { runSender, type Channel } from '../cluster/sender.ts';
import { codeOf } from './run.ts';
import { targetsOf, type TargetOptions } from './target.ts';

await runSender(
  process as unknown as Channel,
  // The environment is the worker's own: passwords that it holds were told to nobody.
  (secrets) => {
    const { tls, credentialsOf } = targetsOf({ env: process.env }, secrets as TargetOptions);
    return {
      ...(tls === undefined ? {} : { tls }),
      ...(credentialsOf === undefined ? {} : { credentialsOf }),
    };
  },
  (error) => codeOf(error) ?? 5,
);
process.disconnect();
