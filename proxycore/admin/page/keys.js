/** The view "keys": those that need attention first, the ready ones folded into a line; each opens into a sheet. */

import { AddKeys } from "./add-keys.js";
import { make, panel, put, set } from "./elements.js";
import { moment, now, pacificMidnight } from "./format.js";
import { KeyActions } from "./key-actions.js";
import { columnsOf, FoldRow, GroupRow } from "./key-columns.js";
import { KeyList } from "./key-list.js";
import { KeySheet } from "./key-sheet.js";
import { KeyTools } from "./key-tools.js";
import { Table } from "./table.js";
import { say } from "./words.js";

const USAGE_EVERY = 60; // seconds
const STILL = 2000; // milliseconds after a move of the pointer over the keys in which none changes its place

export class Keys {
  constructor(root, { feed, ask }) {
    this.feed = feed;
    this.list = new KeyList();
    this.selected = new Set(); // names
    this.sheets = new Map(); // of the keys that are open, by name
    this.usage = null; // today's requests, by key
    this.usageAt = this.movedAt = -Infinity;
    this.isDue = false; // whether a key belongs to another group than it is shown in
    const actions = new KeyActions(ask, (key) => { if (this.list.has(key.name)) this.update([key]); });
    this.tools = new KeyTools({
      actions, add: () => this.dialog.open(), selected: () => [...this.selected].map((name) => this.list.entries.get(name).key),
      filtered: () => this.filter(), cleared: () => this.selectAll(false),
    });
    this.parts = { feed, actions, outside: this.tools.output };
    this.everyone = make("input");
    this.everyone.type = "checkbox";
    this.everyone.dataset.label = "selectAll";
    this.everyone.addEventListener("change", () => this.selectAll(this.everyone.checked));
    this.columns = columnsOf({
      everyone: this.everyone, select: (name, isSelected) => this.select(name, isSelected), isSelected: (name) => this.selected.has(name),
      toggle: (name) => this.toggle(name), isOpen: (name) => this.sheets.has(name), usageOf: (name) => this.usageOf(name),
      sort: (column) => this.sort(column),
    });
    this.table = new Table({ kind: "keys", caption: "keys", columns: this.columns, wide: (item) => this.wide(item),
      covers: () => this.tools.element.offsetHeight + this.table.head.offsetHeight });
    this.table.body.addEventListener("click", (event) => openRow(event));
    this.table.body.addEventListener("pointermove", () => { this.movedAt = performance.now(); });
    this.empty = make("p", "empty");
    const title = make("h2", "unseen");
    title.dataset.say = "keys";
    root.append(panel(title, "", title, this.tools.element, this.table.element, this.empty));
    this.dialog = new AddKeys(root, (order) => feed.act(order));
  }

  /** Shows the status; `change` is what of it has changed, null if all is new. */
  show(status, change) {
    this.status = status;
    if (!change) {
      this.list.replace(status.keys);
      this.forgetRemoved();
      this.place();
    } else if (change.keys || this.list.isDue) this.update(change.keys ?? []);
  }

  /** Shows what has changed of some keys. */
  update(keys) {
    this.isDue = this.list.update(keys) || this.isDue;
    if (this.isDue && performance.now() - this.movedAt > STILL) {
      this.place();
      return;
    }
    const changed = new Set(keys.map((key) => key.name));
    this.table.refresh((item) => item.kind === "fold" || changed.has(item.entry?.name));
    this.showSelection();
  }

  /** Counts down. */
  tick() {
    if (this.list.isDue || this.isDue) this.update([]);
    this.table.refresh(({ kind, entry }) => kind === "sheet" || (kind === "row" && entry.until !== null));
    this.readUsage();
  }

  /** Opens and shows the key that the address names, or those that it asks for. */
  arrive({ id, query }) {
    if (query.has("state") || query.has("search")) {
      this.tools.choose(query.get("state"));
      this.tools.search.value = query.get("search") ?? "";
      this.filter();
    }
    this.readUsage();
    for (const sheet of this.sheets.values()) sheet.arrive();
    if (id && this.list.has(id)) this.reveal(id);
  }

  /** Opens this key, and shows it whatever is filtered. */
  reveal(name) {
    if (!this.list.shown.some((one) => one.name === name)) this.tools.reset();
    this.list.reveal(name);
    this.open(name);
    this.place();
    this.table.reveal(`key ${name}`);
  }

  leave() {
    for (const sheet of this.sheets.values()) sheet.leave();
  }

  translate() {
    this.list.forgetTexts();
    this.table.translate();
    for (const sheet of this.sheets.values()) if (sheet.key) sheet.translate();
    this.titleToday();
    if (this.status) this.place();
  }

