// Where requests go: the targets, and the route from a recorded server and a key to one of them.

import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import { createDistribution, distributionNames, type Distribution } from '../protocol/distribution.ts';
import { formatHostPort, parseHostPort } from '../trace/address.ts';
import { globPattern } from '../trace/glob.ts';
import { ReplayError } from './error.ts';

export interface Target {
  host: string;
  port: number;
  /** Of a unix socket. */
  path?: string;
  /** `10.0.0.1:11211`, `[::1]:11211`, `/run/memcached.sock` */
  address: string;
  /** What the name resolved to, where it is one; connections go to them in turn. */
  addresses?: readonly string[];
  tls?: TlsOptions;
}

export type TlsOptions = Pick<ConnectionOptions, 'ca' | 'cert' | 'key' | 'servername' | 'rejectUnauthorized'>;

export interface Credentials {
  user: string;
  password: string;
}

/** The credentials of a recorded tenant (empty: a connection without one); undefined: none are needed. */
export type CredentialsOf = (tenant: string) => Credentials | undefined;

const DEFAULT_PORT = 11_211;

/**
 * `host`, `host:port`, `[v6]:port`, `unix:/path` or `/path`.
 * @throws ReplayError BAD_ADDRESS
 */
export function parseTarget(text: string): Target {
  const path = text.startsWith('/') ? text : /^unix:(\/.*)$/.exec(text)?.[1];
  if (path !== undefined) return { host: path, port: 0, path, address: path };
  try {
    const { host, port } = parseHostPort(text, DEFAULT_PORT);
    if (port > 0) return { host, port, address: formatHostPort(host, port) };
  } catch (cause) {
    throw new ReplayError('BAD_ADDRESS', (cause as Error).message, { cause });
  }
  throw new ReplayError('BAD_ADDRESS', `expected a port from 1 to 65535, got "${text}"`);
}

/** The target with the addresses of its name. @throws ReplayError UNREACHABLE */
export async function resolveTarget(target: Target): Promise<Target> {
  if (target.path !== undefined || isIP(target.host) !== 0) return target;
  try {
    const found = await lookup(target.host, { all: true, verbatim: true });
    return { ...target, addresses: [...new Set(found.map(({ address }) => address))] };
  } catch (cause) {
    throw new ReplayError('UNREACHABLE', `cannot find ${target.host}: ${(cause as Error).message}`, {
      cause,
    });
  }
}

export const routeNames = ['single', 'index', ...distributionNames, 'map'] as const;
export type RouteName = (typeof routeNames)[number];

/** Rules of `--route map=FILE`, first match first: a glob over keys, and the target's address. */
export type RouteMap = readonly { glob: string; address: string }[];

export interface Route {
  /** The target of a recorded server's traffic, by number; where the key decides, of what has no key. */
  ofServer(server: number): number;
  /** The target of a key; undefined where the recorded server decides alone. */
  ofKey: Distribution | undefined;
}

/**
 * `single`: everything to the one target. `index`: the n-th recorded server's traffic to the n-th target. Else the key
 * decides, as a client of that kind would.
 * @throws ReplayError BAD_ROUTE where targets and recorded servers do not fit the route
 */
export function createRoute(
  name: RouteName,
  targets: readonly Target[],
  servers: number,
  map: RouteMap = [],
): Route {
  if (name === 'single') {
    if (targets.length !== 1)
      throw new ReplayError(
        'BAD_ROUTE',
        `--route single expects one target, got ${targets.length}; try --route index, or ketama`,
      );
    return { ofServer: () => 0, ofKey: undefined };
  }
  if (name === 'index') {
    if (targets.length < servers)
      throw new ReplayError(
        'BAD_ROUTE',
        `--route index expects a target for each of the ${servers} recorded servers, got ${targets.length}`,
      );
    return { ofServer: (server) => server, ofKey: undefined };
  }
  const ofServer = (server: number): number => server % targets.length;
  if (name === 'map') return { ofServer, ofKey: mapped(map, targets) };
  return { ofServer, ofKey: createDistribution(name, targets) };
}

function mapped(map: RouteMap, targets: readonly Target[]): Distribution {
  const rules = map.map(({ glob, address }) => {
    const target = targets.findIndex((known) => known.address === parseTarget(address).address);
    if (target < 0)
      throw new ReplayError(
        'BAD_ROUTE',
        `the route map sends ${glob} to ${address}, which is no --target; targets are ${targets.map((known) => known.address).join(', ')}`,
      );
    return { pattern: globPattern(glob), target };
  });
  return (buffer, at, length) => {
    const key = buffer.toString('latin1', at, at + length);
    for (const { pattern, target } of rules) if (pattern.test(key)) return target;
    throw new ReplayError(
      'BAD_ROUTE',
      `the route map has no rule for key ${JSON.stringify(key)}; end it with a line "* ADDRESS"`,
    );
  };
}

/**
 * Lines of `GLOB ADDRESS`; empty lines and those that begin with # apart.
 * @param where what messages call the file
 * @throws ReplayError BAD_ROUTE
 */
export function parseRouteMap(text: string, where: string): RouteMap {
  const rules = text.split(/\r?\n/).flatMap((line, n) => {
    if (/^\s*(#|$)/.test(line)) return [];
    const [glob, address, ...rest] = line.trim().split(/\s+/);
    if (glob === undefined || address === undefined || rest.length > 0)
      throw new ReplayError(
        'BAD_ROUTE',
        `${where}:${n + 1}: expected GLOB ADDRESS, got ${JSON.stringify(line)}`,
      );
    return [{ glob, address }];
  });
  if (rules.length === 0)
    throw new ReplayError('BAD_ROUTE', `${where}: expected lines of GLOB ADDRESS, got none`);
  return rules;
}
