// Decimal numbers as whole numbers (BigInt) of 10^-scale: prices and quantities have scale 8, their
// products scale 16. Nothing that is money ever passes through a binary float.

export const SCALE = 8;
export const VALUE_SCALE = 16;

const DECIMAL = /^(-?)(\d+)(?:\.(\d+))?$/;

/** Return the units of a decimal text; null when it is none, or has more decimals than `scale`. */
export function parse(text, scale = SCALE) {
  const match = DECIMAL.exec(text);
  if (match === null) return null;
  const [, sign, whole, fraction = ""] = match;
  if (fraction.length > scale) return null;
  const units = BigInt(whole + fraction.padEnd(scale, "0"));
  return sign ? -units : units;
}

/** Return a quotient rounded half to even, as the server rounds. `divisor` is positive. */
export function divide(units, divisor) {
  const negative = units < 0n;
  const size = negative ? -units : units;
  let quotient = size / divisor;
  const twice = (size % divisor) * 2n;
  if (twice > divisor || (twice === divisor && quotient % 2n)) quotient += 1n;
  return negative ? -quotient : quotient;
}

/** Return the shortest decimal text, as the API writes numbers. */
export function shortest(units, scale = SCALE) {
  const text = fixed(units, scale, scale);
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** Return a decimal text with this many decimals, rounded half to even where it has more. */
export function fixed(units, decimals, scale = SCALE) {
  if (decimals < scale) units = divide(units, 10n ** BigInt(scale - decimals));
  else if (decimals > scale) units *= 10n ** BigInt(decimals - scale);
  const negative = units < 0n;
  const digits = (negative ? -units : units).toString().padStart(decimals + 1, "0");
  const point = digits.length - decimals;
  const text = decimals ? `${digits.slice(0, point)}.${digits.slice(point)}` : digits;
  return negative ? `-${text}` : text;
}

/** Return the same with a comma at every third digit, for reading. */
export function grouped(units, decimals, scale = SCALE) {
  const text = fixed(units, decimals, scale);
  const point = decimals ? text.length - decimals - 1 : text.length;
  if (point < 4) return text;
  return text.slice(0, point).replace(/\B(?=(\d{3})+$)/g, ",") + text.slice(point);
}

/** Return how many decimals are needed to write these units. */
export function decimalsOf(units, scale = SCALE) {
  if (units === 0n) return 0;
  let decimals = scale;
  while (decimals > 0 && units % 10n === 0n) {
    units /= 10n;
    decimals -= 1;
  }
  return decimals;
}

// Strings are matched so that digits inside them are left alone.
const TOKENS = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** Parse JSON with every number kept as its text: JSON.parse would make floats of them. */
export function parseJson(text) {
  return JSON.parse(text.replace(TOKENS, (token) => (token[0] === '"' ? token : `"${token}"`)));
}
