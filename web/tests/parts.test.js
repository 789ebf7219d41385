// Parts of the page that need no browser.

import assert from "node:assert/strict";
import test from "node:test";

import { Decoder, describe, JpegDecoder } from "../decoder.js";
import { lz4, swapColours } from "../image.js";
import { scancode } from "../keys.js";
import { keysOf } from "../text.js";
import { scales } from "../view.js";
import { ByteQueue, Reader, WireError, Writer } from "../wire.js";

const block = (...parts) => Uint8Array.from(parts.flat());

test("bytes come out of the queue as they came in, whatever the borders", () => {
  const sent = Uint8Array.from({ length: 1000 }, (_, at) => at % 251);
  for (const [part, taken] of [[1, 7], [7, 1], [100, 100], [333, 2], [3, 500]]) {
    const queue = new ByteQueue();
    for (let at = 0; at < sent.length; at += part) queue.push(sent.subarray(at, at + part));
    const found = [];
    while (queue.length > 0) found.push(...queue.take(Math.min(taken, queue.length)));
    assert.deepEqual(found, [...sent]);
  }
});

test("numbers survive the wire", () => {
  const written = new Writer().u8(255).u16(65535).u32(0xfedcba98).i32(-5).u64(2n ** 64n - 1n).bytes([1, 2, 3]).done();
  const r = new Reader(written, "test");
  assert.deepEqual([r.u8(), r.u16(), r.u32(), r.i32(), r.u64()], [255, 65535, 0xfedcba98, -5, 2n ** 64n - 1n]);
  assert.deepEqual([...r.rest()], [1, 2, 3]);
  r.end();
  assert.throws(() => r.u8(), WireError);
});

test("LZ4 blocks are decoded, with matches that reach into themselves", () => {
  assert.deepEqual([...lz4(block(0x30, 1, 2, 3), 3)], [1, 2, 3]);
  // Three literals, a match of nine from three back, five literals.
  const repeated = block(0x35, 1, 2, 3, 3, 0, 0x50, 9, 9, 9, 9, 9);
  assert.deepEqual([...lz4(repeated, 17)], [1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 9, 9, 9, 9, 9]);
  // A match of 300 from one back.
  const long = lz4(block(0x1f, 7, 1, 0, 255, 26, 0x00), 301);
  assert.ok(long.every((byte) => byte === 7));
});

test("LZ4 blocks that lie are refused", () => {
  const wrong = [
    [block(0x30, 1, 2), 3], [block(0x30, 1, 2, 3), 2], [block(0x30, 1, 2, 3), 4], [block(0x10, 1, 2, 0), 5],
    [block(0x10, 1, 0, 0), 5], [block(0x1f, 1, 1, 0, 255), 5000], [block(0xf0, 255, 255), 600], [block(0x10, 1, 1), 5],
    [block(0x1f, 1, 1, 0, 255, 255, 0), 20],
  ];
  for (const [bytes, length] of wrong) assert.throws(() => lz4(bytes, length), WireError, `${bytes}`);
});

test("pixels become what the canvas has", () => {
  const bytes = Uint8ClampedArray.from([3, 2, 1, 77, 30, 20, 10, 0]);
  swapColours(bytes);
  assert.deepEqual([...bytes], [1, 2, 3, 77, 10, 20, 30, 0]);
  swapColours(bytes, 0xff000000);
  assert.deepEqual([...bytes], [3, 2, 1, 255, 30, 20, 10, 255]);
});

test("an access unit says what it is", () => {
  const start = [0, 0, 0, 1];
  const key = block(start, 0x67, 0x42, 0xc0, 0x1f, 9, start, 0x68, 1, start, 0x65, 5, 5);
  assert.deepEqual(describe(key), { picture: true, key: true, codec: "avc1.42c01f" });
  assert.deepEqual(describe(block(start, 0x41, 5)), { picture: true, key: false, codec: "" });
  assert.equal(describe(block(start, 0x09, 0xf0, start, 0x06, 3, 0, 0x80)).picture, false);
  assert.equal(describe(block([0, 0, 1])).picture, false);
  assert.equal(describe(block([])).picture, false);
});

