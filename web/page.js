// The page: who logs in, what is shown, and what the buttons do.

import { Agent, AGENT } from "./agent.js";
import { Clipboard } from "./clipboard.js";
import { Console } from "./console.js";
import { canDecode } from "./decoder.js";
import { Files } from "./files.js";
import { Keyboard } from "./keyboard.js";
import { Refused } from "./link.js";
import { inputs as inputMessages, MOUSE_CLIENT, playback as playbackMessages } from "./messages.js";
import { Panel } from "./panel.js";
import { Pointer } from "./pointer.js";
import { Session } from "./session.js";
import { canPlay, Sound } from "./sound.js";
import { typeFrom } from "./text.js";
import { Touch } from "./touch.js";
import { View } from "./view.js";

/** Seconds until the page connects again by itself, one time after the other. */
const PAUSES = [0.5, 1, 2, 4, 8, 15];
/** Where the secret of an invitation is kept while this tab is open, so that it can be loaded again. */
const SECRET = "invitation";
/** Whether a password was asked for here: then it is no use to try without. */
const ASKS = "asks";
const SIZE = "size";
const NEWS = 8000;

const part = (id) => document.getElementById(id);
const on = (id, event, handle) => part(id).addEventListener(event, handle);

class Page {
  #view = new View(part("screen"));
  #keyboard = new Keyboard(part("screen"), (message) => this.#input(message), () => this.#leaveScreen());
  #pointer = new Pointer(part("screen"), this.#view, (message) => this.#input(message));
  #agent = new Agent((message) => this.#session?.send(message));
  #clipboard = new Clipboard(this.#agent);
  #files = new Files(this.#agent, part("screen"), part("files"));
  #sound = null;
  #isLoud = true;
  #panel = new Panel(part("panel"));
  #consoles = new Map();
  #shown = 0;
  #session = null;
  #inputs = null;
  #password = takeSecret();
  #failures = 0;
  #timer = 0;
  #decodes = { works: false, why: "" };

