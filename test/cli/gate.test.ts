// Gates, as a user runs them: each exit code, what ends a run, what is wrong with a file and where,
// and the reports of all runs together.

import { spawnSync } from 'node:child_process';
import { EventEmitter } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { gateJsonSchema, readGate, withDefaults } from '../../cli/gatefile.ts';
import { startServer } from '../../embedded/server.ts';
import { gateReportJsonSchema, gateReportSchema, type GateReport } from '../../report/gate.ts';
import { ResultsReader } from '../../trace/file.ts';
import { runMemtape, type Ran } from '../support/cli.ts';
import { batchOf, temporary, writeTape, type ExchangeInit } from '../support/tape.ts';

const root = new URL('../..', import.meta.url).pathname;
const example = `${root}examples/memtape.gate.yaml`;

async function memtape(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ran> {
  return runMemtape(args, { env });
}

let folder: string;

/** A trace of a set, and of a hundred gets of it, a millisecond apart, in the gate's folder. */
beforeEach(async () => {
  folder = dirname(temporary('gate'));
  const gets = Array.from({ length: 100 }, (_, n): ExchangeInit => ({
    op: 'get',
    key: 'a',
    answer: 'one',
    at: 1000 * (n + 1),
  }));
  await writeTape(join(folder, 'capture.tape'), [
    batchOf([{ op: 'set', key: 'a', value: 'one', at: 0 }, ...gets]),
  ]);
});

/** A gate file of these lines after the format. */
function gateFile(...lines: string[]): string {
  const path = join(folder, 'memtape.gate.yaml');
  writeFileSync(path, ['format: memtape-gate/1', ...lines, ''].join('\n'));
  return path;
}

/** Runs a gate of these lines, and reads its JSON. */
async function gate(
  lines: readonly string[],
  args: readonly string[] = [],
  env: NodeJS.ProcessEnv = {},
): Promise<Ran & { report: GateReport }> {
  const json = join(folder, 'gate.json');
  const ran = await memtape(['gate', gateFile(...lines), '--json', json, '--quiet', ...args], env);
  expect(ran.stderr).not.toMatch(/^ {4}at /m);
  const report = (existsSync(json) ? JSON.parse(readFileSync(json, 'utf8')) : {}) as GateReport;
  return { ...ran, report };
}

/** `name verdict` of each run. */
function verdicts({ runs }: GateReport): string[] {
  return runs.map(({ name, report: { verdict } }) => `${name} ${verdict}`);
}

function assertValidJunit(path: string): void {
  const args = ['--noout', '--nonet', '--schema', `${root}test/report/junit.xsd`, path];
  const { error, status, stderr } = spawnSync('xmllint', args, { encoding: 'utf8' });
  if (error !== undefined)
    throw new Error("xmllint is needed: apt-get install libxml2-utils (or your system's package)", {
      cause: error,
    });
  expect([status, stderr]).toEqual([0, expect.stringContaining('validates')]);
}

const healthy = '  - {name: healthy, trace: capture.tape, embedded: {}, speed: max, timeout: 5s}';
const sick =
  '  - {name: sick, trace: capture.tape, embedded: {faults: [corrupt=1/10]}, speed: max, timeout: 5s}';
const unreachable = '  - {name: unreachable, trace: capture.tape, target: "127.0.0.1:1"}';

describe('three runs: recorded, synthesized, and the incident', () => {
  test('a recording that is judged by itself is a run like others, and sends nothing', async () => {
    const exchanges = [
      { op: 'set', key: 'k', value: 'old old', answerCas: 1n },
      { op: 'set', key: 'k', value: 'new new', answerCas: 2n },
      { op: 'get', key: 'k', answer: 'old old', answerCas: 1n },
    ];
    await writeTape(join(folder, 'stale.tape'), [batchOf(exchanges)]);
    const ran = await gate(['runs: [{name: production, audit: stale.tape}]']);
    expect(ran).toMatchObject({ code: 1, report: { verdict: 'fail' } });
    expect(ran.report.runs[0]!.report.violations).toEqual({ 'stale-value': 1 });
    expect(ran.report.runs[0]!.report.thresholds.map(({ expression }) => expression)).toEqual([
      'violations == 0',
      'judged > 90%',
    ]);
    const speed = await gate(['runs: [{name: production, audit: stale.tape, speed: 2}]']);
    expect(speed).toMatchObject({ code: 2 });
    expect(speed.stderr).toMatch(/an audit sends nothing/);
  });

  test('a healthy cluster passes, and every kind of report is written', async () => {
    const { code, stdout } = await memtape([
      'gate',
      example,
      '--quiet',
      '--json',
      join(folder, 'g.json'),
      '--html',
      join(folder, 'g.html'),
      '--junit',
      join(folder, 'g.xml'),
      '--markdown',
      join(folder, 'g.md'),
    ]);
    expect([code, stdout]).toEqual([0, expect.stringMatching(/^ {2}incident +Passed +5,000 +0 /m)]);
    const report = gateReportSchema.parse(JSON.parse(readFileSync(join(folder, 'g.json'), 'utf8')));
    expect(verdicts(report)).toEqual(['recorded pass', 'synthesized pass', 'incident pass']);
    expect(report.runs[2]!.report.drift['lost']).toBeGreaterThan(0);
    assertValidJunit(join(folder, 'g.xml'));
    expect(readFileSync(join(folder, 'g.xml'), 'utf8')).toContain('<testsuite name="incident"');
    expect(readFileSync(join(folder, 'g.md'), 'utf8')).toMatch(
      /^## ✅ memtape: Passed\n[\s\S]*\| `incident` \|/,
    );
    expect(readFileSync(join(folder, 'g.html'), 'utf8')).toMatch(/^<!doctype html>[\s\S]*incident/i);
  });

  test('with a sick one, the incident fails and its backend is named', async () => {
    // Its last run alone: the others are as above.
    const text = readFileSync(example, 'utf8')
      .replace(/  # What production sent\.[^]*(?=  # The incident)/, '')
      .replace('restart-empty,', 'stale-sockets,')
      .replaceAll('../', root);
    const path = join(folder, 'sick.yaml');
    writeFileSync(path, text);
    const outputs = ['--json', join(folder, 'g.json'), '--junit', join(folder, 'g.xml')];
    const { code, stdout } = await memtape(['gate', path, '--quiet', ...outputs]);
    expect([code, stdout]).toEqual([1, expect.stringMatching(/partition 127\.0\.0\.1:\d+, 2 of 4/)]);
    const report = gateReportSchema.parse(JSON.parse(readFileSync(join(folder, 'g.json'), 'utf8')));
    expect([report.verdict, ...verdicts(report)]).toEqual(['fail', 'incident fail']);
    assertValidJunit(join(folder, 'g.xml'));
  });
});

describe('exit codes', () => {
  test('0: all passed; what a run is, in the words of replay', async () => {
    mkdirSync(join(folder, 'inner'));
    writeFileSync(
      join(folder, 'drills.yaml'),
      '- {at: 10ms, run: "echo ${HOME:-x} > inner/drilled", name: touch}\n',
    );
    const { code, report, stdout } = await gate(
      [
        'defaults: {timeout: 5s, thresholds: ["violations == 0", "matched > 99%"]}',
        'runs:',
        '  - {name: one, trace: capture.tape, speed: 2, loop: 2, split: recorded, results: inner/one.results}',
        '  - {name: two, trace: capture.tape, rate: 1k, order: none, from: 1ms, to: 60ms, drills: [{at: 5ms, run: "true"}]}',
        '  - {name: three, model: etc, requests: 300, speed: max, workers: 2, scenarios: [hotKey], seed: 3, embedded: {backends: 2}}',
        'outputs: {junit: inner/gate.xml}',
      ],
      [],
    );
    expect([code, report.verdict]).toEqual([0, 'pass']);
    const [one, two, three] = report.runs.map((one) => one.report);
    expect([one!.exchanges.sent, one!.schedule.speed, one!.thresholds.length]).toEqual([202, 2, 2]);
    const kept = await ResultsReader.open(join(folder, 'inner/one.results'));
    await kept.close();
    expect(kept.meta.split).toBe('recorded');
    expect([two!.schedule.rate, two!.schedule.order, two!.drills.length]).toEqual(['1k', 'none', 1]);
    expect([three!.servers.length, three!.exchanges.sent >= 300]).toEqual([2, true]);
    expect(stdout).toMatch(
      /^ {2}run +verdict +exchanges +violations +drift +p99 +time\n {2}one +Passed +202 /m,
    );
    assertValidJunit(join(folder, 'inner/gate.xml'));
    const again = await gate([
      'runs: [{name: again, trace: capture.tape, speed: max, expect: inner/one.results, drills: drills.yaml}]',
    ]);
    // The results are of two turns, and this is one: compared all the same.
    expect([again.code, again.report.runs[0]!.report.baseline?.verdict]).toEqual([0, 'pass']);
  });

  test('1: a failing run does not stop the others; with stopOnFailure it does', async () => {
    const on = await gate(['runs:', sick, healthy]);
    expect([on.code, on.report.verdict, ...verdicts(on.report)]).toEqual([
      1,
      'fail',
      'sick fail',
      'healthy pass',
    ]);
    const stopped = await gate(['stopOnFailure: true', 'runs:', sick, healthy]);
    expect([stopped.code, stopped.report.skipped, verdicts(stopped.report)]).toEqual([
      1,
      ['healthy'],
      ['sick fail'],
    ]);
    expect(stopped.stdout).toMatch(/^ {2}healthy +Not run /m);
  });

  test('3: a threshold that nothing could measure', async () => {
    const { code, report } = await gate([
      'runs:',
      '  - {name: thin, trace: capture.tape, speed: max, thresholds: ["latency.fromIntended.p99{operation=gat} < 1s"]}',
      healthy,
    ]);
    expect([code, ...verdicts(report)]).toEqual([3, 'thin insufficient', 'healthy pass']);
  });

  test('4: late by our own fault', async () => {
    const { code, report } = await gate([
      'runs:',
      '  - {name: late, trace: capture.tape, maxLag: 0.000001ms}',
      '  - {name: thin, trace: capture.tape, speed: max, minCoverage: 1000}',
    ]);
    expect([code, ...verdicts(report)]).toEqual([4, 'late invalid', 'thin insufficient']);
  });

  test('5: a target that cannot be reached is a verdict on its run, with every report', async () => {
    const { code, report, stdout } = await gate(
      ['runs:', unreachable, healthy],
      [
        '--junit',
        join(folder, 'g.xml'),
        '--html',
        join(folder, 'g.html'),
        '--markdown',
        join(folder, 'g.md'),
      ],
    );
    expect([code, ...verdicts(report)]).toEqual([5, 'unreachable aborted', 'healthy pass']);
    expect(gateReportSchema.parse(report)).toEqual(report);
    expect(report.runs[0]!.report.incidents.examples[0]!.note).toMatch(/cannot reach 127\.0\.0\.1:1/);
    expect(stdout).toMatch(/cannot reach 127\.0\.0\.1:1/);
    assertValidJunit(join(folder, 'g.xml'));
    expect(readFileSync(join(folder, 'g.md'), 'utf8')).toContain('cannot reach');
  });

  test('a run that failed outweighs one that was aborted', async () => {
    const { code, report } = await gate(['runs:', unreachable, sick]);
    expect([code, report.verdict]).toEqual([1, 'fail']);
  });

  test('130: what was done is saved and reported, and nothing is begun any more', async () => {
    const server = await startServer();
    const file = gateFile(
      'runs:',
      healthy,
      `  - {name: long, trace: capture.tape, speed: 0.01, results: long.results, target: "${server.address}"}`,
      '  - {name: after, trace: capture.tape}',
    );
    const json = join(folder, 'g.json');
    const args = ['gate', file, '--json', json, '--junit', join(folder, 'g.xml')];
    const signals = new EventEmitter();
    const ended = runMemtape(args, { signals });
    await vi.waitUntil(() => server.counters.requests > 5, 20_000);
    signals.emit('SIGINT');
    expect((await ended).code).toBe(130);
    const report = gateReportSchema.parse(JSON.parse(readFileSync(json, 'utf8')));
    expect([report.verdict, ...verdicts(report), ...report.skipped]).toEqual([
      'aborted',
      'healthy pass',
      'long aborted',
      'after',
    ]);
    const { sent } = report.runs[1]!.report.exchanges;
    expect(sent > 0 && sent < 101).toBe(true);
    expect(existsSync(join(folder, 'long.results'))).toBe(true);
    await server.stop();
    assertValidJunit(join(folder, 'g.xml'));
  });
});

describe('2: what is wrong with a file is said with its line, and nothing is sent', () => {
  const one = 'runs: [{name: x, trace: capture.tape';
  const cases: [string, string[], RegExp][] = [
    [
      'no such field',
      ['runs:', '  - name: x', '    trase: capture.tape'],
      /:4:5: unknown field "trase"; did you mean trace\?/,
    ],
    ['no run', ['runs: []'], /:2:1: runs: /],
    [
      'neither trace nor model',
      ['runs: [{name: x}]'],
      /:2:8: runs\[0\]: expected a trace, a model or an audit, got none/,
    ],
    ['both', [`${one}, model: etc}]`], /expected trace or model or audit, got more than one/],
    ['two of one name', ['runs:', healthy, healthy], /:4:\d+: runs\[1\]\.name: expected a name of its own/],
    ['no such trace', ['runs: [{name: x, trace: captur.tape}]'], /:2:18: .*captur\.tape/],
    ['no trace', ['runs: [{name: x, trace: memtape.gate.yaml}]'], /:2:18: .*expected a memtape trace/],
    ['no such model', ['runs: [{name: x, model: etcc}]'], /:2:18: cannot read etcc: .*did you mean etc\?/],
    ['no such scenario', ['runs: [{name: x, model: etc, scenarios: [hotKeys]}]'], /did you mean hotKey\?/],
    [
      'a duration for a trace',
      [`${one}, duration: 3s}]`],
      /:2:\d+: runs\[0\]\.duration: expected a model with it/,
    ],
    [
      'no such scenario of a trace',
      [`${one}, scenarios: [hotKeys]}]`],
      /scenarios.*did you mean hotKey\?|did you mean hotKey\?/,
    ],
    [
      'no such target',
      ['targets: {staging: {address: "a:1"}}', `${one}, target: stagin}]`],
      /:3:\d+: runs\[0\]\.target: .*did you mean staging\?/,
    ],
    ['no address', [`${one}, target: "a:b"}]`], /runs\[0\]\.target: /],
    ['no threshold', [`${one}, thresholds: ["drift.lst < 1"]}]`], /:2:\d+: .*did you mean drift\.lost\?/],
    [
      'abort by what is known at the end',
      [`${one}, thresholds: [{expression: drift.lost < 1, abort: true}]}]`],
      /:2:\d+: .*expected one of sent, failed, differ, violations, schedule\.lag\.max/,
    ],
    [
      'abort by what falls',
      [`${one}, thresholds: [{expression: sent > 1, abort: true}]}]`],
      /expected <, <= or ==/,
    ],
    ['no time', [`${one}, timeout: 5}]`], /runs\[0\]\.timeout: expected a duration/],
    ['no fault', [`${one}, embedded: {faults: [explode]}}]`], /runs\[0\]\.embedded: bad fault "explode"/],
    ['no drill file', [`${one}, drills: none.yaml}]`], /:2:\d+: cannot read the drills/],
    ['results of nothing', [`${one}, expect: none.results}]`], /:2:\d+: .*none\.results/],
    [
      'a folder that is not there',
      [`${one}, results: none/x.results}]`],
      /:2:\d+: cannot write .*none\/x\.results/,
    ],
    [
      'an output in one',
      [`${one}}]`, 'outputs: {html: none/x.html}'],
      /:3:11: outputs.html: cannot write .*none\/x\.html/,
    ],
    [
      'an unset variable',
      [`${one}, target: "\${TARGET_OF_NOBODY}:11211"}]`],
      /:2:\d+: the environment has no TARGET_OF_NOBODY/,
    ],
    [
      'an unset secret',
      ['targets: {t: {address: "a:1", auth: {env: SECRET_OF_NOBODY}}}', `${one}, target: t}]`],
      /:2:\d+: the environment has no SECRET_OF_NOBODY/,
    ],
    [
      'no auth file',
      ['targets: {t: {address: "a:1", auth: {file: none.txt}}}', `${one}, target: t}]`],
      /:2:\d+: cannot read the auth file/,
    ],
    [
      'a secret in the file',
      ['targets: {t: {address: "a:1", auth: {password: x}}}', `${one}, target: t}]`],
      /unknown field "password"/,
    ],
    [
      'half a certificate',
      ['targets: {t: {address: "a:1", tls: {cert: x.pem}}}', `${one}, target: t}]`],
      /--tls-cert and --tls-key together/,
    ],
    ['no YAML', ['runs: ['], /this is no YAML/],
    ['an end before the beginning', [`${one}, from: 2s, to: 1s}]`], /runs\[0\]\.to: expected an end after/],
    [
      'two addresses on one route',
      [`targets: {t: {address: ["a:1", "b:1"], route: single}}`, `${one}, target: t}]`],
      /:2:\d+: .*single/,
    ],
    [
      'a route that is none',
      [`targets: {t: {address: "a:1", route: carp}}`, `${one}, target: t}]`],
      /targets\.t\.route: expected one of single/,
    ],
    [
      'a fault too many',
      [`${one}, embedded: {faults: [corrupt=1, corrupt=1]}}]`],
      /expected one fault, or proxy: true/,
    ],
    [
      'a wrong name under defaults',
      ['defaults: {target: stagin}', `${one}}]`],
      /^memtape: \S+:2:12: defaults\.target: expected a name from targets, .*\n$/,
    ],
  ];
  test.each(cases)('%s', async (_name, lines, message) => {
    const { code, stderr, report, stdout } = await gate(lines);
    expect([code, stdout, report]).toEqual([2, '', {}]);
    expect(stderr).toMatch(message);
    expect(stderr).toContain('memtape.gate.yaml');
  });

  test('a wrong run keeps the right ones before it from sending', async () => {
    const server = await startServer();
    const { code } = await gate([
      'runs:',
      `  - {name: right, trace: capture.tape, target: "${server.address}"}`,
      '  - {name: wrong, trace: none.tape}',
    ]);
    expect([code, server.counters.connections]).toEqual([2, 0]);
    await server.stop();
  });

  test('a report that could not be written', async () => {
    const { code, stderr } = await memtape([
      'gate',
      gateFile('runs:', healthy),
      '--html',
      join(folder, 'none/g.html'),
    ]);
    expect([code, stderr]).toEqual([2, expect.stringMatching(/--html: cannot write .*none\/g\.html/)]);
  });

  test('no file, and a run that is not in it', async () => {
    const none = await memtape(['gate', join(folder, 'none.yaml')]);
    expect([none.code, none.stderr]).toEqual([
      2,
      expect.stringMatching(/cannot read .*none\.yaml: there is no such file/),
    ]);
    const only = await gate(['runs:', healthy], ['--only', 'healhty']);
    expect([only.code, only.stderr]).toEqual([2, expect.stringMatching(/did you mean healthy\?/)]);
  });
});

test('a threshold that aborts ends its run early, which then has failed', async () => {
  const { code, report, stdout } = await gate([
    'runs:',
    '  - name: broken',
    '    trace: capture.tape',
    '    speed: 0.02',
    '    embedded: {faults: [corrupt=1]}',
    '    thresholds: [{expression: differ < 3, abort: true}, violations < 1000]',
    healthy,
  ]);
  expect([code, ...verdicts(report)]).toEqual([1, 'broken fail', 'healthy pass']);
  const { exchanges, thresholds, schedule } = report.runs[0]!.report;
  expect(exchanges.sent).toBeLessThan(80);
  expect(schedule.durationSeconds).toBeLessThan(4);
  expect(thresholds).toMatchObject([
    { expression: 'differ < 3', ok: false, evaluated: true },
    { expression: 'violations < 1000', ok: true },
  ]);
  expect(stdout).toMatch(/crossed {2}differ < 3/);
});

test('variables, secrets and named targets; --only', async () => {
  const users = new Map([['alice', 'wonder:land']]);
  const server = await startServer({ users });
  const before = await startServer({ users });
  const lines = [
    'defaults: {speed: "${PACE:-max}", timeout: 5s}',
    'targets:',
    '  staging:',
    '    address: ${HOST}:${PORT}',
    '    route: single',
    '    auth: {env: STAGING_USERS}',
    'runs:',
    '  - name: asked',
    '    trace: ${TRACE:-capture}.tape',
    '    target: staging',
    '    loop: "${LOOPS:-1}"',
    '    baseline: ${BASELINE}',
    '  - {name: other, trace: capture.tape}',
  ];
  // A quoted value is text, and a count is none.
  const env = {
    HOST: server.host,
    PORT: String(server.port),
    BASELINE: before.address,
    STAGING_USERS: 'alice:wonder:land',
  };
  const quoted = await gate(lines, [], env);
  expect([quoted.code, quoted.stderr]).toEqual([
    2,
    expect.stringMatching(/runs\[0\]\.loop: expected (int|number)/),
  ]);
  const plain = lines.map((line) => line.replace('loop: "${LOOPS:-1}"', 'loop: ${LOOPS:-1}'));
  const { code, report } = await gate(plain, ['--only', 'asked'], { ...env, LOOPS: '3', PACE: '10' });
  expect([code, ...verdicts(report)]).toEqual([0, 'asked pass']);
  expect(report.runs[0]!.report).toMatchObject({
    exchanges: { sent: 303 },
    schedule: { speed: 10 },
    servers: [{ address: server.address }],
  });
  const json = JSON.stringify(report);
  expect(json.includes('wonder')).toBe(false);
  await server.stop();
  await before.stop();
});

test('a duration is how long is sent, at whatever rate: a rise is announced as it is sent', async () => {
  const lines = ['runs: [{name: rise, model: etc, duration: 1s, rate: "200..600 over 1s"}]'];
  const announced = await memtape(['gate', gateFile(...lines), '--dry-run']);
  expect(announced.stdout).toMatch(/about 400 exchanges at --rate 200\.\.600 over 1s, /);
  const { report } = await gate(lines);
  const { exchanges, schedule } = report.runs[0]!.report;
  expect(exchanges.sent).toBeGreaterThan(250);
  expect(exchanges.sent).toBeLessThan(600);
  expect(schedule.durationSeconds).toBeLessThan(2);
});

test('--dry-run checks, says how long it would take, and sends nothing', async () => {
  const server = await startServer();
  const { code, stdout, report } = await gate(
    [
      'runs:',
      `  - {name: recorded, trace: capture.tape, speed: 0.5, loop: 10, target: "${server.address}", drills: [{at: 1s, run: restart it}]}`,
      '  - {name: made, model: ycsb-b, duration: 20s, rate: 500, thresholds: ["violations == 0", {expression: failed < 5, abort: true}]}',
      healthy,
    ],
    ['--dry-run'],
  );
  expect([code, report, server.counters.connections]).toEqual([0, {}, 0]);
  expect(stdout).toMatch(
    /^recorded {2}.*capture\.tape to 127\.0\.0\.1:\d+, about 1,010 exchanges at 0\.5×, about 2\.0 s\n {2}drill at 1\.0 s: restart it\n {2}violations == 0\n/m,
  );
  expect(stdout).toMatch(/^made {2}ycsb-b to embedded, about .* at --rate 500, about/m);
  expect(stdout).toContain('failed < 5 (aborts)');
  expect(stdout).toMatch(/3 runs, .* and what runs at max speed\n$/);
  await server.stop();
});

test('what happens to a trace', async () => {
  const { code, report } = await gate([
    'defaults: {duration: 5s}',
    'runs: [{name: storm, trace: capture.tape, speed: max, seed: 2, timeout: 5s, scenarios: ["retryStorm:share=1,retries=1,after=1ms,at=0s,for=9s"]}]',
  ]);
  expect([code, report.runs[0]!.report.exchanges.sent]).toEqual([0, 202]);
});

test('--json - writes nothing else to standard output; defaults give way', async () => {
  const file = gateFile('runs:', healthy);
  const { code, stdout } = await memtape(['gate', file, '--quiet', '--json', '-']);
  expect([code, gateReportSchema.parse(JSON.parse(stdout)).verdict]).toEqual([0, 'pass']);
  const { value } = readGate(
    gateFile(
      'defaults: {trace: capture.tape, speed: 2, target: "a:1"}',
      'runs: [{name: x, model: etc, rate: 5k, embedded: {}}]',
    ),
    {},
  );
  const filled = withDefaults(value.defaults, value.runs[0]!);
  expect([filled.trace, filled.speed, filled.target, filled.model]).toEqual([
    undefined,
    undefined,
    undefined,
    'etc',
  ]);
});

test('docs/schemas has what --schema prints (npm run schemas), and docs/gate.md names every field', async () => {
  const committed = (name: string): unknown =>
    JSON.parse(readFileSync(`${root}docs/schemas/${name}.schema.json`, 'utf8'));
  expect(committed('gate')).toEqual(JSON.parse((await memtape(['gate', '--schema'])).stdout));
  expect(committed('gate')).toEqual(JSON.parse(JSON.stringify(gateJsonSchema())));
  expect(committed('gate-report')).toEqual(JSON.parse(JSON.stringify(gateReportJsonSchema())));
  const guide = readFileSync(`${root}docs/gate.md`, 'utf8');
  const missing = new Set<string>();
  const walk = (schema: unknown): void => {
    if (typeof schema !== 'object' || schema === null) return;
    for (const [key, value] of Object.entries(schema)) {
      if (key === 'properties')
        for (const field of Object.keys(value as object))
          if (!guide.includes(`\`${field}\``)) missing.add(field);
      walk(value);
    }
  };
  walk(gateJsonSchema());
  expect([...missing]).toEqual([]);
});
