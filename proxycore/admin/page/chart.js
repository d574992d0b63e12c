/**
 * Requests over time: stacked bars by how they ended, and the time to first byte in a strip of its own below, on
 * one time axis. What is under the pointer, the finger or the keyboard's cursor is told in fixed places above.
 */

import { midnights, timeTicks, valueScale } from "./axes.js";
import { draw, make, put, putCut, set } from "./elements.js";
import { clockTime, duration, minute, number, short } from "./format.js";
import { say, spoken } from "./words.js";

// The parts of a bar, from below, and what of a slot they count: together all of its requests.
const PARTS = [
  { kind: "served", word: "chartServed", of: (slot) => slot.served },
  { kind: "another", word: "chartAnother", of: (slot) => slot.failed_over },
  { kind: "other", word: "chartOther", of: (slot) => slot.client_errors + slot.left },
  { kind: "refusal", word: "chartRefused", of: (slot) => slot.refused },
  { kind: "failure", word: "chartFailed", of: (slot) => slot.failed + slot.cut },
];
const LINES = [
  { kind: "p50", word: "chartMedian", of: (slot) => slot.first_byte },
  { kind: "p95", word: "chartSlowest", of: (slot) => slot.first_byte_p95 },
];
const UNITS = new Map([[60, "perMinute"], [600, "perTenMinutes"], [3600, "perHour"], [21600, "perSixHours"]]);

// Pixels: the sides, the bars' top and height, the strip's, and where all ends, with the times below.
const SIDE = { left: 44, right: 8 }, BARS = { top: 40, height: 160 }, STRIP = { top: 240, height: 72 }, HEIGHT = 336;
const FEWEST = 12; // slots that have room: those of a new pool are not stretched over the whole width
const WIDEST = 40, LEAST = 2; // pixels: of a bar, and of the height of a part, so that one failure among thousands is seen
const TICK = 60, CLOSE = 24; // pixels between two times, and between midnights below which not all have a line
const DAY = 86400;
const DOT = "m-1.5 0a1.5 1.5 0 1 0 3 0a1.5 1.5 0 1 0-3 0"; // of a slot between two without a first byte
const LETTER = 6.2, WIDE_LETTER = 11.5; // pixels that a letter and a Chinese character take up, at most

/** The minutes of the last hour in which the server was running, to be shown. */
export function lastHour(status) {
  const first = status.history.findIndex((slot) => slot.requests || slot.time + 60 > status.started);
  return { slots: status.history.slice(Math.max(0, first)), step: 60 };
}

/** A chart. `label` is the name of the text that says what it shows. */
export class Chart {
  constructor({ label }) {
    this.label = label;
    this.slots = [];
    this.events = [];
    this.cursor = null; // the time of the slot whose values are told
    this.width = 0;
    this.frame = ""; // what the axes were drawn for
    this.build();
    new ResizeObserver(([{ contentRect }]) => this.resize(Math.floor(contentRect.width))).observe(this.plot);
    this.listen();
  }

  build() {
    this.when = make("span", "when");
    this.values = [...PARTS, ...LINES].map(({ kind, word }) => {
      const name = make("span"), value = make("b");
      name.dataset.say = word;
      return { value, element: make("span", "value", make("i", `swatch ${kind}`), name, value) };
    });
    this.note = make("span", "note");
    const elements = this.values.map(({ element }) => element);
    this.readout = make("div", "readout", make("div", "", this.when, this.note), make("div", "", ...elements.slice(0, PARTS.length), make("div", "lines", ...elements.slice(PARTS.length))));
    this.axes = draw("g");
    this.bars = PARTS.map(({ kind }) => draw("path", { class: kind }));
    this.band = draw("path", { class: "band" });
    this.lines = LINES.map(({ kind }) => draw("path", { class: kind }));
    this.marks = draw("g");
    this.line = draw("line", { class: "cursor", y1: BARS.top, y2: STRIP.top + STRIP.height, visibility: "hidden" });
    this.svg = draw("svg", { height: HEIGHT, width: "100%", "aria-hidden": "true" },
      this.axes, ...this.bars, this.band, ...this.lines, this.marks, this.line);
    this.plot = make("div", "plot", this.svg);
    for (const [name, value] of Object.entries({ role: "slider", tabindex: 0, "aria-valuemin": 0 })) set(this.plot, name, value);
    this.element = make("div", "chart", this.readout, this.plot);
  }

  /**
   * Shows slots of `step` seconds, the oldest first, each with its `time`, its requests by how they ended, and
   * `first_byte` and `first_byte_p95` in seconds or null. `events` are `{ time, text }`, in the order of time.
   */
  show({ slots, step, events = [] }) {
    Object.assign(this, { slots, step, events });
    if (!slots.some((slot) => slot.time === this.cursor)) this.cursor = null;
    this.draw();
  }

  /** Makes the texts those of the page's language. */
  translate() {
    for (const name of this.readout.querySelectorAll("[data-say]")) put(name, say(name.dataset.say));
    for (const { element } of this.values) set(element, "title", element.querySelector(".other") ? say("chartOtherHint") : null);
    set(this.plot, "aria-label", say(this.label));
    this.draw();
  }

