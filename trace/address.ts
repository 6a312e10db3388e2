// Addresses as people type them and files keep them: `host:port`, `[v6]:port`.

export interface HostPort {
  host: string;
  port: number;
}

/**
 * @param defaultPort where the text names none
 * @throws RangeError
 */
export function parseHostPort(text: string, defaultPort: number): HostPort {
  const match = /^(?:\[(?<v6>[0-9a-f:.]+)\]|(?<host>[^:[\]\s/]+))(?::(?<port>\d{1,5}))?$/i.exec(text.trim());
  const host = match?.groups?.['v6'] ?? match?.groups?.['host'];
  const port = Number(match?.groups?.['port'] ?? defaultPort);
  if (host === undefined || port > 65_535)
    throw new RangeError(`expected HOST:PORT, for instance 127.0.0.1:11211; got ${JSON.stringify(text)}`);
  return { host, port };
}

export function formatHostPort(host: string, port: number): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}
