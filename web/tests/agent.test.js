// The stream of the guest's agent, both ways.

import assert from "node:assert/strict";
import test from "node:test";

import { Agent, AGENT } from "../agent.js";
import { WireError, Writer } from "../wire.js";

const message = (kind, body, size = body.length) =>
  new Writer().u32(1).u32(kind).u64(0).u32(size).bytes(body).done();

/** An agent that is there; what it sends is in `sent`. */
function agent(tokens) {
  const sent = [];
  const made = new Agent((message) => sent.push({ id: message.id, body: message.done() }));
  made.connect(tokens);
  return { made, sent };
}

test("a message is cut into pieces, and none is sent without a token", async () => {
  const { made, sent } = agent(2);
  const done = made.send(AGENT.clipboard, new Uint8Array(5000));
  // It was started and announced by two messages, of which one cost a token.
  assert.deepEqual(sent.map(({ id, body }) => [id, body.length]), [[106, 4], [107, 28], [107, 2048]]);
  made.grant(1);
  assert.equal(sent.length, 4);
  made.grant(9);
  await done;
  assert.deepEqual(sent.slice(2).map(({ body }) => body.length), [2048, 2048, 5020 - 4096]);
});

test("messages are put together from pieces of any size", () => {
  const whole = [...message(6, [0, 0, 0, 0, 0, 32, 0, 0]), ...message(8, [1, 2, 3]), ...message(9, [])];
  for (const size of [1, 3, 20, 2048]) {
    const { made } = agent(10);
    const found = [];
    made.onmessage = (kind, r) => found.push([kind, [...r.rest()]]);
    for (let at = 0; at < whole.length; at += size) made.take(Uint8Array.from(whole.slice(at, at + size)));
    assert.deepEqual(found, [[8, [1, 2, 3]], [9, []]]);
    assert.equal(made.takesFiles, false, "they are switched off");
  }
});

test("a message that is too long is left out, and what follows is read", () => {
  const { made } = agent(10);
  const found = [];
  made.onmessage = (kind) => found.push(kind);
  const size = 40 << 20;
  made.take(message(4, [], size));
  for (let left = size; left > 0; left -= 1 << 20) made.take(new Uint8Array(1 << 20));
  made.take(message(9, []));
  assert.deepEqual(found, [9]);
});

test("another version is refused", () => {
  const { made } = agent(10);
  assert.throws(() => made.take(Uint8Array.from([2, ...message(9, []).slice(1)])), WireError);
});

test("who waits for an agent that goes is told", async () => {
  const { made } = agent(1);
  const waits = made.send(AGENT.fileData, new Uint8Array(9000));
  made.disconnect();
  await waits;
});
