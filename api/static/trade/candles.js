// Candles: those of the past from the API, the newest kept true by every trade.

import { ask, withQuery } from "../shared/api.js";
import { parse } from "../shared/exact.js";

// What can be chosen, in seconds. The API has minutes; shorter ones are made of trades.
export const INTERVALS = { "1s": 1, "1m": 60, "5m": 300, "15m": 900, "1h": 3_600, "1d": 86_400 };

const CANDLES_MAX = 1_500;
// How far back it is asked for.
const CANDLES_ASKED = 500;
// Before a candle that ended is read again: then all of its trades are in it.
const SETTLE_MS = 2_000;

/** Events, as callbacks: `onreset` (all anew), `onchange` (the newest ones). */
export class Candles {
  onreset = () => {};
  onchange = () => {};

  // Oldest first, each {time (s), open, high, low, close, volume}.
  rows = [];
  // Times of rows that changed since somebody last cleared this.
  changed = new Set();

  #instrument = null;
  #seconds = 60;
  // Trades up to this sequence are in what was read.
  #through = -1;
  // How often everything was asked for.
  #asked = 0;

  /** Show these candles. `trades()` gives the newest trades, oldest first; `add` goes on from them. */
  async show(instrument, interval, trades) {
    this.#instrument = instrument;
    this.#seconds = INTERVALS[interval];
    this.rows = [];
    this.changed.clear();
    this.onreset();
    await this.reload(trades);
  }

  /** Read everything again. */
  async reload(trades) {
    this.#asked += 1; // an answer that is still on its way is not wanted any more
    if (this.#seconds < 60) {
      this.rows = [];
      this.#through = -1;
      for (const trade of trades()) this.#count(trade);
      this.onreset();
      return;
    }
    const start = Date.now() - CANDLES_ASKED * this.#seconds * 1_000;
    const rows = await this.#read(start);
    if (rows === null) return;
    this.rows = rows;
    // Trades are told of after they can be read: all that have come by now are in the rows, but
    // for a few of the last milliseconds, which are made good when the candle ends.
    this.#through = trades().at(-1)?.sequence ?? -1;
    this.onreset();
  }

  /** Count a trade in. */
  add(trade) {
    if (trade.sequence <= this.#through) return;
    const ended = this.#count(trade);
    if (ended !== null && this.#seconds >= 60) setTimeout(() => this.#settle(ended), SETTLE_MS);
  }

  /** Return the time of the candle that ended with this trade, null if none did. */
  #count({ sequence, price, quantity, time }) {
    this.#through = sequence;
    const start = Math.floor(time / 1_000 / this.#seconds) * this.#seconds;
    let row = this.rows.at(-1);
    let ended = null;
    if (row === undefined || row.time < start) {
      ended = row?.time ?? null;
      row = { time: start, open: price, high: price, low: price, close: price, volume: 0n };
      this.rows.push(row);
      if (this.rows.length > 2 * CANDLES_MAX) {
        this.rows.splice(0, CANDLES_MAX);
        this.onreset(); // what is drawn must not grow for ever, either
      }
    }
    if (price > row.high) row.high = price;
    if (price < row.low) row.low = price;
    row.close = price;
    row.volume += quantity;
    this.changed.add(row.time);
    this.onchange();
    return ended;
  }

  async #settle(time) {
    const rows = await this.#read(time * 1_000, (time + this.#seconds) * 1_000 - 1);
    if (rows === null) return;
    for (const fresh of rows) {
      const row = this.rows.findLast((candidate) => candidate.time === fresh.time);
      if (row === undefined) continue;
      Object.assign(row, fresh);
      this.changed.add(row.time);
    }
    this.onchange();
  }

  /** Return the candles of a range of time in ms; null when they are not there or not wanted. */
  async #read(start, end = null) {
    const asked = this.#asked;
    const query = {
      instrument: this.#instrument,
      interval: this.#seconds / 60,
      start_time: new Date(start).toISOString(),
      ...(end === null ? {} : { end_time: new Date(end).toISOString() }),
    };
    try {
      const answer = await ask(withQuery("/market/candles", query));
      return asked === this.#asked ? answer.candles.map(readCandle) : null;
    } catch {
      return null;
    }
  }
}

function readCandle(data) {
  return {
    time: Date.parse(data.time_bucket) / 1_000,
    open: parse(data.open),
    high: parse(data.high),
    low: parse(data.low),
    close: parse(data.close),
    volume: parse(data.volume),
  };
}
