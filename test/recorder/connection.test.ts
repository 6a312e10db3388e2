// Connections: how they open and end, which side is the server, and where one ends and the next begins.

import { describe, expect, test } from 'vitest';
import { TcpConnection } from '../../recorder/connection.ts';
import { readIp } from '../../recorder/ip.ts';
import { linkReader } from '../../recorder/link.ts';
import { Packet } from '../../recorder/packet.ts';
import { ConnectionTable } from '../../recorder/table.ts';
import { Tap } from '../../recorder/tap.ts';
import { readTcp } from '../../recorder/tcp.ts';
import { emptyCapture } from '../../trace/meta.ts';
import { Conversation, ipBytes } from '../support/packets.ts';
import { Listener, listen } from './listener.ts';

/** What the sinks of a conversation heard. */
async function events(talk: Conversation): Promise<string[][]> {
  return (await listen(talk.packets)).streams.map((stream) => stream.events);
}

const opened = (): Conversation => new Conversation().open().send(true, 'ask').send(false, 'answer');

describe('how a connection ends', () => {
  const rows: { name: string; talk: Conversation; ends: string[] }[] = [
    { name: 'not', talk: opened(), ends: ['end open'] },
    { name: 'the client first', talk: opened().fin(true).fin(false).acknowledge(true), ends: ['end client'] },
    {
      name: 'the server first',
      talk: opened().fin(false).fin(true).acknowledge(false),
      ends: ['end server'],
    },
    { name: 'half', talk: opened().fin(true).acknowledge(false), ends: ['end open'] },
    {
      name: 'the other side still talks after a FIN',
      talk: opened().fin(true).send(false, 'more').fin(false),
      ends: ['< more', 'end client'],
    },
    { name: 'reset by the server', talk: opened().reset(false), ends: ['end reset'] },
    { name: 'reset by the client after a FIN', talk: opened().fin(false).reset(true), ends: ['end reset'] },
    {
      name: 'a reset after both FINs',
      talk: opened().fin(true).fin(false).reset(true),
      ends: ['end client'],
    },
    {
      name: 'bytes captured behind the reset',
      talk: opened().reset(false).send(true, 'late').pause(10_000).send(true, 'too late'),
      ends: ['> late', 'end reset'],
    },
    {
      name: 'the FIN twice',
      talk: opened().fin(true).segment(true, 'FA', Buffer.alloc(0), -1).fin(false),
      ends: ['end client'],
    },
    {
      name: 'bytes behind a FIN',
      talk: opened().fin(true).segment(true, 'A', Buffer.from('junk'), -1),
      ends: ['end open'],
    },
    {
      name: 'a FIN before bytes already seen',
      talk: opened()
        .segment(true, 'A', Buffer.from('late'), 4)
        .segment(true, 'FA', Buffer.alloc(0), 2)
        .segment(true, 'A', Buffer.from('soon'))
        .fin(false),
      ends: ['> soon', '> late', 'end open'],
    },
    {
      name: 'echoes of the close',
      talk: opened().fin(true).fin(false).segment(false, 'PA', Buffer.from('answer'), -7),
      ends: ['end client'],
    },
    {
      name: 'a FIN with bytes',
      talk: opened().segment(true, 'FPA', Buffer.from('bye')).fin(false),
      ends: ['> bye', 'end client'],
    },
  ];
  for (const { name, talk, ends } of rows) {
    test(name, async () => {
      expect(await events(talk)).toEqual([['> ask', '< answer', ...ends]]);
    });
  }

  test('a FIN captured before the last bytes waits for them', async () => {
    const talk = opened().send(true, 'last').fin(true).fin(false);
    const late = talk.packets.splice(-3, 1);
    talk.packets.push(...late);
    expect(await events(talk)).toEqual([['> ask', '< answer', '> last', 'end client']]);
  });

  test('both FINs and a hole: the gap is told before the end', async () => {
    const talk = opened().send(true, 'lost').lose().fin(true).fin(false).acknowledge(true);
    const expected = ['> ask', '< answer', '> gap 4', 'end client'];
    expect(await events(talk)).toEqual([expected]);
    // The hole is given up as soon as time passes, not only at the end of the capture.
    const other = new Conversation({ client: '10.0.0.9:40000', startMicros: 30_000 }).open();
    const { streams } = await listen([...talk.packets, ...other.packets]);
    expect(streams[0]?.events).toEqual(expected);
    expect(streams[0]?.ns.at(-1)).toBe(30_000_000);
  });

  test('what was held when the reset came is delivered behind its gap', async () => {
    const talk = opened().send(true, 'lost').lose().send(true, 'held').reset(false);
    expect(await events(talk)).toEqual([['> ask', '< answer', '> gap 4', '> held', 'end reset']]);
  });

  test('a reset ends the connection 10 to 15 ms later, as of its own time', () => {
    const listener = new Listener();
    const tap = new Tap({ ports: [11211], factory: listener, capture: emptyCapture() });
    const other = new Conversation({ client: '10.0.0.9:40000', startMicros: 10_000 }).segment(true, 'S');
    other.pause(5000).segment(true, 'S');
    const ends = [...opened().reset(false).packets, ...other.packets].map(({ data, micros }) => {
      tap.packet(linkReader(1), data, micros * 1000, data.length);
      return listener.streams[0]?.end;
    });
    expect(ends.slice(-3)).toEqual([undefined, undefined, 'reset']);
    expect(listener.streams[0]?.ns.at(-1)).toBe(500_000);
  });

  test('a refused connection is opened and reset', async () => {
    const talk = new Conversation().segment(true, 'S').segment(false, 'RA');
    const { streams } = await listen(talk.packets);
    expect(streams[0]).toMatchObject({ info: { openNs: 0, midstream: false }, events: ['end reset'] });
  });
});

