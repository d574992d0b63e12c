/** A key's state at this moment: a bench that is over does not count, even if the server has not said so yet. */

import { capital, minute, now, span } from "./format.js";
import { reason } from "./reasons.js";
import { say } from "./words.js";

/** What each state is called, its shape and its colour, and the group of keys that it belongs to. */
export const STATES = {
  ready: { word: "ready", shape: "dot", kind: "good", group: "ready" },
  unproven: { word: "unproven", shape: "ring", kind: "", group: "unproven" },
  partly_benched: { word: "partlyBenched", shape: "half", kind: "warn", group: "resting" },
  exhausted: { word: "exhausted", shape: "down", kind: "warn", group: "resting" },
  benched: { word: "benched", shape: "triangle", kind: "warn", group: "attention" },
  retired: { word: "retired", shape: "square", kind: "bad", group: "attention" },
  paused: { word: "paused", shape: "bars", kind: "", group: "paused" },
};

/** The groups of keys, in the order in which they are shown. */
export const GROUPS = ["attention", "resting", "unproven", "paused", "ready"];

const MANUAL = "manual"; // the reason of a bench that the operator set
const DAY_ENDS = "daily quota exhausted";
const HELP = {
  "quota exhausted": "helpQuota", "token quota exhausted": "helpTokens", "spend-based rate limit exceeded": "helpQuota",
  "not entitled": "helpEntitled", "refused without a reason": "helpUnknown", "permission denied": "helpPermission",
  "suspended or leaked": "helpReplace", "API key not valid or expired": "helpReplace", "API key not accepted": "helpReplace",
  "no credit or spending cap reached": "helpCredit", "project access denied": "helpDenied",
  "billing country not supported": "helpDenied", "region not supported": "helpRegion", "upstream error": "helpUpstream",
  "upstream deadline exceeded": "helpUpstream", [MANUAL]: "helpManual", SERVICE_DISABLED: "helpService",
  API_KEY_SERVICE_BLOCKED: "helpRestricted", API_KEY_HTTP_REFERRER_BLOCKED: "helpCaller",
  API_KEY_IP_ADDRESS_BLOCKED: "helpCaller", API_KEY_ANDROID_APP_BLOCKED: "helpCaller",
  API_KEY_IOS_APP_BLOCKED: "helpCaller", ACCESS_TOKEN_TYPE_UNSUPPORTED: "helpReplace", CONSUMER_INVALID: "helpDenied",
};

/** Whether a bench has not ended yet. */
export const runs = (bench) => Boolean(bench) && bench.until > now();

/** The key's state: one of STATES. */
export function stateOf(key) {
  const { health } = key;
  if (health === "benched" && !runs(key.bench)) return restsInPart(key) ? "partly_benched" : "ready";
  return (health === "exhausted" || health === "partly_benched") && !restsInPart(key) ? "ready" : health;
}

const restsInPart = (key) => benchesInPart(key).length > 0;

/** The group of a key in this state: what the operator benched needs no attention. */
export const groupOf = (key, state) =>
  (state === "benched" && key.bench.reason === MANUAL ? "resting" : STATES[state].group);

/** The running benches for models and origins of pages, as `{ about, order, bench }`; the first to end is first. */
export function benchesInPart(key) {
  const models = Object.entries(key.models).map(([model, known]) => ({ about: model, order: { model }, bench: known.bench }));
  const origins = Object.entries(key.origins).map(([origin, bench]) => ({ about: origin, order: { origin }, bench }));
  return [...models, ...origins].filter(({ bench }) => runs(bench)).sort((one, other) => one.bench.until - other.bench.until);
}

/** The bench of the whole key, while it is benched or retired. */
export const wholeBench = (key, state) => (state === "benched" || state === "retired" ? key.bench : null);

/** When the key is back, or is tried again, for a model at least; null if nothing rests. */
export const backAt = (key, state) =>
  (state === "paused" ? null : wholeBench(key, state)?.until ?? benchesInPart(key)[0]?.bench.until ?? null);

/** Why it does not serve, and what helps: two sentences. */
export function explained(key, state) {
  if (state === "paused") return [key.note ?? say("pausedByHand"), say("helpPaused")];
  const whole = wholeBench(key, state);
  if (whole) return [capital(reason(whole.reason)), help(whole, state)];
  const [first, ...more] = benchesInPart(key);
  if (!first) return [key.note ?? "", state === "unproven" ? say("helpUnproven") : ""];
  const why = reason(first.bench.reason);
  const text = say(more.length ? "restsAndMore" : "restsFor", { about: first.about, reason: why, count: more.length });
  return [text, help(first.bench, state)];
}

/** What helps against a bench. */
function help(bench, state) {
  if (bench.reason === DAY_ENDS) return say("helpDay", { time: minute(bench.until).slice(-5) });
  const text = say(HELP[bench.reason] ?? "helpUnknown");
  return bench.strikes > 1 && state !== "retired" ? say("helpAndStrikes", { help: text, count: bench.strikes }) : text;
}

/** Since when a key has been benched, in words; "" if that is not known. */
export const sinceOf = (bench) => (bench?.since ? say("benchedFor", { span: span(now() - bench.since) }) : "");

/** All that a key can be searched by, in small letters. */
export function searchText(key) {
  const benches = [key.bench, ...Object.values(key.models).map((known) => known.bench), ...Object.values(key.origins)];
  const texts = [key.name, key.project ?? "", key.account ?? "", key.note ?? "", ...Object.keys(key.models), ...Object.keys(key.origins)];
  for (const bench of benches) if (runs(bench)) texts.push(bench.reason, reason(bench.reason));
  return texts.join("\n").toLowerCase();
}
