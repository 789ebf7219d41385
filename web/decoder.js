// H.264 by WebCodecs. What comes is Annex B; a key frame begins with its parameter sets.

const SLICE = 1;
const KEY_SLICE = 5;
const SEQUENCE_PARAMETERS = 7;

/** What servers encode, as WebCodecs names it: H.264, and H.264 with a colour for each pixel (4:4:4). */
const USUAL = "avc1.42c01f";
const SHARP = "avc1.f4001f";

/** Returns what this browser decodes here: `h264`, and `sharp` for its 4:4:4. `why` is set if it decodes no H.264. */
export async function canDecode() {
  if (!("VideoDecoder" in globalThis)) {
    const why = isSecureContext ? "this browser has no WebCodecs"
      : "browsers decode video on pages by https and of this machine alone";
    return { h264: false, sharp: false, why };
  }
  const [h264, sharp] = await Promise.all([USUAL, SHARP].map((codec) =>
    VideoDecoder.isConfigSupported({ codec }).then(({ supported }) => Boolean(supported), () => false)));
  return { h264, sharp, why: h264 ? "" : "this browser decodes no H.264" };
}

/** Returns whether an access unit has a picture, whether that is a key frame, and its codec's name. */
export function describe(unit) {
  const found = { picture: false, key: false, codec: "" };
  for (let at = 0; at + 3 < unit.length; at++) {
    if (unit[at] !== 0 || unit[at + 1] !== 0 || unit[at + 2] !== 1) continue;
    at += 3;
    const kind = unit[at] & 31;
    if (kind === SEQUENCE_PARAMETERS && at + 3 < unit.length) {
      const hex = (byte) => byte.toString(16).padStart(2, "0");
      found.codec = `avc1.${[...unit.subarray(at + 1, at + 4)].map(hex).join("")}`;
    } else if (kind === SLICE || kind === KEY_SLICE) {
      // What follows is the rest of the picture.
      return { ...found, picture: true, key: kind === KEY_SLICE };
    }
  }
  return found;
}

/** Milliseconds for which a picture is waited for: some decoders keep the last one until there is another. */
const PATIENCE = 400;

export class Decoder {
  #decoder;
  #given = 0;
  #shown = 0;
  /** Pictures up to this number come too late: something was drawn over them. */
  #late = 0;
  #waiting = [];
  /** @type {?(error: Error) => void} */
  #failed;
  /** What it decodes, as WebCodecs names it. */
  codec = "";

  /** `draw` is called with each picture, in order; `failed` once if it cannot go on. */
  constructor(draw, failed) {
    this.#failed = failed;
    this.#decoder = new VideoDecoder({
      output: (frame) => {
        if (frame.timestamp > this.#late) draw(frame);
        frame.close();
        this.#shown += 1;
        this.#wake();
      },
      error: (error) => this.#fail(error),
    });
  }

  /** Decodes an access unit. What has no picture is nothing to a decoder. */
  async decode(unit) {
    const { picture, key, codec } = describe(unit);
    if (!picture) return;
    if (key && codec && codec !== this.codec) await this.#configure(codec);
    if (this.#decoder.state !== "configured") return;
    this.#given += 1;
    try {
      const type = key ? "key" : "delta";
      this.#decoder.decode(new EncodedVideoChunk({ type, timestamp: this.#given, data: unit }));
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Waits until at most `count` pictures are still to be drawn. If that is none, those that come later are not. */
  async until(count) {
    const end = performance.now() + PATIENCE;
    while (this.#given - this.#shown > count && this.#decoder.state === "configured") {
      const left = end - performance.now();
      if (left <= 0) break;
      const timer = setTimeout(() => this.#wake(), left);
      await new Promise((resolve) => this.#waiting.push(resolve));
      clearTimeout(timer);
    }
    if (count === 0) this.#late = this.#given;
  }

  close() {
    if (this.#decoder.state !== "closed") this.#decoder.close();
    this.#wake();
  }

  async #configure(codec) {
    const config = { codec, optimizeForLatency: true };
    const { supported } = await VideoDecoder.isConfigSupported(config);
    if (this.#decoder.state === "closed") return;
    if (!supported) {
      this.#fail(new Error(`this browser does not decode ${codec}`));
      return;
    }
    await this.until(0);
    this.#decoder.configure(config);
    this.codec = codec;
  }

  #fail(error) {
    this.close();
    this.#failed?.(error);
    this.#failed = null;
  }

  #wake() {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

/** Decodes JPEGs one after the other, where there is no other video. */
export class JpegDecoder {
  #draw;
  #failed;
  codec = "mjpeg";

  constructor(draw, failed) {
    this.#draw = draw;
    this.#failed = failed;
  }

  async decode(unit) {
    try {
      const picture = await createImageBitmap(new Blob([unit]));
      this.#draw(picture);
      picture.close();
    } catch (error) {
      this.#failed(error);
    }
  }

  async until() {}
  close() {}
}
