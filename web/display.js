// A display channel: what the server draws, and the video that it sends.

import { Decoder } from "./decoder.js";
import { display as messages } from "./messages.js";
import { Surface } from "./surface.js";

/** So many pictures may wait in the decoder; the server sends less until they are drawn. */
const DECODING_MAX = 3;
/** How long a console whose surface is gone keeps its last picture, for the next surface to take its place. */
const GONE_AFTER = 300;

export class Display {
  #connection;
  #console;
  #surface = null;
  #stream = null;
  #shows = false;

  /** What was drawn so far, for the panel and for tests. */
  counts = { images: 0, frames: 0 };
  /** What the picture comes as. */
  delivery = "";

  /** `console` is given the canvas to show: `setPicture`. */
  constructor(connection, console) {
    this.#connection = connection;
    this.#console = console;
  }

  async run() {
    this.#connection.send(messages.init());
    try {
      await this.#connection.run((id, body) => this.#handle(messages.decode(id, body)));
    } finally {
      this.#stopStream();
    }
  }

  async #handle(message) {
    switch (message.name) {
      case "surfaceCreate":
        this.#surface = new Surface(message.width, message.height);
        this.#shows = false;
        break;
      case "surfaceDestroy":
        this.#surface = null;
        this.#shows = false;
        setTimeout(() => this.#surface ?? this.#console.setPicture(null), GONE_AFTER);
        break;
      case "monitors":
        this.#crop(message.heads[0]);
        break;
      case "mark":
        this.#show();
        break;
      case "drawFill":
        await this.#stream?.decoder.until(0);
        this.#surface?.fill(message.color, message.dest);
        break;
      case "drawCopy":
        // It is drawn over the video before it, not under that.
        await this.#stream?.decoder.until(0);
        this.#surface?.draw(message.image, message.dest);
        this.counts.images += 1;
        if (!this.#stream) this.delivery = "images";
        break;
      case "streamCreate":
        this.#startStream(message);
        break;
      case "streamData":
        await this.#play(message);
        break;
      case "streamDestroy":
        await this.#stream?.decoder.until(0);
        this.#stopStream();
        break;
    }
  }

  #crop(head) {
    if (head && this.#surface && head.width > 0 && head.height > 0) this.#surface.crop(head.width, head.height);
  }

  #show() {
    if (!this.#surface || this.#shows) return;
    this.#shows = true;
    this.#console.setPicture(this.#surface.canvas);
  }

  #startStream({ stream: id, codec, dest }) {
    this.#stopStream();
    if (codec !== "h264" || !globalThis.VideoDecoder) {
      this.#connection.send(messages.cannotDecode(id));
      return;
    }
    const surface = this.#surface;
    const draw = (frame) => {
      surface?.drawFrame(frame, dest);
      this.counts.frames += 1;
    };
    const failed = (error) => {
      globalThis.console.warn(`video: ${error.message}`);
      if (this.#stream?.id === id) this.#stream = null;
      this.#connection.send(messages.cannotDecode(id));
    };
    this.#stream = { id, decoder: new Decoder(draw, failed) };
  }

  async #play({ stream: id, data }) {
    if (this.#stream?.id !== id) return;
    const { decoder } = this.#stream;
    await decoder.decode(data);
    this.delivery = decoder.codec;
    await decoder.until(DECODING_MAX);
  }

  #stopStream() {
    this.#stream?.decoder.close();
    this.#stream = null;
  }
}
