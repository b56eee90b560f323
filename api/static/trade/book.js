// The order book: exactly the server's, as long as every delta is applied.

import { parse } from "../shared/exact.js";

/** One side. Prices and quantities are units of 10^-8 (BigInt). */
export class Side {
  // Best price last: that is where most changes are, and inserting there moves little.
  #prices = [];
  #quantities = new Map();
  #sign;

  /** `sign` is 1n for bids, whose best price is the highest, and -1n for asks. */
  constructor(sign) {
    this.#sign = sign;
  }

  get length() {
    return this.#prices.length;
  }

  /** Return the best price, undefined when the side is empty. */
  get best() {
    return this.#prices.at(-1);
  }

  quantityAt(price) {
    return this.#quantities.get(price) ?? 0n;
  }

  /** Start anew from levels as the API sends them, in any order. */
  reset(levels) {
    this.#quantities.clear();
    for (const { price, quantity } of levels) this.#quantities.set(parse(price), parse(quantity));
    this.#prices = [...this.#quantities.keys()].sort((a, b) =>
      a === b ? 0 : a < b === this.#sign > 0n ? -1 : 1,
    );
  }

  /** Set the quantity at a price; 0n removes the level. */
  set(price, quantity) {
    const known = this.#quantities.has(price);
    if (quantity !== 0n) {
      this.#quantities.set(price, quantity);
      if (!known) this.#prices.splice(this.#place(price), 0, price);
    } else if (known) {
      this.#quantities.delete(price);
      this.#prices.splice(this.#place(price), 1);
    }
  }

  /** Yield price and quantity of each level, best first. */
  *levels() {
    for (let index = this.#prices.length - 1; index >= 0; index -= 1) {
      const price = this.#prices[index];
      yield [price, this.#quantities.get(price)];
    }
  }

  /**
   * Return the best `count` levels as {price, quantity, cumulative}. Levels are put together by
   * `step`, bids rounded down and asks up: nobody is shown a better price than there is.
   */
  top(count, step = 1n) {
    const rows = [];
    let cumulative = 0n;
    for (const [price, quantity] of this.levels()) {
      const rest = price % step;
      const rounded = rest === 0n ? price : this.#sign > 0n ? price - rest : price - rest + step;
      let row = rows.at(-1);
      if (row === undefined || row.price !== rounded) {
        if (rows.length === count) break;
        row = { price: rounded, quantity: 0n, cumulative: 0n };
        rows.push(row);
      }
      cumulative += quantity;
      row.quantity += quantity;
      row.cumulative = cumulative;
    }
    return rows;
  }

  /**
   * Return what an order would take now: {quantity, value} (value of scale 16), with `limit` the
   * worst price it accepts, null for any.
   */
  take(quantity, limit = null) {
    let left = quantity;
    let value = 0n;
    for (const [price, resting] of this.levels()) {
      if (left === 0n) break;
      if (limit !== null && (price - limit) * this.#sign < 0n) break;
      const taken = resting < left ? resting : left;
      value += taken * price;
      left -= taken;
    }
    return { quantity: quantity - left, value };
  }

  #place(price) {
    let low = 0;
    let high = this.#prices.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#prices[middle] - price) * this.#sign < 0n) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

export class Book {
  bids = new Side(1n);
  asks = new Side(-1n);
  // Of the last message applied; null until the first snapshot, and after a gap.
  sequence = null;

  /** Apply the data of an `orderbook` message; false means a gap: ask for a snapshot. */
  take(data) {
    if (data.snapshot) {
      this.bids.reset(data.bids);
      this.asks.reset(data.asks);
    } else {
      if (data.prev_sequence !== this.sequence) {
        this.sequence = null;
        return false;
      }
      for (const { price, quantity } of data.bids) this.bids.set(parse(price), parse(quantity));
      for (const { price, quantity } of data.asks) this.asks.set(parse(price), parse(quantity));
    }
    this.sequence = data.sequence;
    return true;
  }

  /** Return twice the price in the middle, null while a side is empty. */
  get middleTwice() {
    const bid = this.bids.best;
    const ask = this.asks.best;
    return bid === undefined || ask === undefined ? null : bid + ask;
  }
}
