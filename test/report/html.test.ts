// The HTML report in a real browser: it draws, it can be used by keyboard, it asks for nothing, and traffic stays text in
// it.

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { chromium, type Browser, type Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { renderHtml } from '../../report/html.ts';
import type { NamedReport } from '../../report/shape.ts';
import { cleanReport, control, hostileReport, keys, markup } from '../support/hostile.ts';
import { temporary } from '../support/tape.ts';

const hostile: NamedReport = { name: 'capture.tape', report: hostileReport() };
let browser: Browser;
let page: Page;
/** What the page asked for, and what it complained of. */
let requests: string[];
let complaints: string[];

beforeAll(async () => {
  const folders = ['/usr/bin', ...(process.env['PATH'] ?? '').split(':')];
  const executablePath = folders.map((folder) => join(folder, 'chromium')).find((path) => existsSync(path));
  if (executablePath === undefined)
    throw new Error("chromium is needed: apt-get install chromium (or your system's package)");
  browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
});

afterAll(async () => browser?.close());

/** One tab for all tests: to open one takes longer than most of what is done in it. */
beforeAll(async () => {
  page = await browser.newPage();
  page.on('request', (request) => requests.push(request.url()));
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('dialog', (dialog) => {
    complaints.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on('console', (message) => {
    if (message.type() !== 'log') complaints.push(message.text());
  });
});

beforeEach(async () => {
  await page.goto('about:blank');
  await page.emulateMedia({ colorScheme: null });
  await page.setViewportSize({ width: 1180, height: 900 });
  requests = [];
  complaints = [];
});

/** Opens the page of these reports, and returns its address. */
async function open(reports: readonly NamedReport[]): Promise<string> {
  const path = temporary('report.html');
  writeFileSync(path, renderHtml(reports));
  await page.goto(`file://${path}`);
  return `file://${path}`;
}

async function openAll(): Promise<void> {
  // What is inside of one is made when it opens.
  for (let depth = 0; depth < 3; depth++) {
    await page.evaluate(
      "document.querySelectorAll('details').forEach((details) => { details.open = true; })",
    );
    await page.waitForTimeout(50);
  }
}

/** Of each canvas, how many of its pixels are drawn. */
async function drawn(): Promise<number[]> {
  return page.evaluate<number[]>(`[...document.querySelectorAll('canvas')].map((canvas) => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let count = 0;
    for (let at = 3; at < data.length; at += 4) if (data[at] > 0) count++;
    return count;
  })`);
}

test('it draws, complains of nothing, and asks for nothing but itself', async () => {
  const address = await open([hostile]);
  expect(await page.title()).toBe('Failed: memtape report');
  expect(await page.locator('h1').innerText()).toBe('Failed');
  // Three that matter, and the rest when they are asked for.
  expect(await drawn()).toHaveLength(3);
  await page.locator('.charts + details > summary').click();
  // What was folded is drawn when it shows, a moment after the click.
  await expect.poll(async () => page.locator('canvas').count()).toBe(6);
  const charts = await drawn();
  expect(charts).toHaveLength(6);
  for (const pixels of charts) expect(pixels).toBeGreaterThan(2000);
  await openAll();
  expect(requests).toEqual([address]);
  expect(complaints).toEqual([]);
});

test.each([0, 1, 2])('a replay of %i bins draws too', async (bins) => {
  const report = cleanReport();
  const cut = (value: unknown): unknown => {
    if (Array.isArray(value))
      return typeof value[0] === 'object' ? value.map((item) => cut(item)) : value.slice(0, bins);
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, cut(part)]));
  };
  report.timeline = cut(report.timeline) as typeof report.timeline;
  await open([{ name: 'short.tape', report }]);
  expect(await page.locator('h1').innerText()).toBe('Passed');
  expect(await drawn()).toHaveLength(3);
  await openAll();
  await page.waitForTimeout(50);
  expect(await drawn()).toHaveLength(bins === 0 ? 5 : 6);
  expect(complaints).toEqual([]);
});

