/** The table of clients: their limits and what is used of them now, and their usage in the chosen time. */

import { Spark } from "./bars.js";
import { allLimits, conditions, Limit, rateOf, shortRate } from "./client-limits.js";
import { make, put, putCut, set } from "./elements.js";
import { ago, money, number, percent, short } from "./format.js";
import { SumRow } from "./sum-row.js";
import { Table, TwoLines } from "./table.js";
import { say } from "./words.js";

const HOURS = 24;

/** The name of a client as it is shown; "-" are all that have no key. */
export const clientName = (name) => (name === "-" ? say("openToAll") : name);

/** Where a client's requests are. */
export const requestsOf = (name) => `#/requests?${new URLSearchParams({ client: name })}`;

/** The table. Its items are `{ client, usage, hours }`: see `show`. */
export class ClientTable {
  constructor() {
    this.table = new Table({ kind: "clients", caption: "clientsAndLimits", guess: { row: 56 }, columns: [
      { word: "client", kind: "whole", row: true, part: () => new Name(), show: (name, item) => name.show(item) },
      { word: "requestsAMinute", label: "requestsAMinute", width: "w-limit", part: () => new Limit(),
        show: (limit, { client }) => limit.showRate(shortRate(client.limits), "requests/minute") },
      { word: "requestsADay", label: "requestsADay", width: "w-limit", part: () => new Limit(),
        show: (limit, { client }) => limit.showRate(rateOf(client.limits, "requests/day"), "requests/day") },
      { word: "tokensADay", label: "tokensADay", width: "w-limit", part: () => new Limit(),
        show: (limit, { client }) => limit.showRate(rateOf(client.limits, "tokens/day"), "tokens/day") },
      { word: "openNow", label: "openNow", width: "w-open", kind: "open", part: () => new Limit(),
        show: (limit, { client }) => limit.show(client.open, client.limits?.concurrent) },
      { word: "requests", label: "requests", width: "w-requests", kind: "number", part: () => new TwoLines(),
        show: (lines, { usage }) => lines.show(...requestLines(usage)) },
      { word: "tokensInOut", label: "tokensInOut", width: "w-tokens", kind: "number", part: () => new TwoLines(),
        show: (lines, { usage }) => lines.show(...tokenLines(usage)) },
      { word: "cost", label: "cost", width: "w-cost", kind: "number cost", show: showCost },
      { word: "tokensOfDay", width: "w-spark", kind: "spark-cell left-out", part: () => new Spark(), show: (spark, { hours }) => showHours(spark, hours) },
      { word: "lastSeen", label: "lastSeen", width: "w-seen", kind: "number seen", show: (cell, { client }) => put(cell, ago(client.last_seen)) },
    ] });
    this.sum = new SumRow(this.table, "allTogether", ["whole", null, null, null, "open", "number", "number", "number cost", "spark-cell left-out", "number seen left-out"]);
    this.element = this.table.element;
  }

  /**
   * Shows clients in this order: each with its part of the status, its sums over the chosen time (null if they
   * are not known), and its tokens of each of the last 24 hours (null likewise). `sums` are those of all.
   */
  show(items, sums) {
    this.element.classList.toggle("free", !items.some(({ usage }) => usage?.cost != null));
    this.element.classList.toggle("unkept", !items.some(({ hours }) => hours));
    this.table.show(items.map((item) => ({ ...item, id: item.client.name, kind: "row" })));
    const open = items.reduce((sum, { client }) => sum + client.open, 0);
    this.sum.show([null, null, null, null, number(open), requestLines(sums), tokenLines(sums), sums?.cost == null ? "–" : money(sums.cost), "", ""]);
  }

  /** Ages go on. */
  tick() { this.table.refresh(); }

  translate() {
    this.table.translate();
    this.sum.translate();
  }
}

class Name {
  constructor() {
    this.name = make("a");
    this.below = make("span", "below");
    this.element = make("div", "two", make("span", "", this.name), this.below);
  }

  show({ client: { name, limits, open } }) {
    putCut(this.name, clientName(name));
    set(this.name, "href", requestsOf(name));
    const said = conditions(limits).join(" · ");
    putCut(this.below, said || (limits ? "" : say("noLimits")), allLimits(limits, open));
  }
}

function requestLines(usage) {
  if (!usage) return ["–", ""];
  const failed = usage.failed == null ? null : usage.failed + usage.refused + usage.cut;
  return [number(usage.requests), failed == null ? "" : failed ? say("countFailed", { count: number(failed) }) : say("noneFailed")];
}

function tokenLines(usage) {
  if (!usage) return ["–", ""];
  const { input_tokens: input, output_tokens: output, cached_tokens: cached } = usage;
  return [`${short(input)} · ${short(output)}`, cached == null || !input ? "" : say("shareCached", { share: percent(cached, input, 0) })];
}

function showCost(cell, { usage }) {
  const missing = usage?.unpriced ? say("withoutPrice", { count: number(usage.unpriced) }) : null;
  putCut(cell, usage?.cost == null ? "–" : `${missing ? "≥ " : ""}${money(usage.cost)}`, missing);
}

function showHours(spark, hours) {
  set(spark.element, "visibility", hours ? null : "hidden");
  spark.show(hours?.values ?? Array(HOURS).fill(0), 0, hours?.most ?? 1);
}
