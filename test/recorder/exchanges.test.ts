// Pairing: bytes of the two directions in, exchanges out, by the FIFO rule of the binary protocol.

import { describe, expect, test } from 'vitest';
import { encodeRequest, encodeResponse, storeExtras, type FrameInit } from '../../protocol/frame.ts';
import { Opcode, opcodeName } from '../../protocol/opcode.ts';
import { Status } from '../../protocol/status.ts';
import { Exchanges } from '../../recorder/exchanges.ts';
import { Window } from '../../recorder/window.ts';
import { ConnectionEnd, RowFlag, outcomeNames, type Connection } from '../../trace/batch.ts';
import { emptyCapture } from '../../trace/meta.ts';

type Event =
  | { request: FrameInit[] | Buffer }
  | { answer: FrameInit[] | Buffer }
  | { gap: 'request' | 'answer' }
  | { end: ConnectionEnd };

interface Seen {
  op: string;
  outcome: string;
  key: string;
  value: string;
  status: number;
  frames: number;
  answer: string;
  flags: number;
}

/** Feeds one connection, an event every microsecond. */
function pair(events: readonly Event[], midstream = false) {
  const rows: Seen[] = [];
  const connections: Connection[] = [];
  const window = new Window((batch) => {
    connections.push(...batch.connections);
    for (let row = 0; row < batch.count; row++)
      rows.push({
        op: opcodeName(batch.opcode[row]!),
        outcome: outcomeNames[batch.outcome[row] as 0],
        key: batch.key(row).toString(),
        value: batch.value(row).toString(),
        status: batch.status[row]!,
        frames: batch.frames[row]!,
        answer: batch.answerValue(row).toString(),
        flags: batch.flags[row]!,
      });
  });
  const exchanges = new Exchanges(window, emptyCapture());
  const sink = exchanges.open({
    client: 'c:1',
    server: 's:1',
    openNs: midstream ? -1 : 0,
    firstNs: 0,
    midstream,
  });
  let ns = 0;
  for (const event of events) {
    ns += 1000;
    if ('gap' in event) sink.gap(event.gap === 'request', 1, ns);
    else if ('end' in event) sink.end(event.end, ns);
    else {
      const [fromClient, frames] = 'request' in event ? [true, event.request] : [false, event.answer];
      const data = Buffer.isBuffer(frames)
        ? frames
        : Buffer.concat(frames.map((init) => (fromClient ? encodeRequest(init) : encodeResponse(init))));
      const lent = Buffer.from(data);
      sink.data(fromClient, lent, 0, lent.length, ns);
      lent.fill(0xff);
    }
  }
  window.finish();
  return { rows, connections, capture: exchanges.capture, remarks: exchanges.remarks };
}

const get = (key: string, opaque = 0): FrameInit => ({ opcode: Opcode.get, key, opaque });
const stat = (key: string, value: string): FrameInit => ({ opcode: Opcode.stat, opaque: 5, key, value });
const getq = (key: string): FrameInit => ({ opcode: Opcode.getq, key });
const getkq = (key: string, opaque = 0): FrameInit => ({ opcode: Opcode.getkq, key, opaque });
const setq = (key: string, opaque = 0): FrameInit => ({
  opcode: Opcode.setq,
  key,
  opaque,
  value: 'v',
  extras: storeExtras(0, 0),
});
const noop = (opaque = 0): FrameInit => ({ opcode: Opcode.noop, opaque });
const hit = (opcode: number, opaque: number, value: string, key = ''): FrameInit => ({
  opcode,
  opaque,
  value,
  key,
  extras: Buffer.alloc(4),
});

const outcomes = (rows: Seen[]): string[] => rows.map(({ op, outcome }) => `${op} ${outcome}`);

