// What belongs to one client: resting orders, fills, positions.

import { ask, withQuery } from "../shared/api.js";
import { divide, parse, SCALE, VALUE_SCALE } from "../shared/exact.js";
import { readTrade } from "./market.js";

const RESTING = ["open", "partially_filled"];
const FILLS_MAX = 200;
// Orders whose fills are looked up when the page opens: each is a request.
const ORDERS_LOOKED_UP = 20;
const ORDERS_MAX = 1_000;
const POSITIONS_MS = 10_000;
// Fills come in bursts: positions are read once after one.
const POSITIONS_PAUSE_MS = 300;
// What is remembered of orders that are done, to know their trades.
const KNOWN_MAX = 5_000;

/** Events, as callbacks: `onorders`, `onfills`, `onpositions`. */
export class Account {
  onorders = () => {};
  onfills = () => {};
  onpositions = () => {};

  clientId;
  // By order_id, in the order placed: {id, no, instrument, side, type, price, quantity, filled, time}.
  orders = new Map();
  // Newest first: {key, time, instrument, side, price, quantity, role, orderId}.
  fills = [];
  positions = [];

  #instrument = null;
  // Whether this client is known to have ordered anything, anywhere.
  #ordered = false;
  // Side and filled quantity by order_id, of every order of ours that we have seen.
  #known = new Map();
  #filled = new Map();
  #keys = new Set();
  #lookups = new Set();
  #pause = null;

