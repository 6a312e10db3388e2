// What is done to the targets around a replay: every one is reached, as every tenant, and given what it is shown to have
// held; its account is taken before that, and again at the end.

import type { Account } from '../trace/meta.ts';
import type { PresentKey, Survey } from '../trace/survey.ts';
import { askAccount, type Figures } from './account.ts';
import { prefill, type Prefilled } from './prefill.ts';
import type { Credentials, CredentialsOf, Route, Target } from './target.ts';

/** What is set and asked for in one connection: on one target, as one tenant. */
interface Part {
  target: Target;
  tenant: string;
  keys: PresentKey[];
  others: string[];
}

/** A target that has an account, and as whom it was asked for it. */
interface Opened extends Pick<Account, 'before' | 'asked'> {
  index: number;
  credentials: Credentials | undefined;
}

export interface Setup extends Prefilled {
  opened: readonly Opened[];
}

/**
 * @param isFilled whether keys are set and asked for, too
 * @param clears whether those that are asked for are deleted instead
 * @throws ReplayError of the prefill
 */
export async function setUp(
  targets: readonly Target[],
  survey: Survey,
  route: Route,
  credentialsOf: CredentialsOf | undefined,
  { isFilled, clears }: { isFilled: boolean; clears: boolean },
  timeoutMs: number,
): Promise<Setup> {
  const places = targets.map(() => new Map<string, Part>());
  const part = (index: number, tenant: string): Part => {
    let known = places[index]!.get(tenant);
    if (known === undefined)
      places[index]!.set(tenant, (known = { target: targets[index]!, tenant, keys: [], others: [] }));
    return known;
  };
  // Every target is reached, as every tenant, before anything depends on it.
  for (const index of targets.keys())
    for (const { tenant } of survey.connections) part(index, credentialsOf === undefined ? '' : tenant);
  if (isFilled) share(survey, route, credentialsOf !== undefined, part);
  const done = await Promise.all(
    places.map(async (parts, index) =>
      setUpOne([...parts.values()], index, credentialsOf, clears, timeoutMs),
    ),
  );
  return {
    failed: done.reduce((sum, { failed }) => sum + failed, 0),
    leftover: done.reduce((sum, { leftover }) => sum + leftover, 0),
    opened: done.flatMap(({ opened }) => opened),
  };
}

/** Gives each key to the part that sets it, or asks for it. */
function share(
  survey: Survey,
  route: Route,
  hasUsers: boolean,
  part: (index: number, tenant: string) => Part,
): void {
  const place = (server: number, key: string): number => {
    if (route.ofKey === undefined) return route.ofServer(server);
    const bytes = Buffer.from(key, 'latin1');
    return route.ofKey(bytes, 0, bytes.length);
  };
  // Where tenants share their keys, any of them may set one.
  const tenantOf = (tenant: string): string =>
    hasUsers ? (survey.tenants.length > 1 ? tenant : survey.connections[0]!.tenant) : '';
  for (const present of survey.present)
    part(place(present.server, present.key), tenantOf(present.tenant)).keys.push(present);
  for (const { server, tenant, keys } of survey.others)
    for (const key of keys) part(place(server, key), tenantOf(tenant)).others.push(key);
}

/** All parts of one target. The first asks for the account, and the others wait until it was told. */
async function setUpOne(
  parts: readonly Part[],
  index: number,
  credentialsOf: CredentialsOf | undefined,
  clears: boolean,
  timeoutMs: number,
): Promise<Setup> {
  const asked = { sets: 0, gets: 0 };
  let before: Figures | undefined;
  let go: (() => void) | undefined;
  const told = new Promise<void>((resolve) => (go = resolve));
  const onAccount = (figures: Figures | undefined): void => {
    before = figures;
    go!();
  };
  const done = await Promise.all(
    parts.map(async ({ target, tenant, keys, others }, n) => {
      const set = new Set(keys.map(({ key }) => key));
      // With several recorded servers on one target, one may have held what another lacked.
      const absent = others.filter((key) => !set.has(key));
      asked.sets += keys.length;
      asked.gets += clears ? 0 : absent.length;
      if (n > 0) await told;
      const what = { keys, others: absent, clears, ...(n === 0 ? { onAccount } : {}) };
      return prefill(target, credentialsOf?.(tenant), what, timeoutMs);
    }),
  );
  return {
    failed: done.reduce((sum, { failed }) => sum + failed, 0),
    leftover: done.reduce((sum, { leftover }) => sum + leftover, 0),
    opened:
      before === undefined ? [] : [{ index, before, asked, credentials: credentialsOf?.(parts[0]!.tenant) }],
  };
}

/** Of a target that let requests wait: it is asked at the end all the same, and waited for so much shorter. */
const SHORT_OF_TIMEOUT = 0.25;

/**
 * The accounts at the end, beside those at the beginning.
 * @param rested targets that were given a rest, since they had answered nothing several times in a row
 */
export async function settle(
  opened: Setup['opened'],
  targets: readonly Target[],
  timeoutMs: number,
  rested: ReadonlySet<number> = new Set(),
): Promise<Account[]> {
  return Promise.all(
    opened.map(async ({ index, before, asked, credentials }) => ({
      target: index,
      before,
      after: await askAccount(
        targets[index]!,
        credentials,
        rested.has(index) ? timeoutMs * SHORT_OF_TIMEOUT : timeoutMs,
      ),
      asked,
    })),
  );
}
