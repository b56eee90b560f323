// The public HTTP API.

import { parseJson } from "./exact.js";

/** What the API answered instead of what was asked for; `errors` names the offending fields. */
export class Refusal extends Error {
  constructor(status, body) {
    super(body.message ?? `the server answered ${status}`);
    this.status = status;
    this.code = body.error ?? "unknown";
    this.errors = body.errors ?? [];
    this.order = body.order ?? null;
  }
}

/** Return the answer's JSON, its numbers as text. Throws Refusal, or TypeError without a server. */
export async function ask(path, { method = "GET", body, timeoutMs = 10_000 } = {}) {
  const response = await fetch(path, {
    method,
    body: body === undefined ? undefined : JSON.stringify(body),
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    signal: AbortSignal.timeout(timeoutMs),
    cache: "no-store",
  });
  const text = await response.text();
  let answer;
  try {
    answer = parseJson(text);
  } catch {
    answer = { message: `the server answered ${response.status} without saying why` };
  }
  if (!response.ok) throw new Refusal(response.status, answer);
  return answer;
}

/** Return a path with a query. */
export function withQuery(path, query) {
  return `${path}?${new URLSearchParams(query)}`;
}
