// The WebSocket: connected as long as the page is open, and anew whenever it is lost.

import { parseJson } from "../shared/exact.js";

// Between tries; each is spread so that not every page comes back in the same moment.
const BACKOFF_MS = [200, 500, 1_000, 2_000, 4_000, 8_000];
const PING_MS = 2_000;
// Networks lose connections without a word: then no answer to a ping is all there is to notice.
const SILENCE_MS = 10_000;

/**
 * Events, as callbacks: `onopen()`, `onmessage(message)` with numbers as text, `onstate(state)` with
 * `connecting`, `live` or `waiting`. `skip(text)` may drop a message before it is parsed.
 */
export class Stream {
  onopen = () => {};
  onmessage = () => {};
  onstate = () => {};
  skip = () => false;

  state = "connecting";
  // Of the last ping, null while unknown; and how many messages have come in all.
  roundTripMs = null;
  received = 0;
  // When the next try is made, while `waiting`.
  retryAt = 0;

  #url;
  #socket = null;
  #failures = 0;
  #retry = null;
  #pinging = null;
  #pingedAt = null;
  #heardAt = 0;

  constructor(path) {
    const url = new URL(path, location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    this.#url = url;
    addEventListener("online", () => this.state === "waiting" && this.connect());
  }

  /** Connect now. */
  connect() {
    clearTimeout(this.#retry);
    this.#change("connecting");
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    socket.onmessage = (event) => socket === this.#socket && this.#take(event.data);
    socket.onclose = () => socket === this.#socket && this.#lost();
    this.#retry = setTimeout(() => socket === this.#socket && this.#lost(), SILENCE_MS);
  }

  /** Send a message; false when there is nobody to send it to. */
  send(message) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  #take(text) {
    this.received += 1;
    this.#heardAt = performance.now();
    if (this.skip(text)) return;
    const message = parseJson(text);
    if (message.type === "connected") this.#opened();
    else if (message.type === "pong") this.#ponged();
    else this.onmessage(message);
  }

  #opened() {
    clearTimeout(this.#retry);
    this.#failures = 0;
    this.#change("live");
    this.#pinging = setInterval(() => this.#ping(), PING_MS);
    this.#ping();
    this.onopen();
  }

  #ping() {
    const now = performance.now();
    if (this.#pingedAt === null && this.send({ type: "ping" })) this.#pingedAt = now;
    else if (now - this.#heardAt > SILENCE_MS) this.#lost();
  }

  #ponged() {
    this.roundTripMs = performance.now() - this.#pingedAt;
    this.#pingedAt = null;
  }

  #lost() {
    const socket = this.#socket;
    this.#socket = null;
    socket.close(); // without waiting for the other side, which may be gone
    clearTimeout(this.#retry);
    clearInterval(this.#pinging);
    this.#pingedAt = null;
    this.roundTripMs = null;
    const pause = BACKOFF_MS[Math.min(this.#failures, BACKOFF_MS.length - 1)];
    this.#failures += 1;
    const delay = pause * (0.75 + Math.random() / 2);
    this.retryAt = performance.now() + delay;
    this.#retry = setTimeout(() => this.connect(), delay);
    this.#change("waiting");
  }

  #change(state) {
    this.state = state;
    this.onstate(state);
  }
}
