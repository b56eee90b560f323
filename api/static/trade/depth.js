// The depth chart: cumulative quantity by price, on both sides of the middle.

import { setAttribute, setText } from "../shared/dom.js";
import { colour, onTheme } from "../shared/theme.js";

const LEVELS = 200;
// Further from the middle nothing is drawn, as a share of the price: 1/20.
const WIDEST = 20n;
// Nor is what is beyond so much of a side's quantity, in percent: the last few orders may be far.
const MOST = 90n;

export class DepthChart {
  #canvas;
  #label;
  #market;
  #precision;
  #colours = null;
  #pointer = null;

  constructor(root, { market, precision, onchange }) {
    this.#canvas = root.querySelector("canvas");
    this.#label = root.querySelector(".depth-label");
    this.#market = market;
    this.#precision = precision;
    new ResizeObserver(onchange).observe(this.#canvas);
    this.#canvas.addEventListener("pointermove", (event) => {
      this.#pointer = event.offsetX;
      onchange();
    });
    this.#canvas.addEventListener("pointerleave", () => {
      this.#pointer = null;
      onchange();
    });
    onTheme(() => {
      this.#colours = null;
      onchange();
    });
  }

  draw() {
    const canvas = this.#canvas;
    const ratio = devicePixelRatio;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (width === 0 || height === 0) return;
    if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
    if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const { book } = this.#market;
    const { middleTwice } = book;
    if (middleTwice === null) {
      setText(this.#label, "");
      setAttribute(canvas, "aria-label", "Depth chart: one side of the book is empty");
      return;
    }
    this.#colours ??= Object.fromEntries(
      ["up", "down", "muted", "line"].map((name) => [name, colour(name)]),
    );
    const middle = middleTwice / 2n;
    const limit = middle / WIDEST;
    const near = (rows) => rows.filter(({ price }) => size(price - middle) <= limit);
    const sides = { buy: near(book.bids.top(LEVELS)), sell: near(book.asks.top(LEVELS)) };
    const half = larger(larger(...Object.values(sides).map((rows) => reach(rows, middle))), 1n);
    for (const side of Object.keys(sides)) {
      sides[side] = sides[side].filter(({ price }) => size(price - middle) <= half);
    }
    const most = [sides.buy, sides.sell].map((rows) => rows.at(-1)?.cumulative ?? 0n);
    const highest = larger(...most);
    const top = 8;
    const foot = height - 20;
    const x = (price) => width / 2 + (Number(price - middle) / Number(half)) * (width / 2);
    const y = (quantity) =>
      foot - (highest === 0n ? 0 : Number(quantity) / Number(highest)) * (foot - top);

    context.strokeStyle = this.#colours.line;
    context.beginPath();
    context.moveTo(0, foot + 0.5);
    context.lineTo(width, foot + 0.5);
    context.moveTo(Math.round(width / 2) + 0.5, top);
    context.lineTo(Math.round(width / 2) + 0.5, foot);
    context.stroke();
    for (const [side, rows] of Object.entries(sides)) {
      steps(
        context,
        rows,
        x,
        y,
        foot,
        side === "buy" ? 0 : width,
        this.#colours[side === "buy" ? "up" : "down"],
      );
    }

    context.fillStyle = this.#colours.muted;
    context.font = `11px ${getComputedStyle(canvas).fontFamily}`;
    for (const [price, place, align] of [
      [middle - half, 2, "left"],
      [middle, width / 2, "center"],
      [middle + half, width - 2, "right"],
    ]) {
      context.textAlign = align;
      context.fillText(this.#precision.priceText(price < 0n ? 0n : price), place, height - 5);
    }
    // What half and all of the height mean.
    context.textAlign = "left";
    for (const quantity of [highest / 2n, highest]) {
      context.fillText(this.#precision.quantityText(quantity), 4, y(quantity) + 12);
    }
    this.#point(context, sides, { x, y, width, foot, top });
    setAttribute(canvas, "aria-label", this.#summary(sides));
  }

  /** Say how much there is up to the price under the pointer. */
  #point(context, sides, { x, y, width, foot, top }) {
    if (this.#pointer === null) {
      setText(this.#label, "");
      return;
    }
    const buying = this.#pointer < width / 2;
    const rows = buying ? sides.buy : sides.sell;
    const row = rows.findLast(({ price }) =>
      buying ? x(price) >= this.#pointer : x(price) <= this.#pointer,
    );
    if (row === undefined) {
      setText(this.#label, "");
      return;
    }
    context.strokeStyle = this.#colours.muted;
    context.setLineDash([3, 3]);
    context.beginPath();
    context.moveTo(this.#pointer, top);
    context.lineTo(this.#pointer, foot);
    context.moveTo(0, y(row.cumulative));
    context.lineTo(width, y(row.cumulative));
    context.stroke();
    context.setLineDash([]);
    const { quantityText, priceText } = {
      quantityText: this.#precision.quantityText(row.cumulative),
      priceText: this.#precision.priceText(row.price),
    };
    setText(this.#label, `${quantityText} to ${priceText}`);
  }

  #summary({ buy, sell }) {
    const total = (rows) => this.#precision.quantityText(rows.at(-1)?.cumulative ?? 0n);
    return `Depth chart: ${total(buy)} bid and ${total(sell)} asked near the middle`;
  }
}

function steps(context, rows, x, y, foot, edge, color) {
  if (rows.length === 0) return;
  context.beginPath();
  context.moveTo(x(rows[0].price), foot);
  let height = foot;
  for (const { price, cumulative } of rows) {
    context.lineTo(x(price), height);
    height = y(cumulative);
    context.lineTo(x(price), height);
  }
  context.lineTo(edge, height);
  context.strokeStyle = color;
  context.lineWidth = 1.5;
  context.stroke();
  context.lineWidth = 1;
  context.lineTo(edge, foot);
  context.closePath();
  context.globalAlpha = 0.14;
  context.fillStyle = color;
  context.fill();
  context.globalAlpha = 1;
}

/** Return how far from the middle most of a side's quantity is. */
function reach(rows, middle) {
  const total = rows.at(-1)?.cumulative ?? 0n;
  const row = rows.find(({ cumulative }) => cumulative * 100n >= total * MOST);
  return row === undefined ? 0n : size(row.price - middle);
}

function larger(a, b) {
  return a > b ? a : b;
}

function size(units) {
  return units < 0n ? -units : units;
}
