// Random traffic of one connection for the recorder's tests: requests that leave together, and what a server with a few keys
// answers, as frames. Every request has an opaque of its own; values may contain whole frames.

import { encodeRequest, encodeResponse, storeExtras } from '../../protocol/frame.ts';
import { Opcode } from '../../protocol/opcode.ts';
import { Status } from '../../protocol/status.ts';
import type { Random } from '../../synth/laws/random.ts';

export interface Asked {
  opcode: number;
  key: string;
  opaque: number;
  request: Buffer;
  /** Undefined: the server says nothing. */
  answer: Buffer | undefined;
}

export interface PipelinedOptions {
  /** Bytes of a value at most. */
  maxValue?: number;
  /** The share of reads, and of those that are quiet. */
  reads?: number;
  quiet?: number;
  /** The share of values that contain requests, or answers. */
  decoys?: number;
}

export class Server {
  readonly #random: Random;
  readonly #options: Required<PipelinedOptions>;
  readonly #items = new Map<string, { value: Buffer; cas: bigint }>();
  #cas = 0n;
  #opaque: number;

  constructor(random: Random, options: PipelinedOptions = {}) {
    this.#random = random;
    this.#options = { maxValue: 300, reads: 0.6, quiet: 0.4, decoys: 0, ...options };
    this.#opaque = random.int(0x7fffffff);
  }

  /** A group that ends with a request which is always answered. */
  group(): Asked[] {
    const asked = Array.from({ length: 1 + this.#random.int(6) }, () => this.one());
    return [...asked, this.noop()];
  }

  noop(): Asked {
    const opaque = this.#opaque++ >>> 0;
    return {
      opcode: Opcode.noop,
      key: '',
      opaque,
      request: encodeRequest({ opcode: Opcode.noop, opaque }),
      answer: encodeResponse({ opcode: Opcode.noop, opaque }),
    };
  }

  one(): Asked {
    const key = `key-${this.#random.int(12)}`;
    const isQuiet = this.#random.chance(this.#options.quiet);
    return this.#random.chance(this.#options.reads) ? this.#read(key, isQuiet) : this.#store(key, isQuiet);
  }

  #read(key: string, isQuiet: boolean): Asked {
    const opcode = isQuiet ? Opcode.getq : Opcode.get;
    const opaque = this.#opaque++ >>> 0;
    const item = this.#items.get(key);
    const miss = isQuiet
      ? undefined
      : encodeResponse({ opcode, opaque, status: Status.notFound, value: 'Not found' });
    const answer =
      item === undefined
        ? miss
        : encodeResponse({ opcode, opaque, extras: Buffer.alloc(4), value: item.value, cas: item.cas });
    return { opcode, key, opaque, request: encodeRequest({ opcode, key, opaque }), answer };
  }

  #store(key: string, isQuiet: boolean): Asked {
    const opcode = isQuiet ? Opcode.setq : Opcode.set;
    const opaque = this.#opaque++ >>> 0;
    const value = this.#value();
    this.#items.set(key, { value, cas: ++this.#cas });
    return {
      opcode,
      key,
      opaque,
      request: encodeRequest({ opcode, key, opaque, value, extras: storeExtras(0, 0) }),
      answer: isQuiet ? undefined : encodeResponse({ opcode, opaque, cas: this.#cas }),
    };
  }

  #value(): Buffer {
    const length = 1 + this.#random.int(this.#options.maxValue);
    const value = Buffer.from(Array.from({ length }, () => this.#random.int(256)));
    if (!this.#random.chance(this.#options.decoys)) return value;
    const opaque = this.#random.int(1000);
    const decoy = this.#random.chance(0.5)
      ? encodeRequest({ opcode: Opcode.get, key: 'decoy', opaque })
      : encodeResponse({ opcode: Opcode.set, opaque });
    return Buffer.concat([value, ...Array.from({ length: 1 + this.#random.int(4) }, () => decoy), value]);
  }
}
