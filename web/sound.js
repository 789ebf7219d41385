// The playback channel: decoded by WebCodecs, played by an AudioWorklet.

import { OPUS } from "./messages.js";

/** Samples a second, of all sound here. */
export const RATE = 48000;
const CHANNELS = 2;

export class Sound {
  #context = new AudioContext({ sampleRate: RATE, latencyHint: "interactive" });
  #gain = this.#context.createGain();
  /** @type {?AudioWorkletNode} */
  #player = null;
  /** @type {?AudioDecoder} */
  #decoder = null;
  #volume = 1;
  #mute = false;
  #isOn = true;
  #time = 0;
  #over = new AbortController();

  constructor() {
    this.#gain.connect(this.#context.destination);
    this.#makePlayer().catch((error) => console.warn(`sound: ${error.message}`));
    // Browsers play nothing before the first key or click.
    const options = { capture: true, signal: this.#over.signal };
    const resume = () => this.setOn(this.#isOn);
    for (const name of ["pointerdown", "keydown"]) document.addEventListener(name, resume, options);
  }

  setOn(isOn) {
    this.#isOn = isOn;
    // What was not permitted yet when it ends fails.
    (isOn ? this.#context.resume() : this.#context.suspend()).catch(() => {});
  }

  end = () => {
    this.#over.abort();
    this.#stop();
    this.#context.close();
  };

  /** @param {From<"playback">} message */
  handle = (message) => {
    switch (message.name) {
      case "mode":
        this.#stop();
        if (message.mode === OPUS) this.#decoder = this.#opus();
        break;
      case "data":
        if (this.#decoder) this.#decode(message.data);
        else this.#raw(message.data);
        break;
      case "start":
        if (message.channels !== CHANNELS || message.frequency !== RATE) throw new Error("sound of another kind");
        break;
      case "stop":
        this.#player?.port.postMessage(null);
        break;
      case "volume":
        this.#volume = message.volumes.length ? Math.max(...message.volumes) / 65535 : 1;
        break;
      case "mute":
        this.#mute = message.mute;
    }
    this.#gain.gain.value = this.#mute ? 0 : this.#volume;
  };

  async #makePlayer() {
    await this.#context.audioWorklet.addModule("player.js");
    this.#player = new AudioWorkletNode(this.#context, "player", { outputChannelCount: [CHANNELS] });
    this.#player.connect(this.#gain);
  }

  #opus() {
    const decoder = new AudioDecoder({
      output: (data) => {
        this.#play((planeIndex) => {
          const samples = new Float32Array(data.numberOfFrames);
          data.copyTo(samples, { planeIndex, format: "f32-planar" });
          return samples;
        });
        data.close();
      },
      error: (error) => console.warn(`sound: ${error.message}`),
    });
    decoder.configure({ codec: "opus", sampleRate: RATE, numberOfChannels: CHANNELS });
    return decoder;
  }

  #decode(data) {
    if (this.#decoder?.state !== "configured") return;
    this.#time += 10000;
    this.#decoder.decode(new EncodedAudioChunk({ type: "key", timestamp: this.#time, data }));
  }

  /** Samples of 16 bits, left and right in turn. */
  #raw(data) {
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    this.#play((side) => Float32Array.from({ length: data.length >> 2 },
      (_, at) => view.getInt16((at * CHANNELS + side) * 2, true) / 32768));
  }

  /** Plays a block; `samples` returns those of each side. */
  #play(samples) {
    const planes = [0, 1].map(samples);
    this.#player?.port.postMessage(planes, planes.map((plane) => plane.buffer));
  }

  #stop() {
    if (this.#decoder?.state === "configured") this.#decoder.close();
    this.#decoder = null;
  }
}