  async start() {
    this.#connectButtons();
    new Touch(part("screen"), this.#pointer);
    this.#agent.onmessage = (kind, r) =>
      kind === AGENT.fileStatus ? this.#files.message(r) : this.#clipboard.message(kind, r);
    this.#agent.onchange = () => this.#followAgent();
    this.#view.onroom = () => this.#followRoom();
    this.#view.onlayout = () => this.#console?.cursor?.apply();
    this.#decodes = await canDecode();
    this.#panel.follow(() => this.facts());
    if (!this.#password && localStorage.getItem(ASKS)) this.#ask("");
    else await this.#connect();
  }

  get #console() { return this.#consoles.get(this.#shown); }

  async #connect() {
    clearTimeout(this.#timer);
    part("login").hidden = true;
    this.#tell("Connecting…");
    const url = new URL("spice", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const session = new Session(url, this.#password, this.#agent);
    this.#session = session;
    session.onname = (name) => this.#name(name);
    session.onchannels = (channels) => this.#offer(session, channels);
    session.onmouse = (mode) => this.#mouse(mode);
    session.onnotice = (text) => this.#news(text);
    session.onend = (error) => this.#ended(session, error);
    try {
      await session.start();
      if (!this.#password) localStorage.removeItem(ASKS);
    } catch (error) {
      session.end(error);
    }
  }

  async #offer(session, channels) {
    try {
      const opening = channels.map(({ kind, id }) => this.#open(session, kind, id));
      await Promise.all(opening);
    } catch (error) {
      session.end(error);
    }
  }

  async #open(session, kind, id) {
    if (kind === "display") {
      const screen = { element: part("screen"), view: this.#view, isAbsolute: () => this.#pointer.isAbsolute };
      this.#consoles.set(id, new Console(id, screen));
      this.#listConsoles();
      this.#followRoom();
      if (this.#consoles.size === 1 || id === this.#shown) await this.#show(id);
    } else if (kind === "inputs") {
      this.#inputs = await session.open(kind, id, inputMessages.caps);
      session.serve({ run: () => this.#inputs?.run((kind, body) => this.#heard(kind, body)) });
    } else if (kind === "playback" && canPlay()) {
      const caps = playbackMessages.caps("AudioDecoder" in globalThis);
      this.#sound = new Sound(await session.open(kind, id, caps));
      this.#sound.setOn(this.#isLoud);
      part("sound").hidden = false;
      session.serve(this.#sound);
    }
  }

  #followAgent() {
    const { isConnected } = this.#agent;
    part("paste").disabled = !isConnected || !this.#clipboard.isHere;
    part("send").disabled = !this.#agent.takesFiles;
    if (isConnected) this.#followRoom();
    else this.#files.forget();
  }

  /** Asks the guest for a picture as large as there is room, if it is to follow. */
  #followRoom() {
    if (part("size").value === "follow") this.#agent.setSize(this.#consoles.size || 1, this.#view.room);
  }

  #setSize(mode) {
    part("size").value = mode;
    if (part("size").selectedIndex < 0) part("size").value = "fit";
    localStorage.setItem(SIZE, part("size").value);
    this.#view.setMode(part("size").value);
    this.#followRoom();
  }

  #heard(id, body) {
    const message = inputMessages.decode(id, body);
    if (message.name === "motionAck") this.#pointer.answered();
    else this.#keyboard.setLocks(message);
  }

  #input(message) {
    this.#inputs?.send(message);
  }

  async #show(id) {
    this.#console?.hide();
    this.#shown = id;
    this.#pointer.console = id;
    part("console").value = String(id);
    if (this.#session) await this.#console?.show(this.#session, this.#decodes.works);
    this.#failures = 0;
    part("notice").hidden = true;
    part("screen").classList.remove("stale");
    if (document.activeElement === document.body) part("screen").focus();
  }

  #mouse(mode) {
    this.#pointer.setMode(mode);
    this.#console?.cursor?.setMode(mode === MOUSE_CLIENT);
  }

  #ended(session, error) {
    if (session !== this.#session) return;
    this.#session = null;
    this.#inputs = null;
    this.#sound = null;
    part("sound").hidden = true;
    for (const console of this.#consoles.values()) console.remove();
    this.#consoles.clear();
    part("screen").classList.add("stale");
    if (error instanceof Refused && error.wantsPassword) {
      const hadOne = Boolean(this.#password);
      this.#password = "";
      sessionStorage.removeItem(SECRET);
      localStorage.setItem(ASKS, "1");
      this.#ask(hadOne ? `Not let in: ${error.message}.` : "");
      return;
    }
    const pause = PAUSES[Math.min(this.#failures, PAUSES.length - 1)];
    this.#failures += 1;
    this.#tell(`Not connected: ${error.message}. Connecting again in ${pause} s.`, true);
    this.#timer = window.setTimeout(() => this.#connect(), pause * 1000);
  }

  #ask(why) {
    part("notice").hidden = true;
    part("login").hidden = false;
    part("wrong").textContent = why;
    part("password").focus();
  }

  #tell(text, again = false) {
    part("notice").hidden = false;
    part("status").textContent = text;
    part("again").hidden = !again;
  }

  /** Shows what the server has to say, for a while. */
  #news(text) {
    part("news").textContent = text;
    part("news").hidden = false;
    setTimeout(() => { part("news").hidden = true; }, NEWS);
  }

  #name(name) {
    part("name").textContent = name;
    document.title = name;
  }

  #listConsoles() {
    const ids = [...this.#consoles.keys()].sort((a, b) => a - b);
    const options = ids.map((id) => new Option(String(id + 1), String(id), false, id === this.#shown));
    part("console").replaceChildren(...options);
    part("consoles").hidden = ids.length < 2;
  }

  /** Control and Alt lead from the screen to the buttons. */
  #leaveScreen() {
    if (document.pointerLockElement) document.exitPointerLock();
    part("size").focus();
  }

  #connectButtons() {
    on("login", "submit", (event) => {
      event.preventDefault();
      this.#password = part("password").value;
      part("password").value = "";
      this.#connect();
    });
    on("again", "click", () => this.#connect());
    on("console", "change", () => this.#show(Number(part("console").value)));
    on("size", "change", () => this.#setSize(part("size").value));
    this.#setSize(localStorage.getItem(SIZE) ?? "fit");
    on("sound", "click", () => {
      this.#isLoud = !this.#isLoud;
      part("sound").setAttribute("aria-pressed", String(this.#isLoud));
      this.#sound?.setOn(this.#isLoud);
    });
    on("paste", "click", async () => {
      await this.#clipboard.paste().catch((error) => console.warn(`clipboard: ${error.message}`));
      part("screen").focus();
    });
    on("send", "click", () => part("chosen").click());
    on("chosen", "change", () => {
      for (const file of part("chosen").files) this.#files.send(file);
      part("chosen").value = "";
    });
    on("keys", "change", () => {
      this.#keyboard.press(part("keys").value.split(" "));
      part("keys").value = "";
      part("screen").focus();
    });
    typeFrom(part("text"), (keys) => this.#keyboard.press(keys));
    on("type", "click", () => part("text").focus());
    on("full", "click", () => this.#fullScreen());
    on("about", "click", () => {
      const isOpen = this.#panel.toggle();
      part("about").setAttribute("aria-expanded", String(isOpen));
    });
    on("leave", "click", () => {
      this.#session?.end();
      clearTimeout(this.#timer);
      this.#tell("You have disconnected.", true);
    });
    window.addEventListener("hashchange", () => location.reload());
    window.addEventListener("online", () => { if (!this.#session && part("login").hidden) this.#connect(); });
  }

  /** Fills the screen, with the keys that the browser keeps to itself otherwise. */
  async #fullScreen() {
    if (document.fullscreenElement) {
      await document.exitFullscreen();
      return;
    }
    await document.documentElement.requestFullscreen({ navigationUI: "hide" });
    await navigator.keyboard?.lock?.().catch(() => {});
    part("screen").focus();
  }

  facts() {
    const display = this.#console?.display;
    const canvas = this.#view.canvas;
    return {
      connected: this.#session !== null,
      size: canvas ? `${canvas.width}×${canvas.height}` : "",
      delivery: display?.delivery ?? "",
      why: this.#decodes.why,
      frames: display?.counts.frames ?? 0,
      images: display?.counts.images ?? 0,
      received: this.#session?.received ?? 0,
      roundTrip: this.#pointer.roundTrip,
    };
  }

}

/** Takes the secret of an invitation out of the address, where others could read it. */
function takeSecret() {
  const found = /^#invitation=(.+)$/.exec(location.hash);
  if (found) {
    sessionStorage.setItem(SECRET, decodeURIComponent(found[1]));
    history.replaceState(null, "", location.pathname + location.search);
  }
  return sessionStorage.getItem(SECRET) ?? "";
}

const page = new Page();
// For whoever looks from outside, such as tests.
Object.defineProperty(globalThis, "spice", { get: () => page.facts() });
page.start();
