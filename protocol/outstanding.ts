// The requests of one connection that wait for their answer: a FIFO, since memcached executes and answers strictly in
// order. It holds rows by number (of whatever its user keeps), with the two fields that pairing compares, in a ring.

export class Outstanding {
  #capacity = 16;
  #head = 0;
  /** How many requests wait. */
  length = 0;
  /** By slot: the number of the row. */
  row = new Float64Array(this.#capacity);
  opcode = new Uint8Array(this.#capacity);
  opaque = new Uint32Array(this.#capacity);

  /** The slot of the n-th request from the head, in which the three columns are read. */
  slot(n: number): number {
    return (this.#head + n) & (this.#capacity - 1);
  }

  push(row: number, opcode: number, opaque: number): void {
    if (this.length === this.#capacity) this.#grow();
    const slot = this.slot(this.length++);
    this.row[slot] = row;
    this.opcode[slot] = opcode;
    this.opaque[slot] = opaque;
  }

  /** Forgets the first n requests. */
  drop(n: number): void {
    this.#head = this.slot(n);
    this.length -= n;
  }

  /** Whether one of the last few is such a request. */
  has(opcode: number, opaque: number, last: number): boolean {
    for (let n = Math.max(0, this.length - last); n < this.length; n++) {
      const slot = this.slot(n);
      if (this.opaque[slot] === opaque && this.opcode[slot] === opcode) return true;
    }
    return false;
  }

  #grow(): void {
    const capacity = this.#capacity * 2;
    const row = new Float64Array(capacity);
    const opcode = new Uint8Array(capacity);
    const opaque = new Uint32Array(capacity);
    for (let n = 0; n < this.length; n++) {
      const slot = this.slot(n);
      row[n] = this.row[slot]!;
      opcode[n] = this.opcode[slot]!;
      opaque[n] = this.opaque[slot]!;
    }
    this.row = row;
    this.opcode = opcode;
    this.opaque = opaque;
    this.#head = 0;
    this.#capacity = capacity;
  }
}
