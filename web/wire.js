// Bytes of messages, little-endian. Every read is checked: the server may be hostile.

/** The most bytes that wait to be read: far more than a server sends ahead of acknowledgements. */
const UNREAD_MAX = 128 << 20;

export class WireError extends Error {}

/** Reads the fields of one message, named `what` in errors. */
export class Reader {
  constructor(bytes, what) {
    this.all = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = 0;
    this.what = what;
  }

  u8() { return this.view.getUint8(this.#skip(1)); }
  u16() { return this.view.getUint16(this.#skip(2), true); }
  i16() { return this.view.getInt16(this.#skip(2), true); }
  u32() { return this.view.getUint32(this.#skip(4), true); }
  u32be() { return this.view.getUint32(this.#skip(4), false); }
  i32() { return this.view.getInt32(this.#skip(4), true); }
  u64() { return this.view.getBigUint64(this.#skip(8), true); }

  get left() { return this.all.length - this.at; }

  /** Returns the next `count` bytes, without a copy. */
  bytes(count) {
    const start = this.#skip(count);
    return this.all.subarray(start, start + count);
  }

  rest() { return this.bytes(this.left); }

  /** Reads `count` things; `each` reads one. A count over `max` is refused. */
  list(count, max, each) {
    this.check(count <= max, `${count} entries, at most ${max}`);
    return Array.from({ length: count }, () => each(this));
  }

  check(holds, why) {
    if (!holds) throw new WireError(`${this.what}: ${why}`);
  }

  /** Refuses bytes after the last field. */
  end() { this.check(this.left === 0, `${this.left} bytes too many`); }

  #skip(count) {
    this.check(count <= this.left, `needs ${count} bytes at ${this.at} of ${this.all.length}`);
    this.at += count;
    return this.at - count;
  }
}

export class Writer {
  #view = new DataView(new ArrayBuffer(64));
  #length = 0;

  u8(value) { this.#view.setUint8(this.#grow(1), value); return this; }
  u16(value) { this.#view.setUint16(this.#grow(2), value, true); return this; }
  u32(value) { this.#view.setUint32(this.#grow(4), value, true); return this; }
  i32(value) { this.#view.setInt32(this.#grow(4), value, true); return this; }
  u64(value) { this.#view.setBigUint64(this.#grow(8), BigInt(value), true); return this; }

  bytes(bytes) {
    const start = this.#grow(bytes.length);
    new Uint8Array(this.#view.buffer).set(bytes, start);
    return this;
  }

  get length() { return this.#length; }

  done() { return new Uint8Array(this.#view.buffer, 0, this.#length); }

  #grow(count) {
    const start = this.#length;
    this.#length += count;
    if (this.#length > this.#view.byteLength) {
      const larger = new Uint8Array(Math.max(this.#length, 2 * this.#view.byteLength));
      larger.set(new Uint8Array(this.#view.buffer));
      this.#view = new DataView(larger.buffer);
    }
    return start;
  }
}

/** Bytes that have come and were not read. */
export class ByteQueue {
  #parts = [];
  #length = 0;

  get length() { return this.#length; }

  push(part) {
    this.#length += part.length;
    if (this.#length > UNREAD_MAX) throw new WireError(`more than ${UNREAD_MAX} bytes wait to be read`);
    if (part.length) this.#parts.push(part);
  }

  /** Takes `count` bytes, which have to be there: a copy only where they came in several parts. */
  take(count) {
    this.#length -= count;
    const first = this.#parts[0];
    if (count === 0) return new Uint8Array(0);
    if (first.length > count) {
      this.#parts[0] = first.subarray(count);
      return first.subarray(0, count);
    }
    if (first.length === count) return this.#parts.shift();
    const whole = new Uint8Array(count);
    for (let at = 0; at < count;) {
      const [part] = this.#parts;
      const wanted = part.subarray(0, count - at);
      whole.set(wanted, at);
      at += wanted.length;
      if (wanted.length === part.length) this.#parts.shift();
      else this.#parts[0] = part.subarray(wanted.length);
    }
    return whole;
  }
}
