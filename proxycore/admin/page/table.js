/**
 * A table of any length: only the rows near the window's visible part are in the document.
 *
 * An item of the table is `{ id, kind, … }`: a "row" with a cell for each column, or something over the whole
 * width ("group", "fold", "sheet"), which `wide` builds. Heights are those of the kind until an item was seen.
 */

import { arrange, make, put, putCut, roled, set } from "./elements.js";
import { say } from "./words.js";

const MARGIN = 800; // pixels above and below the visible part that are kept in the document
const GUESS = { row: 48, group: 32, fold: 48, sheet: 320 };

/**
 * Columns are `{ word, kind, width, inside, head, label, row, part, show(cell, item) }`: the name of the head's
 * text, classes, a class of the `col` element, an element in the head, which gets its text, a function that fills
 * the head instead, the name of the text before the cell on a phone, whether the cell names the row, a function
 * that builds what a cell has in it (with an `element`), and one that fills the cell, or that part, for an item.
 */
export class Table {
  /**
   * `caption` is the name of a text; `wide(item)` returns `{ element, show(item) }` for an item that is no row;
   * `covers` are pixels that stick to the top of the window, above the items.
   */
  constructor({ kind, caption, columns, wide = null, guess = {}, covers = () => 0 }) {
    this.columns = columns;
    this.wide = wide;
    this.covers = covers;
    this.guess = { ...GUESS, ...guess };
    this.items = [];
    this.parts = new Map();
    this.heights = new Map();
    this.above = spacer(columns.length);
    this.below = spacer(columns.length);
    this.caption = make("caption", "unseen");
    this.caption.dataset.say = caption;
    this.heads = columns.map((column) => headOf(column));
    this.body = make("tbody");
    this.head = make("thead", "", roled("row", make("tr", "", ...this.heads)));
    this.element = make("table", `cards ${kind}`, this.caption,
      make("colgroup", "", ...columns.map((column) => make("col", column.width ?? ""))), this.head, this.body);
    // On a phone rows are cards, whose `display` takes the table's roles away.
    roled("table", this.element);
    roled("rowgroup", this.head);
    roled("rowgroup", this.body);
    const place = () => this.visible && this.place();
    addEventListener("scroll", place, { passive: true });
    addEventListener("resize", () => { this.heights.clear(); place(); });
    this.sizes = new ResizeObserver((entries) => this.measure(entries.map((entry) => entry.target)));
  }

  /** Shows these items in this order; those in view are filled again. */
  show(items) {
    this.items = items;
    set(this.element, "aria-rowcount", items.length + 1);
    this.place(true);
  }

  /** Fills the items in view again, or those of them that it is `due` for, without a change of their order. */
  refresh(due = () => true) {
    for (const part of this.parts.values()) if (due(part.item)) part.show(part.item);
  }

  /** Makes the texts of the heads those of the page's language. */
  translate() {
    put(this.caption, say(this.caption.dataset.say));
    for (const text of this.head.querySelectorAll("[data-say]")) put(text, say(text.dataset.say));
    this.columns.forEach((column, at) => column.head?.(this.heads[at]));
    this.refresh();
  }

  /** Scrolls so that the item is in view, and focuses its first button. */
  reveal(id) {
    const at = this.items.findIndex((item) => item.id === id);
    if (at < 0) return;
    const top = this.items.slice(0, at).reduce((sum, item) => sum + this.heightOf(item), 0);
    const covered = document.querySelector(".top").offsetHeight + this.covers();
    scrollTo(0, this.body.getBoundingClientRect().top + scrollY + top - covered - 8);
    this.place();
    const element = this.parts.get(id)?.element;
    if (!element) return;
    scrollBy(0, element.getBoundingClientRect().top - covered - 8); // items above may be higher than was thought
    element.querySelector("button:not([type=checkbox])")?.focus({ preventScroll: true });
  }

  get visible() { return this.element.offsetParent !== null; }

  heightOf(item) { return this.heights.get(item.id) ?? this.guess[item.kind]; }

