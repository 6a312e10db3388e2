// Addresses as people write them: `10.0.0.7:51234`, `[2001:db8::1]:11211`.

import { SocketAddress } from 'node:net';

/** `address`: 4 or 16 bytes in network order. */
export function formatEndpoint(address: Uint8Array, port: number): string {
  if (address.length === 4) return `${address.join('.')}:${port}`;
  const groups: string[] = [];
  for (let i = 0; i < 16; i += 2) groups.push(((address[i]! << 8) | address[i + 1]!).toString(16));
  // Node shortens runs of zeros as RFC 5952 asks.
  const short = new SocketAddress({ family: 'ipv6', address: groups.join(':') }).address;
  return `[${short}]:${port}`;
}
