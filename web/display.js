// A display channel: what the server draws, and the video that it sends.

import { Decoder, JpegDecoder } from "./decoder.js";
import { display as messages } from "./messages.js";
import { Surface } from "./surface.js";

/** Pictures that may wait in the decoder; the server sends less until they are drawn. */
const DECODING_MAX = 3;
/** Milliseconds for which the last picture stays when its surface is gone: mostly there is a next one. */
const GONE_AFTER = 300;

export class Display {
  #connection;
  #console;
  /** @type {?Surface} */
  #surface = null;
  /** By number: one is all of the picture, others are areas of it that move.
  * @type {Map<number, { dest: Rect, decoder: Decoder | JpegDecoder }>} */
  #streams = new Map();

  /** What was drawn so far, for the panel and for tests. */
  counts = { images: 0, frames: 0 };
  /** What the picture comes as. */
  delivery = "";

  /** `console` is given the canvas to show: `setPicture`. */
  constructor(connection, console) {
    this.#connection = connection;
    this.#console = console;
    connection.send(messages.init());
  }

  end = () => this.#streams.forEach(({ decoder }) => decoder.close());

  /** @param {From<"display">} message */
  handle = async (message) => {
    switch (message.name) {
      case "surfaceCreate":
        this.#surface = new Surface(message.width, message.height);
        break;
      case "surfaceDestroy":
        this.#surface = null;
        setTimeout(() => this.#surface ?? this.#console.setPicture(null), GONE_AFTER);
        break;
      case "monitors":
        this.#crop(...message.heads);
        break;
      case "mark":
        if (this.#surface) this.#console.setPicture(this.#surface.canvas);
        break;
      case "drawCopy":
        // Over the video before it.
        await this.#drawn(message.dest);
        this.#surface?.draw(message.image, message.dest);
        this.counts.images += 1;
        if (this.#streams.size === 0) this.delivery = "images";
        break;
      case "copyBits":
        await this.#drawn(message.dest);
        this.#surface?.copy(message);
        break;
      case "streamCreate":
        this.#startStream(message);
        break;
      case "streamData":
        await this.#play(message);
        break;
      case "streamDestroy":
        await this.#streams.get(message.stream)?.decoder.until(0);
        this.#stopStream(message.stream);
    }
  };

  #crop(head) {
    if (head?.width && head.height) this.#surface?.crop(head.width, head.height);
  }

  /** Waits until the video is drawn that `dest` is to be drawn over. */
  async #drawn(dest) {
    const under = [...this.#streams.values()].filter((stream) => overlap(stream.dest, dest));
    await Promise.all(under.map((stream) => stream.decoder.until(0)));
  }

  #startStream({ stream: id, codec, dest }) {
    this.#stopStream(id);
    const surface = this.#surface;
    const draw = (frame) => {
      surface?.drawFrame(frame, dest);
      this.counts.frames += 1;
    };
    const failed = (error) => {
      console.warn(`video: ${error.message}`);
      this.#streams.delete(id);
      this.#connection.send(messages.cannotDecode(id));
    };
    const kind = { h264: "VideoDecoder" in globalThis && Decoder, mjpeg: JpegDecoder }[codec];
    if (kind) this.#streams.set(id, { dest, decoder: new kind(draw, failed) });
    else failed(new Error(`nothing decodes ${codec} here`));
  }

  async #play({ stream: id, data }) {
    const decoder = this.#streams.get(id)?.decoder;
    if (!decoder) return;
    await decoder.decode(data);
    this.delivery = decoder.codec;
    await decoder.until(DECODING_MAX);
  }

  #stopStream(id) {
    this.#streams.get(id)?.decoder.close();
    this.#streams.delete(id);
  }
}

function overlap(one, other) {
  return one.x < other.x + other.width && other.x < one.x + one.width
    && one.y < other.y + other.height && other.y < one.y + one.height;
}
