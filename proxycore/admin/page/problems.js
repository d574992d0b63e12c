/** What is broken, the worst first: since when, and what to do about it. */

import { result } from "./dialog.js";
import { button, keep, make, panel, put, putCut, set, shape } from "./elements.js";
import { minute, now, number, span } from "./format.js";
import { advise, describe } from "./problem-words.js";
import { say } from "./words.js";

const SHOWN = 5; // problems that are shown before the others are asked for
const SHOWN_KEYS = 12; // that are named in a title

/** The list; empty, it says that nothing needs attention. */
export class Problems {
  constructor(desk) {
    this.desk = desk;
    this.rows = new Map();
    this.list = make("ol");
    this.all = false;
    this.more = button("showMore", "plain", () => { this.all = !this.all; this.show(this.status); });
    this.foot = make("p", "card-foot", this.more);
    const title = make("h2", "unseen");
    title.dataset.say = "problemsTitle";
    this.element = panel(title, "problems", title, this.list, this.foot);
  }

  show(status) {
    this.status = status;
    const problems = status.problems, shown = this.all ? problems : problems.slice(0, SHOWN);
    const names = shown.map((problem) => `${problem.kind} ${problem.subject} ${problem.reason ?? ""}`);
    keep(this.list, this.rows, names.length ? names : ["none"], (name) => (name === "none" ? new Fine() : new Problem(this.desk)));
    if (names.length) names.forEach((name, at) => this.rows.get(name).show(shown[at]));
    else this.rows.get("none").show(status);
    this.foot.hidden = problems.length <= SHOWN;
    put(this.more, this.all ? say("showFewer") : say("showMoreOf", { count: number(problems.length - SHOWN) }));
  }

  tick() {
    for (const row of this.rows.values()) row.tick?.();
  }

  translate() { this.show(this.status); }
}

/** The row of a pool that needs nothing. */
class Fine {
  constructor() {
    this.title = make("strong");
    this.what = make("span", "what");
    this.element = make("li", "", make("span", "sign good", shape("check")), make("div", "two", this.title, this.what));
  }

  show(status) {
    const serving = status.models.filter((model) => model.ready).length;
    put(this.title, status.keys.length ? say("noProblem") : say("noKeysTitle"));
    put(this.what, status.keys.length ? say(serving ? "noProblemMore" : "noProblemYet", { keys: number(status.keys.length), models: number(serving) })
      : say("noKeysMore"));
    this.element.firstChild.className = status.keys.length ? "sign good" : "sign bad";
  }
}

class Problem {
  constructor(desk) {
    this.sign = make("span", "sign", shape("alert"));
    this.title = make("strong", "cut");
    this.what = make("span", "what");
    this.output = result();
    this.when = make("b");
    this.gone = make("span");
    this.link = make("a", "button quiet");
    this.act = button("tryNow", "", () => desk.ask.perform(this.orders(), this.output));
    this.element = make("li", "", this.sign, make("div", "two", this.title, this.what, this.output),
      make("span", "since", this.when, this.gone), make("span", "acts", this.link, this.act));
  }

  show(problem) {
    this.problem = problem;
    const isWarning = problem.severity === "warning";
    set(this.sign, "class", `sign ${isWarning ? "warn" : "bad"}`);
    putCut(this.title, describe(problem));
    this.title.title = [describe(problem), problem.keys.slice(0, SHOWN_KEYS).join(", ")].filter(Boolean).join(": ");
    const [word, href] = linkOf(problem);
    put(this.link, say(word, { name: problem.keys[0] }));
    set(this.link, "href", href);
    this.act.hidden = !problem.keys.length;
    put(this.act, say(this.act.dataset.say));
    this.tick();
  }

  tick() {
    const { since, until, kind } = this.problem;
    const isExpected = kind === "spent soon";
    const at = isExpected ? until : since;
    put(this.when, at ? say(isExpected ? "expected" : "since", { time: minute(at) }) : "");
    put(this.gone, at ? (isExpected ? say("in", { span: span(at - now()) }) : span(now() - at)) : "");
    putCut(this.what, advise(this.problem));
  }

  orders() {
    return this.problem.keys.map((key) => ({ action: "try", key }));
  }
}

/** The word and the address of the link that leads to the evidence. */
function linkOf({ kind, keys, key_count: count }) {
  if (kind === "outage") return ["showHistory", "#/history"];
  if (kind === "model exhausted" || kind === "spent soon") return ["whoUsesIt", "#/clients"];
  if (count === 1) return ["openKey", `#/keys/${encodeURIComponent(keys[0])}`];
  return ["showKeys", "#/keys"];
}
