// The long proofs, their short samples and the measurements, by name: which programs they need, and what is run. It runs
// before there is a node_modules, so it uses Node's own modules only; scripts/setup.mjs makes the checkout ready.
//
//     node scripts/proofs.mjs proof|sample [NAME [ARGUMENT…]]    all of them without a NAME
//     node scripts/proofs.mjs bench [NAME|SCALE]                 the table of all benches without a NAME
//     node scripts/proofs.mjs names proof|sample|bench           the names, one a line
//     node scripts/proofs.mjs setup [NAME…]                      what these need; all that CI needs without a NAME

import { spawnSync } from 'node:child_process';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const kinds = ['proof', 'sample', 'bench'];
const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Real clients of memcached in other languages. */
const clients = 'python3-pylibmc php php-memcached ruby ruby-dalli';
/** Real clients, as they are captured from the loopback interface. */
const captured = 'memcached tcpdump memccapable memcaslap python3-pylibmc php-memcached';
/** What `npm test` needs. */
const tested =
  'memcached redis-server tcpdump memccapable openssl saslpasswd2 libsasl2-modules xmllint chromium groff';
const hours = '--testTimeout 7200000';

/**
 * Rows of the table. `needs`: programs and Debian packages, as scripts/setup.mjs takes them. `proof`, `sample` and `bench`
 * are lines for the shell, run in the checkout: all that is claimed; a minute's part of it, which CI runs; a measurement.
 */
