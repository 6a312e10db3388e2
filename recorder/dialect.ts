// What else than the binary protocol a connection may speak, by its first bytes; and the PROXY protocol, which stands before
// what a connection speaks.

import { uint16, uint32 } from '../protocol/header.ts';

export type DialectKind = 'ascii' | 'tls' | 'couchbase' | 'foreign';

export interface Dialect {
  kind: DialectKind;
  /** Goes on after the names of client and server. */
  text: string;
}

/** With it Couchbase's clients ask for its dialect; memcached knows no such request. */
export const HELLO = 0x1f;

export const couchbase = (how: string): Dialect => ({
  kind: 'couchbase',
  text: `speaks Couchbase's dialect of the binary protocol (${how}), which memtape does not record`,
});

const tls: Dialect = {
  kind: 'tls',
  text: 'speaks TLS, of which a capture shows nothing; a recording proxy takes it: memtape record --listen ADDR --upstream ADDR --tls-cert FILE --tls-key FILE --upstream-tls',
};

/** The longest words that ASCII commands, and HTTP's, begin with. */
const WORD_BYTES = 17;

/** What a connection speaks whose first bytes are data[at, end), and are no frame of the binary protocol. */
export function dialectOf(data: Buffer, at: number, end: number): Dialect {
  if (isTlsRecord(data, at, end)) return tls;
  if (isFlexibleFrame(data, at, end)) return couchbase('flexible framing');
  const head = data.toString('latin1', at, Math.min(end, at + WORD_BYTES));
  const word = /^[a-z_]{2,16}(?=[ \r\n])/.exec(head);
  if (word !== null) return { kind: 'ascii', text: `speaks the ASCII protocol (${word[0]} …)` };
  const http = /^(GET|PUT|POST|HEAD|DELETE|OPTIONS|PRI) /.exec(head);
  if (http !== null) return { kind: 'foreign', text: `speaks HTTP (${http[1]} …)` };
  if (/^\*\d+\r\n\$/.test(head)) return { kind: 'foreign', text: 'speaks the protocol of Redis' };
  const first = data[at]!.toString(16).padStart(2, '0');
  return { kind: 'foreign', text: `expected the first byte 0x80, got 0x${first}` };
}

/**
 * What a connection speaks in whose middle a segment data[at, end) stands: only what such a segment leaves no doubt about.
 */
export function dialectWithin(data: Buffer, at: number, end: number): Dialect | undefined {
  if (isTlsRecord(data, at, end)) return tls;
  return isFlexibleFrame(data, at, end) ? couchbase('flexible framing') : undefined;
}

/** Content types are 20 to 24, the version is 3.0 to 3.4, and a record has at most 2^14 bytes and some. */
function isTlsRecord(data: Buffer, at: number, end: number): boolean {
  if (end - at < 5) return false;
  const length = uint16(data, at + 3);
  const [type, major, minor] = [data[at]!, data[at + 1], data[at + 2]!];
  return type >= 20 && type <= 24 && major === 3 && minor <= 4 && length > 0 && length <= 18_432;
}

// Magic 0x08 (request) and 0x18 (response): byte 2 is the length of the framing extras, byte 3 that of the key. 0x82 and
// 0x83 are requests of the server and their answers, framed as usual.
function isFlexibleFrame(data: Buffer, at: number, end: number): boolean {
  if (end - at < 24) return false;
  const magic = data[at]!;
  const body = uint32(data, at + 8);
  if (magic === 0x08 || magic === 0x18)
    return data[at + 2]! + data[at + 3]! + data[at + 4]! <= body && at + 24 + body <= end;
  if (magic !== 0x82 && magic !== 0x83) return false;
  return uint16(data, at + 2) + data[at + 4]! <= body && at + 24 + body <= end;
}

const PROXY_LINE = Buffer.from('PROXY ');
const PROXY_SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
/** With its line end; the second version may have more, which is no use to anybody. */
const MAX_LINE_BYTES = 107;
const MAX_PREFACE_BYTES = 4096;
const PROXY_HEAD_BYTES = 16;

/**
 * How many bytes of data[at, end) the PROXY protocol takes before the connection begins: 0 where there is none of it,
 * undefined where more bytes have to come to know.
 */
export function prefaceLength(data: Buffer, at: number, end: number): number | undefined {
  const line = lengthOfLine(data, at, end);
  return line === 0 ? lengthOfBinary(data, at, end) : line;
}

function lengthOfLine(data: Buffer, at: number, end: number): number | undefined {
  if (!begins(data, at, end, PROXY_LINE)) return 0;
  const stop = data.indexOf('\r\n', at, 'latin1');
  if (stop >= 0 && stop + 2 <= end) return stop + 2 - at <= MAX_LINE_BYTES ? stop + 2 - at : 0;
  return end - at < MAX_LINE_BYTES ? undefined : 0;
}

function lengthOfBinary(data: Buffer, at: number, end: number): number | undefined {
  if (!begins(data, at, end, PROXY_SIGNATURE)) return 0;
  if (end - at < PROXY_HEAD_BYTES) return undefined;
  const length = PROXY_HEAD_BYTES + uint16(data, at + 14);
  if (length > MAX_PREFACE_BYTES) return 0;
  return end - at < length ? undefined : length;
}

/** Whether data[at, end) begins with these bytes, as far as it goes. */
function begins(data: Buffer, at: number, end: number, with_: Buffer): boolean {
  const length = Math.min(with_.length, end - at);
  return length > 0 && data.compare(with_, 0, length, at, at + length) === 0;
}
