// Where the guest's picture is on the page, and how large.

/** Scales so little over a whole number become that: the picture would be blurred for nothing. */
const NEARLY = 0.01;

export class View {
  /** @type {?HTMLCanvasElement} */
  canvas = null;
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

  /** Pixels of the screen for each of the guest's. */
  scale = { x: 1, y: 1 };

  /** Shows a canvas in the place of the one before, or none. */
  show(canvas) {
    if (this.canvas === canvas) return;
    this.canvas?.remove();
    if (canvas) this.element.prepend(canvas);
    this.canvas = canvas;
    this.layout();
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
    const { canvas, room } = this;
    if (!canvas) return;
    const { x, y } = this.scale = scales(this.#mode, room, canvas);
    const [width, height] = [canvas.width * x, canvas.height * y];
    const css = (pixels) => `${pixels / devicePixelRatio}px`;
    // On whole pixels of the screen: between two, all would be blurred.
    const margin = (free) => css(Math.max(0, Math.floor(free / 2)));
    Object.assign(canvas.style, {
      imageRendering: x === y && Number.isInteger(x) ? "pixelated" : "auto",
      width: css(width),
      height: css(height),
      left: margin(room.width - width),
      top: margin(room.height - height),
    });
    this.onlayout();
  }

  /** Returns the guest's pixel under a place of the page, or the nearest. */
  guestPoint(clientX, clientY) {
    const { canvas } = this;
    if (!canvas) return null;
    const { left, top, width, height } = canvas.getBoundingClientRect();
    return {
      x: inside((clientX - left) * canvas.width / width, canvas.width),
      y: inside((clientY - top) * canvas.height / height, canvas.height),
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
