// What is known of the instrument that is shown: its book, its newest trades, its last 24 hours.

import { ask, withQuery } from "../shared/api.js";
import { parse } from "../shared/exact.js";
import { Book } from "./book.js";

export const CHANNELS = ["orderbook", "trades", "orders"];

// Trades kept for the tape and for candles of seconds.
const TRADES_MAX = 1_000;
const TICKER_MS = 5_000;
// Before a snapshot that did not come is asked for again.
const RESYNC_MS = 3_000;

/**
 * Events, as callbacks: `onbook`, `ontrade(trade)`, `ontrades` (all anew), `onticker`, `onorder`; and
 * `onmissed`, when trades or orders were left out because the page did not keep up.
 */
export class Market {
  onbook = () => {};
  ontrade = () => {};
  ontrades = () => {};
  onticker = () => {};
  onorder = () => {};
  onmissed = () => {};

  instrument = null;
  book = new Book();
  // Newest last, each {sequence, price, quantity, side, time (ms), buyOrderId, sellOrderId}.
  trades = [];
  ticker = null;
  gaps = 0;

  #stream;
  #resyncing = null;

  constructor(stream) {
    this.#stream = stream;
    setInterval(() => this.#readTicker(), TICKER_MS);
  }

  get last() {
    return this.trades.at(-1) ?? null;
  }

  /** Show another instrument. */
  show(instrument) {
    if (this.instrument !== null) {
      this.#stream.send({ type: "unsubscribe", channels: CHANNELS, instrument: this.instrument });
    }
    this.instrument = instrument;
    this.book = new Book();
    this.trades = [];
    this.ticker = null;
    this.onbook();
    this.ontrades();
    this.onticker();
    this.subscribe();
  }

  /** Follow the instrument, from now on or after the connection was lost. */
  async subscribe() {
    const instrument = this.instrument;
    if (instrument === null) return;
    clearTimeout(this.#resyncing);
    this.#stream.send({ type: "subscribe", channels: ["orderbook", "orders"], instrument });
    this.#readTicker();
    if (this.last === null) await this.#readTrades(instrument);
    if (instrument !== this.instrument) return;
    // What came while we were away comes first, or a resync if that was long.
    const resume = this.last === null ? {} : { resume_from: this.last.sequence };
    this.#stream.send({ type: "subscribe", channels: ["trades"], instrument, ...resume });
  }

  /** Take in a message of the stream. */
  take(message) {
    const [kind, instrument] = (message.channel ?? "").split(/:(.*)/);
    if (instrument !== this.instrument) return;
    if (message.type === "orderbook") this.#takeDepth(message.data);
    else if (message.type === "trades") this.#takeTrade(message.data);
    else if (message.type === "orders") this.onorder(message.data);
    else if (message.type === "resync") {
      if (kind === "trades") this.#addTrades(message.data.trades);
      this.onmissed();
    }
  }

  #takeDepth(data) {
    const waiting = this.book.sequence === null;
    if (waiting && !data.snapshot) return; // a snapshot is on its way
    if (this.book.take(data)) clearTimeout(this.#resyncing);
    else this.#resync();
    this.onbook();
  }

  /** Ask for a snapshot: subscribing anew starts with one. */
  #resync() {
    this.gaps += 1;
    const about = { channels: ["orderbook"], instrument: this.instrument };
    this.#stream.send({ type: "unsubscribe", ...about });
    this.#stream.send({ type: "subscribe", ...about });
    clearTimeout(this.#resyncing);
    this.#resyncing = setTimeout(() => this.book.sequence === null && this.#resync(), RESYNC_MS);
  }

  #takeTrade(data) {
    const trade = readTrade(data);
    if (this.last !== null && trade.sequence <= this.last.sequence) return;
    this.trades.push(trade);
    // In blocks, because shifting costs.
    if (this.trades.length > 2 * TRADES_MAX) this.trades.splice(0, TRADES_MAX);
    this.#countTrade(trade);
    this.ontrade(trade);
  }

  /** Add the newest trades of a resync; between them and ours some may be missing. */
  #addTrades(rows) {
    const known = this.last === null ? -1 : this.last.sequence;
    const trades = rows.map(readTrade).reverse();
    this.trades.push(...trades.filter((trade) => trade.sequence > known));
    this.ontrades();
    this.#readTicker();
  }

  async #readTrades(instrument) {
    try {
      const answer = await ask(withQuery("/market/trades", { instrument, limit: TRADES_MAX }));
      if (instrument !== this.instrument || this.last !== null) return;
      this.trades = answer.trades.map(readTrade).reverse();
      this.ontrades();
    } catch {
      // The stream tells the newest ones.
    }
  }

  async #readTicker() {
    const instrument = this.instrument;
    if (instrument === null || document.hidden) return;
    try {
      const answer = await ask(withQuery("/market/ticker", { instrument }));
      if (instrument !== this.instrument) return;
      const read = (name) => (answer[name] === null ? null : parse(answer[name]));
      this.ticker = {
        open: read("open"),
        high: read("high"),
        low: read("low"),
        volume: read("volume"),
        quoteVolume: parse(answer.quote_volume, 16),
        last: read("last_price"),
      };
      if (this.last !== null) this.#countTrade(this.last, true);
      this.onticker();
    } catch {
      // The connection's state is shown anyway.
    }
  }

  /** Keep the ticker's prices true until it is read again; its volume is as of the last reading. */
  #countTrade({ price }, alreadyIn = false) {
    const ticker = this.ticker;
    if (ticker === null) return;
    ticker.last = price;
    ticker.open ??= price;
    if (ticker.high === null || price > ticker.high) ticker.high = price;
    if (ticker.low === null || price < ticker.low) ticker.low = price;
    if (!alreadyIn) this.onticker();
  }
}

export function readTrade(data) {
  return {
    sequence: Number(data.sequence),
    id: data.trade_id,
    price: parse(data.price),
    quantity: parse(data.quantity),
    side: data.taker_side,
    time: Date.parse(data.timestamp),
    buyOrderId: data.buy_order_id,
    sellOrderId: data.sell_order_id,
  };
}
