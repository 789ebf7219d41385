// A cursor channel: what the guest's pointer looks like, and where it is if the guest moves it.

import { swapColours } from "./image.js";

/** The longest side of a cursor that browsers take, in pixels of the page. */
const SIDE_MAX = 128;

export class Cursor {
  #console;
  #screen;
  #drawn = document.createElement("canvas");
  /** @type {?Shape} */
  #shape = null;
  #state = { x: 0, y: 0, visible: false };

  /** The pointer of `console`, shown on `screen` while that console is. */
  constructor(console, screen) {
    this.#console = console;
    this.#screen = screen;
    Object.assign(this.#drawn, { className: "pointer", hidden: true, ariaHidden: "true" });
    screen.element.append(this.#drawn);
  }

  end = () => {
    this.#drawn.remove();
    this.#screen.element.style.cursor = "";
  };

  /** Shows the pointer as the console, the picture's scale and who moves the pointer want it now. */
  apply() {
    this.#drawn.hidden = true;
    if (!this.#console.isShown) return;
    const { style } = this.#screen.element;
    style.cursor = "none";
    if (!this.#state.visible || !this.#shape) return;
    if (this.#screen.isAbsolute()) style.cursor = this.#css(this.#shape);
    else this.#place(this.#shape);
  }

  /** @param {From<"cursor">} message */
  handle = (message) => {
    if (message.name === "init" || message.name === "set") {
      this.#state = message;
      if (message.shape) this.#draw(message.shape);
    } else if (message.name === "move") {
      this.#state = { ...message, visible: true };
    } else {
      this.#state.visible = false;
    }
    this.apply();
  };

  /** @param {Shape} shape */
  #draw(shape) {
    const { width, height } = this.#shape = shape;
    const bytes = new Uint8ClampedArray(shape.pixels);
    swapColours(bytes);
    Object.assign(this.#drawn, { width, height });
    this.#drawn.getContext("2d")?.putImageData(new ImageData(bytes, width, height), 0, 0);
  }

  /** Returns the shape as a value of CSS, as large as the picture is.
  * @param {Shape} shape */
  #css({ width, height, hotX, hotY }) {
    const scale = Math.min(this.#screen.view.scale.x / devicePixelRatio, SIDE_MAX / Math.max(width, height));
    const scaled = document.createElement("canvas");
    scaled.width = Math.max(1, Math.round(width * scale));
    scaled.height = Math.max(1, Math.round(height * scale));
    scaled.getContext("2d")?.drawImage(this.#drawn, 0, 0, scaled.width, scaled.height);
    return `url(${scaled.toDataURL()}) ${Math.floor(hotX * scale)} ${Math.floor(hotY * scale)}, default`;
  }

  /** @param {Shape} shape */
  #place({ width, height, hotX, hotY }) {
    const { canvas, scale } = this.#screen.view;
    if (!canvas) return;
    const [x, y] = [scale.x / devicePixelRatio, scale.y / devicePixelRatio];
    this.#drawn.hidden = false;
    Object.assign(this.#drawn.style, {
      width: `${width * x}px`,
      height: `${height * y}px`,
      left: `${canvas.offsetLeft + (this.#state.x - hotX) * x}px`,
      top: `${canvas.offsetTop + (this.#state.y - hotY) * y}px`,
    });
  }
}
