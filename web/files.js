// Files that are dropped on the screen, and sent to the guest by its agent.

import { AGENT } from "./agent.js";
import { Writer } from "./wire.js";

const PART = 64 << 10;
/** `VD_AGENT_FILE_XFER_STATUS_*` */
const CAN_SEND = 0;
const CANCELLED = 1;
const SUCCESS = 3;
const REASONS = { 1: "cancelled", 2: "the guest could not write it", 4: "no space is left in the guest",
  5: "the guest's screen is locked", 6: "the guest's agent is gone", 7: "files are not accepted here" };

export class Files {
  #agent;
  #list;
  #next = 1;
  /** What waits for the guest's answers, by number. */
  #waiting = new Map();

  /** Files dropped on `element` are sent; `list` shows how that is doing. */
  constructor(agent, element, list) {
    this.#agent = agent;
    this.#list = list;
    element.addEventListener("dragover", (event) => event.preventDefault());
    element.addEventListener("drop", (event) => {
      event.preventDefault();
      for (const file of event.dataTransfer.files) this.send(file);
    });
  }

  /** Takes the agent's answer about a file. */
  message(r) {
    const [id, status] = [r.u32(), r.u32()];
    this.#waiting.get(id)?.(status);
  }

  /** The agent is gone, and what was on its way. */
  forget() {
    for (const answer of [...this.#waiting.values()]) answer(6);
  }

  async send(file) {
    const row = this.#row(file.name);
    if (!this.#agent.takesFiles) {
      row.end("the guest takes no files: it needs spice-vdagent");
      return;
    }
    const id = this.#next++;
    let status = -1;
    let wake = () => {};
    this.#waiting.set(id, (found) => {
      status = found;
      wake();
    });
    row.oncancel = () => {
      this.#agent.send(AGENT.fileStatus, new Writer().u32(id).u32(CANCELLED).done());
      this.#waiting.get(id)?.(CANCELLED);
    };
    const answer = () => new Promise((resolve) => { wake = () => resolve(undefined); });
    const about = `[vdagent-file-xfer]\nname=${file.name.replace(/[\n\r\\]/g, "_")}\nsize=${file.size}\n\0`;
    const asked = answer();
    this.#agent.send(AGENT.fileStart, new Writer().u32(id).bytes(new TextEncoder().encode(about)).done());
    await asked;
    // An empty file has one part, which is empty.
    for (let at = 0; status === CAN_SEND && (at < file.size || at === 0); at += PART) {
      const part = new Uint8Array(await file.slice(at, at + PART).arrayBuffer());
      await this.#agent.send(AGENT.fileData, new Writer().u32(id).u64(part.length).bytes(part).done());
      row.bar.value = file.size ? Math.min(1, (at + part.length) / file.size) : 1;
    }
    if (status === CAN_SEND) await answer();
    this.#waiting.delete(id);
    row.end(status === SUCCESS ? "sent" : REASONS[status] ?? "refused");
  }

  #row(name) {
    const [item, text, bar, stop] = ["li", "span", "progress", "button"].map((kind) => document.createElement(kind));
    const row = { bar, oncancel: () => {}, end: (_text) => {} };
    text.textContent = name;
    bar.setAttribute("aria-label", name);
    row.bar.value = 0;
    stop.textContent = "Cancel";
    stop.onclick = () => row.oncancel();
    item.append(text, bar, stop);
    this.#list.append(item);
    row.end = (why) => {
      text.textContent = `${name}: ${why}`;
      bar.remove();
      stop.textContent = "Close";
      row.oncancel = () => item.remove();
      if (why === "sent") setTimeout(() => item.remove(), 5000);
    };
    return row;
  }
}