describe('pairing', () => {
  test.each<[string, Event[], string[]]>([
    [
      'a request and its answer',
      [{ request: [get('a')] }, { answer: [hit(Opcode.get, 0, 'v')] }],
      ['get answered'],
    ],
    [
      'quiet misses and quiet stores, proven by a NOOP',
      [
        { request: [getkq('a'), setq('b'), getkq('c', 7), noop(9)] },
        { answer: [hit(Opcode.getkq, 7, 'v', 'c'), noop(9)] },
      ],
      ['getkq silent', 'setq silent', 'getkq answered', 'noop answered'],
    ],
    [
      'quiet requests that nothing follows',
      [{ request: [setq('a'), setq('b')] }, { end: ConnectionEnd.client }],
      ['setq indeterminate', 'setq indeterminate'],
    ],
    [
      'a quiet QUIT proves what came before it',
      [{ request: [setq('a'), { opcode: Opcode.quitq }] }, { end: ConnectionEnd.server }],
      ['setq silent', 'quitq silent'],
    ],
    [
      'no answer before the end',
      [{ request: [get('a')] }, { end: ConnectionEnd.server }],
      ['get unanswered'],
    ],
    ['the capture ends first', [{ request: [get('a')] }, { end: ConnectionEnd.open }], ['get indeterminate']],
    [
      'an answer that the capture lacks, before one that it has',
      [{ request: [get('a', 1), get('b', 2)] }, { answer: [hit(Opcode.get, 2, 'v')] }],
      ['get gap', 'get answered'],
    ],
    [
      'a hole in the answers',
      [
        { request: [get('a', 1)] },
        { gap: 'answer' },
        { request: [get('b', 2)] },
        { answer: [hit(Opcode.get, 2, 'v')] },
      ],
      ['get gap', 'get answered'],
    ],
    [
      'the same opaque again and again',
      [
        { request: [get('a')] },
        { answer: [hit(Opcode.get, 0, '1')] },
        { request: [get('b')] },
        { answer: [hit(Opcode.get, 0, '2')] },
      ],
      ['get answered', 'get answered'],
    ],
  ])('%s', (_name, events, expected) => expect(outcomes(pair(events).rows)).toEqual(expected));

  test('a key in the answer tells which of several alike quiet GETs it answers', () => {
    const { rows } = pair([
      { request: [getkq('a'), getkq('b'), getkq('c'), noop(1)] },
      { answer: [hit(Opcode.getkq, 0, 'v', 'b'), noop(1)] },
    ]);
    expect(rows.map(({ key, outcome }) => [key, outcome])).toEqual([
      ['a', 'silent'],
      ['b', 'answered'],
      ['c', 'silent'],
      ['', 'answered'],
    ]);
    expect(rows.every(({ flags }) => (flags & RowFlag.ambiguous) === 0)).toBe(true);
  });

  test('without a key in the answer they are ambiguous', () => {
    const { rows } = pair([
      { request: [getq('a'), getq('b'), noop(1)] },
      { answer: [hit(Opcode.getq, 0, 'v'), noop(1)] },
    ]);
    expect(rows.map(({ flags }) => (flags & RowFlag.ambiguous) !== 0)).toEqual([true, true, false]);
  });

  test('frames that a segment cuts anywhere', () => {
    const request = Buffer.concat([encodeRequest(setq('key')), encodeRequest(get('key', 3))]);
    const answer = encodeResponse(hit(Opcode.get, 3, 'value'));
    for (let at = 1; at < request.length; at++) {
      const split = 1 + (at % (answer.length - 1));
      const { rows } = pair([
        { request: request.subarray(0, at) },
        { request: request.subarray(at) },
        { answer: answer.subarray(0, split) },
        { answer: answer.subarray(split) },
      ]);
      expect(rows.map(({ op, key, outcome, answer: got }) => [op, key, outcome, got])).toEqual([
        ['setq', 'key', 'silent', ''],
        ['get', 'key', 'answered', 'value'],
      ]);
    }
  });

  test('requests of one segment are marked, and only those', () => {
    const { rows } = pair([{ request: [get('a', 1), get('b', 2)] }, { request: [get('c', 3)] }]);
    expect(rows.map(({ flags }) => flags & RowFlag.sharesSegment)).toEqual([0, RowFlag.sharesSegment, 0]);
  });

  test('all frames of a STAT are one answer', () => {
    const { rows } = pair([
      { request: [{ opcode: Opcode.stat, opaque: 5 }, get('a', 6)] },
      { answer: [stat('pid', '1'), stat('uptime', '2')] },
      { answer: [stat('', ''), hit(Opcode.get, 6, 'v')] },
    ]);
    expect(rows.map(({ op, outcome, frames }) => [op, outcome, frames])).toEqual([
      ['stat', 'answered', 3],
      ['get', 'answered', 1],
    ]);
  });

  test('an answer that nothing asked for is counted', () => {
    const { rows, capture } = pair([
      { request: [get('a', 1)] },
      { answer: [hit(Opcode.get, 99, 'v'), hit(Opcode.get, 1, 'v')] },
    ]);
    expect([outcomes(rows), capture.orphans]).toEqual([['get answered'], 1]);
  });

  test('in the middle of a stream: what cannot be framed is passed over', () => {
    const tail = encodeRequest(setq('lost')).subarray(10);
    const { rows, capture } = pair(
      [
        { request: tail },
        { request: [get('a', 1), get('b', 2), get('c', 3)] },
        {
          answer: [
            hit(Opcode.get, 77, 'old'),
            hit(Opcode.get, 1, 'v'),
            hit(Opcode.get, 2, 'v'),
            hit(Opcode.get, 3, 'v'),
          ],
        },
      ],
      true,
    );
    expect(outcomes(rows)).toEqual(['get answered', 'get answered', 'get answered']);
    expect(capture.orphans).toBe(0);
  });
});

