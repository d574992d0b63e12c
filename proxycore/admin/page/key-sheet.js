/** What a key opens into: facts, what can be done, its models and quotas, its past. */

import { Amount } from "./bars.js";
import { result } from "./dialog.js";
import { button, keep, make, put, putCut, roled, scroller, set } from "./elements.js";
import { ago, clock, moment, now, number, percent, short } from "./format.js";
import { benchesInPart, runs, sinceOf, stateOf, wholeBench } from "./health.js";
import { KeyPast } from "./key-past.js";
import { reason } from "./reasons.js";
import { say, spoken, translate } from "./words.js";

const SETTLED = 1500; // milliseconds after a change of its benches until its past is read again: then it is recorded
const DAY = 86400;
const naming = new Intl.Collator("en", { numeric: true });

// The word of each fact, and its text; empty: it is left out.
const FACTS = [
  ["from", (key) => say(key.in_keys_file ? "fromFile" : "fromEnvironment")],
  ["project", (key) => key.project ?? say("unnamed")],
  ["account", (key) => key.account ?? ""],
  ["outboundProxy", (key) => key.proxy ?? ""],
  ["note", (key) => key.note ?? ""],
  ["sinceStart", (key) => say("requestsAndFailed", { requests: number(key.requests), failed: number(key.requests - key.successes) })],
  ["cachedShare", (key) => (key.prompt_tokens ? percent(key.cached_tokens, key.prompt_tokens, 0) : "")],
  ["lastUsed", (key) => ago(key.last_used)],
  ["benchedSince", (key) => sinceOf(wholeBench(key, stateOf(key)))],
];

export class KeySheet {
  /** `actions` are KeyActions, `outside` shows the result of what takes the key away. */
  constructor(name, { feed, actions, outside }) {
    this.actions = actions;
    this.facts = new Map(FACTS.map(([word, text]) => [word, new Fact(word, text)]));
    this.output = result();
    const act = (word, does, kind = "") => button(word, kind, () => does(this.key));
    this.buttons = {
      release: act("release", (key) => actions.release([key], this.output)),
      resume: act("resume", (key) => actions.resume([key], this.output)),
      try: act("tryNow", (key) => actions.tryNow([key], this.output)),
      rest: act("rest", (key) => actions.rest([key], this.output)),
      pause: act("pause", (key) => actions.pause([key], this.output)),
      note: act("noteIt", (key) => actions.note(key, this.output)),
      remove: act("remove", (key) => actions.remove([key], outside)),
    };
    this.link = make("a");
    this.link.href = `#/requests?${new URLSearchParams({ key: name })}`;
    this.link.dataset.say = "itsRequests";
    this.models = new Models((about) => actions.releaseFor(this.key, about, this.output));
    this.past = new KeyPast(feed, name);
    this.element = make("div", "in-sheet", make("dl", "key-facts", ...[...this.facts.values()].map((fact) => fact.element)),
      make("div", "key-acts", ...Object.values(this.buttons), this.link, this.output),
      make("div", "key-parts", this.models.element, this.past.events.element, this.past.errors.element));
    this.element.setAttribute("role", "region");
    this.past.read();
  }

  /** Shows the key of this entry; `writes` is whether keys can be changed. */
  show({ entry: { key }, writes }) {
    this.key = key;
    if (this.language !== spoken()) this.translate();
    for (const fact of this.facts.values()) fact.show(key);
    this.showButtons(key, writes);
    this.models.show(key);
    this.follow(key);
  }

  showButtons(key, writes) {
    const state = stateOf(key), isPaused = state === "paused", can = writes && key.in_keys_file;
    const rests = !isPaused && (wholeBench(key, state) || benchesInPart(key).length > 0);
    const shown = { release: rests, resume: can && isPaused, try: !isPaused, rest: !isPaused, pause: can && !isPaused, note: can, remove: can };
    for (const [name, one] of Object.entries(this.buttons)) {
      const isFocused = one === document.activeElement;
      one.hidden = !shown[name];
      if (isFocused && one.hidden) (Object.values(this.buttons).find((other) => !other.hidden) ?? this.link).focus();
    }
  }

  /** Reads its past again some time after its benches changed. */
  follow(key) {
    const benches = JSON.stringify([key.bench, Object.values(key.models).map((known) => known.bench?.until), key.health]);
    if (this.benches && this.benches !== benches) {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.past.read(), SETTLED);
    }
    this.benches = benches;
  }

  translate() {
    this.language = spoken();
    translate(this.element);
    set(this.element, "aria-label", say("details", { name: say("keyNamed", { name: this.key.name }) }));
    this.models.translate();
    this.past.translate();
  }

  /** It is shown again. */
  arrive() { this.past.arrive(); }

  leave() {
    clearTimeout(this.timer);
    this.past.leave();
  }
}

