// The microphone: recorded when its user asks for that, and sent as Opus while the guest records.

import { OPUS, record as messages } from "./messages.js";
import { RATE } from "./sound.js";

const CAP_OPUS = 1 << 2;

export class Microphone {
  #open;
  /** @type {any} */
  #connection = null;
  /** @type {?AudioContext} */
  #context = null;
  /** @type {?MediaStream} */
  #stream = null;
  #isOver = false;
  #guestRecords = false;

  /** `open` opens a record channel; it is called when the microphone is used first. */
  constructor(open) {
    this.#open = open;
  }

  get isOn() { return this.#stream !== null; }

  /** Starts to record, or stops. Fails if that is not permitted. */
  async toggle() {
    if (this.isOn) {
      this.#stop();
      return;
    }
    this.#stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    try {
      if (this.#isOver) throw new Error("the session is over");
      this.#connection ??= await this.#open();
      if (!(this.#connection.caps & CAP_OPUS)) throw new Error("the server decodes no Opus");
      await this.#record(this.#stream);
    } catch (error) {
      this.#stop();
      throw error;
    }
  }

  /** @param {From<"record">} message */
  handle = ({ name }) => {
    this.#guestRecords = name === "start";
    if (this.#guestRecords) this.#connection.send(messages.mode(0, OPUS));
  };

  end = () => {
    this.#isOver = true;
    this.#stop();
  };

  #stop() {
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#stream = null;
    this.#context?.close();
    this.#context = null;
  }

  async #record(stream) {
    const context = this.#context = new AudioContext({ sampleRate: RATE });
    await context.audioWorklet.addModule("player.js");
    const encoder = new AudioEncoder({
      output: (packet) => {
        const bytes = new Uint8Array(packet.byteLength);
        packet.copyTo(bytes);
        if (this.#guestRecords && this.isOn) this.#connection.send(messages.data(0, bytes));
      },
      error: (error) => console.warn(`microphone: ${error.message}`),
    });
    const format = { sampleRate: RATE, numberOfChannels: 1 };
    encoder.configure({ codec: "opus", ...format });
    const recorder = new AudioWorkletNode(context, "recorder", { channelCount: 1, channelCountMode: "explicit" });
    let timestamp = 0;
    recorder.port.onmessage = ({ data }) => {
      encoder.encode(new AudioData({ ...format, format: "f32", numberOfFrames: data.length, timestamp, data }));
      timestamp += data.length / RATE * 1e6;
    };
    context.createMediaStreamSource(stream).connect(recorder);
  }
}