test('the first screen says what, where and since when: verdict, gist, header, and the map with its drills', async () => {
  await page.setViewportSize({ width: 1280, height: 800 });
  await open([hostile]);
  const above = async (selector: string): Promise<number> => {
    const box = await page.locator(selector).first().boundingBox();
    return box!.y + box!.height;
  };
  expect(await page.locator('.verdict .lead').innerText()).toMatch(
    /^60 of the 70 failing exchanges are of tenant .*, from 12\.5 s on\.$/,
  );
  expect(await page.locator('.verdict .header').innerText()).toMatch(
    /capture\.tape[^]*proxy:11211[^]*single[^]*2026-01-02 03:04:05 UTC[^]*0\.1\.0/,
  );
  expect(await above('.verdict')).toBeLessThan(420);
  expect(await above('.heat')).toBeLessThan(800);
  expect(await page.locator('.heat .drill').getAttribute('title')).toMatch(/ at 30 s$/);
  // All sections in one line.
  const links = await page.locator('nav a').all();
  const tops = await Promise.all(links.map(async (link) => (await link.boundingBox())!.y));
  expect(new Set(tops).size).toBe(1);
  const last = await links.at(-1)!.boundingBox();
  expect(last!.x + last!.width).toBeLessThan(1280);
});

test.each([
  ['light', 1280],
  ['dark', 390],
] as const)('axe finds nothing serious, %s at %i pixels', async (colorScheme, width) => {
  await page.emulateMedia({ colorScheme });
  await page.setViewportSize({ width, height: 844 });
  await open([hostile]);
  await page.evaluate(readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8'));
  const { violations, rules } = await page.evaluate<{
    violations: { id: string; impact: string; nodes: { html: string }[] }[];
    rules: number;
  }>(
    "axe.run({ resultTypes: ['violations'] }).then(({ violations, passes }) => ({ violations, rules: passes.length }))",
  );
  expect(rules).toBeGreaterThan(20);
  const serious = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
  expect(serious.map(({ id, nodes }) => [id, nodes.length, nodes[0]!.html])).toEqual([]);
});

test('each verdict has a colour of its own', async () => {
  const verdicts = ['pass', 'fail', 'insufficient', 'invalid', 'aborted'] as const;
  await open(verdicts.map((verdict) => ({ name: verdict, report: { ...cleanReport(), verdict } })));
  const colours = await page.evaluate<string[][]>(`[
    [...document.querySelectorAll('section.verdict h2')].map((element) => getComputedStyle(element).color),
    [...document.querySelectorAll('.overview .state:not(h1)')].map((element) => getComputedStyle(element).color),
  ]`);
  expect(new Set(colours[0]).size).toBe(verdicts.length);
  expect(colours[1]).toEqual(colours[0]);
});

test('it is smaller than a megabyte, with a hundred servers too', () => {
  const report = hostileReport();
  const [first] = report.timeline.servers;
  report.timeline.servers = Array.from({ length: 100 }, (_, n) => ({
    ...first!,
    address: `10.0.1.${n}:11211`,
  }));
  expect(renderHtml([{ name: 'large.tape', report }]).length).toBeLessThan(1e6);
});

describe('hostile traffic', () => {
  test('keys are shown, and mean nothing', async () => {
    await open([hostile]);
    await openAll();
    const shown = await page.locator('.example > summary code').allInnerTexts();
    expect(shown).toContain(markup);
    const codes = Array.from(control, (char) =>
      char >= ' ' && char < '\x7f' ? char : `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`,
    ).join('');
    expect(shown).toContain(codes);
    expect(shown).toHaveLength(keys.length + 2);
    // Three of ours, and none of theirs.
    expect(await page.locator('script').count()).toBe(3);
    expect(await page.locator('img').count()).toBe(0);
    expect(complaints).toEqual([]);
  });

  test('names of replays too', async () => {
    await open(keys.map((name) => ({ name, report: hostileReport() })));
    await openAll();
    expect(await page.locator('script').count()).toBe(3);
    expect(await page.locator('article').count()).toBe(keys.length);
    expect(complaints).toEqual([]);
  });

  test('what gets in all the same may not run', async () => {
    await open([hostile]);
    await page.evaluate(`{
      const script = document.createElement('script');
      script.textContent = 'document.title = "taken"';
      document.body.append(script);
      const image = document.createElement('img');
      image.setAttribute('onerror', 'document.title = "taken"');
      image.src = 'http://127.0.0.1:9/x';
      document.body.append(image);
    }`);
    await page.waitForTimeout(200);
    expect(await page.title()).toBe('Failed: memtape report');
    expect(
      complaints.filter((text) => text.includes('Content Security Policy')).length,
    ).toBeGreaterThanOrEqual(2);
  });
});

test('both answers stand byte by byte, and the byte that differs is marked', async () => {
  await open([hostile]);
  const first = page.locator('.example').first();
  expect(await first.innerText()).toContain(
    'The first byte that differs is 108: 0x61 (a) was expected, 0xeb came.',
  );
  expect(await first.locator('mark.first').allInnerTexts()).toEqual(['61', 'a', 'eb', '·']);
  expect(await first.locator('.bytes').first().locator('tr').first().innerText()).toMatch(
    /^100\s+3c 73 63 72 69 70 74 3e\s+<script>$/,
  );
});

test('findings open by keyboard', async () => {
  await open([hostile]);
  const drift = page.locator('details.finding').filter({ hasText: 'lost' });
  expect(await drift.getAttribute('open')).toBeNull();
  await drift.locator('> summary').focus();
  await page.keyboard.press('Enter');
  expect(await drift.getAttribute('open')).toBe('');
  await drift.locator('.example').first().waitFor();
  await page.keyboard.press('Tab');
  await page.keyboard.press('Space');
  expect(await drift.locator('.example').first().getAttribute('open')).toBeNull();
});

test('the first stop of the keyboard skips to the report', async () => {
  await open([hostile]);
  await page.keyboard.press('Tab');
  expect(await page.evaluate('document.activeElement.textContent')).toBe('Skip to the report');
});

test('screens that are read aloud find headings in order, named tables and described charts', async () => {
  await open([hostile, { name: 'clean.tape', report: cleanReport() }]);
  await openAll();
  const levels = await page.evaluate<number[]>(
    "[...document.querySelectorAll('h1, h2, h3, h4, h5, h6')].map((heading) => Number(heading.tagName[1]))",
  );
  expect(levels[0]).toBe(1);
  expect(levels.filter((level, n) => n > 0 && level > levels[n - 1]! + 1)).toEqual([]);
  expect(await page.locator('.charts .scroll table').count()).toBe(12);
  const unnamed = await page.evaluate<number>(
    "[...document.querySelectorAll('main table:not(.u-legend)')].filter((table) => table.caption === null && !table.hasAttribute('aria-label')).length",
  );
  expect(unnamed).toBe(0);
  for (const plot of await page.locator('[role=img]').all())
    expect(await plot.getAttribute('aria-label')).toMatch(/: (from .* to |no samples)/);
  const ids = await page.evaluate<string[]>("[...document.querySelectorAll('[id]')].map(({ id }) => id)");
  expect(new Set(ids).size).toBe(ids.length);
});

test.each(['light', 'dark'] as const)('text stands out from its ground, %s', async (colorScheme) => {
  await page.emulateMedia({ colorScheme });
  await open([hostile]);
  await openAll();
  expect(await page.evaluate<string[]>(faintTexts)).toEqual([]);
});

test('the other colours are a press away', async () => {
  await page.emulateMedia({ colorScheme: 'light' });
  await open([hostile]);
  const ground = 'getComputedStyle(document.body).backgroundColor';
  const before = await page.evaluate(ground);
  await page.getByRole('button', { name: 'Switch to dark colours' }).press('Enter');
  expect(await page.evaluate(ground)).not.toBe(before);
  for (const pixels of await drawn()) expect(pixels).toBeGreaterThan(2000);
});

test('a phone scrolls down, and never sideways', async () => {
  await page.setViewportSize({ width: 360, height: 740 });
  await open([hostile]);
  await openAll();
  expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(360);
});

test('paper shows every finding', async () => {
  await open([hostile]);
  await page.evaluate("dispatchEvent(new Event('beforeprint'))");
  expect(await page.locator('details.finding:not([open])').count()).toBe(0);
  expect(await page.locator('details.finding').nth(1).innerText()).toContain('17');
  await page.evaluate("dispatchEvent(new Event('afterprint'))");
  expect(await page.locator('details.finding[open]').count()).toBe(1);
});

/** Texts whose contrast is below what WCAG 2 asks for at level AA, 4.5 to 1. */
const faintTexts = `(() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const parse = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b]
    .map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, n) => sum + part * [0.2126, 0.7152, 0.0722][n], 0);
  const groundOf = (element) => {
    for (let at = element; at !== null; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color[3] === 255) return color;
    }
    return [255, 255, 255];
  };
  const faint = new Set();
  for (const element of document.querySelectorAll('body *:not(script):not(style):not(noscript)')) {
    if (![...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim() !== '')) continue;
    if (element.closest('.unseen, .uplot') !== null) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(groundOf(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) faint.add(contrast.toFixed(2) + ' ' + element.tagName + '.' + element.className + ': ' + element.textContent.slice(0, 40));
  }
  return [...faint];
})()`;
