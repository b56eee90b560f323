// Sending an order so that it has one effect, whatever the network does.

import { ask, Refusal } from "../shared/api.js";

const RETRY_MS = [300, 700, 1_500, 3_000, 5_000];
const PAUSE_MS_MAX = 5_000;

/**
 * Submit an order and return the answer. While nobody knows what became of it, the same order with
 * the same key is sent again, which is safe; `onunknown` is called before each repeat.
 */
export async function submit(order, onunknown) {
  const body = { ...order, idempotency_key: newKey() };
  for (let tries = 0; ; tries += 1) {
    try {
      return await ask("/orders", { method: "POST", body });
    } catch (error) {
      const unknown = !(error instanceof Refusal) || error.status === 504;
      // A 503 of a repeat says nothing of the first.
      if (!unknown && !(tries > 0 && error.status === 503)) throw error;
      if (tries === RETRY_MS.length) throw error;
      onunknown();
      await new Promise((resolve) => setTimeout(resolve, Math.min(RETRY_MS[tries], PAUSE_MS_MAX)));
    }
  }
}

/** Cancel a resting order and return it. */
export async function cancel({ id, instrument }) {
  const query = new URLSearchParams({ instrument });
  const path = `/orders/${encodeURIComponent(id)}/cancel?${query}`;
  return (await ask(path, { method: "POST" })).order;
}

/** Return a name that nobody else has. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return `page-${[...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
