// The keyboard: presses and releases of physical keys, and the state of the lock keys.

import { scancode } from "./keys.js";
import { inputs as messages } from "./messages.js";

const LOCKS = { caps: "CapsLock", num: "NumLock", scroll: "ScrollLock" };
const IS_APPLE = /Mac|iPhone|iPad/.test(navigator.platform);
const IS_WINDOWS = /Win/.test(navigator.platform);
/** Windows presses Control before AltGr, in the same moment. */
const ALTGR_MOMENT = 20;

export class Keyboard {
  #send;
  #leave;
  /** The keys that are down in the guest. */
  #held = new Set();
  /** Whether Control and Alt are pressed and nothing else was since. */
  #isLeaving = false;
  /** The state of the lock keys that the guest was told, or had. */
  #locks = { caps: false, num: false, scroll: false };
  #control = 0;

  /** `send` sends a message of inputs; `leave` is called when Control and Alt were pressed and let go alone. */
  constructor(element, send, leave) {
    this.#send = send;
    this.#leave = leave;
    element.addEventListener("keydown", (event) => this.#down(event));
    element.addEventListener("keyup", (event) => this.#up(event));
    element.addEventListener("blur", () => this.releaseAll());
    document.addEventListener("visibilitychange", () => this.releaseAll());
  }

  setLocks({ caps, num, scroll }) {
    this.#locks = { caps, num, scroll };
  }

  /** Lets go of everything: nobody sees what happens to the keys from now on. */
  releaseAll() {
    this.#flushControl();
    for (const code of this.#held) this.#key(code, false);
    this.#held.clear();
    this.#isLeaving = false;
  }

  /** Presses these keys one after the other, and lets go of them. */
  press(codes) {
    this.releaseAll();
    for (const code of codes) this.#key(code, true);
    for (const code of [...codes].reverse()) this.#key(code, false);
  }

  #down(event) {
    if (event.isComposing || !scancode(event.code, true)) return;
    event.preventDefault();
    event.stopPropagation();
    this.#followLocks(event);
    if (IS_WINDOWS && event.code === "ControlLeft" && !event.repeat && !this.#held.has("ControlLeft")) {
      this.#control = window.setTimeout(() => this.#flushControl(), ALTGR_MOMENT);
      return;
    }
    if (this.#control && event.code === "AltRight") this.#forgetControl();
    this.#flushControl();
    this.#press(event.code);
  }

  #up(event) {
    if (!scancode(event.code, false)) return;
    event.preventDefault();
    event.stopPropagation();
    this.#flushControl();
    // A Mac says nothing of a key that is let go while Command is down.
    if (IS_APPLE && event.code.startsWith("Meta")) {
      this.releaseAll();
      return;
    }
    if (this.#held.delete(event.code)) this.#key(event.code, false);
    if (this.#isLeaving && !event.ctrlKey && !event.altKey) {
      this.#isLeaving = false;
      this.#leave();
    }
  }

  #press(code) {
    this.#held.add(code);
    this.#key(code, true);
    const both = ["ControlLeft", "AltLeft"].every((one) => this.#held.has(one));
    this.#isLeaving = both && this.#held.size === 2;
    // A Mac's Caps Lock is down while it is on.
    if (IS_APPLE && code === "CapsLock") {
      this.#held.delete(code);
      this.#key(code, false);
    }
  }

  #key(code, isDown) {
    const bytes = scancode(code, isDown);
    if (bytes) this.#send(messages.scancodes(bytes));
  }

  #flushControl() {
    if (!this.#control) return;
    this.#forgetControl();
    this.#press("ControlLeft");
  }

  #forgetControl() {
    clearTimeout(this.#control);
    this.#control = 0;
  }

  /** Brings the guest's lock keys to the state of this keyboard's, which may have changed elsewhere. */
  #followLocks(event) {
    if (Object.values(LOCKS).includes(event.code)) return;
    const here = { ...this.#locks };
    for (const [lock, name] of Object.entries(LOCKS)) {
      // A Mac has no others.
      if (lock === "caps" || !IS_APPLE) here[lock] = event.getModifierState(name);
    }
    if (Object.keys(LOCKS).some((lock) => here[lock] !== this.#locks[lock])) {
      this.#locks = here;
      this.#send(messages.locks(here));
    }
  }
}
