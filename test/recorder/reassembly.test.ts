// Reassembly: whatever order, repetition and overlap the capture has, the bytes come out as they were sent, and what
// is missing is said.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Conversation, type CapturedPacket } from '../support/packets.ts';
import { listen, type Heard } from './listener.ts';

const text = Buffer.from('abcdefghijklmnopqrstuvwxyz');

describe('order and repetition', () => {
  const rows: {
    name: string;
    ranges: [number, number][];
    events: string[];
    retransmitted?: number;
    outOfOrder?: number;
    gaps?: number;
  }[] = [
    {
      name: 'in order',
      ranges: [
        [0, 3],
        [3, 6],
      ],
      events: ['abc', 'def'],
    },
    {
      name: 'swapped',
      ranges: [
        [3, 6],
        [0, 3],
      ],
      events: ['abc', 'def'],
      outOfOrder: 1,
    },
    {
      name: 'backwards',
      ranges: [
        [6, 9],
        [3, 6],
        [0, 3],
      ],
      events: ['abc', 'def', 'ghi'],
      outOfOrder: 2,
    },
    {
      name: 'repeated',
      ranges: [
        [0, 3],
        [0, 3],
        [3, 6],
        [0, 6],
      ],
      events: ['abc', 'def'],
      retransmitted: 2,
    },
    {
      name: 'repeated while early',
      ranges: [
        [3, 6],
        [3, 6],
        [0, 3],
      ],
      events: ['abc', 'def'],
      retransmitted: 1,
      outOfOrder: 1,
    },
    {
      name: 'overlapping what was delivered',
      ranges: [
        [0, 4],
        [2, 6],
      ],
      events: ['abcd', 'ef'],
      retransmitted: 1,
    },
    {
      name: 'overlapping what is held',
      ranges: [
        [4, 8],
        [2, 10],
        [0, 2],
      ],
      events: ['ab', 'cd', 'efgh', 'ij'],
      retransmitted: 1,
      outOfOrder: 2,
    },
    {
      name: 'over several held pieces',
      ranges: [
        [2, 4],
        [6, 8],
        [0, 10],
      ],
      events: ['ab', 'cd', 'ef', 'gh', 'ij'],
      retransmitted: 1,
      outOfOrder: 1,
    },
    {
      name: 'held twice, then filled',
      ranges: [
        [4, 6],
        [8, 10],
        [3, 12],
        [0, 3],
      ],
      events: ['abc', 'd', 'ef', 'gh', 'ij', 'kl'],
      retransmitted: 1,
      outOfOrder: 2,
    },
    {
      name: 'a keep-alive',
      ranges: [
        [0, 3],
        [2, 3],
        [3, 6],
      ],
      events: ['abc', 'def'],
    },
    {
      name: 'a hole to the end of the capture',
      ranges: [
        [0, 3],
        [6, 9],
      ],
      events: ['abc', 'gap 3', 'ghi'],
      gaps: 1,
    },
    {
      name: 'two holes',
      ranges: [
        [6, 9],
        [12, 15],
      ],
      events: ['gap 6', 'ghi', 'gap 3', 'mno'],
      gaps: 2,
    },
  ];
  for (const { name, ranges, events, retransmitted = 0, outOfOrder = 0, gaps = 0 } of rows) {
    // Sequence numbers of the letters cross 2^32 and 2^31 at each place once.
    test(name, async () => {
      for (const base of [1000, 2 ** 32, 2 ** 31])
        for (let shift = base === 1000 ? 26 : 0; shift <= 26; shift++) {
          const talk = new Conversation({ clientSequence: base - shift - 1 }).open();
          for (const [from, to] of ranges) talk.segment(true, 'A', text.subarray(from, to), from);
          const { streams, capture } = await listen(talk.packets);
          expect(streams[0]?.events).toEqual([...events.map((event) => `> ${event}`), 'end open']);
          expect(capture).toMatchObject({ retransmitted, outOfOrder, gaps, midstream: 0 });
        }
    });
  }

  test('where copies differ, the first one wins', async () => {
    const talk = new Conversation().open();
    talk.segment(true, 'A', Buffer.from('HELD'), 4);
    talk.segment(true, 'A', Buffer.from('later copy'), 0);
    talk.segment(true, 'A', Buffer.from('XXXXXXXXXXXX'), 0);
    expect((await listen(talk.packets)).streams[0]?.client).toBe('lateHELDpyXX');
  });

  test('held bytes are copies: the reader may reuse its memory', async () => {
    const talk = new Conversation().open().segment(true, 'A', Buffer.from('late'), 5);
    for (let i = 0; i < 200; i++) talk.send(false, 'z'.repeat(900));
    talk.segment(true, 'A', Buffer.from('early'));
    const { streams } = await listen(talk.packets, { chunkBytes: 4096 });
    expect(streams[0]?.client).toBe('earlylate');
  });
});

