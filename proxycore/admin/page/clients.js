/** The view Clients: limits and usage of each client, and who uses which model. */

import { ClientTable } from "./client-table.js";
import { button, make, panel, put, set } from "./elements.js";
import { result } from "./dialog.js";
import { reasonOf } from "./feed.js";
import { now, pacificMidnight } from "./format.js";
import { ModelShares } from "./model-shares.js";
import { say } from "./words.js";

const DAY = 86400, HOUR = 3600, HOURS = 24;
const RANGES = {
  today: { word: "today", from: pacificMidnight, by: "client,model" },
  "7d": { word: "shortWeek", from: () => now() - 7 * DAY, by: "day,client,model" },
  "30d": { word: "shortMonth", from: () => now() - 30 * DAY, by: "day,client,model" },
};
const USUAL = "today";
const EVERY = 60; // seconds between two readings of the usage
const SUMMED = ["requests", "failed", "refused", "cut", "input_tokens", "output_tokens", "cached_tokens"];

/** The view. */
export class Clients {
  constructor(root, { feed, go }) {
    this.feed = feed;
    this.range = null; // until the address has named one
    this.usage = null; // what was read last: `{ range, rows, sums, all, hours }`
    this.order = new Map(); // the places of clients
    this.readAt = 0;
    this.table = new ClientTable();
    this.shares = new ModelShares();
    this.switch = make("div", "switch", ...Object.entries(RANGES).map(([range, { word }]) => {
      const one = button(word, "", () => go(`#/clients?range=${range}`));
      one.value = range;
      return one;
    }));
    this.switch.setAttribute("role", "group");
    this.switch.dataset.label = "timeRange";
    this.csv = button("csv", "", () => this.download());
    this.said = result();
    const title = make("h2");
    title.dataset.say = "clientsAndLimits";
    this.trouble = make("p", "card-foot");
    this.trouble.setAttribute("role", "status");
    const nothing = this.nothing = make("p", "empty");
    nothing.dataset.say = "noClients";
    this.body = make("div", "view", panel(title, "",
      make("header", "card-head", title, this.said, make("span", "push"), this.switch, this.csv), this.table.element, nothing, this.trouble), this.shares.element);
    this.body.hidden = true; // until there is something to show
    root.append(this.body);
  }

  arrive({ query }) {
    const range = RANGES[query.get("range")] ? query.get("range") : USUAL;
    for (const one of this.switch.children) {
      set(one, "aria-pressed", one.value === range);
      one.disabled = !this.feed.isKept;
    }
    this.csv.disabled = !this.feed.isKept;
    if (range !== this.range) this.order.clear();
    else if (this.usage) return;
    this.range = range;
    this.read();
  }

  show(status, change) {
    if (this.range && !this.isReading && performance.now() / 1000 - this.readAt > EVERY) this.read();
    if (this.body.hidden) return;
    if (!change || change.clients) this.draw();
    if (this.usage && (!change || change.today)) this.shares.showLeft(status.today);
  }

  tick() { if (!this.body.hidden) this.table.tick(); }

  async read() {
    this.reading?.abort();
    const reading = this.reading = new AbortController(), { range } = this;
    this.isReading = true;
    this.readAt = performance.now() / 1000;
    try {
      const usage = this.feed.isKept ? await this.readUsage(range, reading.signal) : null;
      if (reading.signal.aborted) return;
      this.usage = usage;
      put(this.trouble, this.feed.isKept ? "" : say("usageNotKept"));
    } catch (error) {
      if (reading.signal.aborted) return;
      put(this.trouble, say("notRead", { reason: reasonOf(error) }));
    } finally {
      if (reading === this.reading) this.isReading = false;
    }
    this.body.hidden = false;
    this.draw();
    this.shares.element.hidden = !this.usage;
    if (this.usage) this.shares.show(this.usage.rows, this.feed.document.today);
  }

