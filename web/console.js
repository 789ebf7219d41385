// One console of the guest: its picture and its pointer, whose channels are opened when it is first looked at.

import { Cursor } from "./cursor.js";
import { Display } from "./display.js";

export class Console {
  #screen;
  #isOpen = false;
  #canvas = null;
  isShown = false;
  /** @type {?Cursor} */
  cursor = null;
  /** @type {?Display} */
  display = null;

  /** The console with this number, for `screen`: where it is shown, and what is known of the pointer. */
  constructor(id, screen) {
    this.id = id;
    this.#screen = screen;
  }

  /** Shows it; `session` opens its channels. */
  async show(session) {
    this.isShown = true;
    this.#screen.view.show(this.#canvas);
    this.cursor?.apply();
    if (this.#isOpen) return;
    this.#isOpen = true;
    const [display, cursor] = await Promise.all(["display", "cursor"].map((kind) => session.open(kind, this.id)));
    this.display = new Display(display, this);
    this.cursor = new Cursor(this, this.#screen);
    this.cursor.apply();
    session.serve(display, this.display);
    session.serve(cursor, this.cursor);
  }

  hide() {
    this.isShown = false;
    this.cursor?.apply();
  }

  setPicture(canvas) {
    this.#canvas = canvas;
    if (this.isShown) this.#screen.view.show(canvas);
  }
}
