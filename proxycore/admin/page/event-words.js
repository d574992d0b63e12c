/**
 * Events in words. An event is one of `/events.json`; where several keys had the same at about the same time,
 * it may stand for all of them, with their names in `keys` and the number of events in `count`.
 */

import { capital, minute, moment, number, span } from "./format.js";
import { acted, reason } from "./reasons.js";
import { say, spoken } from "./words.js";

const KINDS = { retired: "bad", "outage began": "bad", benched: "warn", recovered: "good", "outage ended": "good" };
/** The shape of each kind of event, see `kindOf`. */
export const SHAPES = { good: "dot", warn: "triangle", bad: "square", calm: "ring" };

const inOrder = new Intl.Collator(undefined, { numeric: true });
const NAMED = 3; // keys that a sentence names
const CHANGES = { added: "keyAdded", removed: "keyRemoved", paused: "keyPaused", resumed: "keyResumed", replaced: "keyReplaced" };

/** Whether the event is "good", "warn" (will heal by itself), "bad" (needs someone), or "calm" (someone did it). */
export const kindOf = (event) => KINDS[event.kind] ?? "calm";

/** What happened, as a sentence in the page's language. */
export function sentence(event) {
  const values = valuesOf(event);
  switch (event.kind) {
    case "retired": return say("eventRetired", values);
    case "benched": return say(benched(event), values);
    case "recovered": return say(event.about ? "eventModelRecovered" : "eventRecovered", values);
    case "outage began": return spoken() === "zh" ? say(event.about ? "eventModelOutage" : "eventOutage", values) : capital(event.why);
    case "outage ended": return outageEnded(event, values);
    case "reloaded": return event.key ? say(CHANGES[event.why] ?? "keyChanged", values) : reloaded(event);
    default: return acted(event.why);
  }
}

/** The same in a few words, for a chart; empty for what is not worth a line in it. */
export function headline(event) {
  const values = valuesOf(event);
  if (event.kind === "retired") return say("eventRetiredShort", values);
  if (event.kind === "benched" && !event.about) return say("eventBenchedShort", values);
  if (event.kind === "outage began") return say(event.about ? "eventModelOutageShort" : "eventOutageShort", values);
  return "";
}

function valuesOf(event) {
  const { time, about, why, until } = event, keys = (event.keys ?? [event.key]).toSorted(inOrder.compare);
  const named = keys.slice(0, NAMED).join(say("listComma")), more = keys.length - NAMED;
  const name = more > 0 ? "keysAndMore" : keys.length > 1 ? "severalKeys" : "oneKey";
  return {
    about, reason: reason(why), keys: say(name, { keys: named, count: number(more), total: number(keys.length) }),
    until: until ? (until - time < 3600 ? moment : minute)(until) : "",
  };
}

function benched({ about, count = 1 }) {
  if (count > 1) return about ? "eventModelBenchedOften" : "eventBenchedOften"; // each until another moment
  return about ? "eventModelBenched" : "eventBenched";
}

function outageEnded(event, values) {
  const [, seconds, why] = / after (\d+) s: (.*)$/.exec(event.why) ?? [];
  if (!seconds) return capital(event.why);
  return say(event.about ? "eventModelOutageEnded" : "eventOutageEnded", { ...values, span: span(Number(seconds)), reason: reason(why) });
}

function reloaded(event) {
  const [count] = /^\d+/.exec(event.why) ?? [];
  return say("eventReloaded", { keys: count ? say("countOfKeys", { count: number(Number(count)) }) : event.why });
}
