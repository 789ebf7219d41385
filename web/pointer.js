// The pointer: mouse and pen, and the wheel. Fingers are in touch.js.

import { inputs as messages, MOUSE_CLIENT } from "./messages.js";

/** The server answers every fourth motion; so many are sent ahead of its answers. */
const AHEAD = 8;
const ANSWERED = 4;
/** Each button's bit in `PointerEvent.buttons`, and its number and bit in SPICE. */
const BUTTONS = [[1, 1, 1], [4, 2, 2], [2, 3, 4], [8, 6, 32], [16, 7, 64]];
const WHEEL_UP = 4;
const WHEEL_DOWN = 5;
/** What a notch of a wheel is, by `WheelEvent.deltaMode`: pixels, lines, pages. */
const NOTCH = [100, 3, 1];
const NOTCH_DELTA = 120;

/** Sends by `send` what the pointer does on `element`, where `view` has the picture. */
export function followPointer(element, view, send) {
  let unanswered = 0;
  let sentAt = 0;
  /** The last motion that was not sent yet.
  * @type {?{ x: number, y: number }} */
  let waiting = null;
  let isMotion = false;
  let buttons = 0;
  let turned = 0;

  const self = {
    /** The console whose picture the pointer is on. */
    console: 0,
    /** Milliseconds that the server needed for its last answer.
    * @type {?number} */
    roundTrip: null,
    /** Who moves the pointer: this page, or the guest by how far it is moved here. */
    isAbsolute: true,

    setMode(mode) {
      self.isAbsolute = mode === MOUSE_CLIENT;
      if (self.isAbsolute) document.exitPointerLock();
    },

    answered() {
      unanswered = Math.max(0, unanswered - ANSWERED);
      if (sentAt) self.roundTrip = performance.now() - sentAt;
      sentAt = 0;
      flush();
    },

    /** Moves the guest's pointer to a place of the page. */
    moveTo(event) {
      const at = view.guestPoint(event.clientX, event.clientY);
      if (!at) return;
      isMotion = false;
      waiting = at;
      flush();
    },

    /** Presses or releases a button where the pointer is.
    * @param {Button} button */
    button([number, mask], isDown) {
      flush(true);
      buttons = isDown ? buttons | mask : buttons & ~mask;
      send(isDown ? messages.press(number, buttons) : messages.release(number, buttons));
    },

    /** Turns the wheel by whole notches; towards the user if positive. */
    notches(count) {
      /** @type {Button} */
      const wheel = [count > 0 ? WHEEL_DOWN : WHEEL_UP, 0];
      for (let left = Math.abs(count); left > 0; left--) {
        self.button(wheel, true);
        self.button(wheel, false);
      }
    },
  };

  const isLocked = () => document.pointerLockElement === element;

  /** Presses and releases what has changed: of several buttons at once, browsers report the second as a motion. */
  const followButtons = (event) => {
    for (const [bit, number, mask] of BUTTONS) {
      const isDown = (event.buttons & bit) !== 0;
      if (isDown !== ((buttons & mask) !== 0)) self.button([number, mask], isDown);
    }
  };

  const move = (event) => {
    if (self.isAbsolute) {
      self.moveTo(event);
    } else if (isLocked()) {
      isMotion = true;
      const { x, y } = waiting ?? { x: 0, y: 0 };
      waiting = { x: x + event.movementX, y: y + event.movementY };
      flush();
    }
    followButtons(event);
  };

  const press = (event) => {
    event.preventDefault();
    element.focus({ preventScroll: true });
    if (self.isAbsolute) {
      element.setPointerCapture(event.pointerId);
      self.moveTo(event);
    } else if (!isLocked()) {
      lock();
      return;
    }
    followButtons(event);
  };

  const release = (event) => {
    if (self.isAbsolute) self.moveTo(event);
    followButtons(event);
  };

  const lock = async () => {
    try {
      await element.requestPointerLock({ unadjustedMovement: true });
    } catch {
      await element.requestPointerLock()?.catch?.(() => {});
    }
  };

  const scroll = (event) => {
    event.preventDefault();
    if (self.isAbsolute) self.moveTo(event);
    const delta = event.wheelDeltaY ?? 0;
    // A wheel's notch is about as many pixels; of a touchpad they are a third.
    const isWheel = delta % NOTCH_DELTA === 0 && Math.abs(event.deltaY) * devicePixelRatio > Math.abs(delta) / 2;
    turned += isWheel && delta ? -delta / NOTCH_DELTA : event.deltaY / NOTCH[event.deltaMode];
    const whole = Math.trunc(turned);
    turned -= whole;
    self.notches(whole);
  };

  /** Sends the last motion, if the server keeps up or it has to be there before a button. */
  function flush(now = false) {
    if (!waiting || (unanswered >= AHEAD && !now)) return;
    const { x, y } = waiting;
    if (isMotion) {
      const [dx, dy] = [Math.trunc(x), Math.trunc(y)];
      if (dx === 0 && dy === 0) return;
      send(messages.motion(dx, dy, buttons));
      waiting = { x: x - dx, y: y - dy };
    } else {
      send(messages.position(x, y, buttons, self.console));
      waiting = null;
    }
    unanswered += 1;
    if (unanswered % ANSWERED === 0) sentAt ||= performance.now();
  }

  const handlers = { pointermove: move, pointerdown: press, pointerup: release,
    pointercancel: () => followButtons({ buttons: 0 }) };
  for (const [name, handle] of Object.entries(handlers)) {
    element.addEventListener(name, (event) => { if (event.pointerType !== "touch") handle(event); });
  }
  element.addEventListener("wheel", scroll, { passive: false });
  // Menus, automatic scrolling and going back are for the guest.
  for (const name of ["contextmenu", "mousedown", "auxclick"]) {
    element.addEventListener(name, (event) => event.preventDefault());
  }
  document.addEventListener("pointerlockchange", () => { waiting = null; });
  return self;
}
