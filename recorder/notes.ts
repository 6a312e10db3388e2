// What a recording has to say of its capture, in sentences for people: it stands in the trace and is shown at its end.

import type { CaptureResult } from './capture.ts';
import type { ClockEvent } from './clock.ts';
import { NO_LINK_TYPE, linkTypeName } from './link.ts';
import { portRanges } from './ports.ts';

/** Link types, clock events and ports that are named one by one. */
const MAX_NAMED = 5;

/** @param recorded the server ports that were asked for */
export function notesOf(read: CaptureResult, recorded: readonly number[]): string[] {
  return [
    ...unreadNotes(read),
    ...copyNotes(read),
    ...hopNotes(read),
    ...moveNotes(read),
    ...clockNotes(read),
    ...portNotes(read, recorded),
  ];
}

function unreadNotes({ unread }: CaptureResult): string[] {
  return unread.slice(0, MAX_NAMED).map(({ linkType, packets }) => {
    const were = packets === 1 ? '1 packet' : `${packets} packets`;
    const was = packets === 1 ? 'was' : 'were';
    const of =
      linkType === NO_LINK_TYPE
        ? 'an interface that the capture does not describe'
        : `an interface of link type ${linkTypeName(linkType)}`;
    return `${were} of ${of} ${was} skipped`;
  });
}

function copyNotes({ copies: { pairs } }: CaptureResult): string[] {
  return pairs.slice(0, MAX_NAMED).map(({ server, other, connections, apartNs }) => {
    const [were, was] = connections === 1 ? ['1 connection', 'was'] : [`${connections} connections`, 'were'];
    const where =
      server === other
        ? `with ${server} ${was} seen twice`
        : `${was} seen under two addresses, ${other} and ${server}`;
    const when = apartNs === 0 ? '' : `, at times that are ${duration(Math.abs(apartNs))} apart`;
    return `${were} ${where}${when}: counted once${server === other ? '' : `, as of ${server}`}`;
  });
}

function hopNotes({ proxies, forwarders, otherServers }: CaptureResult): string[] {
  const notes = proxies
    .slice(0, MAX_NAMED)
    .map(
      ({ server, behind }) =>
        `${server} is a server and a client of ${behind}: requests are there twice, before this proxy and behind it; record one hop with --server ${server} or --server ${behind}`,
    );
  const isNamed = (server: string, behind: string): boolean =>
    proxies.some((proxy) => proxy.server === server && proxy.behind === behind);
  for (const { server, behind } of forwarders.slice(0, MAX_NAMED))
    if (!isNamed(server, behind))
      notes.push(
        `requests to ${server} are passed on to ${behind}: they are there twice, before a proxy and behind it; record one hop with --server ${server} or --server ${behind}`,
      );
  if (otherServers > 0) notes.push(`connections to other servers were left out: ${otherServers}`);
  return notes;
}

const told: Record<ClockEvent['kind'], (by: string) => string> = {
  back: (by) =>
    `the clock went back by ${by}: what follows goes on from there, and the distances are as recorded`,
  forth: (by) =>
    `the clock was set forward by ${by}: what follows goes on from there, and the distances are as recorded`,
  stray: () => 'the time stamp is far off: the packet was put between its neighbours',
  idle: (by) => `nothing was captured for ${by}, or the clock was set forward; the distance was kept`,
};

function clockNotes({ clockEvents, corrections }: CaptureResult): string[] {
  const several = new Set(clockEvents.map(({ source }) => source)).size > 1;
  const notes = clockEvents
    .slice(0, MAX_NAMED)
    .map(
      ({ kind, packet, byNs, source }) =>
        `at packet ${packet}${several ? ` of source ${source + 1}` : ''} ${told[kind](duration(byNs))}`,
    );
  const rest = corrections - notes.length;
  if (rest > 0) notes.push(`time stamps were corrected ${rest} times more`);
  return notes;
}

function moveNotes({ moves }: CaptureResult): string[] {
  const notes = moves.slice(0, MAX_NAMED).map(({ source, other, how, byNs }) => {
    const [at, from] = [`source ${source + 1}`, `source ${other + 1}`];
    const by = duration(Math.abs(byNs));
    if (how === 'shares')
      return `the clock of ${at} is ${by} ${byNs < 0 ? 'ahead of' : 'behind'} that of ${from}, which has the same packets: its times were moved by that`;
    const [first, second] = how === 'follows' ? [from, at] : [at, from];
    return `the clock went back by ${by} between ${first} and ${second}, which goes on with its connections: the times of ${at} were moved, and the distances are as recorded`;
  });
  const rest = moves.length - notes.length;
  return rest > 0 ? [...notes, `the times of other sources were moved: ${rest}`] : notes;
}

function portNotes({ portsSeen }: CaptureResult, recorded: readonly number[]): string[] {
  const others = portsSeen
    .filter(({ port, binary }) => binary && !recorded.includes(port))
    .map(({ port }) => port)
    .toSorted((a, b) => a - b);
  if (others.length === 0) return [];
  const isOne = others.length === 1;
  const [ports, have, are, them] = isOne ? ['port', 'has', 'is', 'it'] : ['ports', 'have', 'are', 'them'];
  return [
    `${ports} ${others.join(', ')} ${have} memcached binary too and ${are} not recorded; record ${them} with --port ${portRanges([...recorded, ...others]).join(',')}`,
  ];
}

function duration(ns: number): string {
  const seconds = ns / 1e9;
  if (seconds < 60) return `${Number(seconds.toFixed(3))} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  if (seconds < 86_400 * 2) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} days`;
}
