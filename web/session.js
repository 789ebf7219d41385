// A session: its main channel, and the channels that the server offers with it.

import { Connection, Ended } from "./connection.js";
import { KINDS } from "./link.js";
import { channels, MOUSE_CLIENT } from "./messages.js";

const messages = channels.main;

export class Session {
  #its;
  /** @type {?Connection} */
  #main = null;
  #number = 0;
  /** @type {Connection[]} */
  #connections = [];
  #hasEnded = false;

  /** `its` has what the session needs: `url`, `password`, `agent`, what is decoded (`abilities`), and what is called
  * with changes: `onname`, `onchannels`, `onmouse`, `onnotice`, and `onend` with the reason. */
  constructor(its) {
    this.#its = its;
  }

  /** Logs in. Fails if the server refuses; later ends are given to `onend`. */
  async start() {
    this.#main = await this.open("main", 0);
    this.serve(this.#main, { handle: (message) => this.#handle(message) });
  }

  async open(kind, id) {
    const connection = new Connection(this.#its.url, channels[kind]);
    this.#connections.push(connection);
    connection.onnotice = (text) => this.#its.onnotice(text);
    const caps = channels[kind].caps(this.#its.abilities);
    try {
      const { password } = this.#its;
      await connection.link({ session: this.#number, kind: KINDS.indexOf(kind), id, caps, password });
    } catch (error) {
      this.end(error);
      throw error;
    }
    return connection;
  }

  /** Gives the messages of a channel to `handle`. When it ends, `end` is called, and the session ends with it. */
  async serve(connection, { handle, end = () => {} }) {
    try {
      await connection.run(handle);
    } catch (error) {
      end();
      // The reason comes on the main channel, and maybe later than the end of another.
      setTimeout(() => this.end(this.#main?.reason ? new Ended(this.#main.reason) : error), 200);
    }
  }

  send(message) {
    this.#main?.send(message);
  }

  get received() {
    return this.#connections.reduce((sum, connection) => sum + connection.received, 0);
  }

  end(error = new Ended("you have disconnected")) {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    for (const connection of this.#connections) connection.close(error);
    this.#its.agent.disconnect();
    this.#its.onend(error);
  }

  /** @param {From<"main">} message */
  #handle(message) {
    switch (message.name) {
      case "init":
        this.#number = message.session;
        this.#mouse(message.mouse);
        this.send(messages.attachChannels());
        if (message.agent) this.#its.agent.connect(message.tokens);
        break;
      case "agentConnectedTokens":
        this.#its.agent.connect(message.tokens);
        break;
      case "agentDisconnected":
        this.#its.agent.disconnect();
        break;
      case "agentData":
        this.#its.agent.take(message.data);
        break;
      case "agentTokens":
        this.#its.agent.grant(message.tokens);
        break;
      case "channels":
        this.#its.onchannels(message.channels.map(({ kind, id }) => ({ kind: KINDS[kind], id })));
        break;
      case "mouseMode":
        this.#mouse(message.mouse);
        break;
      case "guestName":
        this.#its.onname(message.text);
    }
  }

  #mouse({ client, current }) {
    if (client && current !== MOUSE_CLIENT) this.send(messages.mouseMode(MOUSE_CLIENT));
    this.#its.onmouse(current);
  }
}
