// The panel: how the connection is doing, as far as this page can know.

const EVERY = 1000;

export class Panel {
  #element;
  #timer = 0;
  #facts = () => ({});
  #last = { at: 0, received: 0, frames: 0, images: 0 };

  constructor(element) {
    this.#element = element;
  }

  follow(facts) {
    this.#facts = facts;
  }

  /** Shows or hides it; returns whether it is shown. Nothing is counted while it is not. */
  toggle() {
    this.#element.hidden = !this.#element.hidden;
    clearInterval(this.#timer);
    if (this.#element.hidden) return false;
    this.#update();
    this.#timer = window.setInterval(() => this.#update(), EVERY);
    return true;
  }

  #update() {
    const now = this.#facts();
    const seconds = (performance.now() - this.#last.at) / 1000;
    const rate = (what) => this.#last.at ? Math.max(0, (now[what] - this.#last[what]) / seconds) : 0;
    const roundTrip = now.roundTrip === null ? "move the pointer to measure it" : `${Math.round(now.roundTrip)} ms`;
    const rows = [
      ["State", now.connected ? "connected" : "not connected"],
      ["Picture", now.size],
      ["Sent as", sentAs(now)],
      ["Video", `${rate("frames").toFixed(0)} pictures a second`],
      ["Images", `${rate("images").toFixed(0)} a second`],
      ["Received", `${(rate("received") * 8 / 1e6).toFixed(2)} Mbit/s`],
      ["Round trip", roundTrip],
    ];
    this.#last = { ...now, at: performance.now() };
    this.#element.replaceChildren(...rows.flatMap(([name, value]) => [cell("dt", name), cell("dd", value)]));
  }
}

function sentAs({ delivery, why }) {
  if (delivery === "images") return `exact images${why ? `: ${why}` : ""}`;
  return delivery ? `H.264 (${delivery}), exact at rest` : "nothing yet";
}

function cell(kind, text) {
  const element = document.createElement(kind);
  element.textContent = text;
  return element;
}
