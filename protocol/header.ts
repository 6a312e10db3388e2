// The 24-byte header that opens every frame: where each field stands, and how to read and write it in place.
//
//   0 magic  1 opcode  2-3 key length  4 extras length  5 data type  6-7 vbucket (request) or status (response)
//   8-11 total body length  12-15 opaque  16-23 CAS; big-endian. The body is extras, key, value.

export const HEADER_BYTES = 24;

export const Magic = { request: 0x80, response: 0x81 } as const;
export type Magic = (typeof Magic)[keyof typeof Magic];

export function uint16(data: Uint8Array, at: number): number {
  return (data[at]! << 8) | data[at + 1]!;
}

export function uint32(data: Uint8Array, at: number): number {
  return ((data[at]! << 24) | (data[at + 1]! << 16) | (data[at + 2]! << 8) | data[at + 3]!) >>> 0;
}

export function putUint16(data: Uint8Array, at: number, value: number): void {
  data[at] = value >>> 8;
  data[at + 1] = value;
}

export function putUint32(data: Uint8Array, at: number, value: number): void {
  data[at] = value >>> 24;
  data[at + 1] = value >>> 16;
  data[at + 2] = value >>> 8;
  data[at + 3] = value;
}

// Field readers: `at` is the first byte of the header. 64-bit fields come in two halves, so that loops stay in
// small integers.
export const magicAt = (data: Uint8Array, at: number): number => data[at]!;
export const opcodeAt = (data: Uint8Array, at: number): number => data[at + 1]!;
export const keyLengthAt = (data: Uint8Array, at: number): number => uint16(data, at + 2);
export const extrasLengthAt = (data: Uint8Array, at: number): number => data[at + 4]!;
export const datatypeAt = (data: Uint8Array, at: number): number => data[at + 5]!;
/** Bytes 6-7: the status of a response, the vbucket of a request. */
export const statusAt = (data: Uint8Array, at: number): number => uint16(data, at + 6);
export const bodyLengthAt = (data: Uint8Array, at: number): number => uint32(data, at + 8);
export const opaqueAt = (data: Uint8Array, at: number): number => uint32(data, at + 12);
export const casHighAt = (data: Uint8Array, at: number): number => uint32(data, at + 16);
export const casLowAt = (data: Uint8Array, at: number): number => uint32(data, at + 20);

/** Writes a header at `at`; the data type is always 0, as memcached requires. Returns where the body begins. */
export function putHeader(
  data: Uint8Array,
  at: number,
  magic: number,
  opcode: number,
  extrasLength: number,
  keyLength: number,
  valueLength: number,
  status: number,
  opaque: number,
  casHigh: number,
  casLow: number,
): number {
  data[at] = magic;
  data[at + 1] = opcode;
  putUint16(data, at + 2, keyLength);
  data[at + 4] = extrasLength;
  data[at + 5] = 0;
  putUint16(data, at + 6, status);
  putUint32(data, at + 8, extrasLength + keyLength + valueLength);
  putUint32(data, at + 12, opaque);
  putUint32(data, at + 16, casHigh);
  putUint32(data, at + 20, casLow);
  return at + HEADER_BYTES;
}
