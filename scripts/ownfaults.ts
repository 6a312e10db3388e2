// Faults of our own: `node dist/scripts/ownfaults.js [KILLS] [FAULT]` kills recordings, replays and reports at random moments,
// fills their disk at random bytes, slows it down, sets the clock, takes away memory and descriptors, stops processes, sends
// signals, and has two of everything write one file. What was recorded must be readable, every other file whole or absent,
// and each exit code true. Ends with 1 where one is not. Needs memcached, tcpdump, faketime and strace; root for some.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { childrenOf, kill, limited, mount, run, start } from './attack.ts';
import { readable, startRecording } from './recorder.ts';
import { whatIsLeft } from './sound.ts';
import {
  alone,
  endProxy,
  fault,
  folder,
  found,
  fresh,
  isRoot,
  pour,
  prepare,
  proxies,
  random,
  say,
  server,
  wordsOf,
  writers,
} from './victims.ts';

const KILLS = Number(process.argv[2] ?? 200);
const ONLY = process.argv[3];
/** Rounds of the other faults, which are fewer. */
const rounds = (of: number): number => Math.max(1, Math.round((KILLS / 200) * of));
/** A live recording has lost so much when it is killed, at most: what it flushes every five seconds, and a busy machine. */
const FLUSHED_MS = 7000;

/** So many are attacked at the same time: a proxy that is poured into for some seconds takes little of a processor. */
const AT_ONCE = 3;

/** Does all rounds of it, some at the same time. */
async function inLanes(count: number, work: (round: number) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
}

async function killed(): Promise<string> {
  const names = [...Object.keys(writers), ...Object.keys(proxies)];
  let [files, exchanges] = [0, 0];
  await inLanes(KILLS, async (round) => {
    const name = names[round % names.length]!;
    const to = fresh();
    if (proxies[name] !== undefined) {
      const left = await killProxy(name, to);
      exchanges += left;
      return;
    }
    const { child, ended } = start(wordsOf(name, to));
    // A start without any work is some 300 ms; beside others, all takes as much longer.
    await sleep(200 + random.float() * alone.get(name)!.ms * AT_ONCE);
    child.kill('SIGKILL');
    await ended;
    const left = await whatIsLeft(to, name === 'record');
    [files, exchanges] = [files + left.files, exchanges + left.exchanges];
    fault(`${name} killed`, left.wrong);
    rmSync(to, { recursive: true });
  });
  return `${KILLS} moments; ${files} files of commands and ${exchanges} exchanges were left, all readable`;
}

/** @returns exchanges that could be read */
async function killProxy(name: string, to: string): Promise<number> {
  const proxy = await startRecording(server.address, join(to, 'out.tape'), proxies[name]);
  const counts: [ms: number, answers: number][] = [];
  // Now and then so long that something must have been flushed.
  const forMs = 300 + random.float() * (random.chance(0.2) ? 10_000 : 3000);
  const done = pour(proxy.address, {
    seconds: 14,
    onAnswer: (answers) => void counts.push([performance.now(), answers]),
  });
  await sleep(forMs);
  proxy.child.kill('SIGKILL');
  const atMs = performance.now();
  await proxy.ended;
  await done;
  const { wrong: bad, exchanges } = await whatIsLeft(to, true);
  const flushed = counts.findLast(([ms]) => ms < atMs - FLUSHED_MS)?.[1] ?? 0;
  const isEnough = name === 'record --ring' || exchanges >= flushed;
  fault(`${name} killed`, [
    ...bad,
    ...(isEnough ? [] : [`${exchanges} exchanges are readable, ${flushed} were older than ${FLUSHED_MS} ms`]),
  ]);
  rmSync(to, { recursive: true });
  return exchanges;
}

