// The messages that this server sends and takes, by channel. Others are refused.

import { Reader, WireError, Writer } from "./wire.js";

const NOTICE_MAX = 4096;
const CHANNELS_MAX = 1024;
const HEADS_MAX = 256;
const SIDE_MAX = 16384;
/** The most pixels of an image; this server's have a 64th of that. */
const IMAGE_PIXELS_MAX = 1 << 24;
const CURSOR_SIDE_MAX = 512;

/** A channel's messages from the server: each number's name, and what reads its fields.
* @type {ReaderOf} */
const channel = (channelName, messages) => (id, body) => {
  if (!messages[id]) throw new WireError(`${channelName}: a message of the unknown kind ${id}`);
  const [name, read] = messages[id];
  const r = new Reader(body, `${channelName}, ${name}`);
  const fields = read(r);
  r.end();
  return /** @type {any} */ ({ name, ...fields });
};

/** A message to the server: its number, and its fields. */
class Message extends Writer {
  constructor(id) {
    super();
    this.id = id;
  }
}
const say = (id) => new Message(id);

const none = () => ({});
const text = (bytes) => new TextDecoder().decode(bytes).replace(/\0.*$/s, "");

export const base = {
  setAck: 3,
  /** The largest number that belongs to every channel. */
  last: 100,
  decode: channel("channel", {
    3: ["setAck", (r) => ({ generation: r.u32(), window: r.u32() })],
    4: ["ping", (r) => {
      const ping = { id: r.u32(), timestamp: r.u64() };
      r.rest();
      return ping;
    }],
    6: ["disconnecting", (r) => ({ timestamp: r.u64(), reason: r.u32() })],
    7: ["notify", (r) => {
      const [timestamp, severity] = [r.u64(), r.u32()];
      r.bytes(8);
      const length = r.u32();
      r.check(length <= NOTICE_MAX, `a text of ${length} bytes`);
      const notice = text(r.bytes(length));
      r.u8();
      return { timestamp, severity, text: notice };
    }],
  }),
  ackSync: (generation) => say(1).u32(generation),
  ack: () => say(2),
  pong: (id, timestamp) => say(3).u32(id).u64(timestamp),
};

const modes = (supported, current) => ({ server: (supported & 1) !== 0, client: (supported & 2) !== 0, current });

export const main = {
  /** Capabilities: the guest's name, and pieces for the agent that are counted. */
  caps: () => [1 << 1 | 1 << 2],
  decode: channel("main channel", {
    103: ["init", (r) => ({
      session: r.u32(), displays: r.u32(), mouse: modes(r.u32(), r.u32()), agent: r.u32() !== 0,
      tokens: r.u32(), time: r.u32(), memory: r.u32(),
    })],
    104: ["channels", (r) => ({
      channels: r.list(r.u32(), CHANNELS_MAX, (each) => ({ kind: each.u8(), id: each.u8() })),
    })],
    105: ["mouseMode", (r) => ({ mouse: modes(r.u16(), r.u16()) })],
    106: ["time", (r) => ({ time: r.u32() })],
    107: ["agentConnected", none],
    108: ["agentDisconnected", (r) => ({ error: r.u32() })],
    109: ["agentData", (r) => ({ data: r.rest() })],
    110: ["agentTokens", (r) => ({ tokens: r.u32() })],
    113: ["guestName", (r) => ({ text: text(r.bytes(r.u32())) })],
    114: ["uuid", (r) => ({ uuid: r.bytes(16) })],
    115: ["agentConnectedTokens", (r) => ({ tokens: r.u32() })],
  }),
  attachChannels: () => say(104),
  mouseMode: (mode) => say(105).u16(mode),
  agentStart: (tokens) => say(106).u32(tokens),
  agentData: (data) => say(107).bytes(data),
};

export const MOUSE_SERVER = 1;
export const MOUSE_CLIENT = 2;

/** The places of streams on a surface; a server uses no others. */
const STREAMS = 64;
const CODECS = { 1: "mjpeg", 2: "vp8", 3: "h264", 4: "vp9", 5: "h265" };
const ROP_PUT = 8;
const IMAGE_BITMAP = 0;
const IMAGE_LZ4 = 109;
const BITMAP_FORMATS = [8, 9];
const TOP_DOWN = 4;

