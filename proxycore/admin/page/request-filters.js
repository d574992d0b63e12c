/** The filters of the request log: a search, selects of what is known, and the address that keeps them. */

import { button, make, put, set } from "./elements.js";
import { minute } from "./format.js";
import { fill } from "./request-cells.js";
import { OUTCOMES } from "./request-words.js";
import { say } from "./words.js";

const MANY = 200; // options from which on it is a field to type in, with suggestions
const STATUSES = [200, 400, 401, 403, 404, 429, 499, 500, 503, 504];
const SPANS = { "1h": ["pastHour", 3600], "24h": ["pastDay", 86400], "7d": ["pastWeek", 604800] };
const NAMES = ["outcome", "model", "client", "key", "status", "since"];

/** The filters; `change` is called with the query once another one is chosen, `typed` with what is searched. */
export class RequestFilters {
  constructor({ change, typed }) {
    this.change = change;
    this.query = new URLSearchParams();
    this.search = make("input");
    this.search.type = "search";
    this.search.maxLength = 128;
    this.search.dataset.hint = "searchRequests";
    this.search.dataset.label = "search";
    this.search.addEventListener("input", () => typed(this.search.value.trim()));
    this.search.addEventListener("change", () => typed(this.search.value.trim()));
    const named = { outcome: "allOutcomes", model: "everyModel", client: "allClients", key: "allKeys", status: "allStatuses", since: "anyTime" };
    this.choices = new Map(NAMES.map((name) => [name, new Choice(name, named[name], () => this.choose())]));
    this.clear = button("clearFilters", "quiet clear", () => this.change(new URLSearchParams()));
    this.element = make("div", "request-filters", ...[...this.choices.values()].map((choice) => choice.element));
    set(this.element, "role", "group");
    this.element.dataset.label = "filters";
  }

  /** Takes over what the address asks for. */
  arrive(query) {
    this.query = query;
    const text = query.get("id") ?? query.get("q") ?? "";
    if (this.search.value.trim() !== text) this.search.value = text;
    for (const [name, choice] of this.choices) choice.set(query.get(name) ?? "");
    this.clear.disabled = ![...query.keys()].length;
  }

  /** Offers what is known by the status, and by the requests that were read. */
  know(status, seen) {
    const models = new Set([...(status.models ?? []).map(({ name }) => name), ...Object.keys(status.today), ...seen.models]);
    this.offer("outcome", Object.entries(OUTCOMES).map(([value, word]) => [value, say(word)]));
    this.offer("model", named([...models].filter(Boolean).sort()));
    this.offer("client", named(status.clients.map(({ name }) => name), (name) => (name === "-" ? say("openToAll") : name)));
    this.offer("key", named(status.keys.map(({ name }) => name)));
    this.offer("status", named([...new Set([...STATUSES, ...seen.statuses])].sort((one, other) => one - other).map(String)));
    this.offer("since", Object.entries(SPANS).map(([value, [word]]) => [value, say(word)]));
  }

  offer(name, options) {
    const chosen = this.query.get(name) ?? "";
    const told = name === "since" ? say("sinceMoment", { time: sinceOf(chosen) }) : chosen;
    if (chosen && !options.some(([value]) => value === chosen)) options.push([chosen, told]); // it is known no more
    this.choices.get(name).offer(options);
  }

  choose() {
    const query = new URLSearchParams();
    if (this.query.get("q")) query.set("q", this.query.get("q"));
    for (const [name, choice] of this.choices) if (choice.value) query.set(name, choice.value);
    this.change(query);
  }
}

/** What the server is asked for by a query of the address, at this time. */
export function parametersOf(query, time) {
  const given = ["id", ...NAMES].map((name) => [name, query.get(name)]).filter(([, value]) => value);
  const parameters = Object.fromEntries(given);
  if (SPANS[parameters.since]) parameters.since = time - SPANS[parameters.since][1];
  else if (parameters.since && Number(parameters.since)) parameters.since = Number(parameters.since);
  return parameters;
}

const named = (values, tell = (value) => value) => values.map((value) => [value, tell(value)]);

const sinceOf = (text) => (Number(text) ? minute(Number(text)) : text);

/** One filter: a select, or an input with suggestions if there are many options. */
class Choice {
  constructor(name, all, changed) {
    this.name = name;
    this.all = all;
    this.value = "";
    this.changed = changed;
    this.element = make("span", "choice");
    this.offered = null;
    this.build(false);
  }

  build(isMany) {
    this.field = make(isMany ? "input" : "select", "field");
    if (isMany) {
      this.list = make("datalist");
      this.list.id = `known-${this.name}`;
      set(this.field, "list", this.list.id);
      this.field.autocomplete = "off";
    }
    this.field.name = this.name;
    this.field.addEventListener("change", () => { this.value = this.field.value.trim(); this.changed(); });
    this.element.replaceChildren(this.field, ...(isMany ? [this.list] : []));
  }

  /** Offers values with their texts; not while the reader is choosing one. */
  offer(options) {
    const told = [say(this.all), ...options.flat()].join("\n"), isMany = options.length > MANY;
    if (told === this.offered || this.field === document.activeElement) return;
    this.offered = told;
    if (isMany !== this.field.matches("input")) this.build(isMany);
    set(this.field, "aria-label", say(this.name === "since" ? "time" : this.name));
    if (isMany) {
      this.field.placeholder = say(this.all);
      // Thousands are made only if they are used.
      this.field.onfocus = () => fill(this.list, told, () => options.map(([value, text]) => option(value, text)));
    } else this.field.replaceChildren(...[["", say(this.all)], ...options].map(([value, text]) => option(value, text)));
    this.field.value = this.value;
  }

  set(value) {
    this.value = value;
    this.field.value = value;
    this.element.classList.toggle("chosen", value !== "");
  }
}

function option(value, text) {
  const one = make("option");
  one.value = value;
  put(one, text);
  return one;
}