async function fullDisk(): Promise<string> {
  const count = rounds(60);
  const codes = new Map<string, number>();
  await inLanes(count, async (round) => {
    const names = Object.keys(writers);
    const name = names[round % names.length]!;
    const to = fresh();
    const kilobytes = 1 + random.int(Math.ceil(alone.get(name)!.bytes / 1024));
    const isMounted = isRoot && round % 2 === 1 && mount(to, Math.max(4, kilobytes));
    const { code, said } = await run(wordsOf(name, to), isMounted ? [] : limited(`-f ${kilobytes}`));
    const left = await whatIsLeft(to, name === 'record');
    const how = `${name} on a disk of ${kilobytes} kB (${isMounted ? 'a file system' : 'ulimit'})`;
    fault(how, left.wrong);
    if (code !== 0 && code !== 2) fault(how, [`exit ${code}: ${said}`]);
    if (code === 2 && (!said.includes(join(to, 'out.')) || /^ {4}at /m.test(said)))
      fault(how, [`expected the file's name, got: ${said}`]);
    codes.set(`exit ${code}`, (codes.get(`exit ${code}`) ?? 0) + 1);
    if (isMounted) execFileSync('umount', [to]);
    rmSync(to, { recursive: true });
  });
  return `${count} random sizes: ${[...codes].map(([code, times]) => `${times} times ${code}`).join(', ')}; files whole or absent, recordings readable`;
}

/** Each proxy carries traffic on when its disk is full, or slow, and ends when it is told to. */
async function brokenDisk(): Promise<string> {
  const told: string[] = [];
  for (const [name, more] of Object.entries(proxies)) {
    const to = fresh();
    const output = join(to, 'out.tape');
    const proxy = await startRecording(
      server.address,
      output,
      more,
      limited(`-f ${3000 + random.int(3000)}`),
    );
    await pour(proxy.address, { seconds: 8, valueBytes: 20_000 });
    const after = await pour(proxy.address, { seconds: 1 });
    await endProxy(`${name} on a full disk`, proxy, [0, 2]);
    const left = await whatIsLeft(to, true);
    fault(`${name} on a full disk`, left.wrong);
    if (after === 0) fault(`${name} on a full disk`, ['traffic stops']);
    if (name !== 'record --ring' && left.exchanges === 0)
      fault(`${name} on a full disk`, ['nothing is readable']);
    told.push(`${name} ${left.exchanges} exchanges, ${after} answers after it`);
  }
  const to = fresh();
  const output = join(to, 'out.tape');
  const traced = '-f -qq -o /dev/null -e trace=write,pwrite64 -e inject=write,pwrite64:delay_enter=400000';
  const delayed = ['strace', ...traced.split(' '), '-P', output];
  const proxy = await startRecording(server.address, output, [], delayed);
  const answers = await pour(proxy.address, { seconds: 6, valueBytes: 20_000 });
  await endProxy('record --listen on a slow disk', proxy, [0]);
  const left = await whatIsLeft(to, false);
  fault('record --listen on a slow disk', left.wrong);
  if (left.exchanges < answers)
    fault('record --listen on a slow disk', [`${left.exchanges} exchanges of ${answers} answers`]);
  return `${told.join('; ')}; with 0.4 s for each write all of ${answers} answers are recorded`;
}

/** Steps of the clock, in seconds, while something is under way. */
const STEPS = [3600, -3600, 86_400 * 400, -86_400 * 400, -7];

const byTwo = (): string[] => [...wordsOf('replay', fresh()), '--workers', '2'];

