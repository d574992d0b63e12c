/** The connection to the server: the status as server-sent events, actions, and what else can be read. */

import { say } from "./words.js";

const PATIENCE = 5000; // milliseconds without an event, after which the connection counts as lost
const FIRST_PAUSE = 1000, LONGEST_PAUSE = 10000; // milliseconds between two attempts
const STORED = "adminKey";

/** A response that is an error, with the server's message and the HTTP status. */
export class ServerError extends Error {
  constructor(answer, content) {
    super(content.error?.message ?? `HTTP ${answer.status}`);
    this.status = answer.status;
  }
}

/** Why something was not read or done; fetch() throws a TypeError without a connection, with the browser's own text. */
export const reasonOf = (error) => (error instanceof TypeError ? say("lostShort") : error.message);

/** Follows the server. `told` is called with the document, `lost` and `refused` when the connection is. */
export class Feed {
  constructor({ told, lost, refused }) {
    Object.assign(this, { told, lost, refused, document: null });
    this.key = sessionStorage.getItem(STORED) ?? "";
    this.turn = 0; // the number of the attempt: results of earlier ones are ignored
  }

  /** Whether there is a state file, so that requests, usage and events can be read. */
  get isKept() { return this.document?.storage.state !== "off"; }

  /** Begins to follow the server, with this key. */
  start(key = this.key) {
    this.key = key;
    this.pause = FIRST_PAUSE;
    this.follow(++this.turn);
  }

  /** Stops following, and forgets the key. */
  stop() {
    this.turn += 1;
    this.abort?.abort();
    this.key = "";
    this.document = null;
    sessionStorage.removeItem(STORED);
  }

  /** Sends an action; returns the response, null if the key is refused, or throws an error with the reason. */
  async act(order) {
    const headers = { ...this.headers(), "Content-Type": "application/json" };
    const answer = await fetch("status.json", { method: "POST", headers, body: JSON.stringify(order) });
    if (answer.status === 401) {
      this.refused();
      return null;
    }
    const content = await answer.json().catch(() => ({})); // a gateway in front may respond with HTML
    if (!content.message) throw new ServerError(answer, content);
    return content;
  }

  /** Reads JSON of this path, with parameters (null and "" are left out). Throws ServerError; null: logged out. */
  async read(path, parameters = {}, signal = undefined) {
    const answer = await this.get(path, parameters, signal);
    if (!answer) return null;
    const content = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new ServerError(answer, content);
    return content;
  }

  /** Requests this path; returns the response, null if the key is refused. */
  async get(path, parameters = {}, signal = undefined) {
    const given = Object.entries(parameters).filter(([, value]) => value != null && value !== "");
    const query = given.length ? `?${new URLSearchParams(given)}` : "";
    const answer = await fetch(path + query, { headers: this.headers(), cache: "no-store", signal });
    if (answer.status !== 401) return answer;
    this.refused();
    return null;
  }

  headers() {
    return this.key ? { "x-goog-api-key": this.key } : {};
  }

  async follow(turn) {
    this.abort = new AbortController();
    try {
      const headers = { ...this.headers(), Accept: "text/event-stream" };
      const watch = setTimeout(() => this.abort.abort(), 2 * PATIENCE);
      const asked = fetch("status.json", { headers, signal: this.abort.signal, cache: "no-store" });
      const answer = await asked.finally(() => clearTimeout(watch));
      if (answer.status === 401) {
        if (turn === this.turn) this.refused();
        return;
      }
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      if (this.key) sessionStorage.setItem(STORED, this.key);
      await this.receive(answer.body.getReader(), turn);
    } catch { /* any failure: reconnect */ }
    if (turn !== this.turn) return;
    this.lost();
    setTimeout(() => turn === this.turn && this.follow(turn), this.pause);
    this.pause = Math.min(2 * this.pause, LONGEST_PAUSE);
  }

  async receive(reader, turn) {
    const decoder = new TextDecoder();
    let rest = "";
    for (;;) {
      const watch = setTimeout(() => this.abort.abort(), PATIENCE);
      const { done, value } = await reader.read().finally(() => clearTimeout(watch));
      if (done || turn !== this.turn) return;
      const events = (rest + decoder.decode(value, { stream: true })).split("\n\n");
      rest = events.pop();
      for (const event of events) this.take(event);
    }
  }

  take(event) {
    const [kind, data] = event.split("\n");
    const content = JSON.parse(data.slice("data: ".length));
    const whole = kind === "event: status";
    this.document = whole ? content : merged(this.document, content);
    this.pause = FIRST_PAUSE;
    try {
      this.told(this.document, whole ? null : content);
    } catch (error) {
      reportError(error); // a fault of the page is no lost connection
    }
  }
}

/** The document with a change in it: members are replaced, but of the keys only those in the change. */
function merged(before, change) {
  const changed = new Map((change.keys ?? []).map((key) => [key.name, key]));
  return { ...before, ...change, keys: before.keys.map((key) => changed.get(key.name) ?? key) };
}
