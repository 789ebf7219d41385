// The playback channel: what the guest plays, decoded by WebCodecs and played by an AudioWorklet.

import { playback as messages } from "./messages.js";

const RATE = 48000;
const CHANNELS = 2;

export function canPlay() {
  return Boolean(globalThis.AudioWorkletNode && globalThis.AudioContext && isSecureContext);
}

export class Sound {
  #connection;
  #context = new AudioContext({ sampleRate: RATE, latencyHint: "interactive" });
  #gain = this.#context.createGain();
  #player = null;
  #decoder = null;
  #volume = 1;
  #mute = false;
  #isOn = true;
  #time = 0;

  constructor(connection) {
    this.#connection = connection;
    this.#gain.connect(this.#context.destination);
    // Browsers play nothing before the first key or click.
    for (const name of ["pointerdown", "keydown"]) document.addEventListener(name, this.#resume, true);
  }

  async run() {
    try {
      await this.#makePlayer().catch((error) => console.warn(`sound: ${error.message}`));
      await this.#connection.run((id, body) => this.#handle(messages.decode(id, body)));
    } finally {
      for (const name of ["pointerdown", "keydown"]) document.removeEventListener(name, this.#resume, true);
      this.#stop();
      this.#context.close();
    }
  }

  async #makePlayer() {
    await this.#context.audioWorklet.addModule("player.js");
    this.#player = new AudioWorkletNode(this.#context, "player", { outputChannelCount: [CHANNELS] });
    this.#player.connect(this.#gain);
  }

  setOn(isOn) {
    this.#isOn = isOn;
    if (isOn) this.#context.resume();
    else this.#context.suspend();
  }

  #resume = () => { if (this.#isOn) this.#context.resume(); };

  #handle(message) {
    switch (message.name) {
      case "mode":
        this.#stop();
        if (message.mode === messages.OPUS) this.#decoder = this.#opus();
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
        break;
    }
    this.#gain.gain.value = this.#mute ? 0 : this.#volume;
  }

  #opus() {
    const decoder = new AudioDecoder({
      output: (data) => {
        const planes = [0, 1].map((planeIndex) => {
          const samples = new Float32Array(data.numberOfFrames);
          data.copyTo(samples, { planeIndex, format: "f32-planar" });
          return samples;
        });
        data.close();
        this.#play(planes);
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
    const sample = (at) => view.getInt16(at * 2, true) / 32768;
    this.#play([0, 1].map((side) =>
      Float32Array.from({ length: data.length >> 2 }, (_, at) => sample(at * CHANNELS + side))));
  }

  #play(planes) {
    this.#player?.port.postMessage(planes, planes.map((plane) => plane.buffer));
  }

  #stop() {
    if (this.#decoder?.state === "configured") this.#decoder.close();
    this.#decoder = null;
  }
}
