// One channel's connection: a WebSocket with the bytes of SPICE in it, linked, and then a stream of messages.

import { HEADER_LENGTH, linkMessage, reply, replyLength, result, ticket } from "./link.js";
import { base } from "./messages.js";
import { ByteQueue, Reader, WireError, Writer } from "./wire.js";

/** The most bytes of a message: an image has at most a MiB, a frame of video less than this. */
const BODY_MAX = 64 << 20;
const MINI_HEADER_LENGTH = 6;

export class Ended extends Error {}

export class Connection {
  #socket;
  #messages;
  #unread = new ByteQueue();
  /** @type {?{ count: number, resolve: (bytes: Uint8Array) => void, reject: (error: Error) => void }} */
  #waits = null;
  /** @type {?Error} */
  #end = null;
  #window = 0;
  #unacknowledged = 0;
  /** Called with the server's notices. */
  onnotice = (_text) => {};
  /** The server's last warning: on the main channel it is why the session ends. */
  reason = "";
  received = 0;
  /** The server's capabilities on this channel. */
  caps = 0;

  constructor(url, messages) {
    this.#messages = messages;
    this.#socket = new WebSocket(url, "binary");
    this.#socket.binaryType = "arraybuffer";
    this.opened = new Promise((resolve, reject) => {
      this.#socket.onopen = resolve;
      this.#socket.onclose = () => {
        this.#finish(new Ended("the connection was closed"));
        reject(new Ended("the server cannot be reached"));
      };
    });
    this.opened.catch(() => {});
    this.#socket.onmessage = (event) => this.#take(event.data);
  }

  async link({ session, kind, id, caps, password }) {
    await this.opened;
    this.#write(linkMessage({ session, kind, id, caps }));
    const length = replyLength(await this.#read(HEADER_LENGTH));
    const { key, channelCaps } = reply(await this.#read(length));
    this.caps = channelCaps;
    this.#write(await ticket(key, password));
    result(await this.#read(4));
  }

  /** Gives messages to `handle` until the connection ends. While that takes its time, the server sends less. */
  async run(handle) {
    try {
      for (;;) {
        const head = new Reader(await this.#read(MINI_HEADER_LENGTH), "header");
        const [id, size] = [head.u16(), head.u32()];
        if (size > BODY_MAX) throw new WireError(`a message of ${size} bytes`);
        const body = await this.#read(size);
        if (id > base.last) await handle(this.#messages.decode(id, body));
        else this.#handleBase(base.decode(id, body));
        this.#acknowledge(id);
      }
    } catch (error) {
      this.close(error);
      throw error;
    }
  }

  send(message) {
    this.#write(new Writer().u16(message.id).u32(message.length).bytes(message.done()).done());
  }

  close(error = new Ended("the page closed the connection")) {
    this.#finish(error);
    this.#socket.close();
  }

  #handleBase(message) {
    switch (message.name) {
      case "ping":
        this.send(base.pong(message.id, message.timestamp));
        break;
      case "setAck":
        this.#window = message.window;
        this.send(base.ackSync(message.generation));
        break;
      case "disconnecting":
        this.close(new Ended(this.reason || "the server ended the session"));
        break;
      case "notify":
        if (message.severity > 0) this.reason = message.text;
        else this.onnotice(message.text);
    }
  }

  /** Counts what came after the server asked for that. */
  #acknowledge(id) {
    if (id === base.setAck) {
      this.#unacknowledged = 0;
    } else if (this.#window && ++this.#unacknowledged >= this.#window) {
      this.#unacknowledged = 0;
      this.send(base.ack());
    }
  }

  #take(data) {
    try {
      if (!(data instanceof ArrayBuffer)) throw new WireError("text in the place of bytes");
      this.received += data.byteLength;
      this.#unread.push(new Uint8Array(data));
    } catch (error) {
      this.close(error);
    }
    const waits = this.#waits;
    if (waits && this.#unread.length >= waits.count) {
      this.#waits = null;
      waits.resolve(this.#unread.take(waits.count));
    }
  }

  #read(count) {
    if (this.#unread.length >= count) return this.#unread.take(count);
    if (this.#end) throw this.#end;
    return new Promise((resolve, reject) => { this.#waits = { count, resolve, reject }; });
  }

  #write(bytes) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(bytes);
  }

  #finish(error) {
    this.#end ??= error;
    this.#waits?.reject(error);
    this.#waits = null;
  }
}
