// Packets byte by byte: Ethernet, IPv4 or IPv6, TCP, with the checksums that belong there.

import { putUint16, putUint32, uint16 } from '../protocol/header.ts';
import type { Endpoint } from './endpoint.ts';

export const TcpFlag = { fin: 1, syn: 2, reset: 4, push: 8, ack: 16 } as const;

const ETHERNET_BYTES = 14;
const TCP_BYTES = 20;
/** What an Ethernet of 1,500 bytes leaves for data. */
export const MAX_SEGMENT_BYTES = 1500 - 40 - TCP_BYTES;
const TCP = 6;
const HOP_LIMIT = 64;
const WINDOW = 0xffff;

/** Options of a SYN: segments have so many bytes; windows count in units of 16 KiB, so that none is ever full. */
const synOptions = Buffer.from([2, 4, MAX_SEGMENT_BYTES >>> 8, MAX_SEGMENT_BYTES & 0xff, 1, 3, 3, 14]);
const noOptions = Buffer.alloc(0);

export interface Segment {
  from: Endpoint;
  to: Endpoint;
  sequence: number;
  acknowledgement: number;
  flags: number;
  data: Uint8Array;
}

/** Bytes that the packet takes. */
export function packetBytes(segment: Segment): number {
  return ETHERNET_BYTES + ipBytes(segment) + TCP_BYTES + optionsOf(segment).length + segment.data.length;
}

/** Writes the packet at `at`. */
export function putPacket(out: Buffer, at: number, segment: Segment): void {
  const { from, to, data } = segment;
  const isV6 = from.address.length === 16;
  const options = optionsOf(segment);
  const tcpLength = TCP_BYTES + options.length + data.length;
  putMac(out, at, to.address);
  putMac(out, at + 6, from.address);
  putUint16(out, at + 12, isV6 ? 0x86dd : 0x0800);
  const ip = at + ETHERNET_BYTES;
  if (isV6) putIpv6(out, ip, segment, tcpLength);
  else putIpv4(out, ip, segment, tcpLength);
  const tcp = ip + ipBytes(segment);
  putUint16(out, tcp, from.port);
  putUint16(out, tcp + 2, to.port);
  putUint32(out, tcp + 4, segment.sequence);
  putUint32(out, tcp + 8, (segment.flags & TcpFlag.ack) === 0 ? 0 : segment.acknowledgement);
  out[tcp + 12] = ((TCP_BYTES + options.length) / 4) << 4;
  out[tcp + 13] = segment.flags;
  putUint16(out, tcp + 14, WINDOW);
  putUint16(out, tcp + 16, 0);
  putUint16(out, tcp + 18, 0);
  out.set(options, tcp + TCP_BYTES);
  out.set(data, tcp + TCP_BYTES + options.length);
  // The pseudo header: both addresses, the protocol, the length.
  const pseudo = sum(from.address, 0, from.address.length) + sum(to.address, 0, to.address.length) + TCP;
  putUint16(out, tcp + 16, checksum(pseudo + tcpLength + sum(out, tcp, tcp + tcpLength)));
}

function ipBytes({ from }: Segment): number {
  return from.address.length === 16 ? 40 : 20;
}

function optionsOf({ flags }: Segment): Buffer {
  return (flags & TcpFlag.syn) === 0 ? noOptions : synOptions;
}

/** A locally administered address, made of the IP address. */
function putMac(out: Buffer, at: number, address: Buffer): void {
  out[at] = 0x02;
  out[at + 1] = address.length === 16 ? 0x06 : 0x04;
  address.copy(out, at + 2, address.length - 4);
}

function putIpv4(out: Buffer, at: number, { from, to }: Segment, length: number): void {
  out.fill(0, at, at + 12);
  out[at] = 0x45;
  putUint16(out, at + 2, 20 + length);
  // Not to be fragmented.
  putUint16(out, at + 6, 0x4000);
  out[at + 8] = HOP_LIMIT;
  out[at + 9] = TCP;
  out.set(from.address, at + 12);
  out.set(to.address, at + 16);
  putUint16(out, at + 10, checksum(sum(out, at, at + 20)));
}

function putIpv6(out: Buffer, at: number, { from, to }: Segment, length: number): void {
  putUint32(out, at, 0x60000000);
  putUint16(out, at + 4, length);
  out[at + 6] = TCP;
  out[at + 7] = HOP_LIMIT;
  out.set(from.address, at + 8);
  out.set(to.address, at + 24);
}

/** The words of data[from, end) together; an odd last byte is the high one of its word. */
function sum(data: Uint8Array, from: number, end: number): number {
  let total = 0;
  let at = from;
  for (; at + 1 < end; at += 2) total += uint16(data, at);
  return at < end ? total + (data[at]! << 8) : total;
}

/** The complement of the sum in ones' complement (RFC 1071). */
function checksum(total: number): number {
  let folded = total;
  while (folded > 0xffff) folded = (folded & 0xffff) + Math.floor(folded / 0x1_0000);
  return ~folded & 0xffff;
}
