// The newest trades, newest first.

import { element, setAttribute, setText } from "../shared/dom.js";
import { clock } from "./precision.js";

const ROW_PX = 20;
const ROWS_MAX = 60;

export class Tape {
  #market;
  #precision;
  #rows = [];
  #body;

  constructor(root, { market, precision, onresize }) {
    this.#market = market;
    this.#precision = precision;
    this.#body = root.querySelector("tbody");
    const box = root.querySelector(".scroll");
    new ResizeObserver(() => this.#fit(box.clientHeight) && onresize()).observe(box);
  }

  draw() {
    const { trades } = this.#market;
    for (const [index, row] of this.#rows.entries()) {
      const trade = trades[trades.length - 1 - index];
      setAttribute(row.node, "data-empty", trade === undefined ? "" : null);
      if (trade === undefined) continue;
      if (row.sequence === trade.sequence && row.decimals === this.#precision.quantity) continue;
      row.sequence = trade.sequence;
      row.decimals = this.#precision.quantity;
      this.#precision.see(trade.price, trade.quantity);
      setAttribute(row.node, "data-side", trade.side);
      // Not by colour alone: who took, a buyer or a seller.
      const sign = trade.side === "buy" ? "▲" : "▼";
      setText(row.cells[0], `${sign} ${this.#precision.priceText(trade.price)}`);
      setText(row.cells[1], this.#precision.quantityText(trade.quantity));
      setText(row.cells[2], clock(trade.time));
    }
  }

  #fit(height) {
    const head = 24;
    const count = Math.min(ROWS_MAX, Math.max(1, Math.floor((height - head) / ROW_PX)));
    if (count === this.#rows.length) return false;
    while (this.#rows.length < count) {
      const cells = ["price", "quantity", "time"].map((name) => element("td", { class: name }));
      const node = element("tr", { "data-empty": true }, ...cells);
      this.#rows.push({ node, cells, sequence: null, decimals: null });
    }
    this.#rows.length = count;
    this.#body.replaceChildren(...this.#rows.map((row) => row.node));
    return true;
  }
}
