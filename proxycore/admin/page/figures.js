/** The four figures: is the pool well, how busy is it, how much is left today, who waits. */

import { Bar, Spark } from "./bars.js";
import { make, panel, put, set } from "./elements.js";
import { duration, number, pacific, percent } from "./format.js";
import { say } from "./words.js";

const SAMPLES = 60; // seconds of waiting that are drawn
const LATEST = 5; // minutes over which the present pace is a mean

/** Of all requests that a key could have served, how many were: [served, all]. */
export function served(slots) {
  const sum = (name) => slots.reduce((total, slot) => total + slot[name], 0);
  const good = sum("served") + sum("failed_over");
  return [good, good + sum("refused") + sum("failed") + sum("cut")];
}

/** The panel. */
export class Figures {
  constructor() {
    this.waiting = [];
    this.parts = {
      served: new Figure("servedShare", new Spark()), pace: new Figure("requestsAMinute", new Spark()),
      left: new Figure("leftToday", new Bar()), waiting: new Figure("waitingForKey", new Spark()),
    };
    const title = make("h2", "unseen");
    title.dataset.say = "figuresTitle";
    this.element = panel(title, "", title, make("dl", "figures", ...Object.values(this.parts).map((part) => part.element)));
  }

  show(status) {
    const minutes = status.history, whole = minutes.slice(0, -1);
    const [good, all] = served(minutes);
    this.parts.served.show(percent(all ? good : null, all), "", all ? say("servedOf", { served: number(good), all: number(all) }) : say("noneYet"));
    this.parts.served.side.show(minutes.map((slot) => { const [one, of] = served([slot]); return of ? one / of : null; }), 0, 1);
    const most = Math.max(...minutes.map((slot) => slot.requests));
    const latest = (whole.length ? whole : minutes).slice(-LATEST);
    const pace = latest.reduce((sum, slot) => sum + slot.requests, 0) / latest.length;
    this.parts.pace.show(number(pace < 9.95 ? Math.round(10 * pace) / 10 : Math.round(pace)), "", say("atMost", { most: number(most) }));
    this.parts.pace.side.show(whole.map((slot) => slot.requests));
    this.showLeft(status);
    this.showWaiting(status);
  }

  /** The model of which the smallest share is left, of those whose day quota is known of most projects. */
  showLeft(status) {
    const part = this.parts.left;
    const known = status.models.filter((model) => isMostlyKnown(model));
    const scarcest = known.sort((one, other) => share(one) - share(other))[0];
    if (!scarcest) {
      const [name, day] = Object.entries(status.today).find(([, one]) => one.spent) ?? [];
      part.show("–", "", day ? `${name}: ${say("spentProjects", { spent: number(day.spent) })}` : say("noDayQuota"));
      part.side.show(0);
      return;
    }
    const { left, of, spent_at: spentAt } = scarcest.day;
    const when = !left ? say("spentNow") : spentAt ? say("spentAt", { time: pacific(spentAt) }) : say("lasts");
    part.show(number(left), say("ofTotal", { total: number(of) }), `${scarcest.name}: `, when, !left || spentAt ? "warn" : "");
    part.side.show(left / of, !left || spentAt ? "warn" : "");
  }

  showWaiting(status) {
    this.waiting = [...this.waiting, status.waiting].slice(-SAMPLES);
    const text = status.waiting ? say("longestWait", { span: duration(status.waiting_longest), model: status.waiting_for ?? "" })
      : say("noneWaits", { running: number(status.running) });
    this.parts.waiting.show(number(status.waiting), "", text);
    this.parts.waiting.side.show(this.waiting);
  }
}

const share = (model) => model.day.left / model.day.of;

/** Whether what is left of a model today is known of most projects: a sum over few of them says little. */
export const isMostlyKnown = ({ day, ready, resting }) => Boolean(day?.of) && 2 * day.unknown <= ready + resting;

/** A large figure with a small drawing and a line of text. */
class Figure {
  constructor(word, side) {
    this.side = side;
    this.big = make("b");
    this.unit = make("small");
    this.text = make("span");
    this.hot = make("span", "hot");
    const name = make("dt");
    name.dataset.say = word;
    this.more = make("dd", "more cut", this.text, this.hot);
    this.element = make("div", "", name, make("dd", "big", this.big, " ", this.unit), make("dd", "side", side.element), this.more);
  }

  show(big, unit, text, hot = "", kind = "") {
    put(this.big, big);
    put(this.unit, unit);
    put(this.text, text);
    put(this.hot, hot);
    set(this.hot, "class", kind);
    set(this.more, "title", text + hot);
  }
}
