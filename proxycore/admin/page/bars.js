/** Small drawings of amounts: a bar, a bar in parts, a line. They are SVG, so that no style attribute is needed. */

import { draw, put, make, set } from "./elements.js";
import { number } from "./format.js";
import { say } from "./words.js";

/** A bar that is filled by a share from 0 to 1; `kind` is "", "warn" or "bad". */
export class Bar {
  constructor() {
    this.value = draw("rect", { class: "value", height: 6, rx: 3, width: 0 });
    this.element = draw("svg", { class: "bar", "aria-hidden": "true" },
      draw("rect", { class: "track", width: "100%", height: 6, rx: 3 }), this.value);
  }

  show(share, kind = "") {
    set(this.value, "width", `${(100 * Math.min(1, Math.max(0, share))).toFixed(1)}%`);
    set(this.value, "class", `value ${kind}`);
  }
}

/** What is left (or used) of an amount: "121 of 185" and a bar; "–" if nothing is known. */
export class Amount {
  constructor() {
    this.bar = new Bar();
    this.some = make("b");
    this.whole = make("span", "of");
    this.text = make("span", "", this.some, " ", this.whole);
    this.element = make("span", "amount", this.text, this.bar.element);
  }

  /** Says something instead, with a title. */
  say(text, title) {
    put(this.some, "");
    put(this.whole, text);
    set(this.element, "title", title);
    set(this.bar.element, "visibility", "hidden");
  }

  /** Shows `some` of `whole`; `whole` null: there is no limit. `write` formats both. */
  show(some, whole, kind = "", write = number) {
    const nothing = some == null;
    set(this.element, "title", null);
    put(this.some, nothing ? "–" : write(some));
    put(this.whole, nothing ? "" : whole == null ? say("noLimit") : say("ofTotal", { total: write(whole) }));
    set(this.bar.element, "visibility", nothing || whole == null ? "hidden" : null);
    this.bar.show(whole ? some / whole : 0, kind);
  }
}

/** A bar of parts with these classes, side by side. */
export class Segments {
  constructor(kinds) {
    this.parts = kinds.map((kind) => draw("rect", { class: kind, height: 8 }));
    this.element = draw("svg", { class: "bar segments", "aria-hidden": "true" }, ...this.parts);
  }

  show(counts) {
    const total = counts.reduce((sum, n) => sum + n, 0) || 1;
    let before = 0;
    counts.forEach((n, at) => {
      set(this.parts[at], "x", `${(100 * before / total).toFixed(2)}%`);
      set(this.parts[at], "width", `${(100 * n / total).toFixed(2)}%`);
      before += n;
    });
  }
}

const SPARK = { width: 100, height: 32 };

/** A line of values over time, with the area below it. */
export class Spark {
  constructor() {
    this.area = draw("path", { class: "area" });
    this.line = draw("path", { class: "line" });
    this.element = draw("svg", { class: "spark", viewBox: `0 0 ${SPARK.width} ${SPARK.height}`,
      preserveAspectRatio: "none", "aria-hidden": "true" }, this.area, this.line);
  }

  /** Shows values between `low` and `high`; null ones are left out. */
  show(values, low = 0, high = Math.max(1, ...values.map((value) => value ?? 0))) {
    const step = SPARK.width / Math.max(1, values.length - 1), scale = (SPARK.height - 3) / (high - low || 1);
    const points = values.map((value, at) => (value == null ? null : [at * step, SPARK.height - 1 - (value - low) * scale]))
      .filter(Boolean).map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`);
    const path = points.length ? `M${points.join("L")}` : "";
    set(this.line, "d", path);
    const [first, last] = [points[0], points.at(-1)].map((point) => point?.split(" ")[0]);
    set(this.area, "d", path && `${path}L${last} ${SPARK.height}L${first} ${SPARK.height}z`);
  }
}