  async readUsage(range, signal) {
    const hour = Math.floor(now() / HOUR) * HOUR, since = hour - (HOURS - 1) * HOUR;
    const [chosen, hourly] = await Promise.all([
      this.feed.read("usage.json", { from: RANGES[range].from(), by: "client,model" }, signal),
      this.feed.read("usage.json", { from: since, by: "client,hour" }, signal)]);
    if (!chosen || !hourly) throw new DOMException("logged out", "AbortError");
    const sums = new Map();
    for (const row of chosen.rows) sums.set(row.client, added(sums.get(row.client), row));
    return { range, rows: chosen.rows, sums, all: chosen.rows.reduce(added, undefined), hours: hoursOf(hourly.rows, since) };
  }

  draw() {
    const { clients } = this.feed.document;
    this.trouble.hidden = !this.trouble.textContent;
    this.nothing.hidden = clients.length > 0;
    this.table.element.hidden = !clients.length;
    const shown = this.sorted(clients).map((client) => ({
      client, usage: this.usage ? this.usage.sums.get(client.name) ?? ZERO(this.usage.all) : sinceStart(client), hours: this.hoursFor(client.name),
    }));
    this.table.show(shown, this.usage ? this.usage.all ?? ZERO() : shown.map(({ usage }) => usage).reduce(added, undefined));
  }

  hoursFor(name) {
    if (!this.usage) return null;
    return { values: this.usage.hours.get(name) ?? Array(HOURS).fill(0), most: this.usage.hours.most };
  }

  /** Those with the most requests come first; each keeps its place while the page is open. */
  sorted(clients) {
    const count = ({ name, requests }) => (this.usage ? this.usage.sums.get(name)?.requests ?? 0 : requests);
    const fresh = clients.filter(({ name }) => !this.order.has(name)).sort((one, other) => count(other) - count(one) || (one.name < other.name ? -1 : 1));
    for (const { name } of fresh) this.order.set(name, this.order.size);
    return clients.toSorted((one, other) => this.order.get(one.name) - this.order.get(other.name));
  }

  async download() {
    const { from, by } = RANGES[this.range];
    this.csv.disabled = true;
    try {
      const answer = await this.feed.get("usage.csv", { from: from(), by });
      if (!answer) return;
      const content = await answer.blob();
      if (!answer.ok) throw new Error((await content.text()).slice(0, 200));
      save(content, `usage-${this.range}.csv`);
      put(this.said, "");
    } catch (error) {
      put(this.said, say("notRead", { reason: reasonOf(error) }));
      this.said.dataset.kind = "bad";
    } finally {
      this.csv.disabled = false;
    }
  }

  leave() {
    this.reading?.abort();
    this.isReading = false;
  }

  translate() {
    this.table.translate();
    this.shares.translate(this.usage?.rows, this.feed.document.today);
    if (!this.feed.isKept) put(this.trouble, say("usageNotKept"));
  }
}

function added(sum, row) {
  const next = Object.fromEntries(SUMMED.map((name) => [name, name in row ? (sum?.[name] ?? 0) + row[name] : null]));
  for (const name of ["cost", "unpriced"]) next[name] = name in row && row[name] != null ? (sum?.[name] ?? 0) + row[name] : null;
  return next;
}

const ZERO = (all) => ({ ...Object.fromEntries(SUMMED.map((name) => [name, 0])), cost: all?.cost == null ? null : 0, unpriced: 0 });

const sinceStart = ({ requests, input_tokens, output_tokens }) => ({ requests, input_tokens, output_tokens });

/** The tokens of each hour since then, by client; and the most of them in an hour, as `most`. */
function hoursOf(rows, since) {
  const hours = new Map();
  for (const row of rows) {
    if (!hours.has(row.client)) hours.set(row.client, Array(HOURS).fill(0));
    const at = Math.round((row.time - since) / HOUR);
    if (at >= 0 && at < HOURS) hours.get(row.client)[at] += row.input_tokens + row.output_tokens;
  }
  hours.most = Math.max(1, ...[...hours.values()].flat());
  return hours;
}

/** Saves what needs a credential to be read: a plain link has none. */
function save(content, name) {
  const link = make("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
