// Servers that answer otherwise than memcached 1.6, and what stands before a connection's first request: whatever is done to
// random traffic, the exchanges are those of the plain traffic. `npm run proof dialects` has hundreds of each kind.

import { describe, expect, test } from 'vitest';
import { encodeRequest, encodeResponse } from '../../protocol/frame.ts';
import { Opcode, loudOf } from '../../protocol/opcode.ts';
import { Status } from '../../protocol/status.ts';
import { Exchanges } from '../../recorder/exchanges.ts';
import { Window } from '../../recorder/window.ts';
import { Random } from '../../synth/laws/random.ts';
import { ConnectionEnd, outcomeNames } from '../../trace/batch.ts';
import { emptyCapture } from '../../trace/meta.ts';
import { Server, type Asked } from '../support/pipelined.ts';
import { seedsOf } from '../support/traffic.ts';

const seeds = seedsOf('DIALECT_SEEDS', 12);
const GROUPS = 30;

/** Bytes of one direction, in the order in which they come. */
interface Piece {
  fromClient: boolean;
  data: Buffer;
}

type Kind = (asked: Asked[], random: Random) => Piece[];

const joined = (fromClient: boolean, frames: (Buffer | undefined)[]): Piece => ({
  fromClient,
  data: Buffer.concat(frames.filter((frame) => frame !== undefined)),
});

const plain: Kind = (asked) => [
  joined(
    true,
    asked.map(({ request }) => request),
  ),
  joined(
    false,
    asked.map(({ answer }) => answer),
  ),
];

function shuffled<T>(list: readonly T[], random: Random): T[] {
  const left = [...list];
  const out: T[] = [];
  while (left.length > 0) out.push(...left.splice(random.int(left.length), 1));
  return out;
}

/** Requests that memcached has no row for, of any shape. */
function unknown(random: Random, opaque: number): { request: Buffer; answer: Buffer; besides: number } {
  const opcode = random.pick([0x1b, 0x1f, 0x30, 0x3c, 0x60, 0x47, 0xff]);
  const extras = Buffer.alloc(random.int(9), 1);
  const key = 'k'.repeat(random.int(20));
  const value = Buffer.alloc(random.int(60), 0x80);
  return {
    request: encodeRequest({ opcode, opaque, extras, key, value }),
    answer: encodeResponse({ opcode, opaque, status: Status.unknownCommand, value: 'Unknown command' }),
    besides: extras.length + key.length,
  };
}

const kinds: Record<string, Kind> = {
  'answers of quiet requests under their loud opcode': (asked) => [
    plain(asked, new Random(0))[0]!,
    joined(
      false,
      asked.map(({ answer, opcode }) => {
        if (answer === undefined) return answer;
        const copy = Buffer.from(answer);
        copy[1] = loudOf(opcode);
        return copy;
      }),
    ),
  ],
  'answers out of order': (asked, random) => {
    const loud = asked.filter(({ opcode }) => loudOf(opcode) === opcode);
    return [
      joined(
        true,
        loud.map(({ request }) => request),
      ),
      joined(
        false,
        shuffled(loud, random).map(({ answer }) => answer),
      ),
    ];
  },
  'opcodes without a row between them, as memcached 1.4 takes them': (asked, random) => {
    const pieces: Piece[] = [];
    for (const one of asked) {
      const odd = unknown(random, 0xffff_0000 + random.int(1000));
      pieces.push(joined(true, [odd.request, one.request]), joined(false, [odd.answer, one.answer]));
    }
    return pieces;
  },
  'opcodes without a row, as memcached 1.6 takes them': (asked, random) => {
    const pieces: Piece[] = [];
    for (const one of asked) {
      const odd = unknown(random, 0xffff_0000 + random.int(1000));
      const besides = Buffer.alloc(odd.besides, 0x20);
      pieces.push(joined(true, [odd.request, besides, one.request]), joined(false, [odd.answer, one.answer]));
    }
    return pieces;
  },
};

