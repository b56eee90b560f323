// Open orders, fills and positions, as tables.

import { byId, element, setAttribute, setText } from "../shared/dom.js";
import { grouped, VALUE_SCALE } from "../shared/exact.js";
import { Account } from "./account.js";
import { cancel } from "./orders.js";
import { clock, signed } from "./precision.js";

// Rows that anybody looks at; how many there are is said above.
const ROWS_MAX = 100;

export class AccountView {
  #account;
  #market;
  #precision;
  #rows = { orders: new Map(), fills: new Map(), positions: new Map() };

  constructor({ account, market, precision }) {
    this.#account = account;
    this.#market = market;
    this.#precision = precision;
    byId("cancel-all").addEventListener("click", () => this.#cancelAll());
  }

  drawOrders() {
    const orders = [...this.#account.orders.values()].sort((a, b) => (a.no < b.no ? 1 : -1));
    setText(byId("orders-count"), String(orders.length));
    byId("cancel-all").disabled = orders.length === 0;
    this.#draw(
      "orders",
      orders.slice(0, ROWS_MAX),
      (order) => order.id,
      (order, row) => {
        row.dataset.side = order.side;
        return [
          clock(order.time),
          order.side === "buy" ? "Buy" : "Sell",
          this.#precision.priceText(order.price),
          this.#precision.quantityText(order.quantity),
          this.#precision.quantityText(order.filled),
          this.#precision.valueText(order.price * (order.quantity - order.filled)),
        ];
      },
    );
  }

  drawFills() {
    const { fills } = this.#account;
    this.#draw(
      "fills",
      fills.slice(0, ROWS_MAX),
      (fill) => fill.key,
      (fill, row) => {
        row.dataset.side = fill.side;
        return [
          clock(fill.time),
          fill.side === "buy" ? "Buy" : "Sell",
          this.#precision.priceText(fill.price),
          this.#precision.quantityText(fill.quantity),
          this.#precision.valueText(fill.price * fill.quantity),
          fill.role,
        ];
      },
    );
  }

  drawPositions() {
    const { positions } = this.#account;
    this.#draw(
      "positions",
      positions,
      (position) => position.instrument,
      (position, row) => {
        const [mark, unrealized] = this.#value(position);
        const cells = [
          position.instrument,
          grouped(position.net, this.#precision.quantity),
          position.net === 0n ? "–" : grouped(position.average, this.#precision.price),
          mark === null ? "–" : grouped(mark, this.#precision.price),
          unrealized === null ? "–" : signed(grouped(unrealized, 2, VALUE_SCALE)),
          signed(grouped(position.realized, 2, VALUE_SCALE)),
        ];
        for (const [index, value] of [
          [4, unrealized],
          [5, position.realized],
        ]) {
          const way = value === null || value === 0n ? null : value > 0n ? "up" : "down";
          setAttribute(row.children[index], "data-way", way);
        }
        return cells;
      },
    );
  }

  /** Return mark price and unrealized profit: live where the book is known, else as last read. */
  #value(position) {
    const { instrument, book } = this.#market;
    if (position.instrument !== instrument || book.middleTwice === null) {
      return [position.mark, position.unrealized];
    }
    return [book.middleTwice / 2n, Account.unrealized(position, book.middleTwice)];
  }

  /** Bring a table up to date, keeping rows (and the focus in them) where they are. */
  #draw(name, items, keyOf, cellsOf) {
    const body = byId(`${name}-rows`);
    const before = this.#rows[name];
    const rows = new Map();
    for (const item of items) {
      const key = keyOf(item);
      const row = before.get(key) ?? this.#makeRow(name, item, body);
      for (const [index, text] of cellsOf(item, row).entries()) setText(row.children[index], text);
      rows.set(key, row);
    }
    for (const [key, row] of before) if (!rows.has(key)) row.remove();
    let place = body.firstElementChild;
    for (const row of rows.values()) {
      if (row === place) place = place.nextElementSibling;
      else body.insertBefore(row, place);
    }
    this.#rows[name] = rows;
    byId(`${name}-none`).hidden = items.length > 0;
  }

  #makeRow(name, item, body) {
    const columns = body.closest("table").tHead.rows[0].cells;
    const cells = [...columns].map((column) => element("td", { class: column.className || null }));
    if (name === "orders") {
      const label = `Cancel the order to ${item.side} ${this.#precision.quantityText(item.quantity)} at ${this.#precision.priceText(item.price)}`;
      cells.at(-1).append(
        element(
          "button",
          {
            type: "button",
            class: "small",
            "aria-label": label,
            onclick: (event) => this.#cancel(item, event.currentTarget),
          },
          "Cancel",
        ),
      );
    }
    return element("tr", {}, ...cells);
  }

  async #cancel(order, button = null) {
    if (button !== null) button.disabled = true;
    try {
      this.#account.take(await cancel(order));
      this.#say("");
    } catch (error) {
      // Somebody was quicker: it is finished, and the answer has it.
      if (error.order) this.#account.take(error.order);
      this.#say(`Not cancelled: ${error.message}`);
      if (button !== null) button.disabled = false;
    }
  }

  async #cancelAll() {
    const orders = [...this.#account.orders.values()];
    await Promise.all(orders.map((order) => this.#cancel(order)));
  }

  #say(text) {
    setText(byId("account-message"), text);
  }
}
