// With how many decimals prices and quantities are shown: as many as the finest one seen, so that
// columns line up. Ticks may be far finer than anybody trades.

import { decimalsOf, grouped, SCALE, VALUE_SCALE } from "../shared/exact.js";

const LEAST = 2;

export class Precision {
  price = LEAST;
  quantity = LEAST;

  /** Begin anew, for another instrument. */
  reset() {
    this.price = LEAST;
    this.quantity = LEAST;
  }

  /** Take note of a price and a quantity. */
  see(price, quantity) {
    if (price % 10n ** BigInt(SCALE - this.price)) this.price = decimalsOf(price);
    if (quantity % 10n ** BigInt(SCALE - this.quantity)) this.quantity = decimalsOf(quantity);
  }

  priceText(units) {
    return grouped(units, this.price);
  }

  quantityText(units) {
    return grouped(units, this.quantity);
  }

  /** Return a value (scale 16) in the quote asset. */
  valueText(value) {
    return grouped(value, LEAST, VALUE_SCALE);
  }
}

/** Return the same with a sign, also when it is positive. */
export function signed(text) {
  return text.startsWith("-") ? `−${text.slice(1)}` : `+${text}`;
}

/** Return the time of day, UTC, of milliseconds. */
export function clock(time) {
  return new Date(time).toISOString().slice(11, 19);
}
