// The pointer: mouse and pen, and the wheel. Fingers are in touch.js.

import { inputs as messages, MOUSE_CLIENT } from "./messages.js";

/** The server answers every fourth motion; so many are sent ahead of its answers. */
const AHEAD = 8;
const ANSWERED = 4;
/** Each button's bit in `PointerEvent.buttons`, its bit in SPICE, and its number there. */
const BUTTONS = [[1, 1, 1], [4, 2, 2], [2, 4, 3], [8, 32, 6], [16, 64, 7]];
const WHEEL_UP = 4;
const WHEEL_DOWN = 5;
/** What a notch of a wheel is, by `WheelEvent.deltaMode`: pixels, lines, pages. */
const NOTCH = [100, 3, 1];
const NOTCH_DELTA = 120;

export class Pointer {
  #send;
  #view;
  #element;
  #unanswered = 0;
  #sentAt = 0;
  /** The last motion that was not sent yet. */
  #waiting = null;
  #isMotion = false;
  #buttons = 0;
  #wheel = 0;
  #wanted = MOUSE_CLIENT;
  /** The console whose picture the pointer is on. */
  console = 0;
  /** Milliseconds that the server needed for its last answer. */
  roundTrip = null;

  /** `view` says where on the picture a place of the page is. */
  constructor(element, view, send) {
    this.#element = element;
    this.#view = view;
    this.#send = send;
    const on = (name, handle) => element.addEventListener(name, handle, { passive: false });
    on("pointermove", (event) => this.#move(event));
    on("pointerdown", (event) => this.#press(event));
    on("pointerup", (event) => this.#release(event));
    on("pointercancel", () => this.releaseAll());
    on("wheel", (event) => this.#scroll(event));
    // Menus, automatic scrolling and going back are for the guest.
    for (const name of ["contextmenu", "mousedown", "auxclick"]) on(name, (event) => event.preventDefault());
    document.addEventListener("pointerlockchange", () => { this.#waiting = null; });
  }

  /** Who moves the pointer: this page, or the guest by how far it is moved here. */
  setMode(mode) {
    this.#wanted = mode;
    if (mode === MOUSE_CLIENT && this.#isLocked) document.exitPointerLock();
  }

  get isAbsolute() { return this.#wanted === MOUSE_CLIENT; }

  answered() {
    this.#unanswered = Math.max(0, this.#unanswered - ANSWERED);
    if (this.#sentAt) this.roundTrip = performance.now() - this.#sentAt;
    this.#sentAt = 0;
    this.#flush();
  }

  releaseAll() {
    this.#followButtons({ buttons: 0 });
  }

  /** Moves the guest's pointer to a place of the page. */
  moveTo(event) {
    const at = this.#view.guestPoint(event.clientX, event.clientY);
    if (!at) return;
    this.#isMotion = false;
    this.#waiting = at;
    this.#flush();
  }

  /** Presses or releases a button where the pointer is. */
  button(number, mask, isDown) {
    this.#flush(true);
    this.#buttons = isDown ? this.#buttons | mask : this.#buttons & ~mask;
    this.#send(isDown ? messages.press(number, this.#buttons) : messages.release(number, this.#buttons));
  }

  /** Turns the wheel by whole notches; towards the user if positive. */
  notches(count) {
    const number = count > 0 ? WHEEL_DOWN : WHEEL_UP;
    for (let turned = Math.abs(count); turned > 0; turned--) {
      this.#flush(true);
      this.#send(messages.press(number, this.#buttons));
      this.#send(messages.release(number, this.#buttons));
    }
  }

  get #isLocked() { return document.pointerLockElement === this.#element; }

  #move(event) {
    if (event.pointerType === "touch") return;
    if (this.isAbsolute) {
      this.moveTo(event);
    } else if (this.#isLocked) {
      this.#isMotion = true;
      const { x, y } = this.#waiting ?? { x: 0, y: 0 };
      this.#waiting = { x: x + event.movementX, y: y + event.movementY };
      this.#flush();
    }
    this.#followButtons(event);
  }

  #press(event) {
    if (event.pointerType === "touch") return;
    event.preventDefault();
    this.#element.focus({ preventScroll: true });
    if (!this.isAbsolute && !this.#isLocked) {
      this.#lock();
      return;
    }
    if (this.isAbsolute) {
      this.#element.setPointerCapture(event.pointerId);
      this.moveTo(event);
    }
    this.#followButtons(event);
  }

  #release(event) {
    if (event.pointerType === "touch") return;
    if (this.isAbsolute) this.moveTo(event);
    this.#followButtons(event);
  }

  /** Presses and releases what has changed: of several buttons at once, browsers report the second as a motion. */
  #followButtons(event) {
    for (const [bit, mask, number] of BUTTONS) {
      const isDown = (event.buttons & bit) !== 0;
      if (isDown !== ((this.#buttons & mask) !== 0)) this.button(number, mask, isDown);
    }
  }

  async #lock() {
    try {
      await this.#element.requestPointerLock({ unadjustedMovement: true });
    } catch {
      await this.#element.requestPointerLock()?.catch?.(() => {});
    }
  }

  #scroll(event) {
    event.preventDefault();
    if (this.isAbsolute) this.moveTo(event);
    const delta = event.wheelDeltaY ?? 0;
    // A wheel's notch is about as many pixels; of a touchpad they are a third.
    const isWheel = delta % NOTCH_DELTA === 0 && Math.abs(event.deltaY) * devicePixelRatio > Math.abs(delta) / 2;
    this.#wheel += isWheel && delta ? -delta / NOTCH_DELTA : event.deltaY / NOTCH[event.deltaMode];
    const whole = Math.trunc(this.#wheel);
    this.#wheel -= whole;
    this.notches(whole);
  }

  /** Sends the last motion, if the server keeps up or it has to be there before a button. */
  #flush(now = false) {
    if (!this.#waiting || (this.#unanswered >= AHEAD && !now)) return;
    const { x, y } = this.#waiting;
    if (this.#isMotion) {
      const [dx, dy] = [Math.trunc(x), Math.trunc(y)];
      if (dx === 0 && dy === 0) return;
      this.#send(messages.motion(dx, dy, this.#buttons));
      this.#waiting = { x: x - dx, y: y - dy };
    } else {
      this.#send(messages.position(x, y, this.#buttons, this.console));
      this.#waiting = null;
    }
    this.#unanswered += 1;
    if (this.#unanswered % ANSWERED === 0) this.#sentAt ||= performance.now();
  }
}
