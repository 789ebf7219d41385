// The messages of the page against the server's own: both read and write the bytes in messages.json.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import * as link from "../link.js";
import * as channels from "../messages.js";
import { WireError } from "../wire.js";

const samples = JSON.parse(readFileSync(new URL("messages.json", import.meta.url), "utf8"));
const bytes = (hex) => Uint8Array.from(Buffer.from(hex, "hex"));
const hex = (found) => Buffer.from(found).toString("hex");

/** What was read, as messages.json has it: bytes in hex, large numbers as text. */
function plain(value) {
  if (value instanceof Uint8Array) return hex(value);
  if (typeof value === "bigint") return String(value);
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, plain(field)]));
}

const decode = ({ channel, id, body }) => channels[channel].decode(id, body);
const ofChannels = samples.fromServer.filter(({ channel }) => channel !== "link");

test("each message of the server's is read as it meant it", () => {
  for (const sample of ofChannels) {
    const { name, ...fields } = decode({ ...sample, body: bytes(sample.hex) });
    assert.equal(name, sample.name);
    assert.deepEqual(plain(fields), sample.fields, `${sample.channel} ${name}`);
  }
});

test("each message of the page is written as the server reads it", () => {
  for (const { channel, function: name, arguments: given, id, hex: wanted } of samples.toServer) {
    if (channel === "link") {
      assert.equal(hex(link[name](...given)), wanted);
      continue;
    }
    const message = channels[channel][name](...given);
    assert.deepEqual([message.id, hex(message.done())], [id, wanted], `${channel}.${name}`);
  }
});

test("the reply of the link stage is read", () => {
  const { header, hex: body, fields } = samples.fromServer.find(({ channel }) => channel === "link");
  assert.equal(link.replyLength(bytes(header)), body.length / 2);
  assert.deepEqual(plain(link.reply(bytes(body))), fields);
});

test("messages that are cut off, or too long, are refused", () => {
  for (const sample of ofChannels) {
    const whole = bytes(sample.hex);
    // What ends with bytes of any number can be shorter, or longer.
    const isOpen = ["agentData", "data", "ping"].includes(sample.name) || "pixels" in (sample.fields.image ?? {});
    for (let length = 0; length < whole.length && !isOpen; length++) {
      const cut = { ...sample, body: whole.subarray(0, length) };
      assert.throws(() => decode(cut), WireError, `${sample.channel} ${sample.name}, ${length} bytes`);
    }
    const longer = { ...sample, body: Uint8Array.from([...whole, 0]) };
    if (!isOpen) assert.throws(() => decode(longer), WireError, `${sample.channel} ${sample.name}, longer`);
  }
});

test("any bytes are read or refused, and nothing else", () => {
  let state = 1;
  const random = () => (state = Math.imul(state, 1103515245) + 12345 >>> 0) >>> 16 & 0xff;
  for (let round = 0; round < 20000; round++) {
    const sample = ofChannels[round % ofChannels.length];
    const body = bytes(sample.hex);
    for (let change = 0; change < 3 && body.length; change++) body[random() % body.length] = random();
    try {
      decode({ ...sample, body });
    } catch (error) {
      assert.ok(error instanceof WireError, `${sample.channel} ${sample.name}: ${error.stack}`);
    }
  }
});
