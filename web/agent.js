// The guest's agent: messages to and from a program in the guest, in pieces that the main channel carries.

import { main as messages } from "./messages.js";
import { ByteQueue, Reader, Writer } from "./wire.js";

const PIECE_MAX = 2048;
const HEADER_LENGTH = 20;
const PROTOCOL = 1;
/** The most bytes of a message that is read; a longer one is left out. */
const MESSAGE_MAX = 32 << 20;
const UNLIMITED = 0xffffffff;
export const AGENT = { monitors: 2, clipboard: 4, announce: 6, grab: 7, request: 8, release: 9, fileStart: 10,
  fileStatus: 11, fileData: 12 };
/** Capabilities: monitors, answers, and clipboards that are asked for and have numbers. */
const CAPS = 1 << 1 | 1 << 2 | 1 << 5 | 1 << 6;
const FILES_DISABLED = 1 << 13;

export class Agent {
  #send;
  #tokens = 0;
  #unread = new ByteQueue();
  /** The message that arrives; its body is left out if it is too long.
  * @type {?{ kind: number, isLeftOut: boolean }} */
  #header = null;
  #left = 0;
  /** What waits for tokens. */
  #waiting = [];
  caps = 0;
  isConnected = false;
  /** Called with each message: its kind and what reads it. */
  onmessage = (_kind, _reader) => {};
  /** Called when the agent came, said what it can do, or went. */
  onchange = () => {};

  /** `send` sends a message of the main channel. */
  constructor(send) {
    this.#send = send;
  }

  get takesFiles() { return this.isConnected && this.caps !== 0 && (this.caps & FILES_DISABLED) === 0; }

  /** The server has an agent for this page, which may send so many pieces. */
  connect(tokens) {
    this.disconnect();
    this.isConnected = true;
    this.#tokens = tokens;
    this.#send(messages.agentStart(UNLIMITED));
    this.send(AGENT.announce, new Writer().u32(1).u32(CAPS).done());
    this.onchange();
  }

  disconnect() {
    this.isConnected = false;
    this.caps = 0;
    this.#tokens = 0;
    this.#unread = new ByteQueue();
    this.#header = null;
    for (const { sent } of this.#waiting.splice(0)) sent();
    this.onchange();
  }

  grant(tokens) {
    this.#tokens += tokens;
    this.#flush();
  }

  /** Sends a message; resolves once all of it is on its way, or the agent is gone. */
  send(kind, body = new Uint8Array(0)) {
    const bytes = new Writer().u32(PROTOCOL).u32(kind).u64(0).u32(body.length).bytes(body).done();
    return new Promise((resolve) => {
      this.#waiting.push({ bytes, sent: () => resolve(undefined) });
      this.#flush();
    });
  }

  take(piece) {
    this.#unread.push(piece);
    for (;;) {
      if (!this.#header) {
        if (this.#unread.length < HEADER_LENGTH) return;
        const r = this.#read(HEADER_LENGTH);
        r.check(r.u32() === PROTOCOL, "another version");
        const kind = r.u32();
        r.u64();
        this.#left = r.u32();
        this.#header = { kind, isLeftOut: this.#left > MESSAGE_MAX };
      }
      if (this.#header.isLeftOut) {
        const some = Math.min(this.#left, this.#unread.length);
        this.#unread.take(some);
        this.#left -= some;
        if (this.#left > 0) return;
      } else {
        if (this.#unread.length < this.#left) return;
        this.#message(this.#header.kind, this.#read(this.#left));
      }
      this.#header = null;
    }
  }

  /** Asks the guest for pictures of this size on each of its consoles. */
  setSize(consoles, { width, height }) {
    const list = new Writer().u32(consoles).u32(0);
    for (let at = 0; at < consoles; at++) list.u32(height).u32(width).u32(32).i32(0).i32(0);
    if (this.isConnected && width > 0 && height > 0) this.send(AGENT.monitors, list.done());
  }

  #read(count) { return new Reader(this.#unread.take(count), "agent message"); }

  #message(kind, r) {
    if (kind !== AGENT.announce) {
      this.onmessage(kind, r);
      return;
    }
    const isAsking = r.u32() !== 0;
    this.caps = r.u32();
    if (isAsking) this.send(AGENT.announce, new Writer().u32(0).u32(CAPS).done());
    this.onchange();
  }

  #flush() {
    while (this.#tokens > 0 && this.#waiting.length > 0) {
      const [first] = this.#waiting;
      this.#send(messages.agentData(first.bytes.subarray(0, PIECE_MAX)));
      this.#tokens -= 1;
      first.bytes = first.bytes.subarray(PIECE_MAX);
      if (first.bytes.length === 0) {
        this.#waiting.shift();
        first.sent();
      }
    }
  }
}
