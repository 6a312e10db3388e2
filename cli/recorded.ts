// What `memtape record` says once it has recorded: what there is, what it lacks, and why there is nothing.

import type { Remark } from '../recorder/exchanges.ts';
import { linkTypesRead } from '../recorder/link.ts';
import { portRanges, type PortSeen } from '../recorder/ports.ts';
import type { CaptureRecorded } from '../recorder/record.ts';
import type { Recorded } from '../recorder/recording.ts';
import { lossOf } from '../trace/loss.ts';
import { CliError, Verdict } from './error.ts';
import { cutLine, formatShare, lossLines, lossWarning, sidesLine, upstreamLine } from './loss.ts';
import type { Shell } from './shell.ts';
import { formatBytes, formatCount, plural } from './text.ts';

const REMARKS_SHOWN = 5;

/** @throws Verdict 3 where more is missing than may be */
export function checkLoss({ stderr }: Shell, { capture }: Recorded, { maxLoss }: { maxLoss?: number }): void {
  const { worst } = lossOf(capture);
  if (maxLoss === undefined || worst <= maxLoss) return;
  stderr.write(
    `memtape: expected at most ${formatShare(maxLoss)} of the traffic to be missing, got ${formatShare(worst)}\n`,
  );
  throw new Verdict(3);
}

/** What was recorded, on standard output, and what the recording lacks, on the other. */
export function report(shell: Shell, recorded: Recorded, output: string): void {
  const { exchanges, connections, fileBytes, capture, remarks } = recorded;
  const perExchange = (fileBytes / exchanges).toFixed(1);
  const { files } = recorded;
  const named =
    files.length > 1 ? `${files.length} files, the last of them ${files.at(-1)}` : (files[0] ?? output);
  shell.stdout.write(
    `${named}: ${plural(exchanges, 'exchange')} on ${plural(connections, 'connection')}, ` +
      `${formatBytes(fileBytes)} (${perExchange} bytes each)\n`,
  );
  const notes = [
    ...lossLines(capture),
    cutLine(capture) ?? '',
    sidesLine(capture) ?? '',
    upstreamLine(capture) ?? '',
    capture.midstream > 0 ? `${plural(capture.midstream, 'connection')} open before the capture began` : '',
    capture.notBinary > 0
      ? `${plural(capture.notBinary, 'connection')} of another protocol, not recorded`
      : '',
    capture.desynchronised > 0 ? `${plural(capture.desynchronised, 'connection')} given up as broken` : '',
    capture.orphans > 0 ? `${plural(capture.orphans, 'answer')} without a request` : '',
  ].filter((note) => note !== '');
  for (const note of [...notes, ...recorded.notes]) shell.stderr.write(`memtape: ${note}\n`);
  showRemarks(shell, remarks);
  const warning = lossWarning(capture);
  if (warning !== undefined) shell.stderr.write(`memtape: ${shell.palette.bad(warning)}\n`);
}

function showRemarks({ stderr }: Shell, remarks: readonly Remark[]): void {
  for (const { client, server, text } of remarks.slice(0, REMARKS_SHOWN))
    stderr.write(`memtape: ${client} to ${server} ${text}\n`);
  if (remarks.length > REMARKS_SHOWN)
    stderr.write(`memtape: and ${plural(remarks.length - REMARKS_SHOWN, 'connection')} more\n`);
}

/** Why there was nothing to record. */
export function nothing(
  shell: Shell,
  name: string,
  recorded: CaptureRecorded,
  ports: readonly number[],
): CliError {
  showRemarks(shell, recorded.remarks);
  const seen = recorded.source?.portsSeen ?? [];
  const wanted = `port${ports.length === 1 ? '' : 's'} ${portRanges(ports).join(', ')}`;
  const head = `${name}: expected memcached binary traffic on ${wanted}`;
  const { notBinary, answersOnly } = recorded.capture;
  if (notBinary > 0)
    return new CliError(
      `${head}, got ${plural(notBinary, 'connection')} ${otherProtocol(recorded.remarks)}`,
      2,
    );
  if (answersOnly > 0)
    return new CliError(
      `${head}, got packets of the server only: answers cannot be recorded without their requests; capture both directions, for instance with the filter ${JSON.stringify(`tcp port ${ports.join(' or tcp port ')}`)} and no src or dst in it`,
      2,
    );
  const cut = cutLine(recorded.capture);
  if (cut !== undefined && seen.some(({ port }) => ports.includes(port)))
    return new CliError(`${head}, got no whole request: ${cut}`, 2);
  if (recorded.capture.packets === 0) return new CliError(`${head}, got a capture without packets`, 2);
  const unread = recorded.source?.unread ?? [];
  if (seen.length === 0 && unread.length > 0)
    return new CliError(`${head}, got ${recorded.notes[0] ?? 'none that is read'}; ${linkTypesHint()}`, 2);
  if (seen.length === 0)
    return new CliError(
      `${head}, got ${plural(recorded.capture.packets, 'packet')} and neither TCP nor memcached over UDP among them`,
      2,
    );
  const binary = seen.filter((port) => port.binary && !ports.includes(port.port));
  const hint = binary.length > 0 ? `; try --port ${binary.map(({ port }) => port).join(',')}` : '';
  return new CliError(`${head}, got traffic on ${seen.slice(0, 5).map(describePort).join(', ')}${hint}`, 2);
}

/** What connections that are not binary speak, by the first that has a name. */
function otherProtocol(remarks: readonly Remark[]): string {
  const kind = otherKinds.find(([kind]) => remarks.some((remark) => remark.kind === kind));
  return kind?.[1] ?? 'of another protocol';
}

const otherKinds: readonly [kind: Remark['kind'], words: string][] = [
  [
    'tls',
    'of TLS, which a capture cannot show; the recording proxy takes it: memtape record --listen ADDR --upstream ADDR --tls-cert FILE --tls-key FILE',
  ],
  ['couchbase', "of Couchbase's dialect (flexible framing), which memtape does not record"],
  ['ascii', 'of the ASCII protocol, which memtape does not record'],
];

function linkTypesHint(): string {
  return `link types that are read: ${linkTypesRead()}`;
}

function describePort({ port, packets, binary }: PortSeen): string {
  return `port ${port} (${formatCount(packets)} packets${binary ? ', memcached binary by its looks' : ''})`;
}
