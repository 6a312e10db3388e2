// Makes a checkout ready to run: dependencies, the build, and the system programs named as arguments, each only where it
// is missing or stale. It runs before there is a node_modules, so it uses Node's own modules only; it prints one line for
// each thing it does, and nothing where nothing is to be done.
//
//     node scripts/setup.mjs [PROGRAM…]        exit 0 ready · 1 a step failed · 2 something must be installed by hand

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** A step that could not be done; its message is all that the user needs. */
class Failure extends Error {
  constructor(message, exitCode) {
    super(message);
    this.exitCode = exitCode;
  }
}

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Debian's package for a program whose name is not the package's. */
const packages = {
  memccapable: 'libmemcached-tools',
  memcaslap: 'libmemcached-tools',
  capinfos: 'wireshark-common',
  ip: 'iproute2',
  nft: 'nftables',
  php: 'php-cli',
  saslpasswd2: 'sasl2-bin',
  xmllint: 'libxml2-utils',
};

/** Packages that are no programs, but what programs load. */
const libraries = new Set(['python3-pylibmc', 'php-memcached', 'ruby-dalli', 'libsasl2-modules']);

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`memtape needs Node.js 20.19 or later; this is ${process.versions.node}`);
  process.exit(2);
}

const programs = process.argv.slice(2);
if (dependenciesAreStale() || buildIsStale() || missing(programs).length > 0) {
  const release = await lock();
  try {
    if (dependenciesAreStale()) npm('installing dependencies: npm ci', ['ci', '--include=dev']);
    if (buildIsStale()) npm('building: npm run build', ['run', 'build']);
    installPrograms(missing(programs));
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    console.error(`setup: ${error.message}`);
    process.exitCode = error.exitCode;
  } finally {
    release();
  }
}

/** Whether node_modules lacks a package of the lock file, or has another version of it. */
function dependenciesAreStale() {
  const installed = lockedPackages(join(root, 'node_modules', '.package-lock.json'));
  if (installed === undefined) return true;
  const wanted = lockedPackages(join(root, 'package-lock.json')) || {};
  return Object.keys(wanted).some((path) => {
    if (path === '') return false;
    const entry = installed[path];
    // Optional packages are those for other processors and systems.
    if (entry === undefined) return wanted[path].optional !== true;
    return entry.version !== wanted[path].version;
  });
}

function lockedPackages(file) {
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).packages : undefined;
}

/** Whether a source has no output in dist, or a younger one than its output. */
function buildIsStale() {
  const config = modified(join(root, 'tsconfig.json'));
  return sources('').some((file) => {
    // The modules of the HTML report's script are bundled into one.
    const output = file.replace(/^report\/page\/.*$/, 'report/page.ts').replace(/\.ts$/, '.js');
    const built = modified(join(root, 'dist', output));
    return built === undefined || built < modified(join(root, file)) || built < config;
  });
}

/** The modules that the build compiles, as tsconfig.build.json has it. */
function sources(folder) {
  const skipped = new Set(['node_modules', 'dist', 'test', 'vitest.config.ts']);
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    if (entry.name.startsWith('.') || (folder === '' && skipped.has(entry.name))) return [];
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return sources(path);
    return /(?<!\.d)\.ts$/.test(entry.name) ? [path] : [];
  });
}

function modified(file) {
  const stat = statSync(file, { throwIfNoEntry: false });
  return stat && stat.mtimeMs;
}

/** Those of the programs that are neither in PATH nor where Debian keeps an administrator's. */
function missing(names) {
  const folders = (process.env.PATH || '').split(delimiter).concat('/usr/local/sbin', '/usr/sbin', '/sbin');
  // dpkg keeps a list of files of each package, some under the name of their architecture too.
  const known = '/var/lib/dpkg/info';
  const lists = existsSync(known) ? readdirSync(known).filter((file) => file.endsWith('.list')) : [];
  return names.filter((name) =>
    libraries.has(name)
      ? !lists.some((file) => file.replace(/(:\w+)?\.list$/, '') === name)
      : !folders.some((folder) => folder !== '' && existsSync(join(folder, name))),
  );
}

