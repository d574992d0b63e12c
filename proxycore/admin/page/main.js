/** The status page: log in, follow the server, show the view that the address names. */

import { Clients } from "./clients.js";
import { Ask } from "./dialog.js";
import { put, set } from "./elements.js";
import { Feed } from "./feed.js";
import { moment, now, setClock } from "./format.js";
import { frame } from "./frame.js";
import { History } from "./history.js";
import { Keys } from "./keys.js";
import { Overview } from "./overview.js";
import { Requests } from "./requests.js";
import { say, speak, spoken, translate } from "./words.js";

const here = (id) => document.getElementById(id);
const admitted = document.documentElement.hasAttribute("data-admitted");
const { adminKey } = document.documentElement.dataset; // which there is: "set", "one-time" or "missing"
const VIEWS = { overview: Overview, keys: Keys, requests: Requests, clients: Clients, history: History };
const NEWS = 5000; // milliseconds for which it is said that the connection was found again

const feed = new Feed({ told, lost, refused });
const ask = new Ask((order) => feed.act(order));
const views = new Map(); // those that were shown, by name
let shown = null; // the name of the view that is shown
let isLost = false, wasEntered = false, foundAt = -NEWS;

/** Shows the status, or what has changed in it (null: all of it is new). */
function told(status, change) {
  setClock(status.time);
  if (isLost) foundAt = performance.now();
  isLost = false;
  if (here("desk").hidden) enter();
  else view()?.show(status, change);
  tell("link", performance.now() - foundAt < NEWS ? "found" : "live");
  here("lost").hidden = true;
  document.body.classList.remove("stale");
  frame(status);
}

/** Shows a message that stays, and is translated when the language changes. */
function tell(id, word) {
  here(id).dataset.say = word;
  put(here(id), say(word));
}

const view = () => views.get(shown);

/** Shows the view that the address names: `#/keys/7`, `#/requests?client=carol`. */
function go() {
  if (here("desk").hidden) return;
  const [, name, rest, query] = /^#\/(\w+)(?:\/([^?]*))?(?:\?(.*))?$/.exec(location.hash) ?? [];
  const wanted = Object.hasOwn(VIEWS, name) ? name : "overview";
  const place = { id: rest ? decoded(rest) : null, query: new URLSearchParams(query) };
  if (!views.has(wanted)) views.set(wanted, new VIEWS[wanted](here(wanted), { feed, ask, go: (to) => { location.hash = to; } }));
  if (wanted !== shown) {
    view()?.leave?.();
    shown = wanted;
    for (const one of Object.keys(VIEWS)) here(one).hidden = one !== wanted;
    for (const link of here("tabs").querySelectorAll("a")) set(link, "aria-current", link.hash === `#/${wanted}` ? "page" : null);
    scrollTo(0, 0);
  }
  view().show(feed.document, null);
  translate(here(wanted));
  view().translate?.();
  view().arrive?.(place);
}

/** What was escaped in an address; as it is, if it was typed by hand. */
function decoded(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

function enter() {
  here("admin-key").value = "";
  tell("door-title", "runs");
  here("door").hidden = true;
  for (const id of ["desk", "tabs", "foot", "verdict"]) here(id).hidden = false;
  here("leave").hidden = admitted && !feed.key;
  wasEntered = true;
  go();
}

function lost() {
  isLost = true;
  tell("link", "lostShort");
  document.body.classList.add("stale");
  if (here("desk").hidden) {
    tell("door-title", "unreachable");
    here("leave").hidden = !feed.key;
    return;
  }
  put(here("lost"), say("lost", { time: moment(feed.document.time) }));
  here("lost").hidden = false;
}

function refused() {
  const text = say(wasEntered ? "noLonger" : "wrongKey");
  leave();
  put(here("refused"), text);
  here("admin-key").setAttribute("aria-invalid", "true");
  here("admin-key").select();
}

function leave() {
  feed.stop();
  view()?.leave?.();
  for (const one of views.keys()) here(one).replaceChildren(); // nothing of what was seen stays
  views.clear();
  shown = null;
  isLost = wasEntered = false;
  foundAt = -NEWS;
  tell("door-title", "runs");
  document.body.classList.remove("stale");
  for (const id of ["desk", "tabs", "foot", "verdict", "leave"]) here(id).hidden = true;
  document.title = "Gemini key proxy";
  here("door").hidden = false;
  askForKey();
  tell("link", "");
  put(here("refused"), "");
  here("admin-key").focus();
}

/** Shows the form for the admin key, or what to do where there is none. */
function askForKey() {
  here("login").hidden = adminKey === "missing";
  here("no-admin-key").hidden = !here("login").hidden;
  if (adminKey === "one-time") tell("admin-hint", "oneTimeHint");
}

/** The admin key in the address's fragment, which is not sent anywhere; it is taken out of the address. */
function keyInAddress() {
  const key = new URLSearchParams(location.hash.slice(1)).get("admin-key");
  if (key) history.replaceState(null, "", location.pathname + location.search);
  return key;
}

here("login").addEventListener("submit", (event) => {
  event.preventDefault();
  put(here("refused"), "");
  here("admin-key").removeAttribute("aria-invalid");
  tell("link", "connecting");
  feed.start(here("admin-key").value.trim());
});
here("leave").addEventListener("click", leave);
addEventListener("hashchange", go);

here("languages").addEventListener("click", (event) => {
  const chosen = event.target.closest("button");
  if (!chosen) return;
  speak(chosen.value);
  language();
});

function language() {
  document.documentElement.lang = spoken() === "zh" ? "zh-CN" : "en";
  for (const one of here("languages").children) set(one, "aria-pressed", one.value === spoken());
  translate();
  if (!feed.document) return;
  frame(feed.document);
  view()?.translate?.();
  if (isLost) put(here("lost"), say("lost", { time: moment(feed.document.time) }));
}

here("theme").addEventListener("click", () => {
  const dark = theme() ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  theme(dark === "dark" ? "light" : "dark");
});

/** The chosen theme, null if the browser's own is used; sets and remembers it. */
function theme(chosen = undefined) {
  const root = document.documentElement;
  try {
    if (chosen) localStorage.setItem("theme", chosen);
    root.dataset.theme = chosen ?? localStorage.getItem("theme") ?? "";
  } catch {
    root.dataset.theme = chosen ?? root.dataset.theme ?? ""; // a browser may forbid it: then it is not remembered
  }
  return root.dataset.theme || null;
}

/** Counts down, at each full second of the server's clock. */
function tick() {
  if (feed.document && !isLost && !document.hidden) view()?.tick?.();
  setTimeout(tick, 1000 - (now() * 1000) % 1000);
}

theme();
language();
const given = keyInAddress();
if (given || feed.key || admitted) {
  tell("link", "connecting");
  feed.start(given ?? feed.key);
} else askForKey();
tick();
