// Where requests go: the targets' addresses, and the route from a recorded server to one of them.

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
  const match = /^(?:\[(?<v6>[0-9a-f:.]+)\]|(?<host>[^:[\]\s]+))(?::(?<port>\d{1,5}))?$/i.exec(text.trim());
  const host = match?.groups?.['v6'] ?? match?.groups?.['host'];
  const port = Number(match?.groups?.['port'] ?? DEFAULT_PORT);
  if (host === undefined || port < 1 || port > 65_535)
    throw new ReplayError('BAD_ADDRESS', `expected HOST:PORT, for instance 127.0.0.1:11211; got "${text}"`);
  return { host, port, address: `${host.includes(':') ? `[${host}]` : host}:${port}` };
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
