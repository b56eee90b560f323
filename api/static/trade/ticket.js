// The order ticket: what is to be bought or sold, what that would do now, and what came of it.

import { byId, setAttribute, setText } from "../shared/dom.js";
import { divide, parse, shortest } from "../shared/exact.js";
import { submit } from "./orders.js";
import { fault, outcome, refusal } from "./words.js";

// What can be typed in, and what it is a multiple of.
const FIELDS = { price: "tick", quantity: "lot" };

export class Ticket {
  #form;
  #market;
  #account;
  #precision;
  #instrument = null;
  #busy = false;
  // The price is ours to fill in until somebody has typed one.
  #touched = false;

  constructor(form, { market, account, precision }) {
    this.#form = form;
    this.#market = market;
    this.#account = account;
    this.#precision = precision;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    form.addEventListener("input", (event) => {
      if (event.target.name === "price") this.#touched = true;
      this.#clear();
      this.draw();
    });
    form.addEventListener("click", (event) =>
      this.#help(event.target.closest("button[data-help]")),
    );
    for (const name of ["price", "quantity"]) {
      form.elements[name].addEventListener("keydown", (event) => {
        const way = { ArrowUp: 1n, ArrowDown: -1n }[event.key];
        if (way === undefined) return;
        event.preventDefault();
        this.#move(name, event.shiftKey ? way * 10n : way);
      });
    }
  }

  /** Trade another instrument. */
  show(instrument) {
    this.#instrument = instrument;
    this.#touched = false;
    for (const name of ["price", "quantity"]) this.#form.elements[name].value = "";
    this.#clear();
    this.draw();
  }

  /** Take a price from the order book. */
  setPrice(price) {
    this.#form.elements.type.value = "limit";
    this.#form.elements.price.value = shortest(price);
    this.#touched = true;
    this.#clear();
    this.draw();
  }

  draw() {
    const { side, type, price, quantity } = this.#form.elements;
    const { book } = this.#market;
    const instrument = this.#instrument;
    if (instrument === null) return;
    const limit = type.value === "limit";
    setAttribute(this.#form, "data-side", side.value);
    price.disabled = !limit;
    for (const button of this.#form.querySelectorAll("#price-field button"))
      button.disabled = !limit;
    if (!limit) price.value = "";
    else if (!this.#touched && price.value === "") this.#fillIn(side.value);
    const verb = side.value === "buy" ? "Buy" : "Sell";
    setText(byId("submit"), this.#busy ? "Sending …" : `${verb} ${instrument.base_asset}`);

    const [wanted, worst] = [parse(quantity.value), limit ? parse(price.value) : null];
    const known = book.sequence !== null && wanted !== null && wanted > 0n;
    if (!known || (limit && (worst === null || worst <= 0n))) {
      for (const name of ["takes", "average", "rests", "value"])
        setText(byId(`order-${name}`), "–");
      return;
    }
    const other = side.value === "buy" ? book.asks : book.bids;
    const taken = other.take(wanted, worst);
    const rest = wanted - taken.quantity;
    const [takes, average, rests, value] = [
      this.#precision.quantityText(taken.quantity),
      taken.quantity === 0n ? "–" : this.#precision.priceText(divide(taken.value, taken.quantity)),
      limit || rest === 0n
        ? this.#precision.quantityText(rest)
        : `${this.#precision.quantityText(rest)} not filled`,
      this.#precision.valueText(taken.value + (limit ? rest * worst : 0n)),
    ];
    setText(byId("order-takes"), takes);
    setText(byId("order-average"), average);
    setText(byId("order-rests"), rests);
    setText(byId("order-value"), value);
  }

  /** Offer a price to begin with: one that rests at the top of the own side. */
  #fillIn(side) {
    const { book } = this.#market;
    const best = (side === "buy" ? book.bids.best : book.asks.best) ?? this.#market.last?.price;
    if (best !== undefined) this.#form.elements.price.value = shortest(best);
  }

  /** Do what a helper's button says. */
  #help(button) {
    if (button === null) return;
    const { elements } = this.#form;
    const { book } = this.#market;
    const side = elements.side.value;
    const set = (name, units) => {
      if (units !== null && units !== undefined) elements[name].value = shortest(units);
    };
    const quantity = parse(elements.quantity.value) ?? 0n;
    switch (button.dataset.help) {
      case "bid":
        set("price", book.bids.best);
        break;
      case "middle":
        set(
          "price",
          book.middleTwice === null ? null : this.#toTick(book.middleTwice / 2n, "tick"),
        );
        break;
      case "ask":
        set("price", book.asks.best);
        break;
      case "half":
        set("quantity", quantity > 0n ? this.#toTick(quantity / 2n, "lot") : null);
        break;
      case "double":
        set("quantity", quantity > 0n ? quantity * 2n : null);
        break;
      case "best": {
        const other = side === "buy" ? book.asks : book.bids;
        set("quantity", other.best === undefined ? null : other.quantityAt(other.best));
        break;
      }
      case "close": {
        const held = this.#account.positions.find(
          (position) => position.instrument === this.#instrument.instrument,
        );
        if (held === undefined || held.net === 0n) {
          this.#say("There is no position to close.");
          return;
        }
        elements.side.value = held.net > 0n ? "sell" : "buy";
        set("quantity", held.net > 0n ? held.net : -held.net);
        break;
      }
      case "up":
      case "down":
        this.#move(button.dataset.of, button.dataset.help === "up" ? 1n : -1n);
        return;
    }
    this.#touched ||= button.closest("#price-field") !== null;
    this.#clear();
    this.draw();
  }

  /** Move a number by steps that suit what is shown, never below one step. */
  #move(name, steps) {
    const input = this.#form.elements[name];
    if (input.disabled) return;
    const decimals = name === "price" ? this.#precision.price : this.#precision.quantity;
    const least = this.#unit(FIELDS[name]);
    const shown = 10n ** BigInt(8 - decimals);
    const step = shown > least ? shown : least;
    const moved = (parse(input.value) ?? 0n) + steps * step;
    input.value = shortest(moved > step ? moved : step);
    if (name === "price") this.#touched = true;
    this.#clear();
    this.draw();
  }

  #fault(name) {
    const kind = FIELDS[name];
    return fault(name, this.#form.elements[name].value.trim(), this.#unit(kind), kind);
  }

  #unit(kind) {
    return parse(this.#instrument[`${kind}_size`]);
  }

  #toTick(units, kind) {
    const unit = this.#unit(kind);
    const rounded = units - (units % unit);
    return rounded > 0n ? rounded : unit;
  }

  async #submit() {
    if (this.#busy || this.#instrument === null) return;
    const { side, type, price, quantity } = this.#form.elements;
    const limit = type.value === "limit";
    const faults = {
      ...(limit ? { price: this.#fault("price") } : {}),
      quantity: this.#fault("quantity"),
    };
    const wrong = Object.keys(faults).filter((name) => faults[name] !== null);
    if (wrong.length > 0) {
      this.#refuse(wrong.map((name) => faults[name]).join(" "), wrong);
      return;
    }
    const order = {
      client_id: this.#account.clientId,
      instrument: this.#instrument.instrument,
      side: side.value,
      type: type.value,
      quantity: quantity.value.trim(),
      ...(limit ? { price: price.value.trim() } : {}),
    };
    this.#busy = true;
    this.#clear();
    this.draw();
    const sent = performance.now();
    try {
      const answer = await submit(order, () =>
        this.#say("No answer yet. Asking again, which is safe: the order has one effect."),
      );
      this.#account.takeAnswer(answer);
      const { text, refused } = outcome(answer.order, performance.now() - sent, this.#precision);
      if (refused) this.#refuse(text);
      else this.#say(text);
    } catch (error) {
      const { text, fields } = refusal(error);
      this.#refuse(
        text,
        fields.filter((name) => name in FIELDS),
      );
    }
    this.#busy = false;
    this.draw();
  }

  #clear() {
    setText(byId("outcome"), "");
    setText(byId("refusal"), "");
    for (const name of ["price", "quantity"]) {
      setAttribute(this.#form.elements[name], "aria-invalid", null);
    }
  }

  #say(text) {
    this.#clear();
    setText(byId("outcome"), text);
  }

  #refuse(text, fields = []) {
    this.#clear();
    setText(byId("refusal"), text);
    for (const name of fields) setAttribute(this.#form.elements[name], "aria-invalid", "true");
    if (fields.length > 0) this.#form.elements[fields[0]].focus();
  }
}
