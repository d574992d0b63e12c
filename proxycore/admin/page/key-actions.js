/** What the operator can do with keys, one or several: the orders to send, and the questions before them. */

import { make } from "./elements.js";
import { number, span } from "./format.js";
import { benchesInPart, stateOf, wholeBench } from "./health.js";
import { say } from "./words.js";

const LONGEST_REST = 30 * 86400 / 60; // minutes
const TIMES = [600, 3600, 86400]; // seconds
const MOST_NAMES = 12; // that a question lists

/** Sends the orders of actions, and shows their results in the output beside the button that was pressed. */
export class KeyActions {
  /** `changed` is called with each key as it is after an action, before the next status tells the same. */
  constructor(ask, changed) {
    this.ask = ask;
    this.done = (order, { key }) => { if (key) changed(key); };
  }

  tryNow(keys, output) { this.perform(keys.filter(serves).map((key) => ({ action: "try", key: key.name })), output); }

  /** Ends all benches of the keys. */
  release(keys, output) { this.perform(keys.flatMap(releases), output); }

  /** Ends the bench of one key for a model or an origin; `about` is `{ model }` or `{ origin }`. */
  releaseFor(key, about, output) { this.perform([{ action: "release", key: key.name, ...about }], output); }

  pause(keys, output) { this.change("pause", keys.filter((key) => stateOf(key) !== "paused"), output); }

  resume(keys, output) { this.change("resume", keys.filter((key) => stateOf(key) === "paused"), output); }

  change(action, keys, output) {
    this.perform(keys.filter((key) => key.in_keys_file).map((key) => ({ action, key: key.name })), output);
  }

  perform(orders, output) {
    if (orders.length) this.ask.perform(orders, output, this.done);
    else output.textContent = say("nothingToDo");
  }

  /** Asks for how long, and rests the keys. */
  rest(keys, output) {
    const choice = new RestTime(), able = keys.filter(serves);
    this.ask.open({
      title: say(able.length === 1 ? "restTitle" : "restSeveral", { name: able[0]?.name, count: number(able.length) }),
      text: say("restText"), yes: say("restYes"), fields: choice.element, output, done: this.done,
      orders: () => able.map((key) => ({ action: "rest", key: key.name, seconds: choice.seconds })),
    });
  }

  /** Asks whether the keys shall go out of KEYS_FILE. */
  remove(keys, output) {
    const able = keys.filter((key) => key.in_keys_file), names = able.slice(0, MOST_NAMES).map((key) => key.name).join(", ");
    this.ask.open({
      title: say(able.length === 1 ? "removeTitle" : "removeSeveral", { name: able[0]?.name, count: number(able.length) }),
      text: say("removeText", { names: able.length > MOST_NAMES ? `${names} …` : names }), yes: say("removeYes"), output,
      orders: () => able.map((key) => ({ action: "remove", key: key.name })),
    });
  }

  /** Asks for a key's note. */
  note(key, output) {
    const input = make("input");
    input.maxLength = 200;
    input.value = key.note ?? "";
    this.ask.open({
      title: say("noteTitle", { name: key.name }), text: say("noteText"), yes: say("noteYes"), output, done: this.done,
      fields: make("fieldset", "", make("label", "wide", say("note"), input)),
      orders: () => [{ action: "note", key: key.name, note: input.value.trim() }],
    });
  }
}

const serves = (key) => stateOf(key) !== "paused";

/** The orders that end all benches of a key. */
function releases(key) {
  const release = { action: "release", key: key.name }, whole = wholeBench(key, stateOf(key)) ? [release] : [];
  return serves(key) ? [...whole, ...benchesInPart(key).map(({ order }) => ({ ...release, ...order }))] : [];
}

/** The choice for how long a key shall rest. */
class RestTime {
  constructor() {
    this.minutes = make("input");
    Object.assign(this.minutes, { type: "number", min: 1, max: LONGEST_REST, ariaLabel: say("minutes") });
    this.own = radio("own");
    this.element = make("fieldset", "", make("legend", "", say("howLong")),
      ...TIMES.map((seconds) => make("label", "", radio(seconds), span(seconds))),
      make("label", "", this.own, say("minutesColon")), this.minutes);
    this.element.querySelector("input").checked = true;
    this.minutes.addEventListener("input", () => { this.own.checked = true; this.check(); });
    this.element.addEventListener("change", () => this.check());
  }

  /** Only a time that is chosen has to be valid. */
  check() {
    this.minutes.required = this.own.checked;
    if (!this.own.checked) this.minutes.value = "";
  }

  get seconds() {
    const { value } = this.element.querySelector(":checked");
    return value === "own" ? this.minutes.valueAsNumber * 60 : Number(value);
  }
}

function radio(value) {
  return Object.assign(make("input"), { type: "radio", name: "rest", value });
}
