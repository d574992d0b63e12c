/** The sentences about a problem. The server's are English; in Chinese they are made of what it is about. */

import { minute, now, number, pacific, span } from "./format.js";
import { reason } from "./reasons.js";
import { say, spoken } from "./words.js";

const CHINESE_TITLES = {
  "key dead": "keysDead", "no credit": "noCredit", "key benched": "keysBenched", "model exhausted": "modelExhausted",
  outage: "outageOf", "state file": "stateFileProblem", "spent soon": "spentSoon",
};

/** What is wrong. */
export function describe(problem) {
  if (problem.kind === "spent soon") return say("spentSoon", valuesOf(problem));
  if (spoken() !== "zh") return problem.text;
  return say(CHINESE_TITLES[problem.kind], valuesOf(problem));
}

/** What to do, and when the proxy tries again by itself. */
export function advise(problem) {
  if (problem.kind === "spent soon") return say("spentSoonMore", valuesOf(problem));
  const text = spoken() === "zh" ? say(`${CHINESE_TITLES[problem.kind]}More`) : problem.advice;
  const left = problem.until ? problem.until - now() : 0;
  const soon = left > 0 ? say(problem.kind === "model exhausted" ? "nextBackIn" : "probedIn", { span: span(left) }) : "";
  return [soon, text].filter(Boolean).join(spoken() === "zh" ? "" : " ");
}

function valuesOf({ reason: why, keys, key_count: count, model, account, until }) {
  return {
    reason: why ? reason(why) : "", count: number(count), keys: keys.slice(0, 3).join("、") + (count > 3 ? "…" : ""),
    model: model ?? say("allModels"), account: account ?? keys[0] ?? "", time: until ? minute(until) : "", pacific: until ? pacific(until) : "",
  };
}
