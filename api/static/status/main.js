// The status page: reads what everybody can read, and draws it.

import { byId, element, setAttribute, setText } from "../shared/dom.js";
import { onTheme, startTheme } from "../shared/theme.js";
import {
  ago,
  CARDS,
  count,
  duration,
  rate,
  SERVER_FACTS,
  STAGES,
  STREAM_FACTS,
} from "./figures.js";
import { Reading, Span } from "./prometheus.js";
import { drawSpark } from "./spark.js";

const EVERY_MS = 2_000;
// Rates and percentiles are of this long.
const WINDOW_MS = 10_000;
// Points of the small lines: two minutes.
const POINTS = 60;
const TIMEOUT_MS = 5_000;

const readings = [];
const histories = CARDS.map(() => []);
const cards = CARDS.map(({ title }) => {
  const output = element("output", { "aria-label": title, "aria-live": "off" }, "–");
  const canvas = element("canvas", { "aria-hidden": "true" });
  byId("cards").append(element("li", {}, element("h2", {}, title), output, canvas));
  return { output, canvas };
});

async function get(path) {
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  return fetch(path, { signal, cache: "no-store" });
}

async function read() {
  try {
    const [metrics, health, ready] = await Promise.all(
      ["/metrics", "/healthz", "/readyz"].map(get),
    );
    const [text, healthBody, readyBody] = await Promise.all([
      metrics.text(),
      health.json(),
      ready.json(),
    ]);
    take(new Reading(text, performance.now()), healthBody, readyBody);
  } catch {
    // Percentiles over a time in which nobody answered would mean nothing.
    readings.length = 0;
    verdict("bad", "The exchange does not answer", []);
  }
}

function take(reading, health, ready) {
  readings.push(reading);
  while (readings.length > 2 && reading.at - readings[1].at >= WINDOW_MS) readings.shift();
  const words = { healthy: "good", degraded: "warn", unhealthy: "bad" };
  const state = ready.status === "ready" ? words[health.status] : "bad";
  verdict(
    state,
    ready.status === "ready" ? `Trading, ${health.status}` : "Not trading",
    ready.missing,
  );
  drawServers(reading, health);
  drawJobs(reading);
  drawProof(reading);
  setText(byId("read-at"), `Read at ${new Date().toISOString().slice(11, 19)} UTC.`);
  if (readings.length < 2) return;
  const span = new Span(readings[0], reading);
  for (const [index, { value, text }] of CARDS.entries()) {
    const figure = value(span);
    histories[index].push(figure);
    if (histories[index].length > POINTS) histories[index].shift();
    setText(cards[index].output, text(figure));
  }
  drawSparks();
  drawStages(span);
  drawInstruments(span);
  drawFacts(
    "stream",
    STREAM_FACTS.map(([title, value]) => [title, value(span)]),
  );
}

function verdict(state, text, missing) {
  setAttribute(byId("verdict"), "data-state", state);
  setText(byId("verdict-text"), text);
  setText(byId("missing"), missing.join("; "));
}

function drawSparks() {
  for (const [index, { canvas }] of cards.entries()) drawSpark(canvas, histories[index], POINTS);
}

function drawStages(span) {
  setText(byId("window"), String(Math.round(span.seconds)));
  const rows = STAGES.map(([title, name, write]) => [
    title,
    rate(span.rate(`${name}_count`)),
    ...[0.5, 0.95, 0.99].map((share) => write(span.quantile(share, name))),
  ]);
  drawRows("stages-rows", rows);
}

function drawInstruments(span) {
  const { newer } = span;
  const names = [...newer.by("matcher_lease_held", "instrument").keys()];
  const rows = names.map((instrument) => {
    const held = newer.sum("matcher_lease_held", { instrument }) === 1;
    const lagSeconds = newer.sum("mirror_lag_seconds", { instrument });
    const lag = newer.sum("mirror_lag_events", { instrument });
    return [
      instrument,
      { text: held ? "held" : "nobody matches it", state: held ? "good" : "bad" },
      count(newer.sum("matcher_epoch", { instrument })),
      count(newer.sum("stream_lag_entries", { instrument })),
      rate(span.rate("trades_total", { instrument }) ?? 0),
      count(newer.sum("current_orderbook_depth", { instrument, side: "bid" })),
      count(newer.sum("current_orderbook_depth", { instrument, side: "ask" })),
      lag === null ? "off" : `${count(lag)} (${duration(lagSeconds)})`,
      count(newer.sum("dead_letters_total", { instrument }) ?? 0),
    ];
  });
  drawRows("instruments-rows", rows);
}

