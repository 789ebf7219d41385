// One console of the guest: its picture and its pointer. Their channels are opened when it is first looked at.

import { Cursor } from "./cursor.js";
import { Display } from "./display.js";
import { cursor as cursorMessages, display as displayMessages } from "./messages.js";

export class Console {
  #screen;
  #isShown = false;
  #isOpen = false;
  #canvas = null;
  cursor = null;
  display = null;

  /** The console with this number, for `screen`: where it is shown, and what is known of the pointer. */
  constructor(id, screen) {
    this.id = id;
    this.#screen = screen;
  }

  /** Shows it; `session` opens its channels. */
  async show(session, decodes) {
    this.#isShown = true;
    if (this.#canvas) this.#screen.view.show(this.#canvas);
    else this.#screen.view.blank();
    this.cursor?.setMode(this.#screen.isAbsolute());
    if (this.#isOpen) return;
    this.#isOpen = true;
    const caps = displayMessages.caps(decodes);
    const [display, cursor] = await Promise.all([
      session.open("display", this.id, caps),
      session.open("cursor", this.id, cursorMessages.caps),
    ]);
    this.display = new Display(display, this);
    const { element, view } = this.#screen;
    this.cursor = new Cursor(cursor, element, view, () => this.#isShown);
    this.cursor.setMode(this.#screen.isAbsolute());
    session.serve(this.display);
    session.serve(this.cursor);
  }

  hide() {
    this.#isShown = false;
    this.cursor?.apply();
  }

  setPicture(canvas) {
    this.#canvas = canvas;
    if (!this.#isShown) return;
    if (canvas) this.#screen.view.show(canvas);
    else this.#screen.view.blank();
  }

  remove() {
    this.cursor?.remove();
  }
}