/** What is before the first request of a connection. */
const prefaces: Record<string, (random: Random) => Buffer> = {
  'a PROXY line': (random) =>
    Buffer.from(
      random.pick([
        'PROXY TCP4 192.168.1.10 10.0.0.2 40000 11211\r\n',
        'PROXY TCP6 2001:db8::1 2001:db8::2 4 11211\r\n',
        'PROXY UNKNOWN\r\n',
      ]),
    ),
  'a binary PROXY header': (random) => {
    const length = random.pick([0, 12, 36, 216, 40 + random.int(100)]);
    const head = Buffer.from('0d0a0d0a000d0a515549540a2111', 'hex');
    return Buffer.concat([head, Buffer.from([length >> 8, length & 255]), Buffer.alloc(length, 0x80)]);
  },
};

const others: Record<string, { kind: string; first: (random: Random) => Buffer }> = {
  TLS: {
    kind: 'tls',
    first: (random) =>
      Buffer.concat([Buffer.from([0x16, 3, random.int(4), 0, 60]), Buffer.alloc(60, random.int(256))]),
  },
  ASCII: {
    kind: 'ascii',
    first: (random) => Buffer.from(random.pick(['get a\r\n', 'set a 0 0 1\r\n', 'mg a v\r\n', 'stats\r\n'])),
  },
  'flexible framing': {
    kind: 'couchbase',
    first: (random) => {
      const extras = random.int(8);
      const head = Buffer.alloc(24);
      head.set([0x08, 0, extras, 3]);
      head.writeUInt32BE(extras + 3, 8);
      return Buffer.concat([head, Buffer.alloc(extras + 3, 1)]);
    },
  },
};

const isOdd = (opcode: number): boolean => ![0, 1, 9, 0x0a, 0x11].includes(opcode);

/** What is recorded of the pieces, each cut anywhere, unless they are to stay whole. */
function record(pieces: readonly Piece[], random: Random, areCut = true) {
  const rows: string[] = [];
  const window = new Window((batch) => {
    for (let row = 0; row < batch.count; row++) {
      if (isOdd(batch.opcode[row]!)) continue;
      rows.push(
        [
          batch.opcode[row],
          batch.opaque[row],
          batch.key(row).toString(),
          batch.value(row).toString('base64'),
          outcomeNames[batch.outcome[row] as 0],
          batch.status[row],
          batch.answerCas(row),
          batch.answerValue(row).toString('base64'),
        ].join(' '),
      );
    }
  });
  const exchanges = new Exchanges(window, emptyCapture());
  const info = { client: 'c:1', server: 's:1', openNs: 0, firstNs: 0, midstream: false };
  const sink = exchanges.open(info);
  let ns = 0;
  for (const { fromClient, data } of pieces)
    for (let at = 0; at < data.length;) {
      const most = random.chance(0.2) ? 8 : 400;
      const end = areCut ? Math.min(data.length, at + 1 + random.int(most)) : data.length;
      sink.data(fromClient, data, at, end, (ns += 1000));
      at = end;
    }
  sink.end(ConnectionEnd.client, ns);
  window.finish();
  const { capture, remarks, outstanding, heldBytes } = exchanges;
  expect([outstanding, heldBytes]).toEqual([0, 0]);
  return { rows, capture, remarks, connections: window.connections };
}

describe.each(Object.entries(kinds))('%s', (name, kind) => {
  test('the exchanges are those of the plain traffic', () => {
    for (const seed of seeds) {
      const random = new Random(seed);
      const server = new Server(random);
      const groups = Array.from({ length: GROUPS }, () => server.group());
      const asked = name.includes('order')
        ? groups.map((group) => group.filter(({ opcode }) => loudOf(opcode) === opcode))
        : groups;
      const truth = record(
        asked.flatMap((group) => plain(group, random)),
        random,
      );
      const seen = record(
        asked.flatMap((group) => kind(group, random)),
        random,
      );
      expect(seen.rows, `seed ${seed}`).toEqual(truth.rows);
      expect(seen.capture).toMatchObject({ orphans: 0, desynchronised: 0, notBinary: 0 });
    }
  });
});

describe.each(Object.entries(prefaces))('%s', (_name, preface) => {
  test('is read past, wherever it is cut', () => {
    for (const seed of seeds) {
      const random = new Random(seed);
      const pieces = plain(new Server(random).group(), random);
      const truth = record(pieces, random);
      const seen = record([{ fromClient: true, data: preface(random) }, ...pieces], random);
      expect(seen.rows, `seed ${seed}`).toEqual(truth.rows);
      expect(seen.capture.notBinary).toBe(0);
    }
  });
});