function drawJobs(reading) {
  const rows = [...reading.by("job_overdue_seconds", "job")].map(([job, overdue]) => {
    const running = reading.sum("jobs_running", { job }) > 0;
    const failures = reading.sum("job_failures_in_a_row", { job });
    const state = failures > 0 ? "bad" : overdue > 30 ? "warn" : "good";
    const word = running ? "running" : failures > 0 ? "failing" : overdue > 30 ? "late" : "on time";
    return [job, { text: word, state }, overdue > 0 ? duration(overdue) : "–", count(failures)];
  });
  drawRows("jobs-rows", rows);
}

function drawProof(reading) {
  const last = reading.sum("reconciliation_last_timestamp_seconds");
  const byName = reading.by("reconciliation_violations", "invariant");
  if (last === null || last === 0) {
    setAttribute(byId("proof"), "data-state", "unknown");
    setText(byId("proof"), "Not checked yet");
    drawFacts("proof-facts", [
      ["Since", "the start of what runs here"],
      ["Check now", "python -m ops verify"],
    ]);
    return;
  }
  const broken = [...byName].filter(([, rows]) => rows > 0);
  setAttribute(byId("proof"), "data-state", broken.length === 0 ? "good" : "bad");
  const word = broken.length === 0 ? `All ${byName.size} hold` : `${broken.length} do not hold`;
  setText(byId("proof"), word);
  drawFacts("proof-facts", [
    ["Checked", ago(last)],
    ["Rows that violate one", count(broken.reduce((sum, [, rows]) => sum + rows, 0))],
  ]);
  const items = broken.map(([name, rows]) => element("li", {}, `${name}: ${count(rows)}`));
  byId("violations").replaceChildren(...items);
}

function drawServers(reading, health) {
  const names = { postgres: "PostgreSQL", redis: "Redis", kafka: "Kafka" };
  const states = { healthy: "good", unhealthy: "bad", disabled: "off" };
  const servers = Object.entries(health.checks).map(([name, word]) => [
    names[name] ?? name,
    { text: word === "healthy" ? "answers" : word, state: states[word] },
  ]);
  const figures = SERVER_FACTS.map(([title, value]) => [title, value({ newer: reading })]);
  drawFacts("servers", [...servers, ...figures]);
}

/** Write a table's body; a cell is a text, or {text, state}. */
function drawRows(id, rows) {
  const body = byId(id);
  const heads = [...body.closest("table").tHead.rows[0].cells];
  while (body.rows.length > rows.length) body.deleteRow(-1);
  while (body.rows.length < rows.length) {
    const kind = (head, index) => (index === 0 ? "name" : head.className || null);
    body.append(
      element("tr", {}, ...heads.map((head, index) => element("td", { class: kind(head, index) }))),
    );
  }
  for (const [index, cells] of rows.entries()) {
    for (const [place, cell] of cells.entries()) write(body.rows[index].cells[place], cell);
  }
}

/** Write a list of facts, each a title and a text or {text, state}. */
function drawFacts(id, facts) {
  const list = byId(id);
  while (list.children.length > facts.length) list.lastElementChild.remove();
  while (list.children.length < facts.length) {
    list.append(element("div", {}, element("dt"), element("dd")));
  }
  for (const [index, [title, fact]] of facts.entries()) {
    const [term, description] = list.children[index].children;
    setText(term, title);
    write(description, fact);
  }
}

function write(node, cell) {
  const { text, state } = typeof cell === "string" ? { text: cell, state: null } : cell;
  setText(node, text);
  setAttribute(node, "data-state", state);
  node.classList.toggle("state", state !== null);
}

async function start() {
  startTheme(byId("theme"));
  onTheme(drawSparks);
  for (;;) {
    if (!document.hidden) await read();
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
}

start();
