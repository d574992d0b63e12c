/** The status page: log in, follow the server, show its status. */

import { draw } from "./chart.js";
import { Ask } from "./dialog.js";
import { Feed } from "./feed.js";
import { moment, now, put, setClock } from "./format.js";
import { Keys } from "./keys.js";
import { clients, judgements, outages, streams, tiles } from "./panels.js";
import { say, speak, spoken, translate } from "./words.js";

const here = (id) => document.getElementById(id);
const admitted = document.documentElement.hasAttribute("data-admitted");
const { adminKey } = document.documentElement.dataset; // which there is: "set", "one-time" or "missing"
const feed = new Feed({ told, lost, refused });
const ask = new Ask((order) => feed.act(order));
const keys = new Keys((...asked) => ask.open(...asked));
const NEWS = 5000; // milliseconds for which it is said that the connection was found again
let isLost = false, wasEntered = false, foundAt = -NEWS;

/** Shows the status, or what has changed in it. */
function told(status, change) {
  setClock(status.time);
  if (here("board").hidden) enter();
  if (isLost) foundAt = performance.now();
  isLost = false;
  show("link", performance.now() - foundAt < NEWS ? "found" : "live");
  here("lost").hidden = true;
  document.body.classList.remove("stale");
  keys.show(status.keys, change ? change.keys ?? [] : null);
  panels(status);
}

/** Shows a message that stays, and is translated when the language changes. */
function show(id, text) {
  here(id).dataset.say = text;
  put(here(id), say(text));
}

function panels(status) {
  tiles(here("tiles"), status);
  outages(here("outages"), status);
  judgements(here("judgements"), status);
  streams(here("streams"), status);
  clients(here("clients"), status);
  draw(here("chart"), status.history);
}

function enter() {
  here("admin-key").value = "";
  show("door-title", "runs");
  here("door").hidden = true;
  here("board").hidden = false;
  here("leave").hidden = admitted && !feed.key;
  wasEntered = true;
}

function lost() {
  isLost = true;
  show("link", "lostShort");
  document.body.classList.add("stale");
  if (here("board").hidden) {
    show("door-title", "unreachable");
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
  isLost = wasEntered = false;
  foundAt = -NEWS;
  show("door-title", "runs");
  document.body.classList.remove("stale");
  here("board").hidden = here("leave").hidden = true;
  here("door").hidden = false;
  askForKey();
  show("link", "");
  for (const id of ["notice", "refused"]) put(here(id), "");
  here("admin-key").focus();
}

/** Shows the form for the admin key, or what to do where there is none. */
function askForKey() {
  here("login").hidden = adminKey === "missing";
  here("no-admin-key").hidden = !here("login").hidden;
  if (adminKey === "one-time") show("admin-hint", "oneTimeHint");
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
  show("link", "connecting");
  feed.start(here("admin-key").value.trim());
});
here("leave").addEventListener("click", leave);
here("language").addEventListener("change", () => {
  speak(here("language").value);
  sayAgain();
});

function sayAgain() {
  translate();
  keys.again();
  if (feed.document) {
    panels(feed.document);
    if (isLost) put(here("lost"), say("lost", { time: moment(feed.document.time) }));
  }
}

/** Counts down, at each full second of the server's clock. */
function tick() {
  if (feed.document && !isLost) {
    keys.tick();
    outages(here("outages"), feed.document);
    streams(here("streams"), feed.document);
    clients(here("clients"), feed.document);
  }
  setTimeout(tick, 1000 - (now() * 1000) % 1000);
}

here("language").value = spoken();
translate();
const given = keyInAddress();
if (given || feed.key || admitted) {
  show("link", "connecting");
  feed.start(given ?? feed.key);
} else askForKey();
tick();
