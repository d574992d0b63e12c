/** The limits of a client: for each what is used, how much it may be, and a bar. */

import { Bar } from "./bars.js";
import { make, put, set } from "./elements.js";
import { number, short } from "./format.js";
import { say } from "./words.js";

const NEAR = 0.9; // share of a limit from which it is amber
const RATES = {
  "requests/second": "requestsPerSecond", "requests/minute": "requestsPerMinute", "requests/hour": "requestsPerHour", "requests/day": "requestsPerDay",
  "tokens/second": "tokensPerSecond", "tokens/minute": "tokensPerMinute", "tokens/hour": "tokensPerHour", "tokens/day": "tokensPerDay",
};
const USUAL = "requests/minute"; // of rates for less than a day

const topic = (rate) => `${rate.of}/${rate.per}`;

/** The rate of this name, null if there is none. */
export const rateOf = (limits, name) => limits?.rates.find((rate) => topic(rate) === name) ?? null;

/** Of the rates for less than a day the one that is closest to its limit; the usual one if several are. */
export function shortRate(limits) {
  const rates = limits?.rates.filter((rate) => rate.per !== "day") ?? [];
  const share = (rate) => rate.used / rate.limit + (topic(rate) === USUAL ? 1e-9 : 0);
  return rates.reduce((closest, rate) => (closest && share(closest) >= share(rate) ? closest : rate), null);
}

/** All limits of a client, a line each. */
export function allLimits(limits, open) {
  if (!limits) return say("noLimits");
  const lines = limits.rates.map((rate) => say(RATES[topic(rate)], { used: number(rate.used), limit: number(rate.limit) }));
  if (limits.concurrent != null) lines.push(say("concurrentLimit", { used: number(open), limit: number(limits.concurrent) }));
  return [...lines, ...conditions(limits)].join("\n") || say("noLimits");
}

/** What a client may use besides, and until when. */
export function conditions(limits) {
  if (!limits) return [];
  return [...(limits.until ? [say("untilDate", { date: limits.until })] : []),
    ...(limits.models.length ? [say("onlyModels", { models: limits.models.join(say("listComma")) })] : [])];
}

/** What is used of one limit, with a bar that is amber near it and red where it is reached. */
export class Limit {
  constructor() {
    this.bar = new Bar();
    this.used = make("b");
    this.whole = make("span", "of");
    this.element = make("span", "amount stacked", make("span", "", this.used, " ", this.whole), this.bar.element);
  }

  /** Shows `used` of `limit`; null: there is no limit. `used` null is not known. */
  show(used, limit, { write = number, unit = null } = {}) {
    const share = limit == null ? 0 : limit ? used / limit : 1;
    put(this.used, used == null ? "" : write(used));
    put(this.whole, limit == null ? say("noLimit") : `${say("ofTotal", { total: write(limit) })}${unit ? ` ${unit}` : ""}`);
    set(this.bar.element, "hidden", limit == null ? "" : null);
    this.element.classList.toggle("unlimited", limit == null && used == null);
    this.bar.show(share, share >= 1 ? "bad" : share >= NEAR ? "warn" : "");
  }

  /** Shows a rate, with its unit if that is not what the column's head says. */
  showRate(rate, named) {
    if (!rate) this.show(null, null);
    else this.show(rate.used, rate.limit, { write: rate.of === "tokens" ? short : number, unit: topic(rate) === named ? null : unitOf(rate) });
  }
}

const UNITS = { "requests/second": "aSecond", "requests/hour": "anHour", "tokens/second": "tokensASecond", "tokens/minute": "tokensAMinute", "tokens/hour": "tokensAnHour" };

const unitOf = (rate) => say(UNITS[topic(rate)]);
