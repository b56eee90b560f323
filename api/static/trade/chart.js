// Candles and volume, drawn by TradingView's Lightweight Charts.

import {
  CandlestickSeries,
  ColorType,
  createChart,
  CrosshairMode,
  HistogramSeries,
} from "../lightweight-charts/lightweight-charts.standalone.production.mjs";
import { byId, setAttribute, setText } from "../shared/dom.js";
import { shortest } from "../shared/exact.js";
import { colour, onTheme } from "../shared/theme.js";

const FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace";
// Pixels from one candle to the next.
const SPACING_MIN = 7;
const SPACING_MAX = 22;

export class Chart {
  #candles;
  #precision;
  #chart;
  #prices;
  #volumes;
  #decimals = null;
  #all = true;
  // Whether nobody has looked at these candles yet: then they may be spread out.
  #fresh = true;
  // Time of the candle under the pointer, null for the newest.
  #pointed = null;
  #colours;

  constructor(box, { candles, precision, onpoint }) {
    this.#candles = candles;
    this.#precision = precision;
    this.#chart = createChart(box, {
      autoSize: true,
      // Its own logo brings a style sheet along, which the page's policy forbids: the link and the
      // notice that the licence asks for stand below the chart.
      layout: { attributionLogo: false, fontFamily: FONT, fontSize: 11 },
      crosshair: { mode: CrosshairMode.Normal },
      rightPriceScale: { borderVisible: false, scaleMargins: { top: 0.08, bottom: 0.22 } },
      timeScale: { borderVisible: false, rightOffset: 4 },
      handleScroll: { vertTouchDrag: false },
    });
    this.#prices = this.#chart.addSeries(CandlestickSeries, {});
    this.#volumes = this.#chart.addSeries(HistogramSeries, {
      priceScaleId: "",
      priceFormat: { type: "volume" },
      lastValueVisible: false,
      priceLineVisible: false,
    });
    this.#volumes.priceScale().applyOptions({ scaleMargins: { top: 0.84, bottom: 0 } });
    this.#chart.subscribeCrosshairMove((point) => {
      this.#pointed = point.time ?? null;
      onpoint();
    });
    this.#paint();
    onTheme(() => {
      this.#paint();
      this.reset();
      onpoint();
    });
  }

  /** Draw everything anew the next time. */
  reset() {
    this.#all = true;
  }

  /** Be about to show other candles; with seconds in their times, or without. */
  seconds(visible) {
    this.#fresh = true;
    this.#chart.applyOptions({ timeScale: { timeVisible: true, secondsVisible: visible } });
    this.#chart.timeScale().scrollToRealTime();
  }

  draw() {
    const { rows, changed } = this.#candles;
    this.#setDecimals();
    if (this.#all) {
      this.#prices.setData(rows.map(bar));
      this.#volumes.setData(rows.map((row) => this.#volume(row)));
      if (this.#fresh && rows.length > 0) this.#spread(rows.length);
      this.#all = false;
    } else if (changed.size > 0) {
      for (const row of rows.slice(-changed.size - 4)) {
        if (!changed.has(row.time)) continue;
        const late = row !== rows.at(-1);
        this.#prices.update(bar(row), late);
        this.#volumes.update(this.#volume(row), late);
      }
    }
    changed.clear();
    this.#drawLegend(rows);
  }

  /** Make candles as wide as lets them fill most of the picture, within reason. */
  #spread(count) {
    this.#fresh = false;
    const scale = this.#chart.timeScale();
    const spacing = scale.width() / (count * 1.25 + 8);
    scale.applyOptions({ barSpacing: Math.min(SPACING_MAX, Math.max(SPACING_MIN, spacing)) });
  }

  #drawLegend(rows) {
    const row =
      this.#pointed === null
        ? rows.at(-1)
        : (rows.findLast((candidate) => candidate.time === this.#pointed) ?? rows.at(-1));
    for (const name of ["open", "high", "low", "close"]) {
      setText(byId(`legend-${name}`), row ? this.#precision.priceText(row[name]) : "–");
    }
    setText(byId("legend-volume"), row ? shortest(row.volume) : "–");
    setAttribute(byId("legend"), "data-way", row && row.close < row.open ? "down" : "up");
  }

  #setDecimals() {
    const decimals = this.#precision.price;
    if (decimals === this.#decimals) return;
    this.#decimals = decimals;
    const format = new Intl.NumberFormat("en-US", {
      minimumFractionDigits: decimals,
      maximumFractionDigits: decimals,
    });
    // The scale beside the picture; exact figures are in the legend.
    this.#prices.applyOptions({
      priceFormat: {
        type: "custom",
        minMove: 10 ** -decimals,
        formatter: (price) => format.format(price),
      },
    });
  }

  #paint() {
    const [text, line, up, down] = ["muted", "line", "up", "down"].map(colour);
    this.#colours = { up: faint(up), down: faint(down) };
    this.#chart.applyOptions({
      layout: { background: { type: ColorType.Solid, color: "transparent" }, textColor: text },
      grid: { vertLines: { color: line }, horzLines: { color: line } },
    });
    this.#prices.applyOptions({
      upColor: up,
      wickUpColor: up,
      borderUpColor: up,
      downColor: down,
      wickDownColor: down,
      borderDownColor: down,
    });
  }

  #volume({ time, open, close, volume }) {
    const color = close < open ? this.#colours.down : this.#colours.up;
    return { time, value: picture(volume), color };
  }
}

/** Return what is drawn of a number: pixels need not be exact. */
function picture(units) {
  return Number(units) / 1e8;
}

function bar({ time, open, high, low, close }) {
  return {
    time,
    open: picture(open),
    high: picture(high),
    low: picture(low),
    close: picture(close),
  };
}

function faint(rgb) {
  return rgb.replace("rgb(", "rgba(").replace(")", ", 0.35)");
}
