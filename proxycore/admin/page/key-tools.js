/** Above the keys: the search, the states to show, and what can be done with those that are selected. */

import { result } from "./dialog.js";
import { button, make, put, set } from "./elements.js";
import { number } from "./format.js";
import { GROUPS } from "./health.js";
import { say } from "./words.js";

const ALL = "all";
const CHIPS = [ALL, "attention", "resting", "unproven", "ready", "paused"];
const WORDS = { [ALL]: "all", attention: "needsAttention", resting: "resting", unproven: "unprovenKeys", ready: "readyKeys", paused: "pausedKeys" };

/** The word of a group of keys. */
export const wordOf = (group) => WORDS[group];

export class KeyTools {
  /**
   * `filtered` is called when the search or the state changed, `cleared` when the selection is to end, `add` to
   * add keys; `actions` are KeyActions, `selected` returns the selected keys.
   */
  constructor({ filtered, cleared, add, actions, selected }) {
    this.group = ALL;
    this.search = make("input");
    Object.assign(this.search, { type: "search", autocomplete: "off", spellcheck: false });
    Object.assign(this.search.dataset, { label: "searchKeys", hint: "searchKeysHint" });
    this.search.addEventListener("input", filtered);
    this.chips = new Map(CHIPS.map((group) => [group, chip(group, () => { this.choose(group); filtered(); })]));
    this.chipBar = make("div", "chips", ...this.chips.values());
    this.chipBar.setAttribute("role", "group");
    this.chipBar.dataset.label = "keysToShow";
    this.count = make("b");
    this.output = result();
    const act = (word, does) => button(word, "", () => does(selected(), this.output));
    this.changes = [act("pause", (keys) => actions.pause(keys, this.output)), act("resume", (keys) => actions.resume(keys, this.output)),
      act("remove", (keys) => actions.remove(keys, this.output))];
    this.buttons = [act("tryNow", (keys) => actions.tryNow(keys, this.output)), act("rest", (keys) => actions.rest(keys, this.output)),
      act("release", (keys) => actions.release(keys, this.output)), ...this.changes];
    this.clear = button("clearSelection", "quiet", () => { cleared(); this.focus(); });
    this.bulk = make("div", "bulk", this.count, ...this.buttons, this.clear, this.output);
    this.bulk.setAttribute("role", "group");
    this.bulk.dataset.label = "selection";
    this.bulk.hidden = true;
    this.add = button("addKeys", "add-button", add);
    this.add.hidden = true;
    this.element = make("div", "tools key-tools", this.search, this.chipBar, this.bulk, this.add);
  }

  /** The words that are searched for, in small letters. */
  get words() { return this.search.value.toLowerCase().split(/\s+/).filter(Boolean); }

  /** Whether all keys are to be shown. */
  get isAll() { return this.group === ALL && !this.words.length; }

  /** Whether keys of this group are to be shown. */
  admits(group) { return this.group === ALL || this.group === group; }

  /** Shows the keys of this group; null: of all. */
  choose(group) {
    this.group = CHIPS.includes(group) ? group : ALL;
    for (const [name, one] of this.chips) set(one, "aria-pressed", name === this.group);
  }

  /** Shows all keys. */
  reset() {
    this.choose(ALL);
    this.search.value = "";
  }

  /** Shows how many keys there are of each group, and what can be done with keys in these states. */
  show(counts, states, writes) {
    for (const [group, one] of this.chips) put(one.lastChild, number(group === ALL ? GROUPS.reduce((sum, name) => sum + counts[name], 0) : counts[group]));
    this.chips.get("paused").hidden = !counts.paused && this.group !== "paused";
    this.add.hidden = !writes;
    const [pause, resume, remove] = this.changes, arePaused = states.length > 0 && states.every((state) => state === "paused");
    pause.hidden = !writes || arePaused;
    resume.hidden = !writes || !arePaused;
    remove.hidden = !writes;
    put(this.count, say("selected", { count: number(states.length) }));
    this.bulk.hidden = !states.length && !this.output.textContent;
    this.chipBar.hidden = !this.bulk.hidden;
  }

  /** Ends the showing of a result. */
  forget() { put(this.output, ""); }

  /** Focuses what is pressed now. */
  focus() { (this.bulk.hidden ? this.chips.get(this.group) : this.clear).focus({ preventScroll: true }); }
}

function chip(group, choose) {
  const word = make("span");
  word.dataset.say = WORDS[group];
  const one = make("button", "", word, " ", make("b"));
  one.type = "button";
  one.addEventListener("click", choose);
  set(one, "aria-pressed", group === ALL);
  return one;
}
