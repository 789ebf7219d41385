// What a console shows: a canvas whose pixels are the guest's.

import { pixels } from "./image.js";

export class Surface {
  #context;

  constructor(width, height) {
    this.canvas = Object.assign(document.createElement("canvas"), { width, height });
    const context = this.canvas.getContext("2d", { alpha: false });
    if (!context) throw new Error("this browser gives no canvas");
    this.#context = context;
    context.fillRect(0, 0, width, height);
  }

  /** Shows only this much, from the corner: video has even sides, the guest's picture may not. */
  crop(width, height) {
    if (width === this.canvas.width && height === this.canvas.height) return;
    const kept = this.#context.getImageData(0, 0, width, height);
    Object.assign(this.canvas, { width, height });
    this.#context.putImageData(kept, 0, 0);
  }

  draw(image, { x, y }) {
    if (image.width > 0 && image.height > 0) this.#context.putImageData(pixels(image), x, y);
  }

  copy({ x, y, dest }) {
    const { width: w, height: h } = dest;
    this.#context.drawImage(this.canvas, x, y, w, h, dest.x, dest.y, w, h);
  }

  drawFrame(frame, { x, y, width, height }) {
    this.#context.drawImage(frame, x, y, width, height);
  }
}
