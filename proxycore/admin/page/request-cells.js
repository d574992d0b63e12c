/** The columns that open streams and the request log have in common, and what fills their cells. */

import { make, putCut, set, shape } from "./elements.js";
import { say } from "./words.js";

/** Classes of the `col` elements: the columns of both tables line up. */
export const WIDTHS = [
  "request-at", "request-outcome", "", "request-client", "request-key",
  "request-attempts narrow-out", "request-seconds narrow-out", "request-seconds", "request-tokens narrow-out", "request-act",
];

/** Fills the cell anew with what `build` returns, if `told` is not what it tells already. */
export function fill(cell, told, build) {
  if (cell.told === told) return;
  cell.told = told;
  cell.replaceChildren(...build());
}

/** Shows an outcome: its shape, and its text in its colour. */
export function showMark(cell, { shape: name, tone, text }) {
  fill(cell, `${name} ${tone} ${text}`, () => [make("span", `mark ${tone}`, shape(name), make("span", "", text))]);
  set(cell, "title", text);
}

/** Shows a model, and the method in grey. */
export function showModel(cell, model, method) {
  fill(cell, `${model} ${method}`, () => [model, " ", make("span", "muted", method)]);
  set(cell, "title", `${model} ${method}`.trim());
}

/** Shows the name of a client; "-" is one without a key. */
export const showClient = (cell, name) => putCut(cell, name === "-" ? say("openToAll") : name);

/** Shows the name of a key; "-" is none. */
export const showKey = (cell, name) => putCut(cell, name === "-" ? "–" : name);