describe('how a connection opens', () => {
  test('with the handshake', async () => {
    const { streams, capture } = await listen(opened().packets);
    expect(streams[0]?.info).toEqual({
      client: '10.0.0.1:40000',
      server: '10.0.0.2:11211',
      openNs: 0,
      firstNs: 0,
      midstream: false,
    });
    expect(capture).toMatchObject({ midstream: 0, gaps: 0, packets: 5 });
  });

  for (const [name, lost] of [
    ['without the SYN', [0]],
    ['without the SYN-ACK', [1]],
    ['without the SYN-ACK and its acknowledgement', [1, 2]],
  ] as const) {
    test(name, async () => {
      const packets = opened().packets.filter((_, i) => !(lost as readonly number[]).includes(i));
      const { streams, capture } = await listen(packets);
      expect(streams[0]).toMatchObject({ client: 'ask', server: 'answer', info: { midstream: false } });
      expect(capture).toMatchObject({ midstream: 0, gaps: 0, retransmitted: 0 });
    });
  }

  test('with repeated SYN and SYN-ACK', async () => {
    const { packets } = opened();
    const [syn, synAck, ...rest] = packets;
    expect(
      (await listen([syn!, syn!, synAck!, syn!, synAck!, ...rest, synAck!])).streams.map(
        ({ events }) => events,
      ),
    ).toEqual([['> ask', '< answer', 'end open']]);
  });

  test('with bytes in the SYN (fast open)', async () => {
    const talk = new Conversation().segment(true, 'S', Buffer.from('ask'));
    talk.clientSequence += 4;
    talk.segment(false, 'SA');
    talk.serverSequence++;
    talk.send(false, 'answer').send(true, 'more');
    expect(await events(talk)).toEqual([['> ask', '< answer', '> more', 'end open']]);
  });

  test('with bytes in the SYN, captured behind its answer', async () => {
    const talk = new Conversation().segment(true, 'S', Buffer.from('ask'));
    talk.clientSequence += 4;
    talk.segment(false, 'SA');
    talk.serverSequence++;
    const [syn, synAck] = talk.packets.splice(0);
    talk.send(true, 'more');
    const { streams } = await listen([synAck!, syn!, ...talk.packets]);
    expect(streams.map(({ client }) => client)).toEqual(['askmore']);
  });

  test('midstream, from the first payload, whichever side it is of', async () => {
    const fromClient = new Conversation().acknowledge(true).send(true, 'ask').send(false, 'answer');
    const first = await listen(fromClient.packets);
    expect(first.streams[0]).toMatchObject({
      info: {
        client: '10.0.0.1:40000',
        server: '10.0.0.2:11211',
        midstream: true,
        openNs: -1,
        firstNs: 100_000,
      },
      client: 'ask',
      server: 'answer',
    });
    expect(first.capture.midstream).toBe(1);
    const fromServer = new Conversation().send(false, 'answer').send(true, 'ask');
    expect((await listen(fromServer.packets)).streams[0]).toMatchObject({
      info: { client: '10.0.0.1:40000', server: '10.0.0.2:11211', midstream: true },
      client: 'ask',
      server: 'answer',
    });
  });

  test('midstream, the acknowledgement tells where the other side stands', async () => {
    const talk = new Conversation().send(true, 'ask').send(false, 'one').send(false, 'two');
    const [ask, one, two] = talk.packets;
    expect((await listen([ask!, two!, one!])).streams[0]?.server).toBe('onetwo');
  });

  test('not from acknowledgements, FINs and resets alone', async () => {
    const talk = new Conversation().acknowledge(true).fin(true).fin(false).reset(true);
    const { streams, capture } = await listen(talk.packets);
    expect(streams).toEqual([]);
    expect(capture).toMatchObject({ packets: 4, midstream: 0 });
  });

  test('from a SYN alone', async () => {
    expect(await events(new Conversation().segment(true, 'S'))).toEqual([['end open']]);
  });
});

