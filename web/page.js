// The page: who logs in, what is shown, and what the buttons do.

import { Agent, AGENT } from "./agent.js";
import { clipboardFor } from "./clipboard.js";
import { Console } from "./console.js";
import { canDecode } from "./decoder.js";
import { filesFor } from "./files.js";
import { followKeyboard } from "./keyboard.js";
import { Refused } from "./link.js";
import { Microphone } from "./microphone.js";
import { panelIn } from "./panel.js";
import { followPointer } from "./pointer.js";
import { Session } from "./session.js";
import { Sound } from "./sound.js";
import { typeFrom } from "./text.js";
import { followFingers } from "./touch.js";
import { View } from "./view.js";

/** Seconds until the page connects again by itself, one time after the other. */
const PAUSES = [0.5, 1, 2, 4, 8, 15];
/** Where the secret of an invitation is kept while this tab is open, so that it can be loaded again. */
const SECRET = "invitation";
/** Whether a password was asked for here: then it is no use to try without. */
const ASKS = "asks";
const SIZE = "size";
/** Milliseconds for which a notice is shown. */
const NEWS = 8000;

/** The elements of the page by their names.
* @type {Parts} */
const part = /** @type {any} */ ({});
for (const element of document.querySelectorAll("[id]")) part[element.id] = element;

const view = new View(part.screen);
const keyboard = followKeyboard(part.screen, input, leaveScreen);
const pointer = followPointer(part.screen, view, input);
const agent = new Agent((message) => session?.send(message));
const clipboard = clipboardFor(agent);
const files = filesFor(agent, part.screen, part.files);
const togglePanel = panelIn(part.panel, facts);
/** @type {Map<number, Console>} */
const consoles = new Map();
let shown = 0;
/** @type {?Session} */
let session = null;
/** @type {?import("./connection.js").Connection} */
let inputs = null;
/** @type {?Sound} */
let sound = null;
let isLoud = true;
/** @type {?Microphone} */
let microphone = null;
let password = takeSecret();
let failures = 0;
let timer = 0;
let decodes = { h264: false, sharp: false, why: "" };

async function start() {
  connectButtons();
  followFingers(part.screen, pointer);
  agent.onmessage = (kind, r) => kind === AGENT.fileStatus ? files.message(r) : clipboard.message(kind, r);
  agent.onchange = followAgent;
  view.onroom = followRoom;
  view.onlayout = showPointer;
  decodes = await canDecode();
  if (!password && localStorage.getItem(ASKS)) ask("");
  else await connect();
}

const shownConsole = () => consoles.get(shown);
const showPointer = () => shownConsole()?.cursor?.apply();

