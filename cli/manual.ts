// `memtape man`: the manual page in roff, made from what --help says. `npm run man` writes docs/memtape.1 with it.

import type { Command } from 'commander';
import { version } from '../trace/version.ts';
import type { Shell } from './shell.ts';
import { allOf, wholeTree, type CommandNode, type OptionNode } from './tree.ts';

export function manualCommand(command: Command, shell: Shell): void {
  command.addHelpText('after', '\nExamples:\n  memtape man > memtape.1').action(async () => {
    shell.stdout.write(manual(await wholeTree(shell)));
  });
}

function manual(root: CommandNode): string {
  const commands = allOf(root).slice(1);
  return [
    `.\\" Made by npm run man: change the help of the commands instead.`,
    `.TH MEMTAPE 1 "" "memtape ${version}" "User Commands"`,
    '.SH NAME',
    `memtape \\- ${escaped('record and replay memcached binary traffic, and judge the answers')}`,
    '.SH SYNOPSIS',
    ...root.commands.flatMap(({ name, usage }, n) => [
      ...(n > 0 ? ['.br'] : []),
      `.B memtape ${escaped(name)}`,
      line(usage),
    ]),
    '.SH DESCRIPTION',
    line(root.description),
    '.SH OPTIONS',
    ...root.options.flatMap((option) => entry(option)),
    '.SH COMMANDS',
    ...commands.flatMap((command) => section(command)),
    ...paragraphs(root.after, '.SH'),
    '.SH SEE ALSO',
    '.BR memcached (1),',
    '.BR tcpdump (8)',
    '',
  ].join('\n');
}

function section({ path, usage, description, arguments: all, options, after }: CommandNode): string[] {
  return [
    `.SS memtape ${escaped(path.join(' '))} ${escaped(usage)}`,
    line(description),
    ...all.flatMap((argument) =>
      argument.description === '' ? [] : ['.TP', `.I ${escaped(argument.name)}`, line(argument.description)],
    ),
    ...options.flatMap((option) => entry(option)),
    ...paragraphs(after, '.PP'),
  ];
}

function entry({ flags, description, choices, preset }: OptionNode): string[] {
  const notes = [
    ...(choices.length > 0 ? [`one of ${choices.join(', ')}`] : []),
    ...(preset === undefined ? [] : [`default: ${preset}`]),
  ];
  const told = notes.length === 0 ? '' : ` (${notes.join('; ')})`;
  return ['.TP', `.B ${escaped(flags)}`, line(`${description}${told}`)];
}

/** Lines under headings that end with a colon, as they stand. */
function paragraphs(text: string, macro: '.SH' | '.PP'): string[] {
  if (text === '') return [];
  return text.split(/\n\n+/).flatMap((block) => {
    const [heading = '', ...rest] = block.split('\n');
    const title = heading.replace(/:$/, '');
    const head = macro === '.SH' ? [`.SH ${escaped(title.toUpperCase())}`] : ['.PP', line(`${title}:`)];
    const shown = rest.map((text) => line(text.replace(/^ {2}/, '')));
    return [head, '.PP', '.RS 4', '.nf', shown, '.fi', '.RE'].flat();
  });
}

/** Text as a line of its own, where a first dot or quote would be a command. */
function line(text: string): string {
  const safe = escaped(text);
  return /^[.']/.test(safe) ? `\\&${safe}` : safe;
}

function escaped(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll("'", '\\(aq')
    .replaceAll('^', '\\(ha')
    .replaceAll('~', '\\(ti')
    .replaceAll('`', '\\(ga')
    .replaceAll('"', '\\(dq')
    .replaceAll(
      /[^ -~]/gu,
      (character) => `\\[u${character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')}]`,
    );
}