const names = ({ info }: { info: { client: string; server: string } }): string[] => [
  info.client,
  info.server,
];

describe('which side is the server', () => {
  const client = '10.0.0.1:11211';
  const server = '10.0.0.2:11212';
  const ports = [11211, 11212];

  test('the one on the recorded port', async () => {
    const low = new Conversation({ client: '10.0.0.1:80' }).send(false, 'answer');
    expect((await listen(low.packets)).streams.map(names)).toEqual([['10.0.0.1:80', '10.0.0.2:11211']]);
  });

  test('with both ports recorded, who answers the SYN', async () => {
    const { packets } = new Conversation({ client, server }).open().send(true, 'ask');
    expect((await listen(packets, { ports })).streams.map(names)).toEqual([[client, server]]);
    expect((await listen(packets.slice(1), { ports })).streams.map(names)).toEqual([[client, server]]);
  });

  test('with both ports recorded and no SYN, who sends requests; else the lower port', async () => {
    const request = new Conversation({ client, server }).send(true, Buffer.from([0x80, 0, 0, 0, 0, 0]));
    expect((await listen(request.packets, { ports })).streams.map(names)).toEqual([[client, server]]);
    const response = new Conversation({ client, server }).send(false, Buffer.from([0x81, 0, 0, 0, 0, 0]));
    expect((await listen(response.packets, { ports })).streams.map(names)).toEqual([[client, server]]);
    const neither = new Conversation({ client, server }).send(true, 'text');
    expect((await listen(neither.packets, { ports })).streams.map(names)).toEqual([[server, client]]);
  });
});