async function connect() {
  clearTimeout(timer);
  part.login.hidden = true;
  tell("Connecting…");
  const url = new URL("spice", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  const its = session = new Session({
    url, password, agent,
    abilities: { ...decodes, opus: "AudioDecoder" in globalThis },
    onname: (name) => { document.title = part.name.textContent = name; },
    onchannels: (channels) =>
      Promise.all(channels.map(({ kind, id }) => open(its, kind, id))).catch((error) => its.end(error)),
    onmouse: (mode) => {
      pointer.setMode(mode);
      showPointer();
    },
    onnotice: news,
    onend: (error) => { if (its === session) ended(error); },
  });
  try {
    await its.start();
    if (!password) localStorage.removeItem(ASKS);
  } catch (error) {
    its.end(error);
  }
}

async function open(its, kind, id) {
  if (kind === "display") {
    const screen = { element: part.screen, view, isAbsolute: () => pointer.isAbsolute };
    consoles.set(id, new Console(id, screen));
    listConsoles();
    followRoom();
    if (consoles.size === 1 || id === shown) await show(id);
  } else if (kind === "inputs") {
    const connection = inputs = await its.open(kind, id);
    its.serve(connection, { handle: answer });
  } else if (kind === "playback" && "AudioWorkletNode" in globalThis) {
    const connection = await its.open(kind, id);
    const player = sound = new Sound();
    player.setOn(isLoud);
    part.sound.hidden = false;
    its.serve(connection, player);
  } else if (kind === "record" && "AudioEncoder" in globalThis) {
    const recorder = microphone = new Microphone(async () => {
      const connection = await its.open(kind, id);
      its.serve(connection, recorder);
      return connection;
    });
    part.microphone.hidden = false;
  }
}

function followAgent() {
  const { isConnected } = agent;
  part.paste.disabled = !isConnected || !clipboard.isHere;
  part.send.disabled = !agent.takesFiles;
  if (isConnected) followRoom();
  else files.forget();
}

/** Asks the guest for a picture as large as there is room, if it is to follow. */
function followRoom() {
  if (part.size.value === "follow") agent.setSize(consoles.size || 1, view.room);
}

function setSize(mode) {
  part.size.value = mode;
  if (part.size.selectedIndex < 0) part.size.value = "fit";
  localStorage.setItem(SIZE, part.size.value);
  view.setMode(part.size.value);
  followRoom();
}

/** @param {From<"inputs">} message */
function answer(message) {
  if (message.name === "motionAck") pointer.answered();
  else keyboard.setLocks(message);
}

function input(message) {
  inputs?.send(message);
}

async function show(id) {
  shownConsole()?.hide();
  shown = pointer.console = id;
  part.console.value = String(id);
  if (session) await shownConsole()?.show(session);
  failures = 0;
  part.notice.hidden = true;
  part.screen.classList.remove("stale");
  if (document.activeElement === document.body) part.screen.focus();
}

function ended(error) {
  session = inputs = sound = null;
  microphone?.end();
  followMicrophone();
  part.sound.hidden = part.microphone.hidden = true;
  consoles.clear();
  part.screen.classList.add("stale");
  if (error instanceof Refused && error.wantsPassword) {
    const hadOne = Boolean(password);
    password = "";
    sessionStorage.removeItem(SECRET);
    localStorage.setItem(ASKS, "1");
    ask(hadOne ? `Not let in: ${error.message}.` : "");
    return;
  }
  const pause = PAUSES[Math.min(failures, PAUSES.length - 1)];
  failures += 1;
  tell(`Not connected: ${error.message}. Connecting again in ${pause} s.`, true);
  timer = window.setTimeout(connect, pause * 1000);
}

function ask(why) {
  part.notice.hidden = true;
  part.login.hidden = false;
  part.wrong.textContent = why;
  part.password.focus();
}

function tell(text, again = false) {
  part.notice.hidden = false;
  part.status.textContent = text;
  part.again.hidden = !again;
}

/** Shows a notice of the server for a while. */
function news(text) {
  part.news.textContent = text;
  part.news.hidden = false;
  setTimeout(() => { part.news.hidden = true; }, NEWS);
}

function listConsoles() {
  const ids = [...consoles.keys()].sort((a, b) => a - b);
  const options = ids.map((id) => new Option(String(id + 1), String(id), false, id === shown));
  part.console.replaceChildren(...options);
  part.consoles.hidden = ids.length < 2;
}

/** Control and Alt lead from the screen to the buttons. */
function leaveScreen() {
  document.exitPointerLock();
  part.size.focus();
}

function connectButtons() {
  part.login.onsubmit = (event) => {
    event.preventDefault();
    password = part.password.value;
    part.password.value = "";
    connect();
  };
  part.again.onclick = connect;
  part.console.onchange = () => show(Number(part.console.value));
  part.size.onchange = () => setSize(part.size.value);
  setSize(localStorage.getItem(SIZE) ?? "fit");
  part.sound.onclick = () => {
    isLoud = !isLoud;
    part.sound.ariaPressed = String(isLoud);
    sound?.setOn(isLoud);
  };
  part.microphone.onclick = async () => {
    part.microphone.disabled = true;
    await microphone?.toggle().catch((error) => news(`No microphone: ${error.message}.`));
    followMicrophone();
  };
  part.paste.onclick = async () => {
    await clipboard.paste().catch((error) => console.warn(`clipboard: ${error.message}`));
    part.screen.focus();
  };
  part.send.onclick = () => part.chosen.click();
  part.chosen.onchange = () => {
    for (const file of part.chosen.files ?? []) files.send(file);
    part.chosen.value = "";
  };
  part.keys.onchange = () => {
    keyboard.press(part.keys.value.split(" "));
    part.keys.value = "";
    part.screen.focus();
  };
  typeFrom(part.text, keyboard.press);
  part.type.onclick = () => part.text.focus();
  part.full.onclick = fullScreen;
  part.about.onclick = () => { part.about.ariaExpanded = String(togglePanel()); };
  part.leave.onclick = () => {
    session?.end();
    clearTimeout(timer);
    tell("You have disconnected.", true);
  };
  window.addEventListener("hashchange", () => location.reload());
  window.addEventListener("online", () => { if (!session && part.login.hidden) connect(); });
}

function followMicrophone() {
  part.microphone.disabled = false;
  part.microphone.ariaPressed = String(Boolean(microphone?.isOn));
}

/** Fills the screen, with the keys that the browser keeps to itself otherwise. */
async function fullScreen() {
  if (document.fullscreenElement) return document.exitFullscreen();
  await document.documentElement.requestFullscreen({ navigationUI: "hide" });
  await navigator.keyboard?.lock().catch(() => {});
  part.screen.focus();
}

function facts() {
  const display = shownConsole()?.display;
  const { canvas } = view;
  return {
    connected: session !== null,
    size: canvas ? `${canvas.width}×${canvas.height}` : "",
    delivery: display?.delivery ?? "",
    why: decodes.why,
    ...display?.counts ?? { frames: 0, images: 0 },
    received: session?.received ?? 0,
    roundTrip: pointer.roundTrip,
  };
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

// For whoever looks from outside, such as tests.
Object.defineProperty(globalThis, "spice", { get: facts });
start();
