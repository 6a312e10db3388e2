// `memtape completion`: scripts for bash, zsh and fish, made from the tree of commands, so that they know what --help knows.

import type { Command } from 'commander';
import type { Shell } from './shell.ts';
import { allOf, wholeTree, type CommandNode, type OptionNode } from './tree.ts';

const scripts = { bash, zsh, fish } as const;

const examples = `
Examples:
  source <(memtape completion bash)                            in ~/.bashrc
  memtape completion zsh > "\${fpath[1]}/_memtape"              before compinit runs
  memtape completion fish > ~/.config/fish/completions/memtape.fish`;

export function completionCommand(command: Command, shell: Shell): void {
  command.addHelpText('after', examples).action(async (name: keyof typeof scripts) => {
    shell.stdout.write(scripts[name](await wholeTree(shell)));
  });
}

/** Values that are files: by what the option calls its value. */
function isFile({ value = '' }: OptionNode): boolean {
  return /file|results|output|folder/.test(value);
}

function takesFiles({ arguments: all }: CommandNode): boolean {
  return all.some(({ choices }) => choices.length === 0);
}

/** Words that may come next: commands, or the choices of an argument. */
function wordsOf({ commands, arguments: all }: CommandNode): string[] {
  return [...commands.map(({ name }) => name), ...all.flatMap(({ choices }) => choices)];
}

/** The shell's own quotes; within them nothing else has a meaning. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** `synth list` */
function place({ path }: CommandNode): string {
  return path.join(' ');
}

function bash(root: CommandNode): string {
  const nodes = allOf(root);
  const taking = (wanted: (option: OptionNode) => boolean): string[] =>
    nodes.flatMap((node) =>
      node.options
        .filter((option) => option.value !== undefined && wanted(option))
        .flatMap(({ names }) => names.map((name) => quoted(`${place(node)}:${name}`))),
    );
  const withValue = taking(() => true);
  const open = taking((option) => option.choices.length === 0 && !isFile(option));
  return `# bash completion of memtape: source <(memtape completion bash)

_memtape() {
  local word=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD - 1]} command='' next n
  for ((n = 1; n < COMP_CWORD; n++)); do
    # The value of an option is no command.
    case "$command:\${COMP_WORDS[n]}" in
      ${withValue.join(' | ')}) ((n++)); continue ;;
    esac
    next="\${command:+$command }\${COMP_WORDS[n]}"
    case "$next" in
      ${nodes
        .filter(({ path }) => path.length > 0)
        .map((node) => quoted(place(node)))
        .join(' | ')}) command=$next ;;
    esac
  done
  local choices='' files=''
  case "$command:$previous" in
${nodes
  .flatMap((node) =>
    node.options
      .filter(({ choices }) => choices.length > 0)
      .map(
        ({ names, choices }) =>
          `    ${names.map((name) => quoted(`${place(node)}:${name}`)).join(' | ')}) choices=${quoted(choices.join(' '))} ;;`,
      ),
  )
  .join('\n')}
    ${open.join(' | ')}) COMPREPLY=() && compopt +o default 2>/dev/null; return ;;
    ${taking(isFile).join(' | ')}) COMPREPLY=(); return ;;
    *)
      case "$command:$word" in
${nodes
  .map(
    (node) =>
      `        ${quoted(`${place(node)}:`)}-*) choices=${quoted(node.options.flatMap(({ names }) => names).join(' '))} ;;\n` +
      `        ${quoted(`${place(node)}:`)}*) choices=${quoted(wordsOf(node).join(' '))}${node.commands.length > 0 && takesFiles(node) ? ' files=1' : ''} ;;`,
  )
  .join('\n')}
      esac
      ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$word")
  # Where there are files only, readline completes them better than we would.
  [[ -n $files ]] && mapfile -t -O "\${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$word")
}

complete -o default -F _memtape memtape
`;
}

function zsh(root: CommandNode): string {
  return `#compdef memtape
# zsh completion of memtape: memtape completion zsh > "\${fpath[1]}/_memtape"

${allOf(root).map(zshFunction).join('\n')}
if [ "$funcstack[1]" = _memtape ]; then
  _memtape "$@"
else
  compdef _memtape memtape
fi
`;
}

