// The trading page's composition root: what there is, and who tells whom.

import { ask } from "../shared/api.js";
import { byId, setAttribute, tabs } from "../shared/dom.js";
import { Frames } from "../shared/frames.js";
import { startTheme } from "../shared/theme.js";
import { Account } from "./account.js";
import { AccountView } from "./account_view.js";
import { Candles, INTERVALS } from "./candles.js";
import { Chart } from "./chart.js";
import { DepthChart } from "./depth.js";
import { Header } from "./header.js";
import { Ladder } from "./ladder.js";
import { Market } from "./market.js";
import { newKey } from "./orders.js";
import { Precision } from "./precision.js";
import { Stream } from "./stream.js";
import { Tape } from "./tape.js";
import { Ticket } from "./ticket.js";

const RETRY_MS = 1_000;
// What changes thousands of times a second but is read by people: less often than each frame.
const CALM_MS = 100;
// With fewer candles than this there is little to see: then seconds are shown first.
const CANDLES_FEW = 10;
const CLIENT_ID = /^[A-Za-z0-9._:-]{1,64}$/;

export const stream = new Stream("/stream");
export const market = new Market(stream);
const candles = new Candles();
const precision = new Precision();
export const account = new Account(stored("client") ?? newClientId());
const frames = new Frames();

const ticket = new Ticket(byId("ticket-form"), { market, account, precision });
const ladder = new Ladder(byId("book"), {
  market,
  account,
  precision,
  onpick: (price) => ticket.setPrice(price),
  onresize: () => drawLadder(),
});
const tape = new Tape(byId("tape"), { market, precision, onresize: () => drawTape() });
const depth = new DepthChart(byId("depth"), { market, precision, onchange: () => drawDepth() });
const chart = new Chart(byId("chart-box"), { candles, precision, onpoint: () => drawChart() });
const header = new Header({ market, precision, stream, onchoose: (name) => show(name) });
const accountView = new AccountView({ account, market, precision });

const drawLadder = frames.view(() => ladder.draw());
const drawTape = frames.view(() => tape.draw());
const drawChart = frames.view(() => chart.draw());
const drawDepth = frames.view(() => depth.draw(), CALM_MS);
const drawTicket = frames.view(() => ticket.draw(), CALM_MS);
const drawTicker = frames.view(() => header.drawTicker(), CALM_MS);
const drawConnection = frames.view(() => header.drawConnection());
const drawOrders = frames.view(() => accountView.drawOrders(), CALM_MS);
const drawFills = frames.view(() => accountView.drawFills(), CALM_MS);
const drawPositions = frames.view(() => accountView.drawPositions(), CALM_MS);

let instruments = [];
let interval = "1m";

stream.onmessage = (message) => market.take(message);
stream.onopen = () => {
  market.subscribe();
  if (market.instrument === null) return;
  account.reload();
  candles.reload(() => market.trades);
};
stream.onstate = (state) => {
  setAttribute(document.body, "data-connection", state);
  drawConnection();
};
// Everybody's orders come; ours are wanted.
stream.skip = (text) =>
  text.startsWith('{"type":"orders"') && !text.includes(`"client_id":"${account.clientId}"`);

market.onbook = () => {
  drawLadder();
  drawDepth();
  drawTicket();
  drawPositions();
};
market.ontrade = (trade) => {
  candles.add(trade);
  account.takeTrade(trade);
  drawTape();
  drawTicker();
};
market.ontrades = () => {
  if (INTERVALS[interval] < 60) candles.reload(() => market.trades);
  drawTape();
  drawLadder();
  drawTicker();
};
market.onticker = drawTicker;
market.onmissed = () => {
  account.reload();
  candles.reload(() => market.trades);
};
market.onorder = (order) => account.take(order);
candles.onreset = () => {
  chart.reset();
  drawChart();
};
candles.onchange = drawChart;
account.onorders = () => {
  drawOrders();
  drawLadder();
};
account.onfills = drawFills;
account.onpositions = () => {
  drawPositions();
  drawTicket();
};

/** Show an instrument, everywhere. */
async function show(name) {
  const instrument = instruments.find((one) => one.instrument === name) ?? instruments[0];
  store("instrument", instrument.instrument);
  for (const node of document.querySelectorAll("[data-asset]")) {
    node.textContent = instrument[`${node.dataset.asset}_asset`];
  }
  precision.reset();
  ladder.reset();
  market.show(instrument.instrument);
  ticket.show(instrument);
  account.show(account.clientId, instrument.instrument);
  await chooseInterval(interval);
  if (candles.rows.length < CANDLES_FEW && interval === "1m") await chooseInterval("1s");
}

async function chooseInterval(name) {
  interval = name;
  for (const radio of document.querySelectorAll('[name="interval"]')) {
    radio.checked = radio.value === name;
  }
  chart.seconds(INTERVALS[name] < 60);
  await candles.show(market.instrument, name, () => market.trades);
}

function newClientId() {
  const name = newKey().slice(0, 11);
  store("client", name);
  return name;
}

function stored(name) {
  try {
    return localStorage.getItem(`trade-engine.${name}`);
  } catch {
    return null;
  }
}

function store(name, value) {
  try {
    localStorage.setItem(`trade-engine.${name}`, value);
  } catch {
    // Private windows may refuse: then it holds until the page is left.
  }
}

/** Read what can be traded, however long that takes. */
async function readInstruments() {
  for (;;) {
    try {
      const answer = await ask("/instruments");
      if (answer.instruments.length > 0) return answer.instruments;
    } catch {
      // Not there yet.
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

async function start() {
  startTheme(byId("theme"));
  tabs(byId("account-tabs"));
  byId("intervals").addEventListener("change", (event) => chooseInterval(event.target.value));
  const client = byId("client");
  client.value = account.clientId;
  client.addEventListener("change", () => {
    const name = client.value.trim();
    const fits = CLIENT_ID.test(name);
    setAttribute(client, "aria-invalid", fits ? null : "true");
    if (!fits) return;
    store("client", name);
    account.show(name, market.instrument);
  });
  setInterval(drawConnection, 1_000);
  stream.connect();
  instruments = await readInstruments();
  const chosen = stored("instrument");
  const known = instruments.some(({ instrument }) => instrument === chosen);
  const first = known ? chosen : instruments[0].instrument;
  header.setInstruments(instruments, first);
  await show(first);
}

start();
