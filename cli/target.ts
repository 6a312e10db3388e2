// Options of a command that talks to targets: the route, credentials, TLS.

import { InvalidArgumentError, type Command } from 'commander';
import { maskKeyOf, maskTenant } from '../recorder/mask.ts';
import type { ReplayOptions } from '../replayer/replay.ts';
import { ReplayError } from '../replayer/error.ts';
import {
  parseRouteMap,
  routeNames,
  type Credentials,
  type CredentialsOf,
  type RouteMap,
  type RouteName,
  type TlsOptions,
} from '../replayer/target.ts';
import type { TenantMode } from '../trace/survey.ts';
import { readAuthFile, readAuthVariable } from './auth.ts';
import { CliError } from './error.ts';
import { readSmall } from './file.ts';
import type { Shell } from './shell.ts';

export interface RouteOption {
  name: RouteName;
  /** The file of `map=FILE`. */
  file?: string;
}

export interface TargetOptions {
  target?: string[];
  route?: RouteOption;
  authFile?: string;
  /** The variable of the environment that holds what an auth file would. */
  authVariable?: string;
  maskKeyFile?: string;
  tenants: TenantMode;
  tls?: true;
  tlsCa?: string;
  tlsCert?: string;
  tlsKey?: string;
  tlsServerName?: string;
  tlsInsecure?: true;
}

/** The user of targets that know only one; the password is not to be seen in a list of processes. */
const USER_VARIABLE = 'MEMTAPE_USER';
const PASSWORD_VARIABLE = 'MEMTAPE_PASSWORD';

export function targetOptions(command: Command, shell: Shell): Command {
  const placed = placeOptions(
    command,
    shell,
    'where requests go: HOST:PORT, or the path of a unix socket; an embedded server if absent',
  );
  return secretOptions(placed, shell);
}

/** Where requests go, and whose keys are whose. @param about what --target is */
export function placeOptions(command: Command, shell: Shell, about: string): Command {
  return command
    .option('--target <address,…>', about, parseTargets)
    .option(
      '--route <route>',
      `who gets what: ${routeNames.slice(0, -1).join(', ')}, map=FILE; default: single for one target, else index; of a model ketama`,
      (text) => parseRoute(text, shell),
    )
    .option(
      '--tenants <mode>',
      'whether users share their keys: auto (what the trace shows), isolated, shared',
      parseTenants,
      'auto',
    );
}

/** What only the machine that sends has to know. */
export function secretOptions(command: Command, shell: Shell): Command {
  return command
    .option(
      '--auth-file <file>',
      `SASL users of the targets, lines of user:password; each recorded user as himself (or ${USER_VARIABLE} and ${PASSWORD_VARIABLE})`,
      shell.path,
    )
    .option('--mask-key-file <file>', 'that of the recording, where its users are masked', shell.path)
    .option('--tls', 'the targets speak TLS')
    .option('--tls-ca <file>', 'TLS: who signed the certificates of the targets', shell.path)
    .option('--tls-cert <file>', 'TLS: our certificate', shell.path)
    .option('--tls-key <file>', 'TLS: the key of --tls-cert', shell.path)
    .option('--tls-server-name <name>', 'TLS: the name in the certificate of the targets')
    .option('--tls-insecure', 'TLS: whatever certificate the targets show');
}

/** What of a replay these options decide. @throws CliError, ReplayError */
export function targetsOf(
  { env }: Pick<Shell, 'env'>,
  options: TargetOptions,
): Pick<ReplayOptions, 'route' | 'routeMap' | 'tls' | 'credentialsOf' | 'tenants'> {
  const { route, tenants } = options;
  const tls = tlsOf(options);
  const credentialsOf = credentialsFrom(options, env);
  return {
    tenants,
    ...(route === undefined ? {} : { route: route.name }),
    ...(route === undefined ? {} : { routeMap: routeMapOf(route) }),
    ...(tls === undefined ? {} : { tls }),
    ...(credentialsOf === undefined ? {} : { credentialsOf }),
  };
}

/** The rules of `map=FILE`; none for other routes. @throws CliError, ReplayError */
export function routeMapOf({ file }: RouteOption): RouteMap {
  return file === undefined ? [] : parseRouteMap(readSmall(file, 'the route map').toString(), file);
}

function tlsOf({
  tls,
  tlsCa,
  tlsCert,
  tlsKey,
  tlsServerName,
  tlsInsecure,
}: TargetOptions): TlsOptions | undefined {
  const given = [tlsCa, tlsCert, tlsKey, tlsServerName, tlsInsecure].some((option) => option !== undefined);
  if (tls === undefined && !given) return undefined;
  if ((tlsCert === undefined) !== (tlsKey === undefined))
    throw new CliError('expected --tls-cert and --tls-key together, got one of them', 2);
  return {
    rejectUnauthorized: tlsInsecure !== true,
    ...(tlsCa === undefined ? {} : { ca: readSmall(tlsCa, 'the certificate') }),
    ...(tlsCert === undefined ? {} : { cert: readSmall(tlsCert, 'the certificate') }),
    ...(tlsKey === undefined ? {} : { key: readSmall(tlsKey, 'the key') }),
    ...(tlsServerName === undefined ? {} : { servername: tlsServerName }),
  };
}

function credentialsFrom(
  { authFile, authVariable, maskKeyFile }: TargetOptions,
  env: NodeJS.ProcessEnv,
): CredentialsOf | undefined {
  const user = env[USER_VARIABLE];
  const password = env[PASSWORD_VARIABLE];
  const source = authFile ?? authVariable;
  if (source === undefined)
    return user === undefined || password === undefined ? undefined : () => ({ user, password });
  const known = authFile === undefined ? readAuthVariable(source, env) : readAuthFile(source);
  const users = Array.from(known, ([name, secret]): Credentials => ({ user: name, password: secret }));
  const byTenant = new Map(users.map((known) => [known.user, known]));
  if (maskKeyFile !== undefined) {
    const maskKey = maskKeyOf(readSmall(maskKeyFile, 'the mask key'), maskKeyFile);
    for (const known of users) byTenant.set(maskTenant(known.user, maskKey), known);
  }
  const [first] = users;
  return (tenant) => {
    const known = tenant === '' || users.length === 1 ? first : byTenant.get(tenant);
    if (known !== undefined) return known;
    throw new ReplayError(
      'AUTH',
      `the trace has user ${JSON.stringify(tenant)}, ${source} has not; it has ${users.map((one) => one.user).join(', ')}` +
        (maskKeyFile === undefined ? '; if users are masked, say --mask-key-file' : ''),
    );
  };
}

export function parseTargets(text: string): string[] {
  return text.split(',').map((part) => part.trim());
}

/** @param shell whose folder `map=FILE` is in */
export function parseRoute(text: string, shell?: Pick<Shell, 'path'>): RouteOption {
  const file = /^map=(.+)$/.exec(text)?.[1];
  if (file !== undefined) return { name: 'map', file: shell?.path(file) ?? file };
  const name = routeNames.find((known) => known === text && known !== 'map');
  if (name !== undefined) return { name };
  throw new InvalidArgumentError(`expected one of ${routeNames.slice(0, -1).join(', ')}, map=FILE`);
}

export function parseTenants(text: string): TenantMode {
  if (text === 'auto' || text === 'isolated' || text === 'shared') return text;
  throw new InvalidArgumentError('expected auto, isolated or shared');
}

/** A model has one server, and several targets are meant to share its keys. */
export function isSpread(
  isModelled: boolean,
  { route, target = [] }: Pick<TargetOptions, 'route' | 'target'>,
): boolean {
  return isModelled && route === undefined && target.length > 1;
}