describe.each(Object.entries(others))('%s', (_name, { kind, first }) => {
  test('is named, counted once, and not recorded', () => {
    for (const seed of seeds) {
      const random = new Random(seed);
      const data = first(random);
      const pieces = plain(new Server(random).group(), random);
      const seen = record([{ fromClient: true, data }], random, false);
      expect(seen).toMatchObject({ rows: [], connections: 0, capture: { notBinary: 1, desynchronised: 0 } });
      expect(seen.remarks.map((remark) => remark.kind)).toEqual([kind]);
      // Behind a PROXY header as well.
      const behind = record(
        [{ fromClient: true, data: prefaces['a PROXY line']!(random) }, ...pieces],
        random,
      );
      expect(behind.rows.length).toBeGreaterThan(0);
    }
  });
});

test('a HELLO that is accepted: the connection is Couchbase’s, and nothing of it is kept', () => {
  for (const seed of seeds) {
    const random = new Random(seed);
    const hello = encodeRequest({ opcode: 0x1f, opaque: 7, key: 'cb', value: Buffer.from([0, 16]) });
    const accepted = encodeResponse({ opcode: 0x1f, opaque: 7, value: Buffer.from([0, 16]) });
    const pieces = plain(new Server(random).group(), random);
    const seen = record(
      [{ fromClient: true, data: hello }, { fromClient: false, data: accepted }, ...pieces],
      random,
    );
    expect(seen).toMatchObject({ rows: [], connections: 0, capture: { notBinary: 1 } });
    expect(seen.remarks).toMatchObject([{ kind: 'couchbase' }]);
  }
});

/** A run of quiet reads with few opaques, their answers, and answers to nothing. */
function cost(requests: number, opaques: number, orphans: boolean): number {
  const window = new Window(() => undefined);
  const exchanges = new Exchanges(window, emptyCapture());
  const sink = exchanges.open({ client: 'c', server: 's', openNs: 0, firstNs: 0, midstream: false });
  const give = (fromClient: boolean, frame: Buffer): void => sink.data(fromClient, frame, 0, frame.length, 0);
  // Time of this process, and not of others that run beside it.
  const began = process.cpuUsage();
  for (let n = 0; n < requests; n++)
    give(true, encodeRequest({ opcode: Opcode.getq, key: 'k', opaque: n % opaques }));
  for (let n = 0; n < requests; n++)
    give(
      false,
      encodeResponse({
        opcode: orphans ? Opcode.get : Opcode.getq,
        opaque: orphans ? 0xffff_ffff : n % opaques,
        extras: Buffer.alloc(4),
      }),
    );
  const { user, system } = process.cpuUsage(began);
  return (user + system) / 1000;
}

describe('no traffic costs more than its length', () => {
  test('a run of any length is searched to its end', () => {
    const window = new Window(() => undefined);
    const exchanges = new Exchanges(window, emptyCapture());
    const sink = exchanges.open({ client: 'c', server: 's', openNs: 0, firstNs: 0, midstream: false });
    const one = encodeRequest({ opcode: Opcode.getq, key: 'k', opaque: 1 });
    const requests = Buffer.concat(Array.from({ length: 1000 }, () => one));
    for (let n = 0; n < 300; n++) sink.data(true, requests, 0, requests.length, 0);
    const noop = encodeRequest({ opcode: Opcode.noop, opaque: 2 });
    sink.data(true, noop, 0, noop.length, 0);
    const answer = encodeResponse({ opcode: Opcode.noop, opaque: 2 });
    sink.data(false, answer, 0, answer.length, 0);
    expect([exchanges.outstanding, exchanges.capture.orphans]).toEqual([0, 0]);
  });

  test.each([
    [1, false],
    [2, false],
    [100, false],
    [1, true],
  ])('%d opaques, answers to nothing: %s', (opaques, orphans) => {
    cost(2000, opaques, orphans);
    // Quadratic time would take minutes.
    expect(cost(100_000, opaques, orphans)).toBeLessThan(4000);
  });
});
