// Where requests go: the targets' addresses, and the route from a recorded server to one of them.

import { formatHostPort, parseHostPort } from '../trace/address.ts';
import { ReplayError } from './error.ts';

export interface Target {
  host: string;
  port: number;
  /** `10.0.0.1:11211`, `[::1]:11211` */
  address: string;
}

const DEFAULT_PORT = 11_211;

/**
 * `host`, `host:port`, `[v6]:port`.
 * @throws ReplayError BAD_ADDRESS
 */
export function parseTarget(text: string): Target {
  try {
    const { host, port } = parseHostPort(text, DEFAULT_PORT);
    if (port > 0) return { host, port, address: formatHostPort(host, port) };
  } catch (cause) {
    throw new ReplayError('BAD_ADDRESS', (cause as Error).message, { cause });
  }
  throw new ReplayError('BAD_ADDRESS', `expected a port from 1 to 65535, got "${text}"`);
}

export type RouteName = 'single' | 'index';

/** From the number of a recorded server (in the order of first sight) to that of a target. */
export type Route = (server: number) => number;

/**
 * `single`: everything to the one target. `index`: the n-th recorded server's traffic to the n-th target.
 * @throws ReplayError BAD_ROUTE where targets and recorded servers do not fit the route
 */
export function createRoute(name: RouteName, targets: number, servers: number): Route {
  if (name === 'single') {
    if (targets !== 1)
      throw new ReplayError(
        'BAD_ROUTE',
        `--route single expects one target, got ${targets}; try --route index`,
      );
    return () => 0;
  }
  if (targets < servers)
    throw new ReplayError(
      'BAD_ROUTE',
      `--route index expects a target for each of the ${servers} recorded servers, got ${targets}`,
    );
  return (server) => server;
}