  /** Puts the keys into their groups, and those that are in view into the document. */
  place() {
    const wasFocused = this.table.body.contains(document.activeElement), { admin_writes: writes } = this.status, items = [];
    this.isDue = false;
    this.list.arrange(this.tools);
    for (const group of this.list.groups) {
      items.push({ id: `group ${group.name}`, kind: group.isFolding ? "fold" : "group", group });
      if (group.isFolded) continue;
      for (const entry of group.entries) {
        items.push({ id: `key ${entry.name}`, kind: "row", entry });
        if (this.sheets.has(entry.name)) items.push({ id: `sheet ${entry.name}`, kind: "sheet", entry, writes });
      }
    }
    this.table.element.hidden = !items.length;
    this.empty.hidden = items.length > 0;
    put(this.empty, say(this.list.entries.size ? "noneFound" : writes ? "addFirst" : "setFirst"));
    this.table.show(items);
    this.showSelection();
    // What was focused is not listed any more.
    if (wasFocused && document.activeElement === document.body) this.tools.focus();
  }

  showSelection() {
    const states = [...this.selected].map((name) => this.list.entries.get(name).state);
    const shown = this.list.shown.length;
    this.tools.show(this.list.counts, states, this.status.admin_writes);
    this.everyone.checked = shown > 0 && states.length === shown;
    this.everyone.indeterminate = states.length > 0 && states.length < shown;
  }

  wide(item) {
    if (item.kind === "sheet") return this.sheets.get(item.entry.name);
    return item.kind === "group" ? new GroupRow() : new FoldRow(() => this.fold(), (name) => this.usageOf(name));
  }

  fold() {
    this.list.fold();
    this.place();
  }

  select(name, isSelected) {
    if (isSelected) this.selected.add(name);
    else this.selected.delete(name);
    this.tools.forget();
    this.showSelection();
  }

  selectAll(isSelected) {
    this.selected = new Set(isSelected ? this.list.shown.map((one) => one.name) : []);
    this.tools.forget();
    this.table.refresh(({ kind }) => kind === "row");
    this.showSelection();
  }

  /** Shows what is searched for; what is not shown is not selected. */
  filter() {
    this.list.arrange(this.tools);
    const shown = new Set(this.list.shown.map((one) => one.name));
    for (const name of this.selected) if (!shown.has(name)) this.selected.delete(name);
    this.place();
  }

  sort(column) {
    this.list.sort(column);
    this.columns.forEach((one, at) => {
      const how = this.list.descending ? "descending" : "ascending";
      set(this.table.heads[at], "aria-sort", one === column ? how : null);
    });
    this.place();
  }

  toggle(name) {
    if (this.sheets.has(name)) this.shut(name);
    else {
      this.open(name);
      history.replaceState(null, "", `#/keys/${encodeURIComponent(name)}`); // to be copied: nothing else happens
    }
    this.place();
  }

  open(name) {
    if (!this.sheets.has(name)) this.sheets.set(name, new KeySheet(name, this.parts));
  }

  shut(name) {
    this.sheets.get(name).leave();
    this.sheets.delete(name);
    history.replaceState(null, "", "#/keys");
  }

  forgetRemoved() {
    for (const name of this.selected) if (!this.list.has(name)) this.selected.delete(name);
    for (const name of this.sheets.keys()) if (!this.list.has(name)) this.shut(name);
  }

  /** Today's requests with the key of this name; null if they are not known. */
  usageOf(name) { return this.usage && (this.usage.get(name) ?? 0); }

  /** Reads today's usage, once a minute. */
  async readUsage() {
    if (now() - this.usageAt < USAGE_EVERY || !this.feed.isKept) return;
    this.usageAt = now();
    const answer = await this.feed.read("usage.json", { by: "key", from: pacificMidnight() }).catch(() => null);
    this.usage = answer && new Map(answer.rows.map((row) => [row.key, row.requests]));
    this.usageFrom = answer?.from;
    this.titleToday();
    this.table.refresh(({ kind }) => kind !== "sheet");
  }

  titleToday() {
    const head = this.table.heads[this.columns.findIndex((column) => column.word === "today")];
    head.title = this.usage ? say("requestsSince", { time: moment(this.usageFrom) }) : say("requestsSinceStart");
  }
}

/** A row opens wherever it is pressed, but for what is pressed there. */
function openRow(event) {
  const row = event.target.closest(".row");
  if (row && !event.target.closest("button, input, a") && getSelection().type !== "Range") row.querySelector(".opener").click();
}
