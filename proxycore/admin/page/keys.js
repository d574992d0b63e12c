/** The table of keys: a row for each, kept and changed in place, and its details below it when it is opened. */

import { Details } from "./details.js";
import { ago, arrange, clock, duration, make, moment, now, number, put } from "./format.js";
import { because, holds, matches, passes, benchedModels, stateOf } from "./health.js";
import { reason, say } from "./words.js";

const ORDER = { retired: 0, benched: 1, ready: 3 };

// name of the column, its class (which narrow screens hide), what it is sorted by
const COLUMNS = [
  ["name", "", null],
  ["project", "wide", (key) => key.project ?? ""],
  ["state", "", (key) => ORDER[stateOf(key)] - (stateOf(key) === "ready" && holds(key) ? 1 : 0)],
  ["why", "middle", (key) => reason(holds(key)?.bench.reason ?? "\uffff")],
  ["ends", "middle", (key) => holds(key)?.bench.until ?? Infinity],
  ["requests", "figure", (key) => -key.requests],
  ["successes", "figure wide", (key) => -key.successes],
  ["s429", "figure wide", (key) => -key.status_429],
  ["s403", "figure wide", (key) => -key.status_403],
  ["s5xx", "figure wide", (key) => -key.status_5xx],
  ["failovers", "figure wide", (key) => -key.failovers],
  ["lastUsed", "middle", (key) => -(key.last_used ?? 0)],
  ["firstByte", "figure wide", (key) => key.first_byte ?? Infinity],
];

/** The table; `ask` opens the dialog for an action on a key. */
export class Keys {
  constructor(ask) {
    this.ask = ask;
    this.table = document.getElementById("keys");
    this.body = this.table.tBodies[0];
    this.rows = new Map();
    this.keys = [];
    this.sorted = { column: 0, up: true };
    this.search = document.getElementById("search");
    this.filter = document.getElementById("filter");
    for (const one of [this.search, this.filter]) one.addEventListener("input", () => this.arrange());
    this.head();
  }

  /** Shows these keys; `changed` are those that are not as they were (null: all). */
  show(keys, changed) {
    this.keys = keys;
    if (!changed) {
      const names = new Set(keys.map((key) => key.name));
      for (const [name, row] of this.rows) if (!names.has(name)) { row.remove(); this.rows.delete(name); }
    }
    for (const key of changed ?? keys) this.row(key).show(key);
    if (!changed || changed.length) this.arrange();
  }

  /** Updates what counts down, once a second. */
  tick() {
    let over = false;
    for (const row of this.rows.values()) over = row.tick() || over;
    if (over) this.arrange();
  }

  /** Renders everything again, in another language. */
  again() {
    this.head();
    for (const row of this.rows.values()) row.again();
    this.arrange();
  }

  row(key) {
    let row = this.rows.get(key.name);
    if (!row) this.rows.set(key.name, row = new Row(key, this.ask));
    return row;
  }

  head() {
    const focused = this.table.tHead.contains(document.activeElement) ? document.activeElement.dataset.column : null;
    this.table.tHead.rows[0].replaceChildren(...COLUMNS.map(([name, kind], column) => {
      const button = make("button", "sort", say(name));
      button.type = "button";
      button.dataset.column = column;
      button.title = say("sortBy", { name: say(name) });
      button.addEventListener("click", () => this.sort(column));
      const cell = make("th", kind, button);
      cell.scope = "col";
      if (column === this.sorted.column) cell.setAttribute("aria-sort", this.sorted.up ? "ascending" : "descending");
      return cell;
    }));
    if (focused !== null) this.table.tHead.querySelector(`[data-column="${focused}"]`).focus();
  }

  sort(column) {
    this.sorted = { column, up: column === this.sorted.column ? !this.sorted.up : true };
    this.head();
    this.arrange();
  }

