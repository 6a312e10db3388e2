// JUnit XML: valid by its schema whatever the traffic held, and failing where the replay did.

import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { renderJunit } from '../../report/junit.ts';
import type { NamedReport } from '../../report/shape.ts';
import { cleanReport, control, hostileReport, markup } from '../support/hostile.ts';

const schema = new URL('junit.xsd', import.meta.url).pathname;

/** Throws what is wrong, else returns it. */
function valid(xml: string): string {
  const { error, status, stderr } = spawnSync('xmllint', ['--noout', '--nonet', '--schema', schema, '-'], {
    input: xml,
    encoding: 'utf8',
  });
  if (error !== undefined)
    throw new Error("xmllint is needed: apt-get install libxml2-utils (or your system's package)", {
      cause: error,
    });
  if (status !== 0) throw new Error(stderr);
  return xml;
}

/** `group name outcome` of each case. */
function casesOf(xml: string): string[] {
  return Array.from(
    xml.matchAll(/<testcase classname="[^"]*\.(\w+)" name="([^"]*)" time="0"(?:\/>|><([\w-]+))/g),
    ([, group, name, outcome = 'passed']) => `${group} ${name} ${outcome.replace('system-out', 'passed')}`,
  );
}

test('violations and crossed thresholds fail; drift and untestable pass and tell', () => {
  const xml = valid(renderJunit([{ name: 'capture.tape', report: hostileReport() }]));
  expect(casesOf(xml)).toEqual([
    'verdict a verdict was reached passed',
    'thresholds violations == 0 failure',
    'thresholds drift.lost &lt; 0.5% passed',
    'thresholds latency.fromIntended.p99{operation=&lt;script&gt;alert(1)&lt;/script&gt;} &lt; 2ms skipped',
    'violation wrong-value failure',
    'violation counter failure',
    'drift lost passed',
    'untestable gap passed',
  ]);
  expect(xml).toContain('tests="8" failures="3" errors="0" skipped="1"');
});

test('a clean run passes', () => {
  const xml = valid(renderJunit([{ name: 'capture.tape', report: cleanReport() }]));
  expect(casesOf(xml)).toEqual(['verdict a verdict was reached passed', 'thresholds violations == 0 passed']);
});

test.each(['insufficient', 'invalid', 'aborted'] as const)('%s is an error', (verdict) => {
  const xml = valid(renderJunit([{ name: 'capture.tape', report: { ...cleanReport(), verdict } }]));
  expect(casesOf(xml)[0]).toBe('verdict a verdict was reached error');
});

test('a reason that is all there is to say is said once', () => {
  const xml = valid(
    renderJunit([{ name: 'capture.tape', report: { ...cleanReport(), verdict: 'aborted' } }]),
  );
  const [, said] = /^ {4}<system-out>([^]*?)<\/system-out>/m.exec(xml)!;
  expect(said!.split('The replay did not come to its end').length - 1).toBe(1);
  expect(said!.split('\n')).toHaveLength(2);
});

test('names may hold anything', () => {
  const reports: NamedReport[] = [
    markup,
    control,
    '"\'&<>]]>',
    'naïve ☃ 𝄞',
    String.fromCharCode(0xd800, 0xfffe),
    '\t\r\n',
  ].map((name) => ({ name, report: hostileReport() }));
  const xml = valid(renderJunit(reports));
  expect(xml.match(/<testsuite /g)).toHaveLength(reports.length);
  expect(xml).toContain('naïve ☃ 𝄞');
});