export const table = {
  tests: {
    needs: tested,
    proof: 'TEST_SCALE=10 SEMANTICS_RUNS=6000 WORKER_EXCHANGES=4000 vitest run --testTimeout 3600000',
  },
  tshark: {
    needs: `tshark ${captured}`,
    proof: 'node dist/scripts/tshark.js 20000',
    sample: 'node dist/scripts/tshark.js 1000',
  },
  captures: {
    needs: '',
    proof: 'node dist/scripts/captures.js 1000000',
    sample: 'node dist/scripts/captures.js 1000',
  },
  namespaces: {
    needs: 'memcached tcpdump nft ip python3-pylibmc',
    proof: 'node dist/scripts/namespaces.js 30000',
    sample: 'node dist/scripts/namespaces.js 1500 "$@" || test $? -eq 3',
  },
  convert: {
    needs: 'memcached tshark',
    proof: 'node dist/scripts/convert.js 60000',
    sample: 'node dist/scripts/convert.js 4000',
  },
  survival: {
    needs: 'memcached',
    proof: 'node dist/scripts/survival.js 50',
    sample: 'node dist/scripts/survival.js 4',
  },
  fuzz: {
    needs: '',
    proof: 'node dist/scripts/fuzz.js all --seconds 3600',
    sample: 'node dist/scripts/fuzz.js all --seconds 60',
  },
  hostile: {
    needs: '',
    proof: 'node dist/scripts/hostile.js 1000',
    sample: 'node dist/scripts/hostile.js 300 8',
  },
  'own-faults': {
    needs: 'memcached tcpdump faketime strace',
    proof: 'node dist/scripts/ownfaults.js 200',
    sample: 'node dist/scripts/ownfaults.js 6 killed',
  },
  soak: {
    needs: 'memcached',
    proof: 'node dist/scripts/soak.js 30 docs/soak.svg',
    sample: 'node dist/scripts/soak.js 0.05',
  },
  connections: {
    needs: 'memcached',
    proof: 'node dist/scripts/connections.js 10000',
    sample: 'node dist/scripts/connections.js 400',
  },
  semantics: {
    needs: 'memcached',
    proof: 'SEMANTICS_RUNS=100000 vitest run test/protocol/semantics.test.ts',
    sample: 'SEMANTICS_RUNS=6000 vitest run test/protocol/semantics.test.ts',
  },
  oracle: {
    needs: '',
    proof: `ORACLE_RUNS=1000000 JUDGED_RUNS=20000 vitest run test/diff/oracle.test.ts test/diff/judged.test.ts ${hours}`,
  },
  clean: {
    needs: `memcached ${clients}`,
    proof: 'node dist/scripts/clean.js 400',
    sample: 'node dist/scripts/clean.js 8',
  },
  audit: {
    needs: `memcached tcpdump ${clients}`,
    proof: `AUDIT_RUNS=200000 vitest run test/audit/brute.test.ts ${hours} && node dist/scripts/clean.js 200 --audit && node dist/scripts/faults.js 3 max --audit`,
    sample: 'node dist/scripts/clean.js 2 --audit && node dist/scripts/faults.js 1 max stale-sockets --audit',
  },
  shards: {
    needs: 'memcached',
    proof:
      'SHARD_SEEDS=1000 TEST_SCALE=20 vitest run test/trace/shard.test.ts test/library/shards.test.ts --testTimeout 3600000',
  },
  cluster: {
    needs: 'memcached redis-server',
    proof: 'node dist/scripts/cluster.js kills 50 restarts 10 skew 100 alike 2',
    sample: 'node dist/scripts/cluster.js kills 2 restarts 1',
  },
  mutations: {
    needs: 'memcached python3-pylibmc',
    proof: 'node dist/scripts/mutations.js 200',
    sample: 'node dist/scripts/mutations.js 10',
  },
  scenarios: {
    needs: 'memcached',
    proof: 'node dist/scripts/recorded.js 12',
    sample:
      'node dist/scripts/recorded.js 2 hotKey retryStorm deployColdCache tenantSurge+sizeShift+backendRestart',
  },
  faults: {
    needs: 'memcached python3-pylibmc',
    proof: 'node dist/scripts/faults.js 3 1,max',
    sample: 'node dist/scripts/faults.js 1 max stale-sockets,tenant-leak,lost-write,quiet-errors-dropped',
  },
  synthetic: {
    needs: 'memcached',
    proof:
      'node dist/scripts/faults.js 3 max,1 --traffic examples/operations.yaml,etc,twitter-22,ycsb-f && node dist/scripts/healthy.js 4 1,max',
    sample:
      'node dist/scripts/faults.js 1 max stale-sockets,corrupt,tenant-leak,cas-ignored --traffic examples/operations.yaml && node dist/scripts/healthy.js 1 max 8',
  },
  loss: {
    needs: captured,
    proof: 'node dist/scripts/loss.js 1000 1500 && LOSS_SEEDS=300 vitest run test/recorder/loss.test.ts',
    sample: 'node dist/scripts/loss.js 10 600',
  },
  dialects: {
    needs: '',
    proof: 'DIALECT_SEEDS=200 vitest run test/recorder/dialects.test.ts --testTimeout 600000',
  },
  cut: {
    needs: '',
    proof: `CUT_SEEDS=200 vitest run test/recorder/cut.test.ts ${hours}`,
  },
  minimize: {
    needs: '',
    proof: 'node dist/scripts/minimize.js 100000',
    sample: 'node dist/scripts/minimize.js 5000',
  },
  order: {
    needs: 'memcached tcpdump',
    proof: 'node dist/scripts/order.js 200000',
    sample: 'node dist/scripts/order.js 10000',
  },
  all: {
    needs: 'memcached tcpdump memcaslap tshark zstd time',
    bench: 'node dist/bench/all.js',
  },
  timing: {
    needs: 'memcached tcpdump',
    bench: 'node dist/bench/timing.js 30 docs/timing.svg',
  },
  routing: {
    needs: 'memcached python3-pylibmc',
    proof: 'node dist/scripts/routing.js 10000',
    sample: 'node dist/scripts/routing.js 1000',
  },
  load: {
    needs: 'memcached memcaslap time',
    bench: 'node dist/bench/load.js',
  },
  record: {
    needs: 'memcached tcpdump memcaslap tshark zstd time',
    bench: 'node dist/bench/record.js',
  },
  judging: {
    needs: 'memcached tcpdump time',
    bench: 'node dist/bench/judging.js 1000000 docs/judging.svg',
  },
  proxy: {
    needs: 'memcached',
    bench: 'node dist/bench/proxy.js',
  },
  fidelity: {
    needs: '',
    proof: 'node dist/scripts/fidelity.js',
    sample: 'node dist/scripts/fidelity.js --seeds 1',
  },
  models: {
    needs: 'memcached',
    proof: 'node dist/scripts/models.js 1000000 && node dist/scripts/models.js --replay',
    sample: 'node dist/scripts/models.js 50000',
  },
  recordings: {
    needs: 'memcached python3-pylibmc',
    proof: 'node dist/scripts/recordings.js',
    sample: 'node dist/scripts/recordings.js --seconds 5 --exchanges 6000 --seeds 2 --brief --times 4',
  },
  fitting: {
    needs: '',
    bench: 'node dist/scripts/fitting.js',
  },
  verdicts: {
    needs: 'memcached',
    proof: 'node dist/scripts/verdicts.js 60',
    sample: 'node dist/scripts/verdicts.js 4',
  },
  baseline: {
    needs: 'memcached',
    proof: 'node dist/scripts/beside.js 100',
    sample: 'node dist/scripts/beside.js 1',
  },
  exits: {
    needs: '',
    proof: 'EXIT_RUNS=100000 vitest run test/cli/exits.test.ts --maxConcurrency 4 --testTimeout 600000',
  },
  fragments: {
    needs: '',
    proof: 'FRAGMENTS=100000 vitest run test/recorder/bounds.test.ts --testTimeout 600000',
  },
  killed: {
    needs: '',
    proof: 'KILL_RUNS=200 vitest run test/cli/place.test.ts --testTimeout 3600000 --hookTimeout 600000',
  },
};

