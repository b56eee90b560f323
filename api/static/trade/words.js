// What the ticket says: what is wrong with a field, what became of an order, and why it was refused.

import { Refusal } from "../shared/api.js";
import { parse, shortest } from "../shared/exact.js";

const WHOLE_DIGITS_MAX = 12;

/**
 * Return what is wrong with a price or a quantity, null when nothing is; `unit` is the `kind` (tick
 * or lot) that it must be a multiple of. The server checks it all again.
 */
export function fault(name, text, unit, kind) {
  const field = name[0].toUpperCase() + name.slice(1);
  if (text === "") return `${field} is missing.`;
  const units = parse(text);
  if (units === null) {
    return /^\d+\.\d{9,}$/.test(text)
      ? `${field} has more than 8 decimals.`
      : `${field} must be digits with a point for decimals, such as 70150.5.`;
  }
  if (units <= 0n) return `${field} must be greater than zero.`;
  if (text.split(".")[0].length > WHOLE_DIGITS_MAX) return `${field} is too large.`;
  if (units % unit) return `${field} must be a multiple of ${shortest(unit)}, the ${kind}.`;
  return null;
}

/** Return what became of an order that was answered after `tookMs`: {text, refused}. */
export function outcome(order, tookMs, precision) {
  if (order.status === "rejected") {
    const text = "Rejected: nobody is on the other side of the book, so nothing was traded.";
    return { text, refused: true };
  }
  const parts = [];
  const filled = parse(order.filled_quantity);
  const rest = precision.quantityText(parse(order.remaining_quantity));
  if (filled > 0n) {
    const done = order.side === "buy" ? "Bought" : "Sold";
    const average = precision.priceText(parse(order.average_price));
    parts.push(`${done} ${precision.quantityText(filled)} at ${average}.`);
  }
  if (order.status === "open" || order.status === "partially_filled") {
    parts.push(`${rest} rests at ${precision.priceText(parse(order.price))}.`);
  } else if (order.status === "cancelled") {
    parts.push(`${rest} was not filled: the book holds no more.`);
  }
  parts.push(`Durable after ${Math.max(1, Math.round(tookMs))} ms.`);
  return { text: parts.join(" "), refused: false };
}

/** Return why there is no answer as wished, and the fields that it is about: {text, fields}. */
export function refusal(error) {
  if (!(error instanceof Refusal)) {
    const text =
      "The exchange does not answer, so it is not known what became of the order: " +
      "look at your open orders and fills before you send it again.";
    return { text, fields: [] };
  }
  const message = error.errors.length
    ? error.errors.map(({ param, msg }) => `${param} ${msg}`).join("; ")
    : error.message;
  return {
    text: `Refused: ${message.replace(/\.$/, "")}.`,
    fields: error.errors.map(({ param }) => param),
  };
}
