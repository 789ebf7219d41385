// The link stage: how the connection of each channel begins.

import { Reader, Writer } from "./wire.js";

export const MAGIC = [0x52, 0x45, 0x44, 0x51]; // "REDQ"
export const HEADER_LENGTH = 16;
/** Capabilities of every channel (`SPICE_COMMON_CAP_*`). */
export const AUTH_SELECTION = 1 << 0;
export const MINI_HEADER = 1 << 3;

/** Channels, each at its number in a link message (`SPICE_CHANNEL_*`). */
export const KINDS = ["", "main", "display", "inputs", "cursor", "playback", "record"];

const KEY_LENGTH = 162;
const TICKET_LENGTH = 128;
const REPLY_MAX = 4096;
const MECHANISM_TICKET = 1;
const FIXED_MESSAGE = 18;

/** Why the server turns a connection away (`SPICE_LINK_ERR_*`), for people. */
const REASONS = {
  4: "the server speaks another version",
  5: "the server wants encryption: open the page by https",
  7: "wrong password, or the invitation is used up",
  8: "the session is over",
  9: "there is no place left",
};
const PERMISSION_DENIED = 7;

export class Refused extends Error {
  constructor(code, reason = REASONS[code]) {
    super(reason ?? `the server refused (${code})`);
    this.wantsPassword = code === PERMISSION_DENIED;
  }
}

export function linkMessage({ session, kind, id, caps }) {
  const body = new Writer().u32(session).u8(kind).u8(id).u32(1).u32(caps.length).u32(FIXED_MESSAGE)
    .u32(AUTH_SELECTION | MINI_HEADER);
  for (const word of caps) body.u32(word);
  return new Writer().bytes(MAGIC).u32(2).u32(2).u32(body.length).bytes(body.done()).done();
}

/** Reads the reply's header; returns how many bytes follow. */
export function replyLength(bytes) {
  const r = new Reader(bytes, "link header");
  r.check(r.bytes(4).every((byte, at) => byte === MAGIC[at]), "this is not SPICE");
  r.check(r.u32() === 2, "another version of SPICE");
  r.u32();
  const length = r.u32();
  r.check(length >= KEY_LENGTH + 16 && length <= REPLY_MAX, `a reply of ${length} bytes`);
  return length;
}

/** Reads the reply; returns the key that seals the ticket, and the words of capabilities. */
export function reply(bytes) {
  const r = new Reader(bytes, "link reply");
  const error = r.u32();
  // So early it refuses those who have shown too many wrong passwords.
  if (error === PERMISSION_DENIED) throw new Refused(error, "too many wrong passwords: wait a few minutes");
  if (error !== 0) throw new Refused(error);
  const key = r.bytes(KEY_LENGTH).slice();
  const [common, channel, offset] = [r.u32(), r.u32(), r.u32()];
  r.check(offset >= KEY_LENGTH + 16, `capabilities at ${offset}`);
  r.bytes(offset - (KEY_LENGTH + 16));
  const [commonCaps] = r.list(common, 64, (each) => each.u32());
  const [channelCaps] = r.list(channel, 64, (each) => each.u32());
  r.check((commonCaps & MINI_HEADER) !== 0, "the server has no short headers");
  return { key, channelCaps: channelCaps ?? 0 };
}

export function result(bytes) {
  const code = new Reader(bytes, "link result").u32();
  if (code !== 0) throw new Refused(code);
}

/** Seals a password for the server, after the number of this way to log in. */
export async function ticket(key, password) {
  const sealed = globalThis.crypto?.subtle ? await seal(key, password) : withoutSubtle(password);
  return new Writer().u32(MECHANISM_TICKET).bytes(sealed).done();
}

async function seal(key, password) {
  const oaep = { name: "RSA-OAEP", hash: "SHA-1" };
  const imported = await crypto.subtle.importKey("spki", key, oaep, false, ["encrypt"]);
  const text = new TextEncoder().encode(`${password}\0`);
  return new Uint8Array(await crypto.subtle.encrypt({ name: "RSA-OAEP" }, imported, text));
}

/** Where there is no password, anything is a ticket. */
function withoutSubtle(password) {
  if (password) throw new Error("this browser encrypts passwords on pages by https and of this machine alone");
  return new Uint8Array(TICKET_LENGTH);
}
