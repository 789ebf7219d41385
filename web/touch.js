// Fingers: one is the pointer with its left button, a long touch its right one, two turn the wheel.

/** Milliseconds after which a finger that rests is a click with the right button. */
const LONG = 600;
/** Pixels of the page by which a finger may move and still rest. */
const RESTS = 12;
/** Pixels of the page for a notch of the wheel. */
const NOTCH = 40;
const LEFT = [1, 1];
const RIGHT = [3, 4];

export function followFingers(element, pointer) {
  /** Where the fingers are, by number. */
  const fingers = new Map();
  let start = { x: 0, y: 0 };
  let timer = 0;
  let isDown = false;
  let scrolled = 0;
  /** Whether this touch is over for the guest: two fingers, or a long touch. */
  let isSpent = false;

  const press = (wanted) => {
    if (isDown !== wanted) pointer.button(LEFT, wanted);
    isDown = wanted;
  };
  const click = (button) => {
    pointer.button(button, true);
    pointer.button(button, false);
  };

  const down = (event) => {
    element.focus({ preventScroll: true });
    const at = { x: event.clientX, y: event.clientY };
    fingers.set(event.pointerId, at);
    clearTimeout(timer);
    isSpent = fingers.size > 1;
    if (isSpent) {
      press(false);
      return;
    }
    start = { ...at };
    pointer.moveTo(event);
    timer = window.setTimeout(() => {
      isSpent = true;
      click(RIGHT);
    }, LONG);
  };

  const move = (event) => {
    const finger = fingers.get(event.pointerId);
    if (!finger) return;
    const dy = event.clientY - finger.y;
    Object.assign(finger, { x: event.clientX, y: event.clientY });
    if (fingers.size > 1) {
      scrolled -= dy / fingers.size / NOTCH;
      const whole = Math.trunc(scrolled);
      scrolled -= whole;
      pointer.notches(whole);
    } else if (!isSpent) {
      if (!isDown && Math.hypot(finger.x - start.x, finger.y - start.y) < RESTS) return;
      clearTimeout(timer);
      press(true);
      pointer.moveTo(event);
    }
  };

  const up = (event) => {
    fingers.delete(event.pointerId);
    clearTimeout(timer);
    if (isDown) press(false);
    else if (!isSpent && event.type === "pointerup") click(LEFT);
    isSpent = fingers.size > 0;
  };

  const handlers = { pointerdown: down, pointermove: move, pointerup: up, pointercancel: up };
  for (const [name, handle] of Object.entries(handlers)) {
    element.addEventListener(name, (event) => { if (event.pointerType === "touch") handle(event); });
  }
}
