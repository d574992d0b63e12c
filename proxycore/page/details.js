/** A key's details: what narrow screens leave out of its row, its models and quotas, and what can be done. */

import { ago, clock, duration, make, moment, now, number, put } from "./format.js";
import { runs, stateOf } from "./health.js";
import { reason, say } from "./words.js";

/** The row below a key's row. */
export class Details {
  constructor(columns, ask) {
    this.ask = ask;
    this.open = false;
    this.cell = make("td");
    this.cell.colSpan = columns;
    this.element = make("tr", "details", this.cell);
    this.countdowns = []; // elements, and until when
    this.shown = "";
  }

  /** Shows a key, as it is. */
  show(key) {
    this.key = key;
    const facts = this.facts(key);
    // What is focused shall stay: only what has changed is made anew.
    const running = Object.values(key.models).map((known) => runs(known.bench));
    const shown = JSON.stringify([say("release"), key.models, running, key.bench, stateOf(key)]);
    if (shown === this.shown) {
      this.cell.firstChild.replaceWith(facts);
      return;
    }
    this.shown = shown;
    this.countdowns = [];
    const focused = this.cell.contains(document.activeElement) ? document.activeElement.dataset.action : null;
    this.cell.replaceChildren(facts, this.models(key), this.actions(key));
    if (focused) (this.cell.querySelector(`[data-action="${CSS.escape(focused)}"]`) ?? this.cell.querySelector("button")).focus();
  }

  /** A second has passed. */
  tick() {
    for (const [element, until] of this.countdowns) put(element, countdown(until));
    if (this.countdowns.some(([, until]) => until <= now())) this.show(this.key);
  }

  facts(key) {
    const list = make("dl", "facts");
    const fact = (name, ...value) => list.append(make("div", "", make("dt", "", say(name)), make("dd", "", ...value)));
    if (key.project) fact("project", key.project);
    const state = stateOf(key);
    if (state !== "ready") {
      fact("why", `${reason(key.bench.reason)} · ${say("strikes", { count: key.bench.strikes })}`);
      fact("ends", `${clock(key.bench.until - now())} · ${say("at", { time: moment(key.bench.until) })}`);
    }
    for (const [name, value] of [
      ["requests", key.requests], ["successes", key.successes], ["s429", key.status_429], ["s403", key.status_403],
      ["s5xx", key.status_5xx], ["failovers", key.failovers],
    ]) fact(name, number(value));
    fact("firstByte", duration(key.first_byte));
    fact("lastUsed", ago(key.last_used));
    return list;
  }

  models(key) {
    const models = Object.entries(key.models);
    if (!models.length) return make("p", "none", say("nothingKnown"));
    const head = ["model", "state", "quotas", "today"].map((name) => {
      const cell = make("th", "", say(name));
      cell.scope = "col";
      return cell;
    });
    const rows = models.map(([model, known]) => this.model(key, model, known));
    return make("table", "models", make("thead", "", make("tr", "", ...head)), make("tbody", "", ...rows));
  }

  model(key, model, known) {
    const name = make("th", "", model);
    name.scope = "row";
    const state = make("td", "", ...(runs(known.bench) ? this.bench(key, model, known.bench) : [badge("ready")]));
    const quotas = make("td", "", ...Object.entries(known.quotas).map(([id, quota]) => quotaBar(id, quota)));
    const today = known.today
      ? [bar(known.today.left, known.today.requests, model), ` ${say("until", { time: moment(known.today.until) })}`] : ["–"];
    return make("tr", "", name, state, quotas, make("td", "", ...today));
  }

  bench(key, model, bench) {
    const left = make("span", "countdown", countdown(bench.until));
    this.countdowns.push([left, bench.until]);
    const why = make("span", "", ` ${reason(bench.reason)} · ${say("strikes", { count: bench.strikes })} · `);
    return [badge("benched"), why, left, " ", this.button("release", key, model)];
  }

  actions(key) {
    const buttons = [this.button("try", key), this.button("rest", key)];
    if (stateOf(key) !== "ready") buttons.push(this.button("release", key));
    return make("p", "actions", ...buttons);
  }

  button(action, key, model = null) {
    const one = make("button", "", say({ try: "tryNow", rest: "restIt", release: "release" }[action]));
    one.type = "button";
    one.dataset.action = model ? `${action} ${model}` : action;
    if (model) one.setAttribute("aria-label", say("releaseFor", { model }));
    one.addEventListener("click", () => this.ask(action, key.name, model));
    return one;
  }
}

const countdown = (until) => `${clock(until - now())} · ${say("at", { time: moment(until) })}`;

function badge(state) {
  const one = make("span", "badge", say(state));
  one.dataset.state = state;
  return one;
}

function quotaBar(id, quota) {
  const span = quota.window ?? quota.period;
  const one = make("div", "quota", bar(quota.left, quota.allowed, id), ` ${say("per", { time: duration(span) })}`);
  if (quota.window === null) one.append(` (${say("learning", { total: quota.requests })})`);
  one.title = id;
  return one;
}

function bar(left, total, name) {
  const meter = make("meter");
  Object.assign(meter, { min: 0, max: Math.max(total, 1), value: left, low: total / 4 });
  meter.setAttribute("aria-label", name);
  return make("span", "", meter, ` ${say("leftOf", { left: number(left), total: number(total) })}`);
}
