/** The view Overview: what is broken, how much is left, then the evidence. */

import { Chart, lastHour } from "./chart.js";
import { make, panel } from "./elements.js";
import { Figures } from "./figures.js";
import { Models } from "./models.js";
import { OldestStreams } from "./oldest-streams.js";
import { Problems } from "./problems.js";

/** The view. */
export class Overview {
  constructor(root, desk) {
    this.problems = new Problems(desk);
    this.figures = new Figures();
    this.models = new Models();
    this.chart = new Chart({ label: "requestsAMinute" });
    this.streams = new OldestStreams();
    const title = make("h2");
    title.dataset.say = "traffic";
    const more = make("a", "push");
    more.dataset.say = "history";
    more.href = "#/history";
    const traffic = panel(title, "", make("header", "card-head", title, more), this.chart.element);
    // The parts, and the members of the status that they show; the figures are of each second.
    this.parts = new Map([
      [this.problems, ["problems", "keys", "models"]], [this.figures, ["time"]], [this.models, ["models", "today"]],
      [this.streams, ["streams", "open"]],
    ]);
    root.append(this.problems.element, this.figures.element, this.models.element,
      make("div", "split", traffic, this.streams.element));
  }

  show(status, change) {
    for (const [part, names] of this.parts) if (!change || names.some((name) => name in change)) part.show(status);
    if (!change || change.history) this.chart.show(lastHour(status));
  }

  tick() {
    for (const part of this.parts.keys()) part.tick?.();
  }

  translate() {
    for (const part of this.parts.keys()) part.translate?.();
    this.chart.translate();
  }
}
