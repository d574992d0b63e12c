/** What is the same around all views: the verdict, the counts beside the tabs, and the foot. */

import { make, put, shape } from "./elements.js";
import { bytes, clockTime, now, number, pacificMidnight, span, zone } from "./format.js";
import { say } from "./words.js";

const DAY = 86400; // seconds
const STORAGE = { on: "stateFile", off: "stateOff", unusable: "stateUnusable" };
const here = (id) => document.getElementById(id);

/** Shows all of it for a status. */
export function frame(status) {
  verdict(status);
  put(here("keys-count"), number(status.keys.length));
  put(here("clients-count"), number(status.clients.length));
  foot(status);
}

/** Says in words whether the pool is well; the title of the browser's tab counts the problems. */
function verdict({ keys, problems }) {
  const count = problems.filter((problem) => problem.severity === "failure").length, isFine = !count && keys.length > 0;
  const text = !keys.length ? say("noKeys") : isFine ? say("healthy") : say(count === 1 ? "problem" : "problems", { count: number(count) });
  if (here("verdict").textContent !== text) here("verdict").replaceChildren(shape(isFine ? "check" : "alert"), text);
  here("verdict").classList.toggle("fine", isFine);
  document.title = `${isFine ? "" : `(${count || "!"}) `}Gemini key proxy`;
}

function foot({ version, started, workers, storage }) {
  const texts = [
    say("version", { version }), say("up", { span: span(now() - started) }), workers > 1 ? say("workers", { count: number(workers) }) : "",
    say(STORAGE[storage.state], { bytes: bytes(storage.bytes) }), say("zone", { zone: zone(), time: clockTime(pacificMidnight() + DAY) }),
  ].filter(Boolean);
  const place = here("foot");
  while (place.children.length > texts.length) place.lastChild.remove();
  texts.forEach((text, at) => put(place.children[at] ?? place.appendChild(make("span")), text));
}
