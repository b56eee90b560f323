// The order book as a ladder: asks above, bids below, bars as wide as the cumulative quantity.

import { element, setAttribute, setText } from "../shared/dom.js";
import { divide, fixed, shortest } from "../shared/exact.js";

const ROW_PX = 20;
const SPREAD_PX = 34;
const ROWS_MIN = 5;
const ROWS_MAX = 40;
// Powers of ten that levels can be put together by, below the size of the price.
const STEPS = [-6, -5, -4, -3];
const BARS = 1_000n;

export class Ladder {
  #market;
  #account;
  #precision;
  #root;
  #group;
  #sides = {};
  #step = 1n;
  #magnitude = null;
  #count = 0;

  /** `onpick(price)` is called when somebody chooses a level. */
  constructor(root, { market, account, precision, onpick, onresize }) {
    this.#root = root;
    this.#market = market;
    this.#account = account;
    this.#precision = precision;
    this.#group = root.querySelector("select");
    this.#group.addEventListener("change", () => {
      this.#step = BigInt(this.#group.value);
      onresize();
    });
    for (const side of ["asks", "bids"]) {
      this.#sides[side] = { body: root.querySelector(`.${side}`), rows: [] };
    }
    this.last = root.querySelector(".ladder-last");
    this.spread = root.querySelector(".ladder-spread");
    const grid = root.querySelector('[role="grid"]');
    new ResizeObserver(() => this.#fit(grid.clientHeight) && onresize()).observe(grid);
    grid.addEventListener("click", (event) => pick(event.target.closest(".level")));
    grid.addEventListener("keydown", (event) => this.#key(event, pick));

    function pick(row) {
      if (row?.price !== undefined && row.price !== null) onpick(row.price);
    }
  }

  /** Forget the instrument that was shown. */
  reset() {
    this.#magnitude = null;
  }

  draw() {
    const { book, last, trades } = this.#market;
    this.#chooseSteps(book.bids.best ?? book.asks.best);
    const bids = book.bids.top(this.#count, this.#step);
    const asks = book.asks.top(this.#count, this.#step);
    for (const { price, quantity } of [...bids, ...asks]) this.#precision.see(price, quantity);
    const most = [bids, asks].map((rows) => rows.at(-1)?.cumulative ?? 0n);
    const widest = most[0] > most[1] ? most[0] : most[1];
    const mine = this.#mine();
    this.#drawSide(this.#sides.bids.rows, bids, widest, mine.buy);
    this.#drawSide(this.#sides.asks.rows, asks, widest, mine.sell);
    this.#root.classList.toggle("stale", book.sequence === null);

    const before = trades.at(-2);
    const way = last === null || before === undefined ? 0n : last.price - before.price;
    if (way !== 0n) setAttribute(this.last, "data-way", way > 0n ? "up" : "down");
    setText(this.last, last === null ? "–" : this.#precision.priceText(last.price));
    setText(this.spread, this.#spreadText(book));
  }

  #spreadText(book) {
    const { middleTwice } = book;
    if (middleTwice === null) return book.sequence === null ? "No book yet" : "One side is empty";
    const spread = book.asks.best - book.bids.best;
    // In basis points, hundredths of a percent, of the middle.
    const share = fixed(divide(spread * 2n * 10n ** 12n, middleTwice), 2);
    return `Spread ${shortest(spread)} (${share} bp)`;
  }

  #drawSide(rows, levels, widest, mine) {
    for (const [index, row] of rows.entries()) {
      const level = levels[index];
      row.price = level?.price ?? null;
      row.node.price = row.price;
      setAttribute(row.node, "data-empty", level === undefined ? "" : null);
      if (level === undefined) continue;
      setText(row.cells[0], this.#precision.priceText(level.price));
      setText(row.cells[1], this.#precision.quantityText(level.quantity));
      setText(row.cells[2], this.#precision.quantityText(level.cumulative));
      setAttribute(row.node, "data-mine", mine.has(level.price) ? "" : null);
      const share = String(widest === 0n ? 0n : (level.cumulative * BARS) / widest);
      if (row.share === share) continue;
      row.share = share;
      row.bar.style.transform = `scaleX(${share / 1_000})`;
    }
  }

  /** Return the rounded prices of our own orders, by side. */
  #mine() {
    const prices = { buy: new Set(), sell: new Set() };
    for (const { side, price } of this.#account.orders.values()) {
      const rest = price % this.#step;
      const up = side === "sell" && rest !== 0n ? this.#step : 0n;
      prices[side].add(price - rest + up);
    }
    return prices;
  }

  /** Offer steps that suit the size of the price. */
  #chooseSteps(price) {
    if (price === undefined) return;
    const magnitude = price.toString().length;
    if (magnitude === this.#magnitude) return;
    this.#magnitude = magnitude;
    const steps = STEPS.map((power) => magnitude + power).filter((power) => power > 0);
    this.#step = 1n;
    this.#group.replaceChildren(
      element("option", { value: "1" }, "none"),
      ...steps.map((power) => {
        const step = 10n ** BigInt(power);
        return element("option", { value: String(step) }, shortest(step));
      }),
    );
  }

  /** Make as many rows as there is room for; false when nothing changes. */
  #fit(height) {
    const head = this.#root.querySelector(".ladder-head").clientHeight;
    const room = Math.floor((height - head - SPREAD_PX) / 2 / ROW_PX);
    const count = Math.min(ROWS_MAX, Math.max(ROWS_MIN, room));
    if (count === this.#count) return false;
    this.#count = count;
    for (const side of Object.values(this.#sides)) {
      while (side.rows.length < count) side.rows.push(makeRow());
      side.rows.length = count;
      side.body.replaceChildren(...side.rows.map((row) => row.node));
    }
    // Best prices in the middle: the best ask is the last row above.
    this.#sides.asks.body.append(...this.#sides.asks.rows.map((row) => row.node).reverse());
    for (const row of this.#levels()) row.tabIndex = -1;
    this.#sides.bids.rows[0].node.tabIndex = 0;
    return true;
  }

  #levels() {
    return [...this.#root.querySelectorAll(".level")];
  }

  /** One stop for the tabulator key; arrows move, Enter chooses. */
  #key(event, pick) {
    const shown = this.#levels().filter((row) => !("empty" in row.dataset));
    const index = shown.indexOf(event.target);
    if (index < 0) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      pick(event.target);
      return;
    }
    const next = {
      ArrowUp: shown[index - 1],
      ArrowDown: shown[index + 1],
      Home: shown[0],
      End: shown.at(-1),
    }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }
}

function makeRow() {
  const cells = ["price", "quantity", "total"].map((name) =>
    element("span", { role: "gridcell", class: name }),
  );
  const bar = element("i", { class: "bar", "aria-hidden": "true" });
  const node = element("div", { role: "row", class: "level", "data-empty": true }, bar, ...cells);
  return { node, cells, bar, share: null, price: null };
}
