// A session: its main channel, and the channels that the server offers with it.

import { Connection, Ended } from "./connection.js";
import { CHANNELS } from "./link.js";
import { main as messages, MOUSE_CLIENT } from "./messages.js";

const KINDS = Object.fromEntries(Object.entries(CHANNELS).map(([name, number]) => [number, name]));

export class Session {
  #url;
  #password;
  #agent;
  #main;
  #number = 0;
  #connections = new Set();
  #hasEnded = false;

  /** Called with what changes: the guest's name, the channels there are, who moves the pointer, what the server
  * has to say, and why the session ended. */
  onname = (_name) => {};
  onchannels = (_channels) => {};
  onmouse = (_mode) => {};
  onnotice = (_text) => {};
  onend = (_error) => {};

  constructor(url, password, agent) {
    this.#url = url;
    this.#password = password;
    this.#agent = agent;
    this.#main = this.#connection();
  }

  /** Logs in. Fails if the server refuses; what happens later is told by `onend`. */
  async start() {
    await this.#main.link(this.#request("main", 0, messages.caps));
    this.#main.onnotice = (text) => this.onnotice(text);
    this.#run(this.#main.run((id, body) => this.#handle(messages.decode(id, body))));
  }

  async open(kind, id, caps) {
    const connection = this.#connection();
    try {
      await connection.link(this.#request(kind, id, caps));
    } catch (error) {
      this.end(error);
      throw error;
    }
    return connection;
  }

  /** Serves a channel until it ends, and the session with it. */
  serve(channel) {
    this.#run(channel.run());
  }

  send(message) {
    this.#main.send(message);
  }

  get received() {
    return [...this.#connections].reduce((sum, connection) => sum + connection.received, 0);
  }

  end(error = new Ended("you have disconnected")) {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    for (const connection of this.#connections) connection.close(error);
    this.#agent.disconnect();
    this.onend(error);
  }

  #connection() {
    const connection = new Connection(this.#url);
    this.#connections.add(connection);
    return connection;
  }

  #request(kind, id, caps) {
    return { session: this.#number, kind: CHANNELS[kind], id, caps, password: this.#password };
  }

  async #run(running) {
    try {
      await running;
    } catch (error) {
      // The main channel is told why, and maybe later than another that it is over.
      setTimeout(() => this.end(this.#main.reason ? new Ended(this.#main.reason) : error), 200);
    }
  }

  #handle(message) {
    switch (message.name) {
      case "init":
        this.#number = message.session;
        this.#mouse(message.mouse);
        this.#main.send(messages.attachChannels());
        if (message.agent) this.#agent.connect(message.tokens);
        break;
      case "agentConnectedTokens":
        this.#agent.connect(message.tokens);
        break;
      case "agentDisconnected":
        this.#agent.disconnect();
        break;
      case "agentData":
        this.#agent.take(message.data);
        break;
      case "agentTokens":
        this.#agent.grant(message.tokens);
        break;
      case "channels":
        this.onchannels(message.channels.filter(({ kind }) => kind in KINDS)
          .map(({ kind, id }) => ({ kind: KINDS[kind], id })));
        break;
      case "mouseMode":
        this.#mouse(message.mouse);
        break;
      case "guestName":
        this.onname(message.text);
        break;
    }
  }

  #mouse({ client, current }) {
    if (client && current !== MOUSE_CLIENT) this.#main.send(messages.mouseMode(MOUSE_CLIENT));
    this.onmouse(current);
  }
}
