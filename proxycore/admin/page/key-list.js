/** The keys in their groups, as the filter and the search ask for them. */

import { now } from "./format.js";
import { backAt, GROUPS, groupOf, searchText, stateOf } from "./health.js";

const naming = new Intl.Collator("en", { numeric: true }); // 2 comes before 10
const FEW = 12; // keys: the ready ones of so few need no folding

/** One key, as it is now; `until` is when it is back or tried again. It is changed in place. */
class Entry {
  constructor(key) { this.update(key); }

  /** Takes over the key; returns whether it goes to another group. */
  update(key) {
    const { group } = this;
    this.key = key;
    this.state = stateOf(key);
    this.group = groupOf(key, this.state);
    this.until = backAt(key, this.state);
    this.text = null;
    return group !== this.group;
  }

  get name() { return this.key.name; }

  matches(words) {
    if (!words.length) return true;
    this.text ??= searchText(this.key);
    return words.every((word) => this.text.includes(word));
  }
}

/** `groups` are `{ name, entries, isFolding, isFolded }` that are not empty, `counts` how many keys each has in all. */
export class KeyList {
  constructor() {
    this.entries = new Map(); // by name
    this.ranks = new Map(); // the place of each name in the order of names
    this.groups = [];
    this.isFolded = null; // whether the ready keys are folded; null: not decided yet
    this.column = null; // what they are sorted by; null: the name
    this.descending = false;
  }

  has(name) { return this.entries.has(name); }

  /** The keys that the filter and the search ask for, also those that are folded. */
  get shown() { return this.groups.flatMap((group) => group.entries); }

  /** Whether a bench has ended since the last update. */
  get isDue() { return now() >= this.nextEnd; }

  /** Takes over all keys. */
  replace(keys) {
    const before = this.entries;
    this.entries = new Map(keys.map((key) => [key.name, before.get(key.name) ?? new Entry(key)]));
    for (const key of keys) this.entries.get(key.name).update(key);
    if (keys.length !== this.ranks.size || keys.some((key) => !this.ranks.has(key.name))) {
      this.ranks = new Map(keys.map((key) => key.name).sort(naming.compare).map((name, at) => [name, at]));
    }
    this.findNextEnd();
  }

  /** Takes over the keys that changed, and those whose bench has ended; returns whether one goes to another group. */
  update(keys) {
    let hasMoved = false;
    for (const key of keys) hasMoved = this.entries.get(key.name).update(key) || hasMoved;
    if (this.isDue) for (const one of this.entries.values()) if (one.until !== null && one.until <= now()) hasMoved = one.update(one.key) || hasMoved;
    this.findNextEnd();
    return hasMoved;
  }

  findNextEnd() {
    this.nextEnd = Infinity;
    for (const { until } of this.entries.values()) if (until !== null && until > now() && until < this.nextEnd) this.nextEnd = until;
  }

  /** Makes the groups; `wanted` are KeyTools. */
  arrange(wanted) {
    const { words, isAll } = wanted, groups = new Map(GROUPS.map((name) => [name, []]));
    this.counts = Object.fromEntries(GROUPS.map((name) => [name, 0]));
    for (const one of this.entries.values()) {
      this.counts[one.group] += 1;
      if (wanted.admits(one.group) && one.matches(words)) groups.get(one.group).push(one);
    }
    if (this.entries.size) this.isFolded ??= this.entries.size > FEW;
    this.groups = [...groups].filter(([, entries]) => entries.length).map(([name, entries]) => {
      const isFolding = name === "ready" && isAll;
      return { name, entries: entries.sort((one, other) => this.compare(one, other)), isFolding, isFolded: isFolding && this.isFolded };
    });
  }

  compare(one, other) {
    const byName = this.ranks.get(one.name) - this.ranks.get(other.name);
    if (!this.column) return this.descending ? -byName : byName;
    const [a, b] = [one, other].map((entry) => this.column.value(entry));
    if (a === b || (a == null && b == null)) return byName;
    if (a == null || b == null) return a == null ? 1 : -1; // what is not known comes last
    const order = typeof a === "string" ? naming.compare(a, b) : a - b;
    return (this.descending ? -order : order) || byName;
  }

  /** Sorts by this column, or the other way round. */
  sort(column) {
    this.descending = this.column === column && !this.descending;
    this.column = column;
  }

  /** Unfolds the group of this key, if it is folded. */
  reveal(name) {
    if (this.entries.get(name).group === "ready") this.isFolded = false;
  }

  fold() { this.isFolded = !this.isFolded; }

  /** The language has changed, and with it what can be searched for. */
  forgetTexts() {
    for (const one of this.entries.values()) one.text = null;
  }
}