function npm(line, args) {
  const env = { ...process.env, NODE_ENV: '' };
  // Options of the npm that called us (`npm test --silent --prefix …`) are not meant for this one. What says where
  // packages come from stays, and so does ignore-scripts: the build is then made by the step after.
  const disturbing =
    /^npm_config_(omit|include|only|production|dev|dry_run|global|location|prefix|local_prefix|workspaces?|include_workspace_root|package_lock|package_lock_only|install_strategy|install_links|json)$/i;
  for (const name of Object.keys(env)) if (disturbing.test(name)) delete env[name];
  const cli = process.env.npm_execpath || '';
  const script = /npm-cli\.c?js$/.test(cli) ? [cli] : undefined;
  run(line, script ? process.execPath : 'npm', [...(script || []), ...args], env);
}

function installPrograms(names) {
  if (names.length === 0) return;
  const wanted = [...new Set(names.map((name) => packages[name] || name))].join(' ');
  const sudo = process.getuid && process.getuid() === 0 ? [] : ['sudo', '-n'];
  const mayInstall =
    missing(['apt-get']).length === 0 &&
    (sudo.length === 0 || spawnSync('sudo', ['-n', 'true']).status === 0);
  if (!mayInstall)
    throw new Failure(`${names.join(', ')} must be installed first; on Debian: apt-get install ${wanted}`, 2);
  // A memcached that Debian starts as a service would take port 11211: policy-rc.d forbids starting it, for as long as
  // the installation lasts, unless the machine has a policy of its own.
  const script = `
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
      trap 'rm -f $policy' EXIT; trap 'exit 1' INT TERM
      printf '#!/bin/sh\\nexit 101\\n' > $policy; chmod 755 $policy
    fi
    apt-get -q -o DPkg::Lock::Timeout=300 update &&
    apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends ${wanted}`;
  const [command, ...args] = [
    ...sudo,
    'env',
    'DEBIAN_FRONTEND=noninteractive',
    'RUNLEVEL=1',
    'sh',
    '-c',
    script,
  ];
  run(`installing ${wanted}: apt-get install`, command, args, process.env);
  const absent = missing(names);
  if (absent.length > 0)
    throw new Failure(`${absent.join(', ')} still not found after installing ${wanted}`, 2);
}

/** Says what it does, does it, and ends the process with the command's output where that fails. */
function run(line, command, args, env) {
  console.error(`setup: ${line}`);
  const options = { cwd: root, env, encoding: 'utf8', maxBuffer: 1 << 28, stdio: ['ignore', 'pipe', 'pipe'] };
  const done = spawnSync(command, args, options);
  if (done.status === 0) return;
  const output = `${done.stdout || ''}${done.stderr || ''}`.trimEnd();
  if (output !== '') console.error(output);
  const why = done.error ? done.error.message : `exit ${done.status === null ? done.signal : done.status}`;
  throw new Failure(`failed while ${line} (${why})`, 1);
}

/** Waits until no other setup of this user's is at work. Returns what ends our turn. */
async function lock() {
  const uid = process.getuid ? process.getuid() : 0;
  const folder = join(tmpdir(), `memtape-setup-${createHash('sha1').update(`${uid} ${root}`).digest('hex')}`);
  const owner = join(folder, 'pid');
  for (;;) {
    try {
      mkdirSync(folder);
      writeFileSync(owner, String(process.pid));
      return () => rmSync(folder, { recursive: true, force: true });
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    if (isAbandoned(folder, owner)) rmSync(folder, { recursive: true, force: true });
    else await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

/** Whether the lock's owner is gone; one that has not written its process id yet gets some seconds for it. */
function isAbandoned(folder, owner) {
  try {
    process.kill(Number(readFileSync(owner, 'utf8')), 0);
    return false;
  } catch (error) {
    if (error.code === 'ESRCH') return true;
    return error.code === 'ENOENT' && Date.now() - (modified(folder) || 0) > 5_000;
  }
}
