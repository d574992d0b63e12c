/** What happened, the last first: a line for each event, or for several that are alike and close together. */

import { headline, kindOf, sentence, SHAPES } from "./event-words.js";
import { make, panel, put, putCut, scroller, set, shape } from "./elements.js";
import { clockTime, minute, moment, number } from "./format.js";
import { say } from "./words.js";

const LINES = 200;

/** One event for all that are alike, none more than `gap` seconds after the one before. They are the last first. */
export function grouped(events, gap) {
  const groups = [], open = new Map();
  for (const event of events) {
    const id = [event.kind, event.about, event.why, event.key ? "" : event.time].join("\n"), group = open.get(id);
    if (event.kind !== "action" && group && group.since - event.time <= gap) {
      group.since = event.time;
      group.count += 1;
      if (!group.keys.includes(event.key)) group.keys.push(event.key);
      continue;
    }
    const started = { ...event, keys: [event.key], count: 1, since: event.time };
    open.set(id, started);
    groups.push(started);
  }
  return groups;
}

/** Those that a chart marks, the first first: when they began. */
export const marks = (groups) => groups.map((group) => ({ time: group.since, text: headline(group) }))
  .filter(({ text }) => text).sort((one, other) => one.time - other.time);

/** The list. Its lines are filled anew in their places: none moves when another event comes. */
export class Timeline {
  constructor() {
    this.lines = [];
    this.groups = [];
    this.list = make("ol", "timeline");
    this.nothing = make("p", "empty");
    this.inside = scroller("whatHappened", "scrolls", this.list, this.nothing);
    this.title = make("h2");
    this.title.dataset.say = "whatHappened";
    this.foot = make("p", "card-foot");
    this.element = panel(this.title, "happened", make("header", "card-head", this.title), this.inside, this.foot);
  }

  /** Shows groups of events; `nothing` says why there are none, `note` what is missing. */
  show(groups, nothing = "", note = "") {
    this.groups = groups;
    const shown = groups.slice(0, LINES);
    while (this.lines.length > shown.length) this.lines.pop().element.remove();
    while (this.lines.length < shown.length) {
      const line = new Line();
      this.lines.push(line);
      this.list.append(line.element);
    }
    shown.forEach((group, at) => this.lines[at].show(group));
    this.list.classList.toggle("dated", shown.some(({ time }) => minute(time) !== clockTime(time)));
    this.nothing.hidden = shown.length > 0;
    put(this.nothing, nothing);
    put(this.foot, note);
    this.foot.hidden = !note;
  }
}

class Line {
  constructor() {
    this.time = make("time");
    this.mark = make("i");
    this.text = make("a");
    this.times = make("b", "n");
    this.element = make("li", "", this.time, this.mark, this.text, this.times);
  }

  show(group) {
    const kind = kindOf(group), isOne = group.keys.length === 1 && group.key;
    putCut(this.time, minute(group.time), moment(group.time));
    if (this.kind !== kind) this.mark.replaceChildren(shape(SHAPES[kind]));
    this.kind = kind;
    set(this.mark, "class", `mark ${kind}`);
    putCut(this.text, sentence(group));
    set(this.text, "href", isOne ? `#/keys/${encodeURIComponent(group.key)}` : null);
    put(this.times, group.count > group.keys.length ? say("timesSince", { count: number(group.count), time: minute(group.since) }) : "");
  }
}