class Fact {
  constructor(word, text) {
    this.text = text;
    this.name = make("dt");
    this.name.dataset.say = word;
    this.value = make("dd", "cut");
    this.element = make("div", "", this.name, this.value);
  }

  show(key) {
    const text = this.text(key);
    this.element.hidden = !text;
    putCut(this.value, text);
  }
}

/** The models that are known of a key, and the origins of pages that it rests for. */
class Models {
  constructor(release) {
    this.release = release;
    this.rows = new Map();
    this.body = roled("rowgroup", make("tbody"));
    const heads = ["model", "thisMinute", "today", null].map((word) => {
      const head = roled("columnheader", make("th"));
      head.scope = "col";
      if (word) head.dataset.say = word;
      else head.append(make("span", "unseen"));
      return head;
    });
    this.action = heads.at(-1).firstChild;
    this.table = roled("table", make("table", "cards", make("colgroup", "", ...["", "amount-col", "amount-col", "act-col"].map((kind) => make("col", kind))),
      roled("rowgroup", make("thead", "", roled("row", make("tr", "", ...heads)))), this.body));
    this.nothing = make("p", "muted");
    this.nothing.dataset.say = "nothingKnown";
    const head = make("h3");
    head.dataset.say = "modelsAndQuotas";
    this.element = make("section", "", head, scroller("modelsAndQuotas", "key-scroll", this.nothing, this.table));
  }

  translate() { put(this.action, say("release")); }

  show(key) {
    const known = new Map(Object.entries(key.models).map(([model, one]) => [`model ${model}`, { about: model, order: { model }, ...one }]));
    for (const [origin, bench] of Object.entries(key.origins)) known.set(`origin ${origin}`, { about: origin, order: { origin }, bench });
    const names = [...known.keys()].sort(naming.compare);
    this.nothing.hidden = names.length > 0;
    this.table.hidden = !names.length;
    keep(this.body, this.rows, names, (name) => new Model(known.get(name), this.release));
    for (const [name, row] of this.rows) row.show(known.get(name));
  }
}

class Model {
  constructor({ about, order }, release) {
    this.name = make("span", "cut");
    putCut(this.name, about);
    this.why = make("span", "below cut");
    this.minute = new Amount();
    this.day = new Amount();
    for (const one of [this.minute, this.day]) one.element.classList.add("stacked");
    this.release = make("button", "plain");
    this.release.type = "button";
    this.release.addEventListener("click", () => release(order));
    const head = roled("rowheader", make("th", "two whole", this.name, this.why));
    head.scope = "row";
    this.about = about;
    this.cells = [this.minute.element, this.day.element, this.release].map((one) => roled("cell", make("td", one === this.release ? "number act" : "", one)));
    this.element = roled("row", make("tr", "row", head, ...this.cells));
  }

  show({ bench, quotas = {}, today = null }) {
    const rests = runs(bench), isFocused = document.activeElement === this.release;
    const why = rests ? say("restsFurther", { reason: reason(bench.reason), time: clock(bench.until - now()) }) : "";
    putCut(this.why, why, rests ? say("benchUntil", { reason: reason(bench.reason), time: moment(bench.until), count: bench.strikes }) : null);
    this.showMinute(quotas);
    const used = today && today.requests;
    this.day.show(today?.left, used, today && !today.left ? "warn" : "");
    set(this.day.element, "title", today && say("dayEnds", { time: moment(today.until) }));
    ["thisMinute", "today"].forEach((word, at) => set(this.cells[at], "data-label", say(word)));
    put(this.release, say("release"));
    set(this.release, "aria-label", say("releaseFor", { model: this.about }));
    this.release.hidden = !rests;
    if (isFocused && !rests) this.element.closest(".in-sheet").querySelector(".key-acts button:not([hidden])")?.focus();
  }

  /** Shows the quota of a short time that has the smallest share left. */
  showMinute(quotas) {
    const brief = Object.entries(quotas).filter(([, { period }]) => period < DAY);
    const whole = ({ requests, tokens }) => requests ?? tokens;
    const [name, quota] = brief.sort(([, one], [, other]) => one.left / whole(one) - other.left / whole(other))[0] ?? [];
    this.minute.show(quota?.left, quota && whole(quota), quota && !quota.left ? "warn" : "", short);
    set(this.minute.element, "title", quota ? `${name}, ${clock(quota.period)}` : null);
  }
}