/** Reads a rectangle, as its first column and row, and its size. */
function rect(r) {
  const [top, left, bottom, right] = [r.i32(), r.i32(), r.i32(), r.i32()];
  const inside = top >= 0 && left >= 0 && bottom >= top && right >= left;
  r.check(inside && bottom <= SIDE_MAX && right <= SIDE_MAX, `a rectangle ${[top, left, bottom, right]}`);
  return { x: left, y: top, width: right - left, height: bottom - top };
}

function side(r) {
  const pixels = r.u32();
  r.check(pixels <= SIDE_MAX, `a side of ${pixels} pixels`);
  return pixels;
}

function constant(r, found, expected, what) {
  r.check(found === expected, `${what} is ${found}, not ${expected}`);
}

/** The mask at the end of drawings: there is none. */
function noMask(r) {
  r.bytes(9);
  constant(r, r.u32(), 0, "mask");
}

function image(r) {
  r.u64();
  const kind = r.u8();
  r.u8();
  const [width, height] = [side(r), side(r)];
  r.check(width * height <= IMAGE_PIXELS_MAX, `an image of ${width}x${height}`);
  if (kind === IMAGE_BITMAP) {
    r.check(BITMAP_FORMATS.includes(r.u8()), "the format of a bitmap");
    constant(r, r.u8(), TOP_DOWN, "bitmap flags");
    r.check(r.u32() === width && r.u32() === height, "a bitmap of another size");
    const stride = r.u32();
    constant(r, r.u32(), 0, "palette");
    const pixels = r.rest();
    r.check(stride >= width * 4 && pixels.length >= stride * height, `a bitmap of ${pixels.length} bytes`);
    return { width, height, stride, pixels };
  }
  constant(r, kind, IMAGE_LZ4, "image");
  r.u32();
  constant(r, r.u8(), 1, "orientation");
  r.check(BITMAP_FORMATS.includes(r.u8()), "the format of an image");
  return { width, height, lz4: r.bytes(r.u32be()) };
}

export const display = {
  /** Capabilities: heads, LZ4, and codecs. The last is this server's own: H.264 with a colour for each pixel. */
  caps: ({ h264, sharp }) => [1 << 1 | 1 << 5 | 1 << 8 | (h264 ? 1 << 11 : 1 << 9), sharp ? 1 << 31 : 0],
  decode: channel("display", {
    102: ["mark", none],
    103: ["reset", none],
    104: ["copyBits", (r) => ({ surface: r.u32(), dest: rect(r), clip: r.u8(), x: r.i32(), y: r.i32() })],
    108: ["invalidatePalettes", none],
    122: ["streamCreate", (r) => {
      const [surface, stream] = [r.u32(), r.u32()];
      r.check(stream < STREAMS, `stream ${stream}`);
      r.u8();
      const codec = CODECS[r.u8()];
      r.u64();
      const [width, height] = [side(r), side(r)];
      r.bytes(8);
      const dest = rect(r);
      constant(r, r.u8(), 0, "clip");
      return { surface, stream, codec, width, height, dest };
    }],
    123: ["streamData", (r) => ({ stream: r.u32(), time: r.u32(), data: r.bytes(r.u32()) })],
    125: ["streamDestroy", (r) => ({ stream: r.u32() })],
    304: ["drawCopy", (r) => {
      const [surface, dest] = [r.u32(), rect(r)];
      constant(r, r.u8(), 0, "clip");
      constant(r, r.u32(), 57, "place of the image");
      const src = rect(r);
      constant(r, r.u16(), ROP_PUT, "operation");
      r.u8();
      noMask(r);
      const drawn = image(r);
      r.check(src.x === 0 && src.y === 0 && src.width === dest.width && src.height === dest.height
        && drawn.width === dest.width && drawn.height === dest.height, "an image of another size");
      return { surface, dest, image: drawn };
    }],
    314: ["surfaceCreate", (r) => {
      const created = { surface: r.u32(), width: side(r), height: side(r) };
      r.check([32, 96].includes(r.u32()), "the format of a surface");
      return { ...created, primary: (r.u32() & 1) !== 0 };
    }],
    315: ["surfaceDestroy", (r) => ({ surface: r.u32() })],
    317: ["monitors", (r) => {
      const count = r.u16();
      r.u16();
      return {
        heads: r.list(count, HEADS_MAX, (each) => {
          const head = { monitor: each.u32(), surface: each.u32(), width: side(each), height: side(each) };
          const placed = { ...head, x: side(each), y: side(each) };
          each.u32();
          return placed;
        }),
      };
    }],
  }),
  /** Nothing is cached. */
  init: () => say(101).u8(1).u64(0).u8(1).i32(0),
  cannotDecode: (stream) => say(102).u32(stream).u32(0).u32(0).u32(0).u32(0).u32(0xffffffff).i32(0)
    .u32(0xffffffff),
};

