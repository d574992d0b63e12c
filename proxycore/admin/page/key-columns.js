/** The columns of the keys, and the rows over their whole width. */

import { button, make, put, putCut, set, shape } from "./elements.js";
import { clock, duration, moment, now, number, percent } from "./format.js";
import { explained, STATES } from "./health.js";
import { wordOf } from "./key-tools.js";
import { say } from "./words.js";

/** The share of the calls with a key that Google served, but for those that no key could have served. */
const servedOf = ({ successes, status_429: quota, status_403: refused, status_5xx: failed }) => [successes, successes + quota + refused + failed];

/**
 * `view` has what they need of the view: `everyone` is the checkbox for all keys; `isSelected`, `isOpen` and
 * `usageOf` take a key's name, `select` a name and whether it is selected, `toggle` a name, `sort` a column.
 */
export function columnsOf(view) {
  const columns = [
    { kind: "pick", width: "pick", inside: view.everyone, show: (cell, item) => showPick(cell, item, view) },
    { word: "key", kind: "name", width: "name", row: true, value: ({ name }) => name, show: (cell, { entry }) => putCut(cell, entry.name) },
    { word: "project", kind: "project", width: "project", value: ({ key }) => key.project,
      show: (cell, { entry }) => putCut(cell, entry.key.project ?? "–", entry.key.project) },
    { word: "state", kind: "state", width: "state", show: showState },
    { word: "reasonAndHelp", kind: "whole two why", show: showReason },
    { word: "backIn", label: "backIn", kind: "number back", width: "back", value: ({ until }) => until, show: showBack },
    { word: "today", label: "today", kind: "number today", width: "today", value: ({ name, key }) => view.usageOf(name) ?? key.requests,
      show: (cell, { entry }) => put(cell, number(view.usageOf(entry.name) ?? entry.key.requests)) },
    { word: "served", kind: "number served left-out", width: "served", value: ({ key }) => share(key), show: (cell, { entry }) => put(cell, percent(...servedOf(entry.key))) },
    { word: "firstByte", kind: "number first-byte left-out", width: "first-byte", value: ({ key }) => key.first_byte,
      show: (cell, { entry }) => put(cell, duration(entry.key.first_byte)) },
    { kind: "more", width: "more", unseen: true, head: (head) => put(head.firstChild, say("open")), show: (cell, item) => showOpener(cell, item, view) },
  ];
  for (const column of columns) if (column.value) column.inside = button(column.word, "sort", () => view.sort(column));
  return columns;
}

function share(key) {
  const [served, all] = servedOf(key);
  return all ? served / all : null;
}

function showPick(cell, { entry }, view) {
  if (!cell.firstChild) {
    const box = cell.appendChild(make("input"));
    box.type = "checkbox";
    box.addEventListener("change", () => view.select(box.value, box.checked));
  }
  const box = cell.firstChild;
  box.value = entry.name;
  box.checked = view.isSelected(entry.name);
  set(box, "aria-label", say("selectKey", { name: entry.name }));
}

function showState(cell, { entry }) {
  const { word, shape: form, kind } = STATES[entry.state];
  if (cell.dataset.state !== entry.state) {
    cell.dataset.state = entry.state;
    cell.replaceChildren(make("span", `pill ${kind}`, shape(form), make("span")));
  }
  putCut(cell.firstChild.lastChild, say(word));
}

function showReason(cell, { entry }) {
  if (!cell.firstChild) cell.append(make("span"), make("span", "below"));
  const [why, help] = explained(entry.key, entry.state);
  putCut(cell.firstChild, why);
  putCut(cell.lastChild, help);
}

function showBack(cell, { entry: { state, until } }) {
  put(cell, until === null ? "–" : clock(until - now()));
  set(cell, "title", until && say(state === "retired" ? "triedAgainAt" : "backAt", { time: moment(until) }));
}

function showOpener(cell, { entry: { name } }, view) {
  if (!cell.firstChild) {
    const opener = cell.appendChild(make("button", "opener", shape("more")));
    opener.type = "button";
    opener.addEventListener("click", () => view.toggle(opener.value));
  }
  const isOpen = view.isOpen(name);
  cell.firstChild.value = name;
  set(cell.firstChild, "aria-label", say("details", { name: say("keyNamed", { name }) }));
  set(cell.firstChild, "aria-expanded", isOpen);
  cell.parentElement.classList.toggle("opened", isOpen);
}

/** The head of a group of keys. */
export class GroupRow {
  constructor() {
    this.name = make("span");
    this.count = make("b", "n");
    this.element = make("span", "", this.name, " ", this.count);
  }

  show({ group: { name, entries } }) {
    put(this.name, say(wordOf(name)));
    put(this.count, number(entries.length));
  }
}

/** The line that the ready keys are folded into, with their sums. */
export class FoldRow {
  constructor(fold, usageOf) {
    this.usageOf = usageOf;
    this.count = make("span");
    this.sums = make("span", "muted cut");
    this.button = make("button", "plain", shape("more"), make("span", "pill good", shape("dot"), this.count));
    this.button.type = "button";
    this.button.addEventListener("click", fold);
    this.element = make("div", "folded", this.button, this.sums);
  }

  show({ group: { entries, isFolded } }) {
    put(this.count, say(entries.length === 1 ? "oneReady" : "severalReady", { count: number(entries.length) }));
    set(this.button, "aria-expanded", !isFolded);
    let requests = 0, served = 0, all = 0;
    const firstBytes = [];
    for (const { key } of entries) {
      const [good, total] = servedOf(key);
      requests += this.usageOf(key.name) ?? key.requests;
      served += good;
      all += total;
      if (key.first_byte !== null) firstBytes.push(key.first_byte);
    }
    const middle = firstBytes.sort((one, other) => one - other)[firstBytes.length >> 1];
    putCut(this.sums, say(this.usageOf("") === null ? "readySums" : "readySumsToday",
      { requests: number(requests), served: percent(served, all), firstByte: duration(middle) }));
  }
}
