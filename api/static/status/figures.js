// What the status page shows of two readings: names, figures, and how they are written.

/** Return a count or a rate for reading. */
export function count(value, decimals = 0) {
  if (value === null || value === undefined) return "–";
  const format = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
  return value.toLocaleString("en-US", format);
}

/** Return a rate: with a decimal while it is small. */
export function rate(value) {
  return count(value, value !== null && value > 0 && value < 10 ? 1 : 0);
}

/** Return seconds as milliseconds or seconds. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds >= 10) return `${count(seconds)} s`;
  if (seconds >= 1) return `${count(seconds, 1)} s`;
  return `${count(seconds * 1_000, seconds < 0.01 ? 1 : 0)} ms`;
}

/** Return how long ago a time (seconds since 1970) was. */
export function ago(time, now = Date.now() / 1_000) {
  const seconds = Math.max(0, now - time);
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  if (seconds < 5_400) return `${Math.round(seconds / 60)} min ago`;
  return `${Math.round(seconds / 3_600)} h ago`;
}

/** The figures at a glance: a value that is drawn over time, and how it is written. */
export const CARDS = [
  {
    title: "Orders per second",
    value: (span) => span.rate("orders_received_total"),
    text: rate,
  },
  {
    title: "Trades per second",
    value: (span) => span.rate("trades_total"),
    text: rate,
  },
  {
    title: "Order latency p50",
    value: (span) => span.quantile(0.5, "order_latency_seconds"),
    text: duration,
  },
  {
    title: "Order latency p99",
    value: (span) => span.quantile(0.99, "order_latency_seconds"),
    text: duration,
  },
  {
    title: "Orders per commit",
    value: (span) => span.mean("commit_batch_entries"),
    text: (value) => count(value, 1),
  },
  {
    title: "Stream lag",
    value: (span) => span.newer.sum("stream_lag_entries"),
    text: (value) => count(value),
  },
];

/** The stages of an order's way: a histogram each, in seconds or in entries. */
export const STAGES = [
  ["Order to its answer", "order_latency_seconds", duration],
  ["Batch to its commit", "commit_batch_seconds", duration],
  ["Commit to published", "publish_seconds", duration],
  ["Entries in a batch", "commit_batch_entries", (value) => count(value, 0)],
  ["HTTP requests", "http_request_seconds", duration],
];

/** Facts: a title, and what is said of the span. */
export const STREAM_FACTS = [
  ["WebSockets open", ({ newer }) => count(newer.sum("websocket_connections"))],
  ["Messages received per second", (span) => rate(span.rate("websocket_messages_received_total"))],
  ["Slow clients resynced", ({ newer }) => count(newer.sum("websocket_clients_resynced_total"))],
  ["Slow clients dropped", ({ newer }) => count(newer.sum("websocket_clients_dropped_total"))],
  ["Feed gaps filled", ({ newer }) => count(newer.sum("feed_gaps_repaired_total") ?? 0)],
  ["Feed reconnects", ({ newer }) => count(newer.sum("feed_reconnects_total"))],
];

export const SERVER_FACTS = [
  ["Commands in flight", ({ newer }) => count(newer.sum("commands_in_flight"))],
  ["Rate limited", ({ newer }) => count(newer.sum("rate_limited_requests_total"))],
  ["Refused as too many", ({ newer }) => count(newer.sum("overload_refusals_total") ?? 0)],
  ["Rejected by the market", ({ newer }) => count(newer.sum("orders_rejected_total") ?? 0)],
];
