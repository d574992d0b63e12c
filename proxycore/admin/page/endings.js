/** How requests ended: a row for each way, and the sum. */

import { make, panel, put, putCut, set, shape } from "./elements.js";
import { number, percent } from "./format.js";
import { Table } from "./table.js";
import { SumRow } from "./sum-row.js";
import { say } from "./words.js";

// For each outcome: a shape, a colour, the text for a status, and that for all others.
const OUTCOMES = {
  served: ["dot", "good", {}, "endedServed"],
  client_error: ["ring", "", { 401: "endedNoKey", 403: "endedForbidden", 404: "endedNotFound", 429: "endedLimit" }, "endedClientError"],
  refused: ["triangle", "warn", {}, "endedRefused"],
  failed: ["square", "bad", { 200: "endedInStream", 502: "endedBadGateway", 503: "endedOverloaded", 504: "endedTimeout" }, "endedFailed"],
  left: ["ring", "", {}, "endedLeft"],
  cut: ["square", "bad", {}, "endedCut"],
};

/** The table. */
export class Endings {
  constructor() {
    this.ended = [];
    this.table = new Table({ kind: "endings", caption: "howItEnded", guess: { row: 40 }, columns: [
      { word: "response", width: "w-status", row: true, part: () => new Status(), show: (part, { ending }) => part.show(ending) },
      { word: "outcome", show: (cell, { ending }) => putCut(cell, say(describe(ending).text)) },
      { word: "requests", width: "w-count", kind: "number", show: (cell, { ending }) => put(cell, number(ending.requests)) },
      { word: "share", width: "w-share", kind: "number", show: (cell, { ending }) => put(cell, percent(ending.requests, this.total, 2, 2)) },
    ] });
    this.sum = new SumRow(this.table, "allTogether", ["whole", null, "number", "number"]);
    this.title = make("h2");
    this.nothing = make("p", "empty");
    this.nothing.dataset.say = "noRequests";
    this.title.dataset.say = "howItEnded";
    this.element = panel(this.title, "", make("header", "card-head", this.title), this.table.element, this.nothing);
  }

  /** Shows `{ status, outcome, failed_over, requests }`, those with the most requests first. */
  show(ended) {
    this.total = ended.reduce((sum, { requests }) => sum + requests, 0);
    this.nothing.hidden = ended.length > 0;
    this.table.element.hidden = !ended.length;
    // A row is named by its place: none moves when one gets ahead of another.
    this.table.show(ended.map((ending, at) => ({ id: at, kind: "row", ending })));
    this.sum.show([null, null, number(this.total), percent(this.total, this.total, 2)]);
  }

  translate() {
    this.table.translate();
    this.sum.translate();
  }
}

function describe({ outcome, status, failed_over: isFailedOver }) {
  if (isFailedOver) return { icon: "half", kind: "good", text: "endedFailedOver" };
  const [icon, kind, texts, text] = OUTCOMES[outcome] ?? OUTCOMES.failed;
  return { icon, kind, text: texts[status] ?? text };
}

class Status {
  constructor() {
    this.icon = null;
    this.text = make("span");
    this.element = make("span", "mark", this.text);
  }

  show(ending) {
    const { icon, kind } = describe(ending);
    if (icon !== this.icon) {
      this.element.replaceChildren(shape(icon), this.text);
      this.icon = icon;
    }
    set(this.element, "class", `mark ${kind}`);
    put(this.text, ending.status ? String(ending.status) : "–");
  }
}