/** Prints what is wrong with the command, and ends with exit code 2. */
function refuse(message) {
  console.error(message);
  process.exit(2);
}

export function namesOf(kind) {
  return Object.keys(table).filter((name) => table[name][kind] !== undefined);
}

/** Runs a program in the checkout, where npm's programs are found. @returns its exit code */
function run(program, args) {
  const path = [join(root, 'node_modules', '.bin'), process.env.PATH].join(delimiter);
  const env = { ...process.env, PATH: path };
  const { status, error } = spawnSync(program, args, { cwd: root, stdio: 'inherit', env });
  if (error !== undefined) console.error(`${program}: ${error.message}`);
  return status ?? 1;
}

/** Makes the checkout ready for these rows. @returns the exit code of scripts/setup.mjs */
function setUp(names) {
  const needs = new Set(names.flatMap((name) => table[name].needs.split(' ')).filter((need) => need !== ''));
  return run(process.execPath, [join(root, 'scripts', 'setup.mjs'), ...needs]);
}

/** The line for a shell: arguments stand at its end, unless it has another place for them. */
export function lineOf(kind, name) {
  const line = table[name][kind];
  return line.includes('"$@"') ? line : `${line} "$@"`;
}

/** @returns the exit code: of the setup where that failed, or else of the row's line */
function runRow(kind, name, args = []) {
  const code = setUp([name]);
  return code === 0 ? run('sh', ['-c', lineOf(kind, name), name, ...args]) : code;
}

function runAll(kind) {
  const failed = namesOf(kind).filter((name) => {
    console.log(`${kind} ${name}`);
    return runRow(kind, name) !== 0;
  });
  if (failed.length > 0) console.error(`failed: ${failed.join(', ')}`);
  return failed.length > 0 ? 1 : 0;
}

/** @returns the exit code */
function main([verb, ...args]) {
  if (verb === 'names' && kinds.includes(args[0])) {
    console.log(namesOf(args[0]).join('\n'));
    return 0;
  }
  if (verb === 'setup') {
    const unknown = args.find((name) => table[name] === undefined);
    if (unknown !== undefined) refuse(`there is no ${unknown}; there are ${Object.keys(table).join(', ')}`);
    return setUp(args.length > 0 ? args : ['tests', ...namesOf('sample')]);
  }
  if (!kinds.includes(verb)) refuse(`expected ${kinds.join(', ')}, names or setup, got ${verb ?? 'nothing'}`);
  const names = namesOf(verb);
  // `npm run bench` has always been the whole table of benches, and a number its scale.
  if (verb === 'bench' && (args[0] === undefined || !Number.isNaN(Number(args[0])))) args.unshift('all');
  const [name, ...rest] = args;
  if (name === undefined) return runAll(verb);
  if (!names.includes(name)) refuse(`there is no ${verb} ${name}; there are ${names.join(', ')}`);
  return runRow(verb, name, rest);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = main(process.argv.slice(2));
