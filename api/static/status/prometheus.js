// Prometheus' text format, and what is made of two readings of it. These are counts and seconds,
// not money: plain numbers do.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;

/** One reading: when it was made (ms), and every sample as {labels, value} by its name. */
export class Reading {
  #samples = new Map();

  constructor(text, at) {
    this.at = at;
    for (const line of text.split("\n")) {
      if (line === "" || line[0] === "#") continue;
      const [, name, labels, value] = LINE.exec(line);
      if (!this.#samples.has(name)) this.#samples.set(name, []);
      this.#samples.get(name).push({ labels: readLabels(labels), value: Number(value) });
    }
  }

  /** Return the samples of a name, empty when there are none. */
  all(name) {
    return this.#samples.get(name) ?? [];
  }

  /** Return the sum over all labels that fit, null when there is no such sample. */
  sum(name, labels = {}) {
    const fitting = this.all(name).filter((sample) => fits(sample.labels, labels));
    return fitting.length === 0 ? null : fitting.reduce((total, { value }) => total + value, 0);
  }

  /** Return the sums by the value of one label. */
  by(name, label) {
    const sums = new Map();
    for (const { labels, value } of this.all(name)) {
      sums.set(labels[label], (sums.get(labels[label]) ?? 0) + value);
    }
    return sums;
  }
}

/** Two readings of counters that only grow, until a process starts anew. */
export class Span {
  constructor(older, newer) {
    this.older = older;
    this.newer = newer;
    this.seconds = (newer.at - older.at) / 1_000;
  }

  /** Return how often a second something was counted. */
  rate(name, labels = {}) {
    const now = this.newer.sum(name, labels);
    if (now === null || this.seconds <= 0) return null;
    return grown(this.older.sum(name, labels), now) / this.seconds;
  }

  /** Return the mean of a histogram's new observations, null without any. */
  mean(name) {
    const grew = (part) => grown(this.older.sum(name + part), this.newer.sum(name + part) ?? 0);
    const count = grew("_count");
    return count > 0 ? grew("_sum") / count : null;
  }

  /**
   * Return the quantile of a histogram's new observations, interpolated within its bucket as
   * Prometheus' histogram_quantile does; null without any.
   */
  quantile(share, name) {
    const before = this.older.by(`${name}_bucket`, "le");
    const buckets = [...this.newer.by(`${name}_bucket`, "le")]
      .map(([le, count]) => ({
        bound: le === "+Inf" ? Infinity : Number(le),
        count: grown(before.get(le) ?? null, count),
      }))
      .sort((a, b) => a.bound - b.bound);
    const total = buckets.at(-1)?.count ?? 0;
    if (total <= 0) return null;
    const rank = share * total;
    let [low, counted] = [0, 0];
    for (const { bound, count } of buckets) {
      if (count >= rank) {
        if (bound === Infinity) return low;
        return low + ((bound - low) * (rank - counted)) / (count - counted);
      }
      [low, counted] = [bound, count];
    }
    return low;
  }
}

/** Return by how much a counter grew; one that is smaller than before began anew at zero. */
function grown(before, now) {
  return before === null || now < before ? now : now - before;
}

function fits(labels, wanted) {
  return Object.entries(wanted).every(([name, value]) => labels[name] === value);
}

function readLabels(text) {
  const labels = {};
  for (const [, name, value] of (text ?? "").matchAll(LABEL)) {
    labels[name] = value.replace(/\\(.)/g, (_, char) => (char === "n" ? "\n" : char));
  }
  return labels;
}
