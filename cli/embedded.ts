// The embedded cluster as a target of a gate's run: servers alone, or behind the proxy with its faults, so that a gate can
// be tried where there is no memcached.

import { given } from '../config/given.ts';
import { startCluster } from '../embedded/cluster.ts';
import { parseFault } from '../embedded/fault.ts';
import { parseProxyFault } from '../embedded/proxy/fault.ts';
import { startFaultProxy } from '../embedded/proxy.ts';
import type { NamedServer } from '../protocol/distribution.ts';
import { parseHostPort } from '../trace/address.ts';

export interface EmbeddedOptions {
  /** How many servers. Default 1; 4 with a proxy. */
  backends?: number | undefined;
  /** A proxy in front of them, with ketama. */
  proxy?: boolean | undefined;
  /** As `serve --fault` takes them; their times begin with the first request. */
  faults?: readonly string[] | undefined;
  /** What the items of one server may take. Default: a gigabyte. */
  memoryBytes?: number | undefined;
}

export interface Embedded {
  /** Where requests go. */
  targets: string[];
  /** What stands behind the proxy; empty without one. */
  backends: NamedServer[];
  /** Begins the time of the faults. */
  begin(): void;
  stop(): Promise<void>;
}

const PROXY_BACKENDS = 4;
const MEMORY_BYTES = 1e9;

/** @throws Error that says what was expected of a fault */
export function checkFaults({ proxy = false, faults = [] }: EmbeddedOptions): void {
  if (!proxy && faults.length > 1)
    throw new Error('expected one fault, or proxy: true, got several faults without a proxy');
  for (const text of faults)
    if (proxy) parseProxyFault(text);
    else parseFault(text);
}

/** @throws Error of a fault, or of a socket that cannot listen */
export async function startEmbedded(options: EmbeddedOptions): Promise<Embedded> {
  const { proxy: hasProxy = false, faults = [] } = options;
  checkFaults(options);
  const { backends = hasProxy ? PROXY_BACKENDS : 1 } = options;
  const [fault] = hasProxy ? [] : faults.map((text) => parseFault(text));
  const cluster = await startCluster({
    backends,
    memoryBytes: options.memoryBytes ?? MEMORY_BYTES,
    ...given({ fault }),
  });
  if (!hasProxy)
    return {
      targets: [...cluster.addresses],
      backends: [],
      begin: () => undefined,
      stop: () => cluster.stop(),
    };
  const proxy = await startFaultProxy({
    backends: cluster.addresses,
    faults: faults.map((text) => parseProxyFault(text)),
    restart: async (backend) => cluster.restart(backend),
    waits: true,
  });
  return {
    targets: [proxy.address],
    backends: cluster.addresses.map((address) => parseHostPort(address, 0)),
    begin: () => proxy.begin(),
    stop: async () => {
      await proxy.stop();
      await cluster.stop();
    },
  };
}
