// The way through the headers of a packet, tunnels within tunnels, to the TCP segment that it carries.

import { ethernet, etherTypeAt, mpls } from './ethernet.ts';
import { Fragments } from './fragment.ts';
import { readIp } from './ip.ts';
import { Layer, type Packet } from './packet.ts';
import { readTcp } from './tcp.ts';
import { etherIp, gre, UdpTunnels } from './tunnel.ts';

/** Headers before the segment, of which an attacker could make thousands. */
const MAX_LAYERS = 32;

export class Layers {
  readonly #fragments = new Fragments();
  readonly #tunnels: UdpTunnels;
  readonly #isTaken: (packet: Packet) => boolean;

  /**
   * @param vxlanPorts UDP ports of VXLAN besides 4789 and 8472
   * @param isTaken asked of each UDP datagram: true where it was dealt with, and is no tunnel
   */
  constructor(vxlanPorts: readonly number[] | undefined, isTaken: (packet: Packet) => boolean) {
    this.#tunnels = new UdpTunnels(vxlanPorts);
    this.#isTaken = isTaken;
  }

  /** IP fragments of datagrams that did not become whole. */
  get incomplete(): number {
    return this.#fragments.incomplete;
  }

  /** Reads on until a TCP segment is found, or it is clear that there is none. */
  unwrap(packet: Packet, first: Layer): Layer {
    let layer = first;
    for (let layers = 0; layers < MAX_LAYERS; layers++)
      switch (layer) {
        case Layer.ethernet:
          layer = ethernet(packet);
          break;
        case Layer.etherType:
          layer = etherTypeAt(packet, packet.at);
          break;
        case Layer.ip:
          layer = this.#ip(packet);
          break;
        case Layer.tcp:
          return readTcp(packet);
        case Layer.udp:
          if (this.#isTaken(packet)) return Layer.taken;
          layer = this.#tunnels.read(packet);
          break;
        case Layer.gre:
          layer = gre(packet);
          break;
        case Layer.mpls:
          layer = mpls(packet);
          break;
        case Layer.etherIp:
          layer = etherIp(packet);
          break;
        default:
          return layer;
      }
    return Layer.other;
  }

  #ip(packet: Packet): Layer {
    const layer = readIp(packet);
    if (layer !== Layer.fragment) return layer;
    const taken = this.#fragments.take(packet);
    return taken === Layer.ok ? readIp(packet) : taken;
  }
}