async function clock(): Promise<string> {
  const preload = '/usr/$LIB/faketime/libfaketimeMT.so.1';
  const at = join(folder, 'clock');
  const env = {
    LD_PRELOAD: preload,
    DONT_FAKE_MONOTONIC: '1',
    FAKETIME_NO_CACHE: '1',
    FAKETIME_TIMESTAMP_FILE: at,
  };
  const set = (seconds: number): void => writeFileSync(at, `${seconds < 0 ? '' : '+'}${seconds}s\n`);
  for (const [round, step] of STEPS.slice(0, rounds(STEPS.length)).entries()) {
    const [name, more] = Object.entries(proxies)[round % 3]!;
    set(0);
    const to = fresh();
    const proxy = await startRecording(server.address, join(to, 'out.tape'), more, [], env);
    const pouring = pour(proxy.address, { seconds: 3 });
    await sleep(1500);
    set(step);
    const answers = await pouring;
    await endProxy(`${name}, the clock set by ${step} s`, proxy, [0]);
    const left = await whatIsLeft(to, false);
    const isAll = name === 'record --ring' ? left.exchanges > 0 : left.exchanges >= answers;
    fault(`${name}, the clock set by ${step} s`, [
      ...left.wrong,
      ...(isAll ? [] : [`${left.exchanges} exchanges of ${answers} answers`]),
    ]);
    for (const file of readdirSync(to)) {
      const { seconds } = await readable(join(to, file));
      if (seconds > 30) fault(`${name}, the clock set by ${step} s`, [`${file} spans ${seconds} s`]);
    }
    if (isRoot) await liveRing(env, set, step);
    set(0);
    // As long as it takes in such an environment, beside whatever else the machine does.
    const undisturbed = await run(byTwo(), [], env);
    const replaying = start(byTwo(), [], env);
    await sleep(400 + random.float() * 800);
    set(step);
    const { code, said, ms } = await replaying.ended;
    if (code !== 0 || ms > 3 * undisturbed.ms + 10_000)
      fault(`replay, the clock set by ${step} s`, [
        `exit ${code} after ${(ms / 1000).toFixed(1)} s: ${said}`,
      ]);
  }
  return `steps by ${STEPS.slice(0, rounds(STEPS.length)).join(', ')} s: times keep their distances, recordings and replays with two workers are whole`;
}

/** The ring of a live capture goes by time that passes, and not by what the clock says. */
async function liveRing(env: NodeJS.ProcessEnv, set: (seconds: number) => void, step: number): Promise<void> {
  const output = join(fresh(), 'out.tape');
  set(0);
  const words = ['record', '--interface', 'lo', '--port', String(server.port), '-o', output, '--ring', '60s'];
  const { child, ended } = start([...words, '--quiet'], [], env);
  await sleep(2500);
  await pour(server.address, { seconds: 1 });
  set(step);
  // The recorder looks at the time every five seconds.
  await sleep(6000);
  const answers = await pour(server.address, { seconds: 1 });
  await sleep(3000);
  child.kill('SIGINT');
  const { code, said } = await ended;
  const exchanges = existsSync(output) ? (await readable(output)).exchanges : 0;
  if (code !== 0 || exchanges < answers * 1.5)
    fault(`a live ring, the clock set by ${step} s`, [
      `exit ${code}, ${exchanges} exchanges, ${answers} answers of the second half: ${said}`,
    ]);
}