const locks = (bits) => ({ scroll: (bits & 1) !== 0, num: (bits & 2) !== 0, caps: (bits & 4) !== 0 });

export const inputs = {
  caps: () => [],
  decode: channel("inputs", {
    101: ["init", (r) => locks(r.u16())],
    102: ["locks", (r) => locks(r.u16())],
    111: ["motionAck", none],
  }),
  scancodes: (bytes) => say(104).bytes(bytes),
  locks: ({ scroll, num, caps }) => say(103).u16(Number(scroll) | num << 1 | caps << 2),
  motion: (dx, dy, buttons) => say(111).i32(dx).i32(dy).u16(buttons),
  position: (x, y, buttons, display) => say(112).u32(x).u32(y).u16(buttons).u8(display),
  press: (button, buttons) => say(113).u8(button).u16(buttons),
  release: (button, buttons) => say(114).u8(button).u16(buttons),
};

/** A shape of the pointer; its pixels are B, G, R, A. `null` is none. */
function shape(r) {
  const flags = r.u16();
  if (flags & 1) return null;
  r.check((flags & ~3) === 0, `flags ${flags}`);
  r.u64();
  constant(r, r.u8(), 0, "kind");
  const [width, height, hotX, hotY] = [r.u16(), r.u16(), r.u16(), r.u16()];
  const pixels = r.rest();
  const fits = Math.min(width, height) > 0 && Math.max(width, height) <= CURSOR_SIDE_MAX;
  r.check(fits && pixels.length === width * height * 4, `${width}x${height} in ${pixels.length} bytes`);
  return { width, height, hotX, hotY, pixels };
}

export const cursor = {
  caps: () => [],
  decode: channel("cursor", {
    101: ["init", (r) => {
      const at = { x: r.i16(), y: r.i16() };
      r.u32();
      return { ...at, visible: r.u8() !== 0, shape: shape(r) };
    }],
    102: ["reset", none],
    103: ["set", (r) => ({ x: r.i16(), y: r.i16(), visible: r.u8() !== 0, shape: shape(r) })],
    104: ["move", (r) => ({ x: r.i16(), y: r.i16() })],
    105: ["hide", none],
  }),
};

/** How sound is compressed (`SPICE_AUDIO_DATA_MODE_*`). */
export const OPUS = 3;

export const playback = {
  /** Capabilities: how loud it is to be; and with a decoder Opus. */
  caps: ({ opus }) => [1 << 1 | (opus ? 1 << 3 : 0)],
  decode: channel("playback", {
    101: ["data", (r) => ({ time: r.u32(), data: r.rest() })],
    102: ["mode", (r) => ({ time: r.u32(), mode: r.u16() })],
    103: ["start", (r) => ({ channels: r.u32(), format: r.u16(), frequency: r.u32(), time: r.u32() })],
    104: ["stop", none],
    105: ["volume", (r) => ({ volumes: r.list(r.u8(), 255, (each) => each.u16()) })],
    106: ["mute", (r) => ({ mute: r.u8() !== 0 })],
    107: ["latency", (r) => ({ milliseconds: r.u32() })],
  }),
};

export const record = {
  /** Capabilities: Opus. */
  caps: () => [1 << 2],
  decode: channel("record", {
    101: ["start", (r) => ({ channels: r.u32(), format: r.u16(), frequency: r.u32() })],
    102: ["stop", none],
  }),
  data: (time, data) => say(101).u32(time).bytes(data),
  mode: (time, mode) => say(102).u32(time).u16(mode),
};

export const channels = { main, display, inputs, cursor, playback, record };