  /** Puts the rows that match into their order, and moves none that is in its place. */
  arrange() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = this.keys.filter((key) => passes(key, this.filter.value) && matches(key, words));
    const value = COLUMNS[this.sorted.column][2];
    if (value) {
      const values = new Map(shown.map((key) => [key, value(key)]));
      shown.sort((one, other) => compare(values.get(one), values.get(other)));
    }
    if (!this.sorted.up) shown.reverse();
    this.place(shown.flatMap((key) => this.rows.get(key.name).elements));
    this.count(shown.length);
  }

  place(elements) {
    const focused = this.body.contains(document.activeElement) ? document.activeElement : null;
    arrange(this.body, elements);
    if (focused && document.activeElement !== focused) (focused.isConnected ? focused : this.filter).focus({ preventScroll: true });
  }

  count(shown) {
    const states = { ready: 0, benched: 0, retired: 0 };
    for (const key of this.keys) states[stateOf(key)] += 1;
    const counts = say("counts", { ready: states.ready, benched: states.benched, retired: states.retired });
    const some = shown < this.keys.length ? `${say("keysShown", { shown, total: this.keys.length })} · ` : "";
    put(document.getElementById("keys-count"), some + counts);
    document.getElementById("none").hidden = shown > 0;
  }
}

/** A key's row. */
class Row {
  constructor(key, ask) {
    this.key = key;
    this.element = make("tr");
    this.cells = COLUMNS.map(([, kind], column) => make(column ? "td" : "th", kind));
    this.cells[0].scope = "row";
    this.opener = make("button", "opener");
    this.opener.type = "button";
    this.opener.setAttribute("aria-expanded", "false");
    this.opener.addEventListener("click", () => this.toggle());
    this.cells[0].append(this.opener);
    this.element.append(...this.cells);
    this.badge = make("span", "badge");
    this.aside = make("span", "aside");
    this.cells[2].append(this.badge, this.aside);
    this.left = make("span");
    this.moment = make("span", "moment");
    this.cells[4].append(this.left, " ", this.moment);
    this.details = new Details(COLUMNS.length, ask);
  }

  get elements() {
    return this.details.open ? [this.element, this.details.element] : [this.element];
  }

  remove() {
    for (const one of this.elements) one.remove();
  }

  toggle() {
    this.details.open = !this.details.open;
    this.opener.setAttribute("aria-expanded", String(this.details.open));
    if (this.details.open) {
      this.details.show(this.key);
      this.element.after(this.details.element);
    } else this.details.element.remove();
  }

  show(key) {
    this.key = key;
    put(this.opener, key.name);
    this.opener.setAttribute("aria-label", say("more", { name: key.name }));
    const figures = [key.requests, key.successes, key.status_429, key.status_403, key.status_5xx, key.failovers];
    put(this.cells[1], key.project ?? "");
    figures.forEach((figure, at) => put(this.cells[5 + at], number(figure)));
    put(this.cells[12], duration(key.first_byte));
    this.health();
    if (this.details.open) this.details.show(key);
  }

  again() {
    this.show(this.key);
  }

  /** Updates what counts down; returns whether a bench is over. */
  tick() {
    const before = this.held;
    put(this.cells[11], ago(this.key.last_used));
    if (before) this.health();
    if (this.details.open) this.details.show(this.key);
    return Boolean(before) && before.bench !== this.held?.bench;
  }

  health() {
    const state = stateOf(this.key), held = holds(this.key), models = benchedModels(this.key);
    this.held = held;
    put(this.badge, say(state));
    this.badge.dataset.state = state;
    let aside = "";
    if (state === "ready" && held) {
      aside = models.length > 1 ? say("modelsBenched", { count: models.length }) : say("modelBenched", { model: held.model });
    }
    put(this.aside, aside);
    this.element.dataset.state = state === "ready" && held ? "partly" : state;
    put(this.cells[3], held ? because(held.bench) : "");
    put(this.left, held ? `${clock(held.bench.until - now())} ·` : "");
    put(this.moment, held ? say("at", { time: moment(held.bench.until) }) : "");
    put(this.cells[11], ago(this.key.last_used));
  }
}

function compare(one, other) {
  if (typeof one === "string") return one.localeCompare(other, undefined, { numeric: true });
  return one - other || 0;
}
