// The keyboard: presses and releases of physical keys, and the state of the lock keys.

import { scancode } from "./keys.js";
import { inputs as messages } from "./messages.js";

const LOCKS = { caps: "CapsLock", num: "NumLock", scroll: "ScrollLock" };
const IS_APPLE = /Mac|iPhone|iPad/.test(navigator.platform);
const IS_WINDOWS = /Win/.test(navigator.platform);
/** Milliseconds: Windows presses Control before AltGr, in the same moment. */
const ALTGR_MOMENT = 20;

/** Sends by `send` the keys of `element`; `leave` is called when Control and Alt were pressed and let go alone. */
export function followKeyboard(element, send, leave) {
  /** The keys that are down in the guest. */
  const held = new Set();
  /** Whether Control and Alt are pressed and nothing else was since. */
  let isLeaving = false;
  /** The state of the guest's lock keys. */
  let locks = { caps: false, num: false, scroll: false };
  let control = 0;

  const key = (code, isDown) => {
    const bytes = scancode(code, isDown);
    if (bytes) send(messages.scancodes(bytes));
  };

  const hold = (code) => {
    held.add(code);
    key(code, true);
    isLeaving = held.size === 2 && held.has("ControlLeft") && held.has("AltLeft");
    // A Mac's Caps Lock is down while it is on.
    if (IS_APPLE && code === "CapsLock") {
      held.delete(code);
      key(code, false);
    }
  };

  const forgetControl = () => {
    clearTimeout(control);
    control = 0;
  };
  const flushControl = () => {
    if (!control) return;
    forgetControl();
    hold("ControlLeft");
  };

  /** Lets go of everything: what happens to the keys from now on is not seen here. */
  const releaseAll = () => {
    flushControl();
    for (const code of held) key(code, false);
    held.clear();
    isLeaving = false;
  };

  /** Brings the guest's lock keys to the state of this keyboard's. */
  const followLocks = (event) => {
    if (Object.values(LOCKS).includes(event.code)) return;
    const here = { ...locks };
    for (const [lock, name] of Object.entries(LOCKS)) {
      // A Mac has no others.
      if (lock === "caps" || !IS_APPLE) here[lock] = event.getModifierState(name);
    }
    if (Object.keys(LOCKS).some((lock) => here[lock] !== locks[lock])) {
      locks = here;
      send(messages.locks(here));
    }
  };

  const down = (event) => {
    followLocks(event);
    if (IS_WINDOWS && event.code === "ControlLeft" && !event.repeat && !held.has("ControlLeft")) {
      control = window.setTimeout(flushControl, ALTGR_MOMENT);
      return;
    }
    if (control && event.code === "AltRight") forgetControl();
    flushControl();
    hold(event.code);
  };

  const up = (event) => {
    flushControl();
    // A Mac says nothing of a key that is let go while Command is down.
    if (IS_APPLE && event.code.startsWith("Meta")) {
      releaseAll();
      return;
    }
    if (held.delete(event.code)) key(event.code, false);
    if (isLeaving && !event.ctrlKey && !event.altKey) {
      isLeaving = false;
      leave();
    }
  };

  for (const [name, handle] of Object.entries({ keydown: down, keyup: up })) {
    element.addEventListener(name, (event) => {
      if (!scancode(event.code, true) || (event.isComposing && handle === down)) return;
      event.preventDefault();
      event.stopPropagation();
      handle(event);
    });
  }
  element.addEventListener("blur", releaseAll);
  document.addEventListener("visibilitychange", releaseAll);

  return {
    setLocks({ caps, num, scroll }) {
      locks = { caps, num, scroll };
    },

    /** Presses these keys one after the other, and lets go of them. */
    press(codes) {
      releaseAll();
      for (const code of codes) key(code, true);
      for (const code of [...codes].reverse()) key(code, false);
    },
  };
}
