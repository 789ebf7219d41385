// In the thread of the sound. The player plays blocks: what came early waits, what came too early is left out.

/** Samples that have to be there before it begins: blocks come at uneven times. */
const BEFORE = 48 * 40;
/** Samples that may wait: of more the oldest are left out. */
const MOST = 48 * 200;

class Player extends AudioWorkletProcessor {
  #blocks = [];
  #waiting = 0;
  #at = 0;
  #plays = false;

  constructor() {
    super();
    this.port.onmessage = ({ data }) => {
      if (!data) return;
      this.#blocks.push(data);
      this.#waiting += data[0].length;
      while (this.#waiting > MOST) this.#drop();
    };
  }

  process(_, [output]) {
    this.#plays ||= this.#waiting >= BEFORE;
    for (let to = 0; this.#plays && to < output[0].length; to++) {
      const [first] = this.#blocks;
      if (!first) {
        this.#plays = false;
        break;
      }
      output.forEach((channel, side) => { channel[to] = first[side][this.#at]; });
      this.#at += 1;
      this.#waiting -= 1;
      if (this.#at === first[0].length) {
        this.#blocks.shift();
        this.#at = 0;
      }
    }
    return true;
  }

  #drop() {
    this.#waiting -= this.#blocks[0][0].length - this.#at;
    this.#blocks.shift();
    this.#at = 0;
  }
}

registerProcessor("player", Player);

registerProcessor("recorder", class extends AudioWorkletProcessor {
  process([[samples]]) {
    if (samples) this.port.postMessage(samples.slice());
    return true;
  }
});
