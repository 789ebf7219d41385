// Files that are dropped on the screen, and sent to the guest by its agent.

import { AGENT } from "./agent.js";
import { Writer } from "./wire.js";

const PART = 64 << 10;
/** `VD_AGENT_FILE_XFER_STATUS_*` */
const CAN_SEND = 0;
const CANCELLED = 1;
const SUCCESS = 3;
const GONE = 6;
const REASONS = { 1: "cancelled", 2: "the guest could not write it", 4: "no space is left in the guest",
  5: "the guest's screen is locked", 6: "the guest's agent is gone", 7: "files are not accepted here" };

/** Sends files that are dropped on `element`; `list` shows how that is doing. */
export function filesFor(agent, element, list) {
  let next = 1;
  /** What waits for the guest's answers, by number. */
  const waiting = new Map();

  const self = {
    /** Takes the agent's answer about a file. */
    message(r) {
      const [id, status] = [r.u32(), r.u32()];
      waiting.get(id)?.(status);
    },

    /** The agent is gone, and what was on its way. */
    forget() {
      for (const answer of [...waiting.values()]) answer(GONE);
    },

    async send(file) {
      const row = rowIn(list, file.name);
      if (!agent.takesFiles) {
        row.end("the guest takes no files: it needs spice-vdagent");
        return;
      }
      const id = next++;
      let status = -1;
      let wake = (_found) => {};
      const answer = () => new Promise((resolve) => { wake = resolve; });
      waiting.set(id, (found) => {
        status = found;
        wake(found);
      });
      row.oncancel = () => {
        agent.send(AGENT.fileStatus, new Writer().u32(id).u32(CANCELLED).done());
        waiting.get(id)?.(CANCELLED);
      };
      const about = `[vdagent-file-xfer]\nname=${file.name.replace(/[\n\r\\]/g, "_")}\nsize=${file.size}\n\0`;
      const asked = answer();
      agent.send(AGENT.fileStart, new Writer().u32(id).bytes(new TextEncoder().encode(about)).done());
      await asked;
      // An empty file has one part, which is empty.
      for (let at = 0; status === CAN_SEND && (at < file.size || at === 0); at += PART) {
        const part = new Uint8Array(await file.slice(at, at + PART).arrayBuffer());
        await agent.send(AGENT.fileData, new Writer().u32(id).u64(part.length).bytes(part).done());
        row.bar.value = file.size ? Math.min(1, (at + part.length) / file.size) : 1;
      }
      if (status === CAN_SEND) await answer();
      waiting.delete(id);
      row.end(status === SUCCESS ? "sent" : REASONS[status] ?? "refused");
    },
  };

  element.addEventListener("dragover", (event) => event.preventDefault());
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    for (const file of event.dataTransfer.files) self.send(file);
  });
  return self;
}

/** Adds a row for a file, with its progress. */
function rowIn(list, name) {
  const make = (kind, more) => Object.assign(document.createElement(kind), more);
  const text = make("span", { textContent: name });
  const bar = make("progress", { ariaLabel: name, value: 0 });
  const stop = make("button", { textContent: "Cancel", onclick: () => row.oncancel() });
  const item = make("li");
  item.append(text, bar, stop);
  list.append(item);
  const row = {
    bar,
    oncancel: () => {},
    end(why) {
      text.textContent = `${name}: ${why}`;
      bar.remove();
      stop.textContent = "Close";
      row.oncancel = () => item.remove();
      if (why === "sent") setTimeout(row.oncancel, 5000);
    },
  };
  return row;
}
