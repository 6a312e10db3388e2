// Options that `replay` and `minimize` share: how fast, in which order, and what is allowed.

import { InvalidArgumentError, Option, type Command } from 'commander';
import { parseDuration } from '../config/units.ts';
import { permissions, type Permission } from '../replayer/gate.ts';

export function paceOptions(command: Command): Command {
  return timeoutOption(
    orderOption(command).addOption(
      new Option('--prefill <mode>', 'set what the trace shows to have been there')
        .choices(['auto', 'none'])
        .default('auto'),
    ),
  );
}

export function orderOption(command: Command): Command {
  return command.addOption(
    new Option('--order <order>', 'what a request waits for')
      .choices(['key', 'connection', 'none'])
      .default('key'),
  );
}

export function timeoutOption(command: Command): Command {
  return command.option('--timeout <time>', 'how long an answer is waited for', parseDuration, 1000);
}

export function parseSpeed(text: string): number | 'max' {
  if (text === 'max') return 'max';
  const speed = Number(text.replace(/[x×]$/, ''));
  if (Number.isFinite(speed) && speed > 0) return speed;
  throw new InvalidArgumentError('expected a number above 0, or max');
}

/** @throws InvalidArgumentError */
export function addPermission(text: string, before: Permission[]): Permission[] {
  const permission = permissions.find((known) => known === text);
  if (permission === undefined) throw new InvalidArgumentError(`expected one of ${permissions.join(', ')}`);
  return [...before, permission];
}