describe('the same addresses and ports again', () => {
  test('after a close', async () => {
    const talk = opened().fin(true).fin(false);
    talk.clientSequence = 500_000;
    talk.serverSequence = 700_000;
    talk.open().send(true, 'again');
    expect(await events(talk)).toEqual([
      ['> ask', '< answer', 'end client'],
      ['> again', 'end open'],
    ]);
  });

  test('after a reset, with the same sequence numbers', async () => {
    const talk = new Conversation().segment(true, 'S').segment(false, 'RA').open().send(true, 'ask');
    expect(await events(talk)).toEqual([['end reset'], ['> ask', 'end open']]);
  });

  test('without the old one having closed, or half closed', async () => {
    for (const [talk, end] of [
      [opened(), 'end open'],
      [opened().fin(false), 'end server'],
    ] as const) {
      talk.clientSequence = 500_000;
      talk.serverSequence = 700_000;
      talk.open().send(true, 'again').send(false, 'yes');
      expect(await events(talk)).toEqual([
        ['> ask', '< answer', end],
        ['> again', '< yes', 'end open'],
      ]);
    }
  });

  test('a new SYN-ACK, whose SYN was lost', async () => {
    const talk = opened();
    talk.clientSequence = 500_000;
    talk.serverSequence = 700_000;
    talk.open().lose(-3).send(true, 'again');
    expect(await events(talk)).toEqual([
      ['> ask', '< answer', 'end open'],
      ['> again', 'end open'],
    ]);
  });

  test('a SYN-ACK that answers another SYN', async () => {
    const talk = new Conversation().send(true, 'old');
    talk.clientSequence = 500_000;
    talk.open().lose(-3).send(true, 'new');
    expect(await events(talk)).toEqual([
      ['> old', 'end open'],
      ['> new', 'end open'],
    ]);
  });

  test('what was held of the old one is delivered before the new one opens', async () => {
    const talk = opened().send(true, 'lost').lose().send(true, 'held');
    talk.clientSequence = 500_000;
    talk.open();
    expect(await events(talk)).toEqual([
      ['> ask', '< answer', '> gap 4', '> held', 'end open'],
      ['end open'],
    ]);
  });

  test('payload half a minute after the close is a connection whose opening was lost', async () => {
    const talk = opened().fin(true).fin(false).pause(31_000_000).send(true, 'new').send(false, 'yes');
    const { streams, capture } = await listen(talk.packets);
    expect(streams.map(({ events }) => events)).toEqual([
      ['> ask', '< answer', 'end client'],
      ['> new', '< yes', 'end open'],
    ]);
    expect(capture.midstream).toBe(1);
  });
});

describe('many connections', () => {
  test('interleaved, over IPv4 and IPv6, are kept apart', async () => {
    const talks = Array.from({ length: 300 }, (_, i) =>
      i % 2 === 0
        ? new Conversation({ client: `10.0.${i % 7}.1:${40_000 + i}`, clientSequence: i * 1e6 })
        : new Conversation({
            client: `[fd00:0:0:0:0:0:0:${i % 5}]:${40_000 + i}`,
            server: '[fd00:0:0:0:0:0:0:9]:11211',
            clientSequence: i * 1e6,
          }),
    );
    for (const talk of talks)
      talk.open().send(true, `ask ${talk.client}`).send(false, 'yes').fin(true).fin(false);
    const packets = Array.from({ length: 7 }, (_, k) => talks.map((talk) => talk.packets[k]!)).flat();
    const { streams } = await listen(packets);
    expect(streams).toHaveLength(300);
    for (const [i, stream] of streams.entries())
      expect(stream).toMatchObject({ client: `ask ${talks[i]!.client}`, server: 'yes', end: 'client' });
  });

  test('the one that was quiet for longest makes room', async () => {
    const talks = [1, 2, 3].map((i) =>
      new Conversation({ client: `10.0.0.1:4000${i}`, clientSequence: i * 1e6 }).open(),
    );
    talks[0]!.send(true, 'a');
    const [first, second, third] = talks.map((talk) => talk.packets);
    const packets = [...first!.slice(0, 3), ...second!, ...first!.slice(3), ...third!];
    const { streams, result } = await listen(packets, { maxConnections: 2 });
    expect(result.evicted).toBe(1);
    // Ended in this order: the second is the quiet one.
    expect(streams.map(({ end }) => end)).toEqual(['open', 'open', 'open']);
    const more = talks[0]!.send(true, 'b').packets.slice(-1);
    const after = await listen([...packets, ...more], { maxConnections: 2 });
    expect(after.streams.map(({ client }) => client)).toEqual(['ab', '', '']);
  });

  test('one that makes room while it waits for a hole is forgotten', () => {
    const tap = new Tap({
      ports: [11211],
      factory: new Listener(),
      capture: emptyCapture(),
      maxConnections: 1,
    });
    const first = new Conversation().open().segment(true, 'A', Buffer.from('early'), 10);
    const others = Array.from({ length: 3 }, (_, i) =>
      new Conversation({ client: `10.0.0.9:4000${i}`, startMicros: 10_000_000 * (i + 1) }).open(),
    );
    const open = [first, ...others].map(({ packets }) => {
      for (const { data, micros } of packets) tap.packet(linkReader(1), data, micros * 1000, data.length);
      return [tap.connections, tap.heldBytes > 0];
    });
    expect(open).toEqual([
      [1, true],
      [1, false],
      [1, false],
      [1, false],
    ]);
  });

  test('closed ones do not count as open, nor when their ports are used again', () => {
    const tap = new Tap({ ports: [11211], factory: new Listener(), capture: emptyCapture() });
    const open: number[] = [];
    for (let round = 0; round < 3; round++) {
      const talk = new Conversation({ clientSequence: round * 1e6 }).open().fin(true).fin(false);
      for (const { data, micros } of talk.packets) {
        tap.packet(linkReader(1), data, micros * 1000, data.length);
        open.push(tap.connections);
      }
    }
    expect(open).toEqual([1, 1, 1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 0]);
  });

  test('those whose hashes collide are kept apart', () => {
    class Colliding extends ConnectionTable {
      override hash(): number {
        return 7;
      }
    }
    const table = new Colliding(10);
    const info = { client: '', server: '', openNs: 0, firstNs: 0, midstream: false };
    const sink = new Listener().open(info);
    const pool = { capture: emptyCapture(), heldBytes: 0, maxHeldBytes: 0, reorderNs: 10e6 };
    const packets = [1, 2, 3].map((host) => {
      const packet = new Packet();
      const data = ipBytes({ from: `10.0.0.${host}:40000`, to: '10.0.0.9:11211', sequence: 1, flags: 'S' });
      packet.reset(data, 0, data.length);
      readIp(packet);
      readTcp(packet);
      return packet;
    });
    const connections = packets.map((packet) => {
      const addresses = new Uint8Array(packet.data.subarray(12, 20));
      const key = { addresses, clientPort: 40_000, serverPort: 11_211, hash: 7 };
      const connection = new TcpConnection(key, info, sink, pool, 0);
      table.add(connection);
      return connection;
    });
    const found = (): number[] =>
      packets.map((packet) => connections.findIndex((known) => known === table.find(packet)));
    expect(found()).toEqual([0, 1, 2]);
    table.remove(connections[1]!, false);
    expect(found()).toEqual([0, -1, 2]);
    table.remove(connections[2]!, false);
    expect(found()).toEqual([0, -1, -1]);
    table.remove(connections[0]!, false);
    expect(found()).toEqual([-1, -1, -1]);
  });

  test('more closed ones than are remembered', async () => {
    const packets = Array.from(
      { length: 17_000 },
      (_, i) =>
        new Conversation({ client: `10.1.${i >> 8}.${i & 255}:40000`, stepMicros: 0, startMicros: i * 10 })
          .segment(true, 'S')
          .segment(false, 'RA').packets,
    ).flat();
    const { streams } = await listen(packets);
    expect(streams).toHaveLength(17_000);
    expect(streams.every(({ end }) => end === 'reset')).toBe(true);
  });
});