describe('holes', () => {
  test('bytes that the receiver acknowledged and the capture lacks are a gap 10 ms later', async () => {
    const talk = new Conversation().open().send(true, 'one').send(true, 'lost').lose().send(true, 'three');
    talk.acknowledge(false).pause(20_000).send(false, 'answer').send(true, 'more');
    const { streams, capture } = await listen(talk.packets);
    expect(streams[0]?.events).toEqual(['> one', '> gap 4', '> three', '< answer', '> more', 'end open']);
    expect(capture).toMatchObject({ gaps: 1, outOfOrder: 0 });
  });

  test('another connection shows that the time is over', async () => {
    const talk = new Conversation().open().send(true, 'lost').lose().send(true, 'kept').acknowledge(false);
    const other = new Conversation({
      client: '10.0.0.1:40001',
      startMicros: 50_000,
      clientSequence: 7_000_000,
    });
    other.open().send(true, 'other');
    talk.pause(100_000).send(false, 'late');
    const packets = [...talk.packets.slice(0, -1), ...other.packets, talk.packets.at(-1)!];
    const { streams, told } = await listen(packets);
    expect(streams[0]?.events).toEqual(['> gap 4', '> kept', '< late', 'end open']);
    expect(told.slice(0, 4)).toEqual(['0 > gap 4', '0 > kept', '1 > other', '0 < late']);
    // What was waited for has the time at which it was captured.
    expect(streams[0]?.ns.slice(0, 2)).toEqual([0, 400_000]);
  });

  test('nothing after the hole: the acknowledgement alone tells', async () => {
    const talk = new Conversation().open().send(false, 'lost').lose().acknowledge(true);
    talk.pause(20_000).send(true, 'next');
    expect((await listen(talk.packets)).streams[0]).toMatchObject({ client: 'next', server: '<4>' });
  });

  test('an acknowledgement captured before its bytes is no hole', async () => {
    const talk = new Conversation().open().send(true, 'swapped').acknowledge(false);
    const [data, acknowledgement] = talk.packets.splice(-2);
    const { streams, capture } = await listen([...talk.packets, acknowledgement!, data!]);
    expect(streams[0]?.client).toBe('swapped');
    expect(capture).toMatchObject({ gaps: 0, retransmitted: 0 });
  });

  test('without acknowledgements a hole is waited for as long as a retransmission takes', async () => {
    for (const [pause, expected] of [
      [3_000_000, ['> one', '> again', '> three', '< x', '< y', 'end open']],
      [6_000_000, ['> one', '< x', '> gap 5', '> three', '< y', 'end open']],
    ] as const) {
      const talk = new Conversation().open().send(true, 'one');
      talk.segment(true, 'A', Buffer.from('three'), 5).pause(pause);
      if (pause < 5_000_000) talk.segment(true, 'A', Buffer.from('again'));
      talk.send(false, 'x').pause(10_000).send(false, 'y');
      // The server's packets acknowledge no more than `one` here.
      expect((await listen(talk.packets)).streams[0]?.events).toEqual(expected);
    }
  });

  test('each hole has its own time', async () => {
    const talk = new Conversation().open();
    talk.segment(true, 'A', Buffer.from('two'), 3).segment(true, 'A', Buffer.from('four'), 11);
    talk.pause(4_000_000).segment(true, 'A', Buffer.from('one')).pause(3_000_000);
    talk.send(false, 'x').segment(true, 'A', Buffer.from('three'), 6);
    expect((await listen(talk.packets)).streams[0]).toMatchObject({ client: 'onetwothreefour' });
  });

  test('a byte that is only acknowledged is taken for a lost FIN', async () => {
    const talk = new Conversation().open().send(true, 'one').fin(true).lose().acknowledge(false);
    const { streams, capture } = await listen(talk.packets);
    expect(streams[0]?.client).toBe('one');
    expect(capture.gaps).toBe(0);
  });

  test('one direction only: the other is one gap after the other', async () => {
    const talk = new Conversation().open();
    for (let i = 0; i < 3; i++) talk.send(false, 'unseen').lose().pause(30_000).send(true, 'seen');
    expect((await listen(talk.packets)).streams[0]).toMatchObject({
      client: 'seenseenseen',
      server: '<6><6><6>',
    });
  });

  test('more than 1024 early segments give the hole up', async () => {
    const talk = new Conversation({ stepMicros: 1 }).open();
    for (let i = 0; i < 1025; i++) talk.segment(true, 'A', Buffer.from('x'), 10 + i * 2);
    talk.segment(true, 'A', Buffer.from('too late'));
    const { streams } = await listen(talk.packets);
    expect(streams[0]?.events.slice(0, 2)).toEqual(['> gap 10', '> x']);
  });

  test('more than 4 MiB of early bytes give the hole up', async () => {
    const talk = new Conversation({ stepMicros: 1 }).open();
    for (let i = 0; i < 70; i++) talk.segment(true, 'A', Buffer.alloc(65_000, 'x'), 10 + i * 65_000);
    talk.segment(true, 'A', Buffer.from('too late'));
    const { streams, capture } = await listen(talk.packets);
    expect(streams[0]?.client.slice(0, 5)).toBe('<10>x');
    expect(streams[0]?.client).toHaveLength(4 + 70 * 65_000);
    expect(capture.gaps).toBe(1);
  });

  test('a bound over all connections', async () => {
    const talks = [0, 1].map((i) =>
      new Conversation({ client: `10.0.0.1:4000${i}`, clientSequence: 1000 + i * 1e6, stepMicros: 1 }).open(),
    );
    for (const talk of talks) talk.segment(true, 'A', Buffer.alloc(1000, 'x'), 10);
    talks[1]!.segment(true, 'A', Buffer.alloc(10, 'y'));
    const packets = talks.flatMap((talk) => talk.packets);
    const bounded = await listen(packets, { maxHeldBytes: 2000 });
    expect(bounded.streams[1]?.events.slice(0, 2)).toEqual(['> gap 10', `> ${'x'.repeat(1000)}`]);
    const free = await listen(packets, { maxHeldBytes: 4000 });
    expect(free.streams[1]?.events[0]).toBe('> yyyyyyyyyy');
  });

  test('a stray segment changes nothing, three in a row are the stream going on', async () => {
    const far = 2 ** 31 + 5;
    const talk = new Conversation().open().send(true, 'one').segment(true, 'A', Buffer.from('stray'), far);
    talk.send(true, 'two');
    for (let i = 0; i < 4; i++) talk.segment(true, 'A', Buffer.from(String(i)), far + i);
    const { streams } = await listen(talk.packets);
    expect(streams[0]?.events).toEqual(['> one', '> two', `> gap ${far + 2}`, '> 2', '> 3', 'end open']);
  });
});

