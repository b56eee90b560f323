// The line above everything: the instrument, its last 24 hours, and how the connection is.

import { byId, element, setAttribute, setText } from "../shared/dom.js";
import { divide, fixed } from "../shared/exact.js";
import { signed } from "./precision.js";

const WORDS = { connecting: "Connecting", live: "Live", waiting: "Reconnecting" };

export class Header {
  #market;
  #precision;
  #stream;
  #received = 0;
  #rate = 0;
  #ratedAt = performance.now();

  constructor({ market, precision, stream, onchoose }) {
    this.#market = market;
    this.#precision = precision;
    this.#stream = stream;
    byId("instrument").addEventListener("change", (event) => onchoose(event.target.value));
  }

  /** Offer these instruments. */
  setInstruments(instruments, chosen) {
    const option = ({ instrument: name }) =>
      element("option", { value: name, selected: name === chosen }, name);
    byId("instrument").replaceChildren(...instruments.map(option));
  }

  drawTicker() {
    const { ticker, last, trades } = this.#market;
    const price = last?.price ?? ticker?.last ?? null;
    const before = trades.at(-2)?.price ?? price;
    setText(byId("last"), price === null ? "–" : this.#precision.priceText(price));
    if (price !== null && price !== before) {
      setAttribute(byId("last"), "data-way", price > before ? "up" : "down");
    }
    const open = ticker?.open ?? null;
    const change = open === null || price === null ? null : price - open;
    setText(byId("change"), change === null ? "–" : this.#changeText(change, open));
    const way = change === null || change === 0n ? null : change > 0n ? "up" : "down";
    setAttribute(byId("change"), "data-way", way);
    const shown = (units) => (units ? this.#precision.priceText(units) : "–");
    setText(byId("high"), shown(ticker?.high));
    setText(byId("low"), shown(ticker?.low));
    setText(byId("volume"), ticker === null ? "–" : this.#precision.quantityText(ticker.volume));
    const title = price === null ? "" : `${this.#precision.priceText(price)} `;
    document.title = `${title}${this.#market.instrument ?? ""} · Trade engine`;
  }

  #changeText(change, open) {
    const percent = fixed(divide(change * 100n * 10n ** 8n, open), 2);
    return `${signed(this.#precision.priceText(change))} (${signed(percent)}%)`;
  }

  drawConnection() {
    const { state, roundTripMs, received, retryAt } = this.#stream;
    const now = performance.now();
    if (now - this.#ratedAt > 900) {
      this.#rate = Math.round(((received - this.#received) / (now - this.#ratedAt)) * 1_000);
      [this.#received, this.#ratedAt] = [received, now];
    }
    const box = byId("connection");
    setAttribute(box, "data-state", state);
    setText(byId("connection-state"), WORDS[state]);
    const seconds = Math.max(0, Math.ceil((retryAt - now) / 1_000));
    const latency = roundTripMs === null ? "–" : `${Math.max(1, Math.round(roundTripMs))} ms`;
    setText(byId("latency"), state === "waiting" ? `in ${seconds} s` : latency);
    setText(byId("rate"), `${this.#rate.toLocaleString("en-US")}/s`);
  }
}
