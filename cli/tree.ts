// Commander's tree of commands as plain data, as completion and the manual read it.

import type { Command } from 'commander';
import { createProgram } from './program.ts';
import type { Shell } from './shell.ts';

export interface OptionNode {
  /** `--speed <n|max>` */
  flags: string;
  /** `-o` and `--output`, whichever there are. */
  names: string[];
  description: string;
  /** What its value is called, `file` or `n|max`; undefined where it takes none. */
  value: string | undefined;
  choices: readonly string[];
  /** As it is told; undefined where there is none to tell. */
  preset: string | undefined;
}

export interface CommandNode {
  /** Without the program's own name: empty for the program, `['synth', 'list']`. */
  path: string[];
  name: string;
  description: string;
  /** `[options] <trace> <results> [candidate]` */
  usage: string;
  arguments: { name: string; description: string; choices: readonly string[] }[];
  options: OptionNode[];
  commands: CommandNode[];
  /** What follows its help: examples, exit codes. */
  after: string;
}

/** All commands with all their options. */
export async function wholeTree(shell: Shell): Promise<CommandNode> {
  return treeOf(await createProgram(shell));
}

/** The tree from here on; hidden commands and options are left out. */
function treeOf(command: Command, path: string[] = []): CommandNode {
  const help = command.createHelp();
  return {
    path,
    name: command.name(),
    description: command.description(),
    usage: command.usage(),
    arguments: command.registeredArguments.map((argument) => ({
      name: argument.name(),
      description: argument.description,
      choices: argument.argChoices ?? [],
    })),
    options: help.visibleOptions(command).map((option) => ({
      flags: option.flags,
      names: [option.short, option.long].filter((name) => name !== undefined),
      description: option.description,
      value: /[<[]([^>\]]+)[>\]]/.exec(option.flags)?.[1],
      choices: option.argChoices ?? [],
      preset: presetOf(option.defaultValue),
    })),
    commands: help
      .visibleCommands(command)
      .filter((child) => command.commands.includes(child))
      .map((child) => treeOf(child, [...path, child.name()])),
    after: afterHelp(command),
  };
}

/** The node and all below it, itself first. */
export function allOf(node: CommandNode): CommandNode[] {
  return [node, ...node.commands.flatMap(allOf)];
}

function presetOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  return typeof value === 'number' && Number.isFinite(value) ? String(value) : undefined;
}

function afterHelp(command: Command): string {
  let text = '';
  command.configureOutput({ writeOut: (part) => (text += part) });
  command.outputHelp();
  return text.slice(command.helpInformation().length).trim();
}