test("keys have the codes of a PC's keyboard, and no two the same", () => {
  assert.deepEqual(scancode("KeyA", true), [0x1e]);
  assert.deepEqual(scancode("KeyA", false), [0x9e]);
  assert.deepEqual(scancode("NumpadEnter", false), [0xe0, 0x9c]);
  assert.deepEqual(scancode("Pause", true), [0xe1, 0x1d, 0x45]);
  assert.equal(scancode("", true), null);
  assert.equal(scancode("toString", true), null);
});

test("the picture fits its room, and whole scales stay whole", () => {
  const picture = { width: 1000, height: 500 };
  assert.deepEqual(scales("fit", { width: 2000, height: 1600 }, picture), { x: 2, y: 2 });
  assert.deepEqual(scales("fit", { width: 2015, height: 1600 }, picture), { x: 2.015, y: 2.015 });
  assert.deepEqual(scales("fit", { width: 1995, height: 1600 }, picture), { x: 1.995, y: 1.995 });
  assert.deepEqual(scales("fit", { width: 1005, height: 1600 }, picture), { x: 1, y: 1 });
  assert.deepEqual(scales("fill", { width: 2000, height: 1600 }, picture), { x: 2, y: 3.2 });
  assert.deepEqual(scales("actual", { width: 10, height: 10 }, picture), { x: 1, y: 1 });
});

test("each character of a US keyboard has its keys, and others have none", () => {
  for (let code = 32; code < 127; code++) {
    const keys = keysOf(String.fromCharCode(code));
    assert.ok(keys.length > 0 && keys.every((key) => scancode(key, true)), String.fromCharCode(code));
  }
  assert.deepEqual(keysOf("a"), ["KeyA"]);
  assert.deepEqual(keysOf("?"), ["ShiftLeft", "Slash"]);
  assert.deepEqual(keysOf("\n"), ["Enter"]);
  for (const other of ["é", "漢", "\u200b"]) assert.equal(keysOf(other), null);
});

test("a decoder that keeps the last picture back holds nothing up, and draws over nothing", async () => {
  let output;
  globalThis.EncodedVideoChunk = class { constructor(chunk) { Object.assign(this, chunk); } };
  globalThis.VideoDecoder = class {
    static isConfigSupported = async () => ({ supported: true });
    state = "unconfigured";
    #kept = null;
    constructor(callbacks) { ({ output } = callbacks); }
    configure() { this.state = "configured"; }
    decode({ timestamp }) {
      const before = this.#kept;
      this.#kept = { timestamp, close() {} };
      if (before) output(before);
    }
    close() { this.state = "closed"; }
  };
  const start = [0, 0, 0, 1];
  const drawn = [];
  const decoder = new Decoder(({ timestamp }) => drawn.push(timestamp), assert.fail);
  await decoder.decode(block(start, 0x67, 0x42, 0xc0, 0x1f, 9, start, 0x65, 5));
  await decoder.decode(block(start, 0x41, 5));
  await decoder.until(3);
  assert.deepEqual(drawn, [1]);
  await decoder.until(0);
  // An image is drawn here.
  await decoder.decode(block(start, 0x41, 5));
  await decoder.decode(block(start, 0x41, 5));
  assert.deepEqual(drawn, [1, 3], "the second picture was too late");
  decoder.close();
});

test("JPEGs are drawn in order and given back, and what is none ends the video", async () => {
  const closed = [];
  globalThis.createImageBitmap = async (blob) => {
    const [first] = new Uint8Array(await blob.arrayBuffer());
    if (first !== 0xff) throw new Error("not a JPEG");
    return { first, close: () => closed.push(first) };
  };
  const [drawn, failed] = [[], []];
  const decoder = new JpegDecoder(({ first }) => drawn.push(first), ({ message }) => failed.push(message));
  await decoder.decode(block([0xff, 0xd8]));
  await decoder.decode(block([0xff, 0xd8]));
  assert.deepEqual([drawn, closed, failed], [[0xff, 0xff], [0xff, 0xff], []]);
  await decoder.decode(block([1, 2]));
  assert.deepEqual([drawn.length, failed], [2, ["not a JPEG"]]);
});
