// Fingers: one is the pointer with its left button, a long touch its right one, two turn the wheel.

/** Milliseconds after which a finger that rests is a click with the right button. */
const LONG = 600;
/** Pixels of the page by which a finger may move and still rest. */
const RESTS = 12;
/** Pixels of the page for a notch of the wheel. */
const NOTCH = 40;
const LEFT = [1, 1];
const RIGHT = [3, 4];

export class Touch {
  #pointer;
  /** Where the fingers are, by number. */
  #fingers = new Map();
  #start = { x: 0, y: 0 };
  #timer = 0;
  #isDown = false;
  #scrolled = 0;
  /** Whether this touch is over for the guest: two fingers, or a long touch. */
  #isSpent = false;

  constructor(element, pointer) {
    this.#pointer = pointer;
    const on = (name, handle) => element.addEventListener(name, (event) => {
      if (event.pointerType === "touch") handle(event);
    });
    on("pointerdown", (event) => this.#down(event, element));
    on("pointermove", (event) => this.#move(event));
    on("pointerup", (event) => this.#up(event));
    on("pointercancel", (event) => this.#up(event));
  }

  #down(event, element) {
    element.focus({ preventScroll: true });
    this.#fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    clearTimeout(this.#timer);
    if (this.#fingers.size > 1) {
      this.#release();
      this.#isSpent = true;
      return;
    }
    this.#isSpent = false;
    this.#start = { x: event.clientX, y: event.clientY };
    this.#pointer.moveTo(event);
    this.#timer = window.setTimeout(() => {
      this.#isSpent = true;
      this.#click(RIGHT);
    }, LONG);
  }

  #move(event) {
    const finger = this.#fingers.get(event.pointerId);
    if (!finger) return;
    const dy = event.clientY - finger.y;
    Object.assign(finger, { x: event.clientX, y: event.clientY });
    if (this.#fingers.size > 1) {
      this.#scrolled -= dy / this.#fingers.size / NOTCH;
      const whole = Math.trunc(this.#scrolled);
      this.#scrolled -= whole;
      this.#pointer.notches(whole);
    } else if (!this.#isSpent) {
      const far = Math.hypot(event.clientX - this.#start.x, event.clientY - this.#start.y);
      if (!this.#isDown && far < RESTS) return;
      clearTimeout(this.#timer);
      if (!this.#isDown) this.#press();
      this.#pointer.moveTo(event);
    }
  }

  #up(event) {
    this.#fingers.delete(event.pointerId);
    clearTimeout(this.#timer);
    if (this.#isDown) this.#release();
    else if (!this.#isSpent && event.type === "pointerup") this.#click(LEFT);
    this.#isSpent = this.#fingers.size > 0;
  }

  #press() {
    this.#isDown = true;
    this.#pointer.button(...LEFT, true);
  }

  #release() {
    if (this.#isDown) this.#pointer.button(...LEFT, false);
    this.#isDown = false;
  }

  #click([number, mask]) {
    this.#pointer.button(number, mask, true);
    this.#pointer.button(number, mask, false);
  }
}