  /** Puts the items near the visible part into the document, and `fill`s also those that were there. */
  place(fill = false) {
    const top = -this.body.getBoundingClientRect().top - MARGIN, bottom = top + innerHeight + 2 * MARGIN;
    const shown = [], focused = this.focusedPart()?.item.id; // that stays, so that the keyboard goes on from there
    let y = 0, above = 0, below = 0;
    this.items.forEach((item, at) => {
      const height = this.heightOf(item), isShown = item.id === focused || (y + height >= top && y <= bottom);
      if (isShown) shown.push([item, at]);
      else if (y < top) above += height;
      else below += height;
      y += height;
    });
    this.arrange(shown, fill);
    resize(this.above, above);
    resize(this.below, below);
  }

  focusedPart() {
    if (!this.body.contains(document.activeElement)) return null;
    return [...this.parts.values()].find((part) => part.element.contains(document.activeElement)) ?? null;
  }

  arrange(shown, fill) {
    const before = new Set(this.parts.keys()), items = new Map(shown.map(([item]) => [item.id, item]));
    const wanted = shown.map(([item]) => item.id);
    for (const id of wanted) if (!this.parts.has(id)) this.parts.set(id, this.partOf(items.get(id)));
    for (const [id, part] of this.parts) if (!items.has(id)) { this.sizes.unobserve(part.element); this.parts.delete(id); }
    const focused = this.body.contains(document.activeElement) ? document.activeElement : null;
    for (const [item, at] of shown) {
      const part = this.parts.get(item.id), isNew = !before.has(item.id);
      part.item = item;
      set(part.element, "aria-rowindex", at + 2);
      if (fill || isNew) part.show(item);
    }
    arrange(this.body, [this.above, ...wanted.map((id) => this.parts.get(id).element), this.below]);
    // What is moved in the document loses the focus.
    if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
    for (const id of wanted) if (!before.has(id)) this.sizes.observe(this.parts.get(id).element);
  }

  partOf(item) {
    if (item.kind === "row") return new Row(this.columns);
    const inner = this.wide(item), cell = make(item.kind === "group" ? "th" : "td", "", inner.element);
    cell.colSpan = this.columns.length;
    const element = roled("row", make("tr", item.kind, roled("cell", cell)));
    return { element, show: (shown) => inner.show(shown) };
  }

  measure(elements) {
    let changed = false;
    for (const part of this.parts.values()) {
      if (!elements.includes(part.element) || !part.element.isConnected) continue;
      const height = part.element.getBoundingClientRect().height;
      if (!height || Math.abs(this.heightOf(part.item) - height) < 0.5) continue;
      this.heights.set(part.item.id, height);
      if (part.item.kind === "row") this.guess.row = height; // rows are alike: on a phone they are higher
      changed = true;
    }
    if (changed && this.visible) this.place();
  }
}

class Row {
  constructor(columns) {
    this.columns = columns;
    this.cells = columns.map((column) => roled(column.row ? "rowheader" : "cell", make(column.row ? "th" : "td", column.kind ?? "")));
    this.filled = columns.map((column, at) => {
      const part = column.part?.();
      if (part) this.cells[at].append(part.element);
      return part ?? this.cells[at];
    });
    this.element = roled("row", make("tr", "row", ...this.cells));
  }

  show(item) {
    this.columns.forEach((column, at) => {
      if (column.label) set(this.cells[at], "data-label", say(column.label));
      column.show(this.filled[at], item);
    });
  }
}

function headOf(column) {
  const head = roled("columnheader", make("th", column.kind ?? ""));
  head.scope = "col";
  const text = column.unseen ? head.appendChild(make("span", "unseen")) : head;
  if (column.inside) head.append(column.inside);
  else if (column.word) text.dataset.say = column.word;
  return head;
}

function spacer(columns) {
  const cell = make("td");
  cell.colSpan = columns;
  const row = make("tr", "spacer", cell);
  row.setAttribute("role", "presentation");
  return row;
}

function resize(row, height) {
  row.hidden = !height;
  if (row.height !== height) row.firstChild.style.height = `${row.height = height}px`;
}

/** What a cell has in it: a text, and a smaller one below it; both may be cut off. */
export class TwoLines {
  constructor() {
    this.first = make("span");
    this.second = make("span", "below");
    this.element = make("div", "two", this.first, this.second);
  }

  show(first, second) {
    putCut(this.first, first);
    putCut(this.second, second);
  }
}
