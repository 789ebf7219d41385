// Where the guest's picture is on the page, and how large.

/** Scales that are so little over a whole number are that: the picture would be blurred for nothing. */
const NEARLY = 0.01;

export class View {
  #canvas = null;
  /** "fit", "fill" or "actual". */
  #mode = "fit";
  /** Called when the picture's place has changed. */
  onlayout = () => {};
  onroom = () => {};

  constructor(element) {
    this.element = element;
    const changed = () => {
      this.layout();
      this.onroom();
    };
    new ResizeObserver(changed).observe(element);
    window.addEventListener("resize", changed);
  }

  get canvas() { return this.#canvas; }

  /** Pixels of the screen for each of the guest's. */
  scale = { x: 1, y: 1 };

  show(canvas) {
    if (this.#canvas === canvas) return;
    if (this.#canvas) this.#canvas.replaceWith(canvas);
    else this.element.prepend(canvas);
    this.#canvas = canvas;
    this.layout();
  }

  blank() {
    this.#canvas?.remove();
    this.#canvas = null;
  }

  setMode(mode) {
    this.#mode = mode;
    this.element.dataset.mode = mode;
    this.layout();
  }

  /** The room for the picture, in pixels of the screen. */
  get room() {
    const { width, height } = this.element.getBoundingClientRect();
    return { width: Math.floor(width * devicePixelRatio), height: Math.floor(height * devicePixelRatio) };
  }

  layout() {
    const canvas = this.#canvas;
    if (!canvas) return;
    const { x, y } = scales(this.#mode, this.room, canvas);
    this.scale = { x, y };
    const isWhole = x === y && Number.isInteger(x);
    canvas.style.imageRendering = isWhole ? "pixelated" : "auto";
    canvas.style.width = `${canvas.width * x / devicePixelRatio}px`;
    canvas.style.height = `${canvas.height * y / devicePixelRatio}px`;
    // On whole pixels of the screen: between two, all would be blurred.
    const margin = (room, size) => `${Math.max(0, Math.floor((room - size) / 2)) / devicePixelRatio}px`;
    canvas.style.left = margin(this.room.width, canvas.width * x);
    canvas.style.top = margin(this.room.height, canvas.height * y);
    this.onlayout();
  }

  /** Returns the guest's pixel under a place of the page, or the nearest. */
  guestPoint(clientX, clientY) {
    if (!this.#canvas) return null;
    const { left, top, width, height } = this.#canvas.getBoundingClientRect();
    return {
      x: inside((clientX - left) * this.#canvas.width / width, this.#canvas.width),
      y: inside((clientY - top) * this.#canvas.height / height, this.#canvas.height),
    };
  }
}

/** Returns the pixels of the screen for each of the picture's. */
export function scales(mode, room, picture) {
  const [x, y] = [room.width / picture.width, room.height / picture.height];
  if (mode === "actual") return { x: 1, y: 1 };
  if (mode === "fill") return { x, y };
  const scale = Math.min(x, y);
  const whole = Math.floor(scale);
  const near = whole > 0 && scale - whole < NEARLY ? whole : scale;
  return { x: near, y: near };
}

function inside(at, size) {
  return Math.min(Math.max(Math.floor(at), 0), size - 1);
}
