// Plays blocks of sound in the thread of the sound: what came early waits, what came too early is left out.

/** So much has to be there before it begins, in samples: blocks come at times that are a little uneven. */
const BEFORE = 48 * 40;
/** More than this is late, not early: the oldest is left out. */
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
