// The pixels of exact images.

import { WireError } from "./wire.js";

/** Returns the pixels of an image as the canvas has them: R, G, B, A, without gaps. */
export function pixels(image) {
  const { width, height } = image;
  const packed = image.lz4 ? lz4(image.lz4, width * height * 4) : rows(image);
  swapColours(packed, 0xff000000);
  return new ImageData(packed, width, height);
}

function rows({ width, height, stride, pixels: bytes }) {
  const packed = new Uint8ClampedArray(width * height * 4);
  for (let row = 0; row < height; row++) {
    packed.set(bytes.subarray(row * stride, row * stride + width * 4), row * width * 4);
  }
  return packed;
}

/** Turns B, G, R and A into R, G, B, and A with the bits of `opaque`, on little-endian machines, as all are. */
export function swapColours(bytes, opaque = 0) {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2);
  for (let at = 0; at < words.length; at++) {
    const word = words[at];
    words[at] = opaque | word & 0xff00ff00 | (word & 0xff) << 16 | word >> 16 & 0xff;
  }
}

/** Decodes one LZ4 block that holds exactly `length` bytes. */
export function lz4(block, length) {
  const out = new Uint8ClampedArray(length);
  let at = 0;
  let end = 0;
  const more = (count) => {
    while (count >= 15) {
      const byte = block[at++];
      if (byte === undefined) throw new WireError("an LZ4 block that is cut off");
      count += byte;
      if (byte !== 255) break;
    }
    return count;
  };
  while (at < block.length) {
    const token = block[at++];
    const literals = more(token >> 4);
    if (at + literals > block.length || end + literals > length) throw new WireError("LZ4 bytes beyond the end");
    out.set(block.subarray(at, at + literals), end);
    at += literals;
    end += literals;
    if (at === block.length) break;
    const offset = block[at] | block[at + 1] << 8;
    at += 2;
    const count = more(token & 15) + 4;
    if (at > block.length || offset === 0 || offset > end || end + count > length) {
      throw new WireError("an LZ4 match beyond the end");
    }
    repeat(out, end, offset, count);
    end += count;
  }
  if (end !== length) throw new WireError(`an LZ4 block of ${end} bytes, not ${length}`);
  return out;
}

/** Repeats what lies `offset` bytes before `end`; a match may reach into itself. */
function repeat(out, end, offset, count) {
  if (offset >= count) {
    out.copyWithin(end, end - offset, end - offset + count);
    return;
  }
  for (let done = 0; done < count;) {
    // `done` is a whole number of repeats.
    const part = Math.min(offset + done, count - done);
    out.copyWithin(end + done, end - offset, end - offset + part);
    done += part;
  }
}
