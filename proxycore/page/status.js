/** The status page: log in, follow the server, show what it tells. */

import { draw } from "./chart.js";
import { Ask } from "./dialog.js";
import { Feed } from "./feed.js";
import { moment, now, put, setClock } from "./format.js";
import { Keys } from "./keys.js";
import { clients, outages, streams, tiles } from "./panels.js";
import { say, speak, spoken, translate } from "./words.js";

const here = (id) => document.getElementById(id);
const admitted = document.documentElement.hasAttribute("data-admitted");
const feed = new Feed({ told, lost, refused });
const ask = new Ask((order) => feed.act(order));
const keys = new Keys((...asked) => ask.open(...asked));
let isLost = false, wasEntered = false;

/** The server told something: all of it, or what has changed. */
function told(status, change) {
  setClock(status.time);
  if (here("board").hidden) enter();
  if (isLost) put(here("link"), say("found"));
  else put(here("link"), say("live"));
  isLost = false;
  here("lost").hidden = true;
  document.body.classList.remove("stale");
  keys.show(status.keys, change ? change.keys ?? [] : null);
  panels(status);
}

function panels(status) {
  tiles(here("tiles"), status);
  outages(here("outages"), status);
  streams(here("streams"), status);
  clients(here("clients"), status);
  draw(here("chart"), status.history);
}

function enter() {
  here("admin-key").value = "";
  here("door").hidden = true;
  here("board").hidden = false;
  here("leave").hidden = admitted && !feed.key;
  wasEntered = true;
}

function lost() {
  if (here("board").hidden) {
    put(here("link"), say("lostShort"));
    return;
  }
  isLost = true;
  put(here("link"), say("lostShort"));
  put(here("lost"), say("lost", { time: moment(feed.document.time) }));
  here("lost").hidden = false;
  document.body.classList.add("stale");
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
  document.body.classList.remove("stale");
  here("board").hidden = here("leave").hidden = true;
  here("door").hidden = here("login").hidden = false;
  for (const id of ["link", "notice", "refused"]) put(here(id), "");
  here("admin-key").focus();
}

here("login").addEventListener("submit", (event) => {
  event.preventDefault();
  put(here("refused"), "");
  here("admin-key").removeAttribute("aria-invalid");
  put(here("link"), say("connecting"));
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
    put(here("link"), say(isLost ? "lostShort" : "live"));
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
if (feed.key || admitted) {
  put(here("link"), say("connecting"));
  feed.start();
} else here("login").hidden = false;
tick();