test('a sink hears both directions in the order of the capture', async () => {
  const talk = new Conversation().open();
  for (let i = 0; i < 5; i++) talk.send(true, `q${i}`).send(true, `r${i}`).send(false, `a${i}`);
  const [heard] = await events(talk);
  expect(heard).toEqual([...[0, 1, 2, 3, 4].flatMap((i) => [`> q${i}`, `> r${i}`, `< a${i}`]), 'end open']);
});

describe('answers that are missing one after the other: the request between them is told between them', () => {
  const talk = new Conversation().open();
  for (const [i, isLost] of [false, true, true, false].entries()) {
    talk.send(true, `ask${i}`).send(false, `answer${i}`);
    if (isLost) talk.lose();
  }
  const expected = ['> ask0', '< answer0', '> ask1', '< gap 7', '> ask2', '< gap 7', '> ask3', '< answer3'];

  test('at the end of the capture', async () => {
    expect(await events(talk)).toEqual([[...expected, 'end open']]);
  });

  test('and when they have been waited for', async () => {
    const other = new Conversation({
      client: '10.0.0.9:40000',
      startMicros: 30_000,
      clientSequence: 7_000_000,
    });
    other.open().send(true, 'other');
    const { told } = await listen([...talk.packets, ...other.packets]);
    expect(told.slice(0, expected.length + 1)).toEqual([
      ...expected.map((event) => `0 ${event}`),
      '1 > other',
    ]);
  });
});
