/** The columns of the request log. */

import { button, put, set, shape } from "./elements.js";
import { duration, instant, moment, number } from "./format.js";
import { fill, showClient, showKey, showMark, showModel, WIDTHS } from "./request-cells.js";
import { methodOf, outcomeOf } from "./request-words.js";
import { say } from "./words.js";

/** The text of the head, classes of the cells, and what fills the cell of a request. */
const COLUMNS = [
  ["endedAt", "", showTime],
  ["outcome", "", (cell, request) => showMark(cell, outcomeOf(request))],
  ["modelAndMethod", "", (cell, request) => showModel(cell, request.model, methodOf(request.path))],
  ["client", "left-out", (cell, request) => showClient(cell, request.client)],
  ["key", "left-out", (cell, request) => showKey(cell, request.key)],
  ["attempts", "number narrow-out left-out", (cell, request) => put(cell, number(request.attempts.length))],
  ["firstByte", "number narrow-out left-out", (cell, request) => put(cell, duration(request.first_byte))],
  ["whole", "number left-out", (cell, request) => put(cell, duration(request.seconds))],
  ["tokensInOut", "number narrow-out left-out", (cell, request) => put(cell, tokensOf(request))],
];

/** The columns of a log whose `view` knows what is `opened`, and can `toggle` a request. */
export function columnsOf(view) {
  const columns = COLUMNS.map(([word, kind, show], at) => ({ word, kind, width: WIDTHS[at], show: (cell, { request }) => show(cell, request) }));
  return [...columns, { word: "actions", unseen: true, kind: "act", width: WIDTHS.at(-1), show: (cell, item) => showOpener(cell, item, view) }];
}

function showTime(cell, { time, seconds }) {
  put(cell, instant(time + seconds));
  set(cell, "title", say("arrivedEnded", { arrived: moment(time), ended: moment(time + seconds) }));
}

function showOpener(cell, { request }, view) {
  fill(cell, "opener", () => [button(null, "opener", () => view.toggle(cell.request))]);
  const isOpen = view.opened.has(request), one = cell.firstChild;
  cell.request = request;
  if (!one.firstChild) one.append(shape("more"));
  set(one, "aria-label", say("details", { name: request.id }));
  set(one, "aria-expanded", isOpen);
  cell.parentElement.classList.toggle("opened", isOpen);
}

/** Tokens of prompt and response; "–" is what could not be read, or what there is none of. */
function tokensOf({ input_tokens: given, output_tokens: made, unread }) {
  return unread || (!given && !made) ? "–" : `${given ? number(given) : "–"} · ${made ? number(made) : "–"}`;
}