  constructor(clientId) {
    this.clientId = clientId;
    setInterval(() => document.hidden || this.#readPositions(), POSITIONS_MS);
  }

  /** Be another client, or look at another instrument. */
  show(clientId, instrument) {
    this.clientId = clientId;
    this.#instrument = instrument;
    this.orders.clear();
    this.fills = [];
    this.positions = [];
    this.#ordered = false;
    for (const known of [this.#known, this.#filled, this.#keys, this.#lookups]) known.clear();
    this.onorders();
    this.onfills();
    this.onpositions();
    this.reload();
  }

  /** Read everything again; what the stream tells meanwhile is kept. */
  async reload() {
    const [clientId, instrument] = [this.clientId, this.#instrument];
    const before = new Set(this.orders.keys());
    this.#readPositions();
    const query = { client_id: clientId, instrument };
    try {
      const [resting, newest] = await Promise.all([
        ask(withQuery("/orders", { ...query, status: RESTING.join(","), limit: ORDERS_MAX })),
        ask(withQuery("/orders", { ...query, limit: ORDERS_LOOKED_UP })),
      ]);
      if (clientId !== this.clientId || instrument !== this.#instrument) return;
      const still = new Set(resting.orders.map((order) => order.order_id));
      for (const id of before) if (!still.has(id)) this.orders.delete(id);
      for (const order of [...resting.orders, ...newest.orders].reverse()) this.take(order);
    } catch {
      // The connection's state is shown; it is read again when that is back.
    }
    this.onorders();
  }

  /** Take in an order of ours as it stands now, or as it stood a moment ago. */
  take(data) {
    if (data.client_id !== this.clientId) return;
    this.#ordered = true;
    if (data.instrument !== this.#instrument) return;
    const id = data.order_id;
    const filled = parse(data.filled_quantity);
    const known = this.#known.get(id);
    const resting = RESTING.includes(data.status);
    // The same order may come twice, and late: it only ever goes forward.
    if (known !== undefined && (known.done || filled < known.filled)) return;
    this.#remember(id, { side: data.side, filled, done: !resting });
    if (resting) {
      this.orders.set(id, {
        id,
        no: BigInt(data.order_no),
        instrument: data.instrument,
        side: data.side,
        price: parse(data.price),
        quantity: parse(data.quantity),
        filled,
        time: Date.parse(data.created_at),
      });
    } else {
      this.orders.delete(id);
    }
    this.onorders();
    if (filled > (this.#filled.get(id) ?? 0n)) this.#lookUp(id);
  }

  /** Take in a trade of the stream, which may be ours. */
  takeTrade(trade) {
    const made = this.#known.has(trade.buyOrderId) || this.#known.has(trade.sellOrderId);
    if (made) this.#fill(trade);
  }

  /** Take in the answer to an order of ours: the order, and the trades it made. */
  takeAnswer({ order, trades }) {
    if (order.client_id !== this.clientId) return;
    if (!this.#known.has(order.order_id)) {
      this.#remember(order.order_id, { side: order.side, filled: 0n, done: false });
    }
    for (const trade of trades) this.#fill(readTrade(trade));
    this.take(order);
  }

  /** Return a position's unrealized profit or loss at twice a middle price; scale 16. */
  static unrealized(position, middleTwice) {
    return position.net * divide(middleTwice, 2n) - position.cost;
  }

  #fill(trade) {
    for (const side of ["buy", "sell"]) {
      const orderId = side === "buy" ? trade.buyOrderId : trade.sellOrderId;
      const key = `${trade.sequence} ${side}`;
      if (!this.#known.has(orderId) || this.#keys.has(key)) continue;
      this.#keys.add(key);
      this.#filled.set(orderId, (this.#filled.get(orderId) ?? 0n) + trade.quantity);
      const role = trade.side === side ? "taker" : "maker";
      const { time, price, quantity, sequence } = trade;
      this.fills.push({ key, sequence, time, side, price, quantity, role, orderId });
    }
    this.fills.sort((a, b) => b.sequence - a.sequence);
    for (const old of this.fills.splice(FILLS_MAX)) this.#keys.delete(old.key);
    this.onfills();
    this.#readPositionsSoon();
  }

  /** Read the trades of an order that has more of them than we have heard of. */
  async #lookUp(id) {
    if (this.#lookups.has(id) || this.#lookups.size >= ORDERS_LOOKED_UP) return;
    this.#lookups.add(id);
    await new Promise((resolve) => setTimeout(resolve, POSITIONS_PAUSE_MS)); // they may be coming
    try {
      const known = this.#known.get(id);
      if (known !== undefined && known.filled > (this.#filled.get(id) ?? 0n)) {
        const { trades } = await ask(`/orders/${encodeURIComponent(id)}`);
        if (this.#known.has(id)) for (const trade of trades) this.#fill(readTrade(trade));
      }
    } catch {
      // Asked again with its next change.
    }
    this.#lookups.delete(id);
  }

  #remember(id, order) {
    const before = this.#known.get(id);
    if (before === undefined || !before.done) this.#known.set(id, order);
    if (this.#known.size > KNOWN_MAX) {
      const [oldest] = [...this.#known.keys()].filter((key) => !this.orders.has(key));
      this.#known.delete(oldest);
      this.#filled.delete(oldest);
    }
  }

  #readPositionsSoon() {
    clearTimeout(this.#pause);
    this.#pause = setTimeout(() => this.#readPositions(), POSITIONS_PAUSE_MS);
  }

  async #readPositions() {
    const clientId = this.clientId;
    try {
      // Who has never ordered is nobody's client, and asking for him would be an error.
      if (!this.#ordered) {
        const { orders } = await ask(withQuery("/orders", { client_id: clientId, limit: 1 }));
        if (clientId !== this.clientId || orders.length === 0) return;
        this.#ordered = true;
      }
      const answer = await ask(`/market/positions/${encodeURIComponent(clientId)}`);
      if (clientId !== this.clientId) return;
      this.positions = answer.positions.map(readPosition);
      this.onpositions();
    } catch {
      // Read again soon.
    }
  }
}

function readPosition(data) {
  const optional = (text, scale) => (text === null ? null : parse(text, scale));
  return {
    instrument: data.instrument,
    net: parse(data.net_quantity),
    cost: parse(data.total_cost, VALUE_SCALE),
    average: parse(data.avg_price),
    mark: optional(data.mark_price, SCALE),
    realized: parse(data.realized_pnl, VALUE_SCALE),
    unrealized: optional(data.unrealized_pnl, VALUE_SCALE),
  };
}