function zshName({ path }: CommandNode): string {
  return ['_memtape', ...path].join('_');
}

function zshFunction(node: CommandNode): string {
  const options = node.options.map((option) => zshOption(option));
  const words = wordsOf(node);
  const rest =
    node.commands.length > 0
      ? ["'1: :->command'", "'*:: :->argument'"]
      : [
          words.length > 0 ? quoted(`*: :(${words.join(' ')})`) : takesFiles(node) ? "'*: :_files'" : '',
        ].filter((text) => text !== '');
  const head = `  _arguments -s -S${node.commands.length > 0 ? ' -C' : ''} \\\n    ${[...options, ...rest].join(' \\\n    ')}`;
  if (node.commands.length === 0) return `${zshName(node)}() {\n${head}\n}\n`;
  const described = node.commands.map(({ name, description }) =>
    quoted(`${name}:${description.replaceAll(':', '\\:')}`),
  );
  return `${zshName(node)}() {
  local curcontext=$curcontext state line
  typeset -A opt_args
${head}
  case $state in
    command)
      local -a commands
      commands=(
        ${described.join('\n        ')}
      )
      _describe command commands${takesFiles(node) ? '\n      _files' : ''}
      ;;
    argument)
      case $line[1] in
${node.commands.map((child) => `        ${child.name}) ${zshName(child)} ;;`).join('\n')}
        *) ${takesFiles(node) ? '_files' : ':'} ;;
      esac
      ;;
  esac
}
`;
}

function zshOption(option: OptionNode): string {
  const { names, description, value, choices } = option;
  const about = `[${description.replaceAll(/[[\]\\:]/g, String.raw`\$&`)}]`;
  const action = choices.length > 0 ? `(${choices.join(' ')})` : isFile(option) ? '_files' : ' ';
  const taken = value === undefined ? '' : `:${value.replaceAll(':', '\\:')}:${action}`;
  // Repeatable ones are not told apart: every option may come again.
  return names.length === 1
    ? quoted(`*${names[0]}${about}${taken}`)
    : `'*'{${names.join(',')}}${quoted(`${about}${taken}`)}`;
}

function fish(root: CommandNode): string {
  const lines = allOf(root).flatMap((node) => {
    const when = quoted(fishCondition(node));
    const commands = node.commands.map(
      ({ name, description }) =>
        `complete -c memtape -n ${when} -f -a ${quoted(name)} -d ${fishQuoted(description)}`,
    );
    const choices = node.arguments.flatMap((argument) =>
      argument.choices.map((choice) => `complete -c memtape -n ${when} -f -a ${quoted(choice)}`),
    );
    const options = node.options.map((option) => fishOption(option, when));
    const files = node.path.length > 0 && takesFiles(node) ? [`complete -c memtape -n ${when} -F`] : [];
    return [commands, choices, options, files].flat();
  });
  return `# fish completion of memtape: memtape completion fish > ~/.config/fish/completions/memtape.fish

complete -c memtape -f
${lines.join('\n')}
`;
}

/** Where the words so far are this command's, and no subcommand's of its own. */
function fishCondition({ path, commands }: CommandNode): string {
  const seen = path.map((name) => `__fish_seen_subcommand_from ${name}`);
  const below = commands.map(({ name }) => name).join(' ');
  const own = below === '' ? [] : [`not __fish_seen_subcommand_from ${below}`];
  return path.length === 0 ? '__fish_use_subcommand' : [...seen, ...own].join('; and ');
}

function fishOption(option: OptionNode, when: string): string {
  const { names, description, value, choices } = option;
  const flags = names.map((name) => (name.startsWith('--') ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`));
  const taken =
    value === undefined
      ? ''
      : choices.length > 0
        ? ` -x -a ${quoted(choices.join(' '))}`
        : isFile(option)
          ? ' -r -F'
          : ' -x';
  return `complete -c memtape -n ${when} ${flags.join(' ')}${taken} -d ${fishQuoted(description)}`;
}

/** In fish a backslash means something within quotes too. */
function fishQuoted(text: string): string {
  return `'${text.replaceAll(/[\\']/g, String.raw`\$&`)}'`;
}
