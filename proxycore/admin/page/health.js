/** A key's health at this moment: a bench that is over does not count, even if the server has not updated it yet. */

import { now } from "./format.js";
import { reason, say } from "./words.js";

/** Whether a bench has not ended yet. */
export const runs = (bench) => Boolean(bench) && bench.until > now();

/** `ready`, `benched` or `retired`: the key as a whole. */
export function stateOf(key) {
  if (key.state === "retired") return "retired";
  return key.state === "benched" && runs(key.bench) ? "benched" : "ready";
}

/** Benches for single models and origins of pages, the first to end first: pairs of name and bench. */
export const benchedModels = (key) =>
  [...Object.entries(key.models).map(([model, known]) => [model, known.bench]), ...Object.entries(key.origins)]
    .filter(([, bench]) => runs(bench)).sort((one, other) => one[1].until - other[1].until);

/** The bench to show first: its own, else that of a model which ends first, else null. */
export function holds(key) {
  if (stateOf(key) !== "ready") return { bench: key.bench, model: null };
  const [first] = benchedModels(key);
  return first ? { model: first[0], bench: first[1] } : null;
}

/** Whether it matches a filter of the page. */
export function passes(key, filter) {
  const state = stateOf(key);
  if (filter === "ready") return state === "ready";
  if (filter === "retired") return state === "retired";
  return filter !== "benched" || state === "benched" || (state === "ready" && benchedModels(key).length > 0);
}

/** Whether all words of a search are somewhere in it. */
export function matches(key, words) {
  if (!words.length) return true;
  const benches = [key.bench, ...Object.values(key.models).map((known) => known.bench), ...Object.values(key.origins)].filter(Boolean);
  const texts = [key.name, key.project ?? "", stateOf(key), ...Object.keys(key.models), ...Object.keys(key.origins)];
  for (const bench of benches) texts.push(bench.reason, reason(bench.reason));
  const text = texts.join("\n").toLowerCase();
  return words.every((word) => text.includes(word));
}

/** Why a key is benched, and after how many strikes in a row. */
export const because = (bench) => `${reason(bench.reason)} · ${say("strikes", { count: bench.strikes })}`;
