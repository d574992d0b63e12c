/** The last row of a table, with the sums of its columns. */

import { make, put, set } from "./elements.js";
import { TwoLines } from "./table.js";
import { say } from "./words.js";

/**
 * It is added to a `Table`. `kinds` are the classes of its cells; the first one has the text named `word`, and
 * spans the columns after it whose class is null.
 */
export class SumRow {
  constructor(table, word, kinds) {
    this.columns = table.columns;
    this.word = word;
    this.lines = new Map();
    this.cells = kinds.map((kind, at) => {
      if (kind === null) return null;
      const cell = make(at ? "td" : "th", kind);
      set(cell, "role", at ? "cell" : "rowheader");
      return cell;
    });
    this.cells[0].scope = "row";
    this.cells[0].colSpan = this.cells.findIndex((cell, at) => at && cell);
    const row = make("tr", "", ...this.cells.filter(Boolean)), foot = make("tfoot", "", row);
    set(row, "role", "row");
    set(foot, "role", "rowgroup");
    table.element.append(foot);
  }

  /** Shows a text for each column, or a pair of which one is below the other; the first is not used. */
  show(texts) {
    put(this.cells[0], say(this.word));
    texts.forEach((text, at) => {
      if (!at || !this.cells[at]) return;
      if (Array.isArray(text)) this.linesIn(at).show(...text);
      else put(this.cells[at], text);
    });
  }

  linesIn(at) {
    if (!this.lines.has(at)) {
      this.lines.set(at, new TwoLines());
      this.cells[at].replaceChildren(this.lines.get(at).element);
    }
    return this.lines.get(at);
  }

  translate() {
    put(this.cells[0], say(this.word));
    this.columns.forEach(({ label }, at) => at && label && this.cells[at] && set(this.cells[at], "data-label", say(label)));
  }
}
