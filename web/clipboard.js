// The clipboard, both ways, as far as the browser permits: text, and pictures as PNG.

import { AGENT } from "./agent.js";
import { Writer } from "./wire.js";

/** What was copied, and not what is selected alone. */
const COPIED = 0;
const KINDS = [["text/plain", 1], ["image/png", 2]];

export class Clipboard {
  #agent;
  /** What was read here last: the guest is told only of something new. */
  #known = "";
  /** What there is for the guest, by kind. */
  #offer = new Map();
  /** What the guest has copied and this browser did not take yet. */
  #taken = null;

  constructor(agent) {
    this.#agent = agent;
    for (const name of ["pointerdown", "keydown"]) document.addEventListener(name, () => this.#write(), true);
    window.addEventListener("focus", () => this.#follow());
  }

  /** Whether this browser has a clipboard for pages here. */
  get isHere() { return Boolean(navigator.clipboard?.read); }

  /** Offers the guest what was copied here. Browsers ask their user first. */
  async paste() {
    const [item] = await navigator.clipboard.read();
    const offer = new Map();
    for (const [type, kind] of KINDS) {
      if (!item?.types.includes(type)) continue;
      offer.set(kind, new Uint8Array(await (await item.getType(type)).arrayBuffer()));
    }
    const known = summary([...offer]);
    if (!offer.size || known === this.#known) return;
    this.#known = known;
    this.#offer = offer;
    const grab = new Writer().u32(COPIED);
    for (const kind of offer.keys()) grab.u32(kind);
    this.#agent.send(AGENT.grab, grab.done());
  }

  message(kind, r) {
    if (kind === AGENT.grab && r.u32() === COPIED) {
      const offered = new Set();
      while (r.left >= 4) offered.add(r.u32());
      const wanted = KINDS.map(([, number]) => number).find((number) => offered.has(number));
      if (wanted) this.#agent.send(AGENT.request, new Writer().u32(COPIED).u32(wanted).done());
    } else if (kind === AGENT.request && r.u32() === COPIED) {
      const asked = r.u32();
      const bytes = this.#offer.get(asked) ?? new Uint8Array(0);
      const answer = new Writer().u32(COPIED).u32(bytes.length ? asked : 0).bytes(bytes);
      this.#agent.send(AGENT.clipboard, answer.done());
    } else if (kind === AGENT.clipboard && r.u32() === COPIED) {
      const found = r.u32();
      const [type] = KINDS.find(([, number]) => number === found) ?? [];
      if (!type || !this.isHere) return;
      const bytes = r.rest();
      this.#known = summary([[found, bytes]]);
      this.#taken = new ClipboardItem({ [type]: new Blob([bytes], { type }) });
      this.#write();
    }
  }

  /** Gives this browser what the guest has copied; it may want a key or a click first. */
  async #write() {
    const item = this.#taken;
    if (!item || !document.hasFocus()) return;
    try {
      await navigator.clipboard.write([item]);
      if (this.#taken === item) this.#taken = null;
    } catch {
      // The next key or click is the next chance.
    }
  }

  /** Offers what was copied elsewhere meanwhile, where the user has once permitted that. */
  async #follow() {
    const { state } = await navigator.permissions?.query({ name: "clipboard-read" })
      .catch(() => ({ state: "" })) ?? {};
    if (state === "granted" && this.#agent.isConnected) await this.paste().catch(() => {});
  }
}

/** Tells one content from another, well enough to tell the guest of nothing twice. */
function summary(contents) {
  return contents.map(([kind, bytes]) => `${kind}:${bytes.length}:${bytes.slice(0, 4096)}`).join();
}
