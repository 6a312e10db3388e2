// The tree of commands: which there are, what the help of the whole says, and how what is typed wrongly is told.

import { Argument, Command, InvalidArgumentError, Option } from 'commander';
import { ConfigError } from '../config/error.ts';
import { nearest } from '../config/nearest.ts';
import { version } from '../trace/version.ts';
import { commandRows, type CommandRow } from './commands.ts';
import { loadSparingly } from './descriptors.ts';
import { CliError } from './error.ts';
import type { Shell } from './shell.ts';

const examples = `
Exit codes:
  0 passed · 1 the gate failed · 2 bad usage, configuration or input · 3 not enough evidence
  4 the harness was too slow for the verdict asked · 5 the target could not be reached, or the run was aborted
  130 interrupted

Start with:
  memtape demo`;

/**
 * The command with its subcommands. Nothing in it ends the process: what commander has to say it throws.
 * @param argv what was typed: the command that it names has its options, and the others have a name and a description;
 *   undefined: all commands have everything
 */
export async function createProgram(shell: Shell, argv?: readonly string[]): Promise<Command> {
  const program = new Command('memtape')
    .description(
      'Record memcached binary traffic, replay it at any speed against a target, and know whether the answers are right.',
    )
    .version(version)
    // What follows a command is its own matter.
    .enablePositionalOptions()
    .showHelpAfterError('(try --help)')
    .addHelpText('after', examples)
    .configureHelp({ subcommandTerm: termOf });
  const words = argv?.filter((word) => !word.startsWith('-'));
  const wanted = words?.[0] === 'help' ? words[1] : words?.[0];
  for (const row of commandRows) {
    const command = commandOf(row);
    if (argv === undefined || row.name === wanted) await define(row, command, shell);
    program.addCommand(command, { hidden: row.isHidden === true });
  }
  prepare(program, shell);
  return program;
}

async function define(
  { name, file = name, load }: CommandRow,
  command: Command,
  shell: Shell,
): Promise<void> {
  await loadSparingly(new URL(`${file}.js`, import.meta.url));
  (await load())(command, shell);
}

function commandOf({ name, description, arguments: all }: CommandRow): Command {
  const command = new Command(name).description(description);
  for (const [term, about, values] of all) {
    const argument = new Argument(term, about);
    if (values !== undefined && 'preset' in values) argument.default(values.preset);
    if (values !== undefined && 'choices' in values) argument.choices(values.choices);
    command.addArgument(argument);
  }
  return command;
}

/** As commander has it, also of a command whose options were not loaded. */
function termOf(command: Command): string {
  const row = commandRows.find(({ name }) => name === command.name());
  const hasOptions = row === undefined ? command.options.length > 0 : row.isPlain !== true;
  const terms = command.registeredArguments.map((argument) => {
    const name = `${argument.name()}${argument.variadic ? '...' : ''}`;
    return argument.required ? `<${name}>` : `[${name}]`;
  });
  return [command.name(), ...(hasOptions ? ['[options]'] : []), ...terms].join(' ');
}

function prepare(command: Command, shell: Shell): void {
  const { stdout, stderr } = shell;
  command.exitOverride().configureOutput({
    writeOut: (text) => stdout.write(text),
    writeErr: (text) => stderr.write(text),
    getOutHelpWidth: () => stdout.stream.columns ?? 80,
    getErrHelpWidth: () => stderr.stream.columns ?? 80,
    getOutHasColors: () => false,
    getErrHasColors: () => false,
  });
  for (const option of command.options) nameIn(option, option.long ?? option.short ?? '');
  for (const argument of command.registeredArguments) nameIn(argument, `<${argument.name()}>`);
  for (const inner of command.commands) prepare(inner, shell);
}

/** Errors of what was typed name the option, and what was typed. */
function nameIn(place: Option | Argument, name: string): void {
  const { parseArg, argChoices } = place;
  if (parseArg === undefined) return;
  place.parseArg = <T>(text: string, before: T): T => {
    try {
      return parseArg(text, before);
    } catch (cause) {
      // Anything else is a mistake of ours and not of whoever typed it.
      if (!(cause instanceof Error) || cause instanceof TypeError || cause instanceof ReferenceError)
        throw cause;
      throw new CliError(`${name}: ${sentenceOf(cause, text, argChoices)}`, 2, { cause });
    }
  };
}

function sentenceOf(cause: Error, text: string, choices: readonly string[] | undefined): string {
  let sentence = cause.message;
  if (choices !== undefined && cause instanceof InvalidArgumentError) {
    const meant = nearest(text, choices);
    sentence = `expected one of ${choices.join(', ')}; got ${JSON.stringify(text)}`;
    if (meant !== undefined) sentence += `; did you mean ${meant}?`;
  }
  const isTold = cause instanceof ConfigError || /\bgot\b|\bunknown\b/.test(sentence);
  return isTold ? sentence : `${sentence}, got ${JSON.stringify(text)}`;
}
