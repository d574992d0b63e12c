/** A key's details: what narrow screens leave out of its row, its models and quotas, and what can be done. */

import { ago, arrange, clock, duration, make, moment, now, number, put } from "./format.js";
import { because, runs, stateOf } from "./health.js";
import { say } from "./words.js";

// name of the fact, and its text (empty: it is left out)
const FACTS = [
  ["project", (key) => key.project ?? ""],
  ["proxy", (key) => key.proxy ?? ""],
  ["why", (key) => (stateOf(key) === "ready" ? "" : because(key.bench))],
  ["ends", (key) => (stateOf(key) === "ready" ? "" : countdown(key.bench.until))],
  ["requests", (key) => number(key.requests)],
  ["successes", (key) => number(key.successes)],
  ["s429", (key) => number(key.status_429)],
  ["s403", (key) => number(key.status_403)],
  ["s5xx", (key) => number(key.status_5xx)],
  ["failovers", (key) => number(key.failovers)],
  ["firstByte", (key) => duration(key.first_byte)],
  ["lastUsed", (key) => ago(key.last_used)],
];
const MODEL_COLUMNS = ["model", "state", "quotas", "today"];

/** The row below a key's row. It is changed in place: what is focused, or just being pressed, has to stay. */
export class Details {
  constructor(columns, ask) {
    this.ask = ask;
    this.open = false;
    this.cell = make("td");
    this.cell.colSpan = columns;
    this.element = make("tr", "details", this.cell);
    this.models = new Map();
  }

  /** Shows a key, as it is. */
  show(key) {
    this.key = key;
    if (!this.facts) this.build();
    const focused = this.cell.contains(document.activeElement) ? document.activeElement : null;
    FACTS.forEach(([name, value], at) => {
      const fact = this.facts.children[at], text = value(key);
      fact.hidden = !text;
      put(fact.children[0], say(name));
      put(fact.children[1], text);
    });
    this.showModels();
    for (const [action, button] of Object.entries(this.buttons)) label(button, action);
    this.buttons.release.hidden = stateOf(key) === "ready";
    if (focused && (focused.hidden || !focused.isConnected)) this.buttons.try.focus();
  }

  build() {
    this.facts = make("dl", "facts", ...FACTS.map(() => make("div", "", make("dt"), make("dd"))));
    this.head = MODEL_COLUMNS.map(() => make("th"));
    for (const cell of this.head) cell.scope = "col";
    this.rows = make("tbody");
    this.table = make("table", "models", make("thead", "", make("tr", "", ...this.head)), this.rows);
    this.nothing = make("p", "none");
    this.buttons = {};
    for (const action of ["try", "rest", "release"]) this.buttons[action] = this.button(action);
    this.cell.append(this.facts, this.table, this.nothing, make("p", "actions", ...Object.values(this.buttons)));
  }

  showModels() {
    const known = new Map(Object.entries(this.key.models).map(([model, one]) => [`model ${model}`, { model, ...one }]));
    for (const [origin, bench] of Object.entries(this.key.origins)) known.set(`origin ${origin}`, { origin, bench });
    const names = [...known.keys()];
    this.table.hidden = !names.length;
    this.nothing.hidden = names.length > 0;
    put(this.nothing, say("nothingKnown"));
    MODEL_COLUMNS.forEach((name, at) => put(this.head[at], say(name)));
    keep(this.rows, this.models, names, (name) => this.row(known.get(name)));
    for (const [name, row] of this.models) row.show(known.get(name));
  }

  row({ model, origin }) {
    return new Model(model ?? origin, this.button("release", model === undefined ? { origin } : { model }));
  }

  button(action, about = {}) {
    const name = about.model ?? about.origin;
    const one = make("button");
    one.type = "button";
    one.dataset.action = name ? `${action} ${name}` : action;
    one.addEventListener("click", () => this.ask(action, this.key.name, about));
    return one;
  }
}

/** The state of a key for one model, or one origin of pages: a row of the table in its details. */
class Model {
  constructor(name, release) {
    this.name = name;
    this.release = release;
    this.badge = make("span", "badge");
    this.why = make("span");
    this.left = make("span", "countdown");
    this.quotas = make("td");
    this.bars = new Map();
    this.today = new Bar(name);
    const head = make("th", "", name);
    head.scope = "row";
    const state = make("td", "", this.badge, this.why, this.left, " ", release);
    this.element = make("tr", "", head, state, this.quotas, make("td", "", this.today.element));
  }

  show({ bench, quotas = {}, today = null }) {
    const rests = runs(bench), state = rests ? "benched" : "ready";
    put(this.badge, say(state));
    this.badge.dataset.state = state;
    put(this.why, rests ? ` ${because(bench)} · ` : "");
    put(this.left, rests ? countdown(bench.until) : "");
    label(this.release, "release");
    this.release.setAttribute("aria-label", say("releaseFor", { model: this.name }));
    this.release.hidden = !rests;
    keep(this.quotas, this.bars, Object.keys(quotas), (id) => new Bar(id));
    for (const [id, bar] of this.bars) bar.show(quotas[id].left, quotas[id].allowed, spanOf(quotas[id]));
    this.today.element.hidden = !today;
    if (today) this.today.show(today.left, today.requests, say("until", { time: moment(today.until) }));
  }
}

/** How much is left of a quota. */
class Bar {
  constructor(name) {
    this.meter = make("meter");
    this.meter.setAttribute("aria-label", name);
    this.text = make("span");
    this.element = make("div", "quota", this.meter, this.text);
    this.element.title = name;
  }

  show(left, total, more) {
    Object.assign(this.meter, { min: 0, max: Math.max(total, 1), value: left, low: total / 4 });
    put(this.text, ` ${say("leftOf", { left: number(left), total: number(total) })} ${more}`);
  }
}

/** Keeps one child for each name, in the order of the names; those that are new are made. */
function keep(parent, kept, names, build) {
  for (const name of kept.keys()) if (!names.includes(name)) kept.delete(name);
  for (const name of names) if (!kept.has(name)) kept.set(name, build(name));
  arrange(parent, names.map((name) => kept.get(name).element));
}

const label = (button, action) => put(button, say({ try: "tryNow", rest: "restIt", release: "release" }[action]));
const countdown = (until) => `${clock(until - now())} · ${say("at", { time: moment(until) })}`;

function spanOf(quota) {
  const text = say("per", { time: duration(quota.window ?? quota.period) });
  return quota.window === null ? `${text} (${say("learning", { total: quota.requests })})` : text;
}