  resize(width) {
    if (width === this.width) return;
    this.width = width;
    this.draw();
  }

  draw() {
    // It is known a frame too late that it is shown: what is drawn then has moved.
    this.width ||= this.plot.clientWidth;
    if (!this.slots.length || !this.width) return;
    this.measure();
    const frame = JSON.stringify([this.width, this.from, this.to, this.upper.top, this.lower.top, spoken(), this.events]);
    if (frame !== this.frame) {
      this.drawAxes();
      this.drawEvents();
      this.frame = frame;
    }
    this.drawBars();
    this.drawLines();
    this.tell();
  }

  /** Works out where slots and values are. */
  measure() {
    const { slots, step } = this, last = slots.at(-1).time;
    this.from = slots[0].time;
    this.to = this.from + Math.max(FEWEST * step, last + step - this.from);
    this.slotWidth = (this.width - SIDE.left - SIDE.right) * step / (this.to - this.from);
    const most = Math.max(4, ...slots.map((slot) => PARTS.reduce((sum, { of }) => sum + of(slot), 0)));
    this.readout.style.setProperty("--digits", `${Math.max(3, number(most).length)}ch`); // so wide is each value's place
    this.upper = valueScale(most, 4, true);
    this.lower = valueScale(Math.max(0.01, ...slots.map((slot) => slot.first_byte_p95 ?? slot.first_byte ?? 0)), 3);
  }

  x(time) { return SIDE.left + (time - this.from) / this.step * this.slotWidth; }

  middle(slot) { return this.x(slot.time) + this.slotWidth / 2; }

  y(seconds) { return STRIP.top + STRIP.height * (1 - seconds / this.lower.top); }

  drawAxes() {
    const right = this.width - SIDE.right, bottom = STRIP.top + STRIP.height;
    const level = (y, text, isBase) => [
      draw("line", { class: isBase ? "base" : "grid", x1: SIDE.left, x2: right, y1: y, y2: y }),
      draw("text", { x: SIDE.left - 8, y: y + 4, "text-anchor": "end" }, text)];
    const levels = ({ top, values }, area, write) =>
      values.flatMap((value) => level(Math.round(area.top + area.height * (1 - value / top)) + 0.5, write(value), !value));
    const ticks = timeTicks(this.from, this.to, (right - SIDE.left) / TICK);
    const times = ticks.flatMap(({ time, text }) => [
      draw("line", { class: "base", x1: this.x(time), x2: this.x(time), y1: bottom, y2: bottom + 5 }),
      draw("text", { x: Math.min(this.x(time), right - 4), y: HEIGHT - 5, "text-anchor": this.x(time) < right - 24 ? "middle" : "end" }, text)]);
    const isClose = DAY / this.step * this.slotWidth < CLOSE, marked = new Set(ticks.map(({ time }) => time));
    const days = midnights(this.from, this.to).filter((time) => this.x(time) > SIDE.left + 2 && (!isClose || marked.has(time)));
    this.axes.replaceChildren(
      ...days.map((time) => draw("line", { class: "day", x1: this.x(time), x2: this.x(time), y1: BARS.top, y2: bottom })),
      ...levels(this.upper, BARS, short), ...levels(this.lower, STRIP, String), ...times,
      draw("text", { class: "title", x: 0, y: 11 }, say(UNITS.get(this.step))),
      draw("text", { class: "title", x: 0, y: STRIP.top - 14 }, say("firstByteSeconds")));
  }

  /** Each event has a dotted line, unless that is where the last one is, and a label where there is room. */
  drawEvents() {
    const shown = [], bottom = STRIP.top + STRIP.height, right = this.width - SIDE.right;
    for (const event of this.events) {
      const x = Math.round(this.x(event.time)) + 0.5;
      if (event.time < this.from || event.time >= this.to || x < (shown.at(-1)?.x ?? 0) + 8) continue;
      shown.push({ x, text: event.text });
    }
    let free = 0;
    this.marks.replaceChildren(...shown.flatMap(({ x, text }, at) => {
      const width = widthOf(text) + 16, next = (shown[at + 1]?.x ?? right + 8) - 8;
      const side = x > free - 8 && x + width < next ? 1 : x - width > free ? -1 : 0;
      free = Math.max(free, side > 0 ? x + width : x + 8);
      return [draw("line", { x1: x, x2: x, y1: BARS.top - 8, y2: bottom }), draw("path", { d: `M${x - 4} ${BARS.top - 14}h8l-4 6z` }),
        ...(side ? [draw("text", { x: x + 8 * side, y: BARS.top - 8, "text-anchor": side > 0 ? "start" : "end" }, text)] : [])];
    }));
  }

