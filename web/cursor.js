// A cursor channel: what the guest's pointer looks like, and where it is if the guest moves it.

import { opaque } from "./image.js";
import { cursor as messages } from "./messages.js";

/** The longest side of a cursor that browsers take, in pixels of the page. */
const SIDE_MAX = 128;

export class Cursor {
  #connection;
  #element;
  #view;
  #drawn = document.createElement("canvas");
  #shape = null;
  #state = { x: 0, y: 0, visible: false };
  #isAbsolute = true;
  #isLookedAt;

  /** The pointer is shown over `element`, where `view` has the picture, while the console `isLookedAt`. */
  constructor(connection, element, view, isLookedAt) {
    this.#isLookedAt = isLookedAt;
    this.#connection = connection;
    this.#element = element;
    this.#view = view;
    this.#drawn.className = "pointer";
    this.#drawn.hidden = true;
    this.#drawn.setAttribute("aria-hidden", "true");
    element.append(this.#drawn);
  }

  async run() {
    await this.#connection.run((id, body) => this.#handle(messages.decode(id, body)));
  }

  /** Who moves the pointer: this page if `isAbsolute`. */
  setMode(isAbsolute) {
    this.#isAbsolute = isAbsolute;
    this.apply();
  }

  remove() {
    this.#drawn.remove();
    this.#element.style.cursor = "";
  }

  apply() {
    if (!this.#isLookedAt()) {
      this.#drawn.hidden = true;
      return;
    }
    const shown = this.#state.visible && this.#shape !== null;
    this.#element.style.cursor = shown && this.#isAbsolute ? this.#css() : "none";
    this.#drawn.hidden = !shown || this.#isAbsolute;
    if (!this.#drawn.hidden) this.#place();
  }

  #handle(message) {
    const { name, x, y, visible, shape } = message;
    if (name === "init" || name === "set") {
      this.#state = { x, y, visible };
      if (shape) this.#draw(shape);
    } else if (name === "move") {
      this.#state = { x, y, visible: true };
    } else {
      this.#state.visible = false;
    }
    this.apply();
  }

  #draw({ width, height, hotX, hotY, pixels }) {
    this.#shape = { width, height, hotX, hotY };
    const bytes = new Uint8ClampedArray(pixels);
    const alpha = bytes.filter((_, at) => at % 4 === 3);
    opaque(bytes);
    alpha.forEach((value, at) => { bytes[at * 4 + 3] = value; });
    this.#drawn.width = width;
    this.#drawn.height = height;
    this.#drawn.getContext("2d")?.putImageData(new ImageData(bytes, width, height), 0, 0);
  }

  /** The shape as a value of CSS, as large as the picture is. */
  #css() {
    const shape = this.#shape;
    if (!shape) return "none";
    const scale = Math.min(this.#view.scale.x / devicePixelRatio, SIDE_MAX / Math.max(shape.width, shape.height));
    const scaled = document.createElement("canvas");
    scaled.width = Math.max(1, Math.round(shape.width * scale));
    scaled.height = Math.max(1, Math.round(shape.height * scale));
    scaled.getContext("2d")?.drawImage(this.#drawn, 0, 0, scaled.width, scaled.height);
    const hot = (at) => Math.floor(at * scale);
    return `url(${scaled.toDataURL()}) ${hot(shape.hotX)} ${hot(shape.hotY)}, default`;
  }

  #place() {
    const { canvas, scale } = this.#view;
    const shape = this.#shape;
    if (!canvas || !shape) return;
    const [x, y] = [scale.x / devicePixelRatio, scale.y / devicePixelRatio];
    const style = this.#drawn.style;
    style.width = `${shape.width * x}px`;
    style.height = `${shape.height * y}px`;
    style.left = `${canvas.offsetLeft + (this.#state.x - shape.hotX) * x}px`;
    style.top = `${canvas.offsetTop + (this.#state.y - shape.hotY) * y}px`;
  }
}
