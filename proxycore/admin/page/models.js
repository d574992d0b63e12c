/** The panel Models: for each one its keys, what is left, when the next key is back, and how much is cached. */

import { Amount, Segments } from "./bars.js";
import { button, make, panel, put, putCut, set } from "./elements.js";
import { isMostlyKnown } from "./figures.js";
import { now, number, percent, span } from "./format.js";
import { Table } from "./table.js";
import { say } from "./words.js";

const SHOWN = 8; // models that are shown before the others are asked for
const STATES = [["ready", "ready"], ["resting", "resting"], ["retired", "out"], ["not_entitled", "none"]];

/** The panel. */
export class Models {
  constructor() {
    this.all = false;
    this.table = new Table({ kind: "models", caption: "modelsCaption", guess: { row: 40 }, columns: [
      { word: "model", width: "w-model", kind: "whole", row: true, show: (cell, { model }) => putCut(cell, model.name) },
      { word: "keys", width: "w-parts", kind: "whole", part: () => new Parts(), show: (parts, { model }) => parts.show(model) },
      { word: "leftThisMinute", label: "leftThisMinute", width: "w-amount", part: () => new Amount(), show: leftThisMinute },
      { word: "leftToday", label: "leftToday", width: "w-amount", part: () => new Amount(), show: leftToday },
      { word: "nextBack", label: "nextBack", width: "w-back", kind: "number", show: (cell, { model }) => put(cell, backIn(model.next_back)) },
      { word: "cached", label: "cached", width: "w-cached", kind: "number", show: (cell, { model }) => put(cell, percent(model.cached, 1, 0)) },
    ] });
    this.more = button("showMore", "plain", () => { this.all = !this.all; this.show(this.status); });
    this.foot = make("p", "card-foot", this.more);
    this.nothing = make("p", "empty");
    this.nothing.dataset.say = "noModels";
    const title = make("h2");
    title.dataset.say = "models";
    this.legend = make("p", "legend push", ...STATES.map(([word, kind]) => {
      const text = make("span");
      text.dataset.say = `key_${word}`;
      return make("span", "", make("i", `swatch ${kind}`), text);
    }));
    this.element = panel(title, "", make("header", "card-head", title, this.legend), this.table.element, this.nothing, this.foot);
  }

  show(status) {
    this.status = status;
    const models = this.all ? status.models : status.models.slice(0, SHOWN);
    this.nothing.hidden = models.length > 0;
    this.table.element.hidden = !models.length;
    this.foot.hidden = status.models.length <= SHOWN;
    put(this.more, this.all ? say("showFewer") : say("showMoreOf", { count: number(status.models.length - SHOWN) }));
    this.table.show(models.map((model) => ({ id: model.name, kind: "row", model, today: status.today[model.name] })));
  }

  tick() { this.table.refresh(); }

  translate() {
    this.table.translate();
    this.show(this.status);
  }
}

/** The keys of a model by state, as a bar and as numbers. */
class Parts {
  constructor() {
    this.segments = new Segments(STATES.map(([, kind]) => kind));
    this.numbers = STATES.map(([, kind]) => make("b", kind));
    this.element = make("span", "parts", this.segments.element, ...this.numbers);
  }

  show(model) {
    const counts = STATES.map(([name]) => model[name]);
    this.segments.show(counts);
    counts.forEach((count, at) => {
      put(this.numbers[at], count ? number(count) : "–");
      set(this.numbers[at], "class", count ? STATES[at][1] : "none");
      set(this.numbers[at], "title", `${number(count)} ${say(`key_${STATES[at][0]}`)}`);
    });
  }
}

const leftThisMinute = (amount, { model }) => amount.show(model.minute?.left, model.minute?.of);

/** What is left of the day; of how few projects that is known, where it is. */
function leftToday(amount, { model, today }) {
  const { day } = model, isScarce = day && (day.spent_at || !day.left);
  if (day && !isMostlyKnown(model)) amount.say(say("spentProjects", { spent: number(today?.spent ?? 0) }), say("unknownOf", { count: number(day.unknown) }));
  else amount.show(day?.left, day?.of, isScarce ? "warn" : "");
}

const backIn = (time) => (time && time > now() ? span(time - now()) : "–");