describe('what is not kept', () => {
  const secret = 's3cret-passw0rd';
  const auth: FrameInit = { opcode: Opcode.saslAuth, key: 'PLAIN', value: `\0ann\0${secret}` };

  test('the password of SASL, while the user becomes the tenant', () => {
    const { rows, connections } = pair([
      { request: [auth, get('a', 1)] },
      { answer: [{ opcode: Opcode.saslAuth, value: 'Authenticated' }, hit(Opcode.get, 1, 'v')] },
    ]);
    expect(JSON.stringify(rows)).not.toContain(secret);
    expect(rows[0]).toMatchObject({ op: 'sasl-auth', key: 'PLAIN', value: '\0'.repeat(secret.length + 5) });
    expect(rows[0]!.flags & RowFlag.secret).toBe(RowFlag.secret);
    expect(connections.at(-1)?.tenant).toBe('ann');
  });

  test('nor of one that is refused, nor a user that was not let in', () => {
    const { rows, connections } = pair([
      { request: [auth] },
      { answer: [{ opcode: Opcode.saslAuth, status: Status.authFailed, value: 'Auth failure.' }] },
    ]);
    expect(JSON.stringify(rows)).not.toContain(secret);
    expect(connections.at(-1)?.tenant).toBe('');
  });

  test('nor where the password stands in the place of the mechanism', () => {
    const { rows } = pair([{ request: [{ ...auth, key: secret, value: '' }] }]);
    expect(JSON.stringify(rows)).not.toContain(secret);
  });
});

describe('other protocols', () => {
  test('ASCII is named', () => {
    const { rows, capture, remarks } = pair([
      { request: Buffer.from('get some-key\r\n') },
      { answer: Buffer.from('END\r\n') },
    ]);
    expect([rows, capture.notBinary]).toEqual([[], 1]);
    expect(remarks).toMatchObject([{ kind: 'ascii', text: 'speaks the ASCII protocol (get …)' }]);
  });

  test('something else is told by its first byte', () => {
    const { capture, remarks } = pair([{ request: Buffer.from('5503010200', 'hex') }]);
    expect(capture.notBinary).toBe(1);
    expect(remarks).toMatchObject([{ kind: 'foreign', text: 'expected the first byte 0x80, got 0x55' }]);
  });

  test('a stream that breaks is given up, and what came before is kept', () => {
    const { rows, capture, remarks } = pair([
      { request: [get('a', 1)] },
      { answer: [hit(Opcode.get, 1, 'v')] },
      { request: Buffer.alloc(30, 0x55) },
      { request: [get('b', 2)] },
    ]);
    expect(outcomes(rows)).toEqual(['get answered']);
    expect(capture.desynchronised).toBe(1);
    expect(remarks).toMatchObject([{ kind: 'desynchronised' }]);
  });
});

/** A window, and requests into it that nobody answers. */
function waiting(limits: ConstructorParameters<typeof Window>[1]) {
  const seen: string[] = [];
  const window = new Window((batch) => {
    for (let row = 0; row < batch.count; row++) seen.push(outcomeNames[batch.outcome[row] as 0]);
  }, limits);
  const sink = new Exchanges(window, emptyCapture()).open({
    client: 'c',
    server: 's',
    openNs: 0,
    firstNs: 0,
    midstream: false,
  });
  const send = (ns: number): void => {
    const data = encodeRequest(get('key'));
    sink.data(true, data, 0, data.length, ns);
    window.settle(ns);
  };
  return { seen, window, send };
}

describe('the window', () => {
  test('a request that is never answered leaves in time', () => {
    const { seen, send } = waiting({ maxAgeNs: 1e9, batchRows: 1 });
    send(0);
    expect(seen).toEqual([]);
    send(2e9);
    expect(seen).toEqual(['indeterminate']);
  });

  test('it holds no more rows than it may', () => {
    const { window, send } = waiting({ maxRows: 100, batchRows: 10 });
    for (let n = 0; n < 10_000; n++) send(n);
    expect(window.waiting).toBeLessThanOrEqual(101);
    expect(window.emitted).toBeGreaterThan(9_000);
  });
});