describe('strays', () => {
  const far = 2 ** 31 + 5;

  test('that do not follow each other are never the stream', async () => {
    const talk = new Conversation().open();
    for (let i = 0; i < 5; i++) talk.segment(true, 'A', Buffer.from('x'), far).send(true, String(i));
    const { streams, capture } = await listen(talk.packets);
    expect(streams[0]?.client).toBe('01234');
    expect(capture.gaps).toBe(0);
  });

  test('behind a FIN are a later connection whose opening the capture lacks, told as one stream', async () => {
    const talk = new Conversation().open().send(true, 'one').fin(true);
    for (let i = 0; i < 4; i++) talk.segment(true, 'A', Buffer.from(String(i)), far + i);
    expect((await listen(talk.packets)).streams[0]?.client).toMatch(/^one<\d+>23$/);
  });
});

interface Plan {
  cuts: number[];
  repeats: { cut: number; copies: number; overlap: number }[];
  moves: number[];
}

const plan: fc.Arbitrary<Plan> = fc.record({
  cuts: fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 25 }),
  repeats: fc.array(fc.record({ cut: fc.nat(24), copies: fc.nat(2), overlap: fc.nat(30) }), { maxLength: 8 }),
  moves: fc.array(fc.nat(6), { minLength: 1, maxLength: 80 }),
});