async function starved(): Promise<string> {
  const big = join(folder, 'big.tape');
  const requests = String(rounds(400) * 1000);
  await run(['synth', 'etc', '-o', big, '--requests', requests, '--quiet']);
  const small = join(folder, 'small.tape');
  await run(['synth', 'etc', '-o', small, '--requests', '20000', '--quiet']);
  const to = fresh();
  const env = { NODE_OPTIONS: '--max-old-space-size=64' };
  await run(['convert', big, join(to, 'big.pcap')]);
  const big64 = async (words: readonly string[], codes: readonly (number | null)[] = [0]): Promise<void> => {
    const { code, said } = await run(words, [], env);
    if (!codes.includes(code))
      fault(`${words[0]} with 64 MB of heap`, [`exit ${code}: ${said.slice(-1500)}`]);
  };
  // What goes through a trace once needs the same for any length.
  for (const words of [
    ['record', join(to, 'big.pcap'), '-o', join(to, 'out.tape'), '--quiet'],
    ['info', big],
    ['cat', big, '--limit', '10'],
    ['filter', big, '-o', join(to, 'filtered.tape'), '--quiet'],
  ])
    await big64(words);
  // A replay and its judgement keep something of each key: they do it, or are ended by the runtime, with nothing half.
  const kept = join(to, 'kept');
  mkdirSync(kept);
  const replaying = ['--speed', 'max', '--timeout', '20s', '--target', server.address, '--quiet'];
  const seen = join(kept, 'out.results');
  await big64(['replay', big, ...replaying, '--results', seen, '--html', join(kept, 'out.html')], [0, null]);
  fault('replay with 64 MB of heap', (await whatIsLeft(kept, false)).wrong);
  await run(['replay', small, ...replaying, '--results', join(to, 'small.results')], [], env);
  await big64(['diff', small, join(to, 'small.results'), '--quiet', '--html', join(to, 'out.html')]);
  const output = join(to, 'proxy.tape');
  const proxy = await startRecording(server.address, output, [], limited('-n 64'));
  const idle = Array.from({ length: 100 }, () =>
    connect(Number(proxy.address.split(':')[1]), '127.0.0.1').on('error', () => undefined),
  );
  await sleep(500);
  for (const socket of idle) socket.destroy();
  let answers = 0;
  // On a busy machine it takes the proxy a while to hear that they have left.
  for (let tries = 0; answers === 0 && tries < 20; tries++)
    answers = await pour(proxy.address, { seconds: 1 });
  await endProxy('record --listen with 64 descriptors', proxy, [0]);
  const exchanges = existsSync(output) ? (await readable(output)).exchanges : 0;
  if (answers === 0 || exchanges < answers)
    fault('record --listen with 64 descriptors', [`${exchanges} exchanges of ${answers} answers`]);
  return `64 MB of heap for ${requests} exchanges; a proxy with 64 descriptors and 100 clients takes the next ones`;
}

async function stopped(): Promise<string> {
  const to = fresh();
  const proxy = await startRecording(server.address, join(to, 'out.tape'));
  const pouring = pour(proxy.address, { seconds: 4 });
  await sleep(1000);
  proxy.child.kill('SIGSTOP');
  await sleep(1500);
  proxy.child.kill('SIGCONT');
  const answers = await pouring;
  await endProxy('record --listen, stopped', proxy, [0]);
  const left = await whatIsLeft(to, false);
  fault('record --listen, stopped', left.wrong);
  if (left.exchanges < answers) fault('record --listen, stopped', [`${left.exchanges} of ${answers}`]);
  if (!isRoot) return `a proxy, 1.5 s: all of ${answers} answers recorded (tcpdump needs root)`;
  const captured: string[] = [];
  for (const signal of ['SIGSTOP', 'SIGKILL'] as const) captured.push(await stopTcpdump(signal));
  return `a proxy, 1.5 s: all of ${answers} answers recorded; ${captured.join('; ')}`;
}

async function stopTcpdump(signal: 'SIGSTOP' | 'SIGKILL'): Promise<string> {
  const output = join(fresh(), 'out.tape');
  const { port } = server;
  const words = ['record', '--interface', 'lo', '--port', String(port), '-o', output, '--quiet'];
  const { child, ended } = start(words);
  await sleep(2500);
  const [tcpdump] = childrenOf(child.pid!);
  await pour(server.address, { seconds: 1 });
  await sleep(1200);
  kill(tcpdump ?? 0, signal);
  await pour(server.address, { seconds: 1 });
  if (signal === 'SIGSTOP') {
    // Told to end while tcpdump does not hear.
    child.kill('SIGINT');
    await sleep(3000);
    kill(tcpdump ?? 0, 'SIGCONT');
  }
  const told = await Promise.race([ended, sleep(15_000, undefined)]);
  if (told === undefined) child.kill('SIGKILL');
  const { exchanges, isCut } = await readable(output);
  const code = signal === 'SIGKILL' ? 2 : 0;
  if (told?.code !== code || isCut || exchanges === 0)
    fault(`tcpdump ${signal}`, [`exit ${told?.code}, ${exchanges} exchanges, cut: ${isCut}: ${told?.said}`]);
  if (tcpdump !== undefined && existsSync(`/proc/${tcpdump}`))
    fault(`tcpdump ${signal}`, ['it is still there']);
  return `tcpdump ${signal}: ${exchanges} exchanges`;
}

