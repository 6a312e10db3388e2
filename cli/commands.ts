// The commands of memtape: name, what each does, its arguments, and where the rest of it is. A command's own module is
// loaded when that command is asked for, since reading all of them takes longer than most commands do.

import type { Command } from 'commander';
import type { Shell } from './shell.ts';

/** Gives a command its options, examples and action. */
type Define = (command: Command, shell: Shell) => void;

export interface CommandRow {
  name: string;
  description: string;
  /** What stands after the name, as commander writes it, and what it is. */
  arguments: readonly (readonly [
    name: string,
    description: string,
    values?: { preset: string } | { choices: readonly string[] },
  ])[];
  /** The file of its module, where it is not called as the command. */
  file?: string;
  /** It has no options. */
  isPlain?: true;
  /** It is in no list of commands. */
  isHidden?: true;
  load: () => Promise<Define>;
}

export const commandRows: readonly CommandRow[] = [
  {
    name: 'record',
    description: 'Record memcached binary traffic into a trace file.',
    arguments: [
      [
        '[sources...]',
        '.pcap or .pcapng files (also .gz, .zst), which are one recording; or - for standard input',
      ],
    ],
    load: async () => (await import('./record.ts')).recordCommand,
  },
  {
    name: 'info',
    description: 'Show what a trace holds: operations, outcomes, servers, hits, sizes.',
    arguments: [['<file>', 'a trace']],
    load: async () => (await import('./info.ts')).infoCommand,
  },
  {
    name: 'cat',
    description: 'Print the exchanges of a trace.',
    arguments: [['<file>', 'a trace']],
    load: async () => (await import('./cat.ts')).catCommand,
  },
  {
    name: 'filter',
    description: 'Merge traces by time, and keep the exchanges that are wanted.',
    arguments: [['<files...>', 'traces']],
    load: async () => (await import('./filter.ts')).filterCommand,
  },
  {
    name: 'convert',
    description: 'Convert a trace from or to the format of another tool.',
    arguments: [
      ['<in>', 'a trace, or a file of another tool'],
      ['<out>', 'the file to write'],
    ],
    load: async () => (await import('./convert.ts')).convertCommand,
  },
  {
    name: 'replay',
    description: 'Replay a trace against a target, and judge the answers.',
    arguments: [['<trace|model>', 'a trace; or a model: a .yaml file, or one of `memtape synth list`']],
    load: async () => (await import('./replay.ts')).replayCommand,
  },
  {
    name: 'diff',
    description: 'Judge a replay again, from its results file; or two, and what differs between them.',
    arguments: [
      ['<trace|model>', 'the trace that was replayed, or the model'],
      ['<results>', 'what the replay saw (replay --results)'],
      ['[candidate]', 'what a replay of another release saw; the first is then the baseline'],
    ],
    file: 'replay',
    load: async () => (await import('./replay.ts')).diffCommand,
  },
  {
    name: 'report',
    description: 'Judge a replay that was divided: one report of the results of all its shards.',
    arguments: [
      ['<trace|model>', 'the trace that was replayed, or the model'],
      ['<results...>', 'what each shard saw (replay --shard I/N --results)'],
    ],
    load: async () => (await import('./report.ts')).reportCommand,
  },
  {
    name: 'audit',
    description: 'Judge a recording by itself: is every answer one that a correct server gives?',
    arguments: [['[traces...]', 'traces, which are one recording; or --interface, or --listen']],
    load: async () => (await import('./audit.ts')).auditCommand,
  },
  {
    name: 'minimize',
    description: 'Find the smallest trace that still shows a finding of a replay.',
    arguments: [['<trace>', 'a trace']],
    load: async () => (await import('./minimize.ts')).minimizeCommand,
  },
  {
    name: 'gate',
    description: 'Run every replay of a gate file, and pass or fail a release by all of them.',
    arguments: [['[file]', 'the gate file, see docs/gate.md', { preset: 'memtape.gate.yaml' }]],
    load: async () => (await import('./gate.ts')).gateCommand,
  },
  {
    name: 'capacity',
    description: 'Find the highest rate at which every answer is right and the thresholds hold.',
    arguments: [['<trace|model>', 'a trace; or a model: a .yaml file, or one of `memtape synth list`']],
    load: async () => (await import('./capacity.ts')).capacityCommand,
  },
  {
    name: 'coverage',
    description: 'Which backends the keys of a trace reach, or keys that reach each of them.',
    arguments: [['[trace]', 'a trace; without one, only --make']],
    load: async () => (await import('./coverage.ts')).coverageCommand,
  },
  {
    name: 'synth',
    description: 'Make a trace out of a model of a workload, or of a trace and what happens to it.',
    arguments: [['[model]', 'a model file, one of `synth list`; or a trace that a --scenario happens to']],
    load: async () => (await import('./synth.ts')).synthCommand,
  },
  {
    name: 'cluster',
    description: 'Replay by many machines: how many it takes.',
    arguments: [],
    load: async () => (await import('./cluster.ts')).clusterCommand,
  },
  {
    name: 'serve',
    description: 'Run an embedded memcached cluster, which can be told to have faults.',
    arguments: [],
    load: async () => (await import('./serve.ts')).serveCommand,
  },
  {
    name: 'demo',
    description: 'Record, replay, and catch a sick release: all embedded, in under a minute.',
    arguments: [],
    isPlain: true,
    load: async () => (await import('./demo.ts')).demoCommand,
  },
  {
    name: 'completion',
    description: 'Print a script that completes commands and options in a shell.',
    arguments: [['<shell>', 'the shell', { choices: ['bash', 'zsh', 'fish'] }]],
    isPlain: true,
    load: async () => (await import('./completion.ts')).completionCommand,
  },
  {
    name: 'man',
    description: 'Print the manual page, as roff.',
    arguments: [],
    isHidden: true,
    file: 'manual',
    load: async () => (await import('./manual.ts')).manualCommand,
  },
];