  drawBars() {
    const width = Math.min(WIDEST, this.slotWidth * 0.76), scale = BARS.height / this.upper.top;
    const paths = PARTS.map(() => "");
    for (const slot of this.slots) {
      let y = BARS.top + BARS.height;
      PARTS.forEach(({ of }, at) => {
        const height = of(slot) && Math.max(LEAST, of(slot) * scale);
        if (!height) return;
        y -= height;
        paths[at] += `M${(this.middle(slot) - width / 2).toFixed(1)} ${y.toFixed(1)}h${width.toFixed(1)}v${height.toFixed(1)}h-${width.toFixed(1)}z`;
      });
    }
    paths.forEach((path, at) => set(this.bars[at], "d", path));
  }

  drawLines() {
    const runs = [];
    this.slots.forEach((slot, at) => {
      if (slot.first_byte == null) return;
      if (at && this.slots[at - 1].first_byte != null) runs.at(-1).push(slot);
      else runs.push([slot]);
    });
    const point = (slot, value) => `${this.middle(slot).toFixed(1)} ${this.y(value).toFixed(1)}`;
    const high = (slot) => slot.first_byte_p95 ?? slot.first_byte;
    const line = (run, value) => `M${run.map((slot) => point(slot, value(slot))).join("L")}${run.length > 1 ? "" : DOT}`;
    set(this.lines[0], "d", runs.map((run) => line(run, (slot) => slot.first_byte)).join(""));
    set(this.lines[1], "d", runs.map((run) => line(run, high)).join(""));
    set(this.band, "d", runs.filter((run) => run.length > 1).map((run) =>
      `${line(run, high)}L${run.toReversed().map((slot) => point(slot, slot.first_byte)).join("L")}z`).join(""));
  }

  /** Tells the values under the cursor; without one, the means of the slots that are over. */
  tell() {
    const at = this.slots.findIndex((slot) => slot.time === this.cursor), slot = this.slots[at];
    const over = this.slots.length > 1 ? this.slots.slice(0, -1) : this.slots;
    const [when, counts, times] = slot
      ? [this.timeOf(slot), PARTS.map(({ of }) => number(of(slot))), LINES.map(({ of }) => firstByte(of(slot)))]
      : [say("chartMean"), PARTS.map(({ of }) => rounded(mean(over.map(of)))), LINES.map(({ of }) => firstByte(mean(over.map(of))))];
    putCut(this.when, when);
    [...counts, ...times].forEach((text, one) => put(this.values[one].value, text));
    const events = slot ? this.events.filter(({ time }) => time >= slot.time && time < slot.time + this.step).map(({ text }) => text) : [];
    putCut(this.note, events.join(" · "), events.join("\n"));
    set(this.line, "visibility", slot ? "visible" : "hidden");
    if (slot) for (const end of ["x1", "x2"]) set(this.line, end, this.middle(slot).toFixed(1));
    set(this.plot, "aria-valuemax", this.slots.length - 1);
    set(this.plot, "aria-valuenow", slot ? at : this.slots.length - 1);
    const said = [...PARTS, ...LINES].map(({ word }, one) => `${say(word)} ${[...counts, ...times][one]}`);
    set(this.plot, "aria-valuetext", [when, ...said, ...events].join(", "));
  }

  timeOf({ time }) {
    return this.step === 60 ? minute(time) : `${minute(time)}–${clockTime(time + this.step)}`;
  }

  listen() {
    const follow = (event) => {
      const time = this.from + (event.clientX - this.plot.getBoundingClientRect().left - SIDE.left) / this.slotWidth * this.step;
      this.move(this.slots.find((slot) => time >= slot.time && time < slot.time + this.step)?.time ?? null);
    };
    this.plot.addEventListener("pointermove", follow);
    this.plot.addEventListener("pointerdown", follow);
    // What the finger chose stays when it is lifted, until something else is touched.
    this.plot.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && this.move(null));
    this.plot.addEventListener("blur", () => this.move(null));
    this.plot.addEventListener("keydown", (event) => this.press(event));
  }

  press(event) {
    const last = this.slots.length - 1, at = this.slots.findIndex((slot) => slot.time === this.cursor);
    const by = (count) => (at < 0 ? last : at + count);
    const to = { ArrowLeft: by(-1), ArrowDown: by(-1), ArrowRight: by(1), ArrowUp: by(1), PageDown: by(-10), PageUp: by(10),
      Home: 0, End: last, Escape: null }[event.key];
    if (to === undefined || last < 0 || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    this.move(to === null ? null : this.slots[Math.min(last, Math.max(0, to))].time);
  }

  move(time) {
    if (time === this.cursor || !this.slots.length) return;
    this.cursor = time;
    this.tell();
  }
}

function mean(values) {
  const known = values.filter((value) => value != null);
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}

const firstByte = (seconds) => (seconds != null && seconds < 0.0995 ? `${Math.round(1000 * seconds)} ms` : duration(seconds));

const rounded = (value) => number(value < 10 ? Math.round(value * 10) / 10 : Math.round(value));

const widthOf = (text) => [...text].reduce((sum, letter) => sum + (letter > "\u2e7f" ? WIDE_LETTER : LETTER), 0);
