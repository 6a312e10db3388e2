// The users of a workload's tenants, as the embedded proxy and the replayer want to know them, for the proofs.

import type { FaultProxyOptions } from '../fixtures/proxy.ts';
import type { ReplayOptions } from '../replayer/replay.ts';

export type Users = ReadonlyMap<string, string>;

/** With their passwords; none where the tenants have no names. */
export function usersOf(tenants: readonly { name?: string | undefined }[]): Users {
  return new Map(tenants.flatMap(({ name }) => (name === undefined ? [] : [[name, `secret-of-${name}`]])));
}

export function credentials(users: Users): {
  proxy: Pick<FaultProxyOptions, 'users'>;
  replay: Pick<ReplayOptions, 'credentialsOf'>;
} {
  if (users.size === 0) return { proxy: {}, replay: {} };
  return {
    proxy: { users },
    replay: { credentialsOf: (tenant) => ({ user: tenant, password: users.get(tenant) ?? '' }) },
  };
}