describe('any capture of the same traffic', () => {
  test('gives the same bytes', async () => {
    await fc.assert(
      fc.asyncProperty(
        plan,
        plan,
        fc.nat(),
        fc.nat(),
        fc.boolean(),
        async (up, down, clientIsn, serverIsn, fins) => {
          const talk = new Conversation({
            clientSequence: clientIsn,
            serverSequence: serverIsn,
            stepMicros: 10,
          }).open();
          const opening = talk.packets.splice(0);
          const sent = { client: '', server: '' };
          const longest = Math.max(up.cuts.length, down.cuts.length);
          for (let i = 0; i < longest; i++)
            for (const [side, { cuts, repeats }] of [
              ['client', up],
              ['server', down],
            ] as const) {
              const length = cuts[i];
              if (length === undefined) continue;
              const fromClient = side === 'client';
              const bytes = Array.from({ length }, (_, k) =>
                String.fromCharCode(33 + ((sent[side].length + k) % 90)),
              );
              sent[side] += bytes.join('');
              talk.send(fromClient, bytes.join(''));
              for (const { cut, copies, overlap } of repeats) {
                if (cut !== i) continue;
                const back = Math.min(length + overlap, sent[side].length);
                const again = Buffer.from(sent[side].slice(-back));
                for (let copy = 0; copy < copies; copy++) talk.segment(fromClient, 'A', again, -back);
              }
              if (i % 3 === 0) talk.acknowledge(!fromClient);
            }
          if (fins) talk.fin(true).fin(false);
          // Each packet is captured up to six places from where it belongs.
          const moves = [...up.moves, ...down.moves];
          const captured = talk.packets
            .map((packet, i) => ({ packet, place: i + moves[i % moves.length]! }))
            .toSorted((a, b) => a.place - b.place)
            .map(({ packet }) => packet);
          const { streams, capture } = await listen([...opening, ...captured]);
          expect(streams).toHaveLength(1);
          expect(streams[0]).toMatchObject({
            ...sent,
            end: fins ? expect.stringMatching(/client|server/) : 'open',
          });
          expect(capture.gaps).toBe(0);
        },
      ),
      { numRuns: 400 },
    );
  });

  test('with lost packets keeps every other byte in its place', async () => {
    await fc.assert(
      fc.asyncProperty(
        plan,
        fc.array(fc.nat(24), { maxLength: 5 }),
        fc.nat(),
        async ({ cuts, moves }, lost, isn) => {
          const talk = new Conversation({ clientSequence: isn, stepMicros: 1000 }).open();
          const opening = talk.packets.splice(0);
          let sent = '';
          const kept: CapturedPacket[] = [];
          let expected = '';
          for (const [i, cut] of cuts.entries()) {
            // One byte that is missing at the very end would be taken for a FIN.
            const length = cut + 1;
            const bytes = Array.from({ length }, (_, k) =>
              String.fromCharCode(97 + ((sent.length + k) % 26)),
            ).join('');
            talk.send(true, bytes);
            sent += bytes;
            const isLost = lost.includes(i);
            if (!isLost) kept.push(talk.packets.at(-1)!);
            expected += isLost ? '?'.repeat(length) : bytes;
          }
          talk.acknowledge(false);
          const order = kept.map((packet, i) => ({ packet, place: i + moves[i % moves.length]! }));
          const captured = order.toSorted((a, b) => a.place - b.place).map(({ packet }) => packet);
          const { streams } = await listen([...opening, ...captured, talk.packets.at(-1)!]);
          expect(unknownAsMarks(streams[0]!)).toBe(expected);
        },
      ),
      { numRuns: 300 },
    );
  });
});

function unknownAsMarks({ client }: Heard): string {
  return client.replace(/<(\d+)>/g, (_, bytes: string) => '?'.repeat(Number(bytes)));
}