async function signals(): Promise<string> {
  for (const [name, more] of Object.entries(proxies))
    for (const signal of ['SIGPIPE', 'SIGHUP', 'SIGTERM'] as const) {
      const to = fresh();
      const proxy = await startRecording(server.address, join(to, 'out.tape'), more);
      const pouring = pour(proxy.address, { seconds: 1.5 });
      await sleep(700);
      proxy.child.kill(signal);
      const answers = await pouring;
      if (signal === 'SIGPIPE') await endProxy(`${name}, ${signal}`, proxy, [0]);
      const code = await Promise.race([proxy.ended, sleep(15_000, -1)]);
      if (code === -1) proxy.child.kill('SIGKILL');
      const left = await whatIsLeft(to, false);
      fault(`${name}, ${signal}`, left.wrong);
      if (code !== 0 || left.exchanges === 0 || existsSync(join(to, 'out.tape.ring')))
        fault(`${name}, ${signal}`, [`exit ${code}, ${left.exchanges} exchanges of ${answers}`]);
    }
  return 'SIGPIPE is no reason to stop; SIGHUP and SIGTERM finish the file';
}

async function twoOfEach(): Promise<string> {
  for (const name of Object.keys(writers)) {
    const to = fresh();
    const both = await Promise.all([1, 2].map(async () => run(wordsOf(name, to))));
    const codes = both.map(({ code }) => code).toSorted((a, b) => Number(a) - Number(b));
    // Reports are written over one another.
    const isRight = codes.join() === '0,2' || (name === 'diff' && codes.join() === '0,0');
    const left = await whatIsLeft(to, false);
    fault(`two of ${name}`, left.wrong);
    if (!isRight)
      fault(`two of ${name}`, [`exits ${codes.join()}: ${both.map(({ said }) => said).join('')}`]);
    if (readdirSync(to).some((file) => file.startsWith('.')))
      fault(`two of ${name}`, ['something lies beside']);
  }
  for (const [name, more] of Object.entries(proxies)) {
    const to = fresh();
    const output = join(to, 'out.tape');
    const both = await Promise.allSettled(
      [1, 2].map(async () => startRecording(server.address, output, more)),
    );
    const live = both.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
    const answers = await Promise.all(live.map(async ({ address }) => pour(address, { seconds: 1 })));
    for (const proxy of live) await endProxy(`two of ${name}`, proxy, [0]);
    const left = await whatIsLeft(to, false);
    fault(`two of ${name}`, left.wrong);
    // Rotated files have names of their own.
    const expected = name === 'record --rotate' ? 2 : 1;
    const sum = answers.reduce((a, b) => a + b, 0);
    if (live.length !== expected || (name !== 'record --ring' && left.exchanges < sum))
      fault(`two of ${name}`, [`${live.length} go on; ${left.exchanges} exchanges of ${sum} answers`]);
  }
  return 'one of them has the file, the other says so; rotated files have names of their own';
}

const faults: Readonly<Record<string, () => Promise<string>>> = {
  killed,
  'a full disk': fullDisk,
  'a proxy on a full or slow disk': brokenDisk,
  'the clock is set': clock,
  'little memory, few descriptors': starved,
  'stopped for a while': stopped,
  signals,
  'two of everything': twoOfEach,
};

try {
  await prepare();
  for (const [name, attack] of Object.entries(faults)) {
    if (ONLY !== undefined && !ONLY.split(',').some((part) => name.includes(part))) continue;
    const from = performance.now();
    const before = found.wrong;
    const told = await attack();
    const verdict = found.wrong === before ? 'kept ' : 'WRONG';
    say(`${verdict}  ${name}: ${told} (${((performance.now() - from) / 1000).toFixed(0)} s)`);
  }
} finally {
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
}
process.exitCode = found.wrong === 0 ? 0 : 1;
