// The clipboard, both ways, as far as the browser permits: text, and pictures as PNG.

import { AGENT } from "./agent.js";
import { Writer } from "./wire.js";

/** What was copied, and not what is selected alone. */
const COPIED = 0;
/** @type {[string, number][]} */
const KINDS = [["text/plain", 1], ["image/png", 2]];

export function clipboardFor(agent) {
  /** What was read here last: only something new is offered to the guest. */
  let known = "";
  /** What is offered to the guest, by kind. */
  let offer = new Map();
  /** What the guest has copied and this browser did not take yet.
  * @type {?ClipboardItem} */
  let taken = null;

  const self = {
    /** Whether this browser has a clipboard for pages here. */
    isHere: Boolean(navigator.clipboard?.read),

    /** Offers the guest what was copied here. Browsers ask their user first. */
    async paste() {
      const [item] = await navigator.clipboard.read();
      const found = new Map();
      for (const [type, kind] of KINDS) {
        if (!item?.types.includes(type)) continue;
        found.set(kind, new Uint8Array(await (await item.getType(type)).arrayBuffer()));
      }
      const content = summary([...found]);
      if (!found.size || content === known) return;
      known = content;
      offer = found;
      const grab = new Writer().u32(COPIED);
      for (const kind of offer.keys()) grab.u32(kind);
      agent.send(AGENT.grab, grab.done());
    },

    message(kind, r) {
      if (kind === AGENT.grab && r.u32() === COPIED) {
        const offered = r.list(r.left >> 2, r.left, (each) => each.u32());
        const [, wanted] = KINDS.find(([, number]) => offered.includes(number)) ?? [];
        if (wanted) agent.send(AGENT.request, new Writer().u32(COPIED).u32(wanted).done());
      } else if (kind === AGENT.request && r.u32() === COPIED) {
        const asked = r.u32();
        const bytes = offer.get(asked) ?? new Uint8Array(0);
        agent.send(AGENT.clipboard, new Writer().u32(COPIED).u32(bytes.length ? asked : 0).bytes(bytes).done());
      } else if (kind === AGENT.clipboard && r.u32() === COPIED) {
        const found = r.u32();
        const [type] = KINDS.find(([, number]) => number === found) ?? [];
        if (!type || !self.isHere) return;
        const bytes = r.rest();
        known = summary([[found, bytes]]);
        taken = new ClipboardItem({ [type]: new Blob([bytes], { type }) });
        write();
      }
    },
  };

  /** Gives this browser what the guest has copied; it may want a key or a click first. */
  const write = async () => {
    const item = taken;
    if (!item || !document.hasFocus()) return;
    try {
      await navigator.clipboard.write([item]);
      if (taken === item) taken = null;
    } catch {
      // The next key or click is the next chance.
    }
  };

  for (const name of ["pointerdown", "keydown"]) document.addEventListener(name, write, true);
  // Offers what was copied elsewhere meanwhile, where the user has once permitted that.
  window.addEventListener("focus", async () => {
    const name = /** @type {any} */ ("clipboard-read");
    const found = await navigator.permissions?.query({ name }).catch(() => null);
    if (found?.state === "granted" && agent.isConnected) await self.paste().catch(() => {});
  });
  return self;
}

/** Tells one content from another, well enough to tell the guest of nothing twice. */
function summary(contents) {
  return contents.map(([kind, bytes]) => `${kind}:${bytes.length}:${bytes.slice(0, 4096)}`).join();
}
