/** The panel of what is open now: streams and Live sessions, and how to end one. */

import { result } from "./dialog.js";
import { button, make, panel, put, set } from "./elements.js";
import { bytes, clock, duration, now, number } from "./format.js";
import { fill, showClient, showKey, showModel, WIDTHS } from "./request-cells.js";
import { Table } from "./table.js";
import { say } from "./words.js";

const FEW = 3; // rows that have their place in any case

/** The columns before the last one: the text of the head, classes of the cells, and what fills a cell. */
const COLUMNS = [
  ["openFor", "number", (cell, stream) => put(cell, clock(now() - stream.since))],
  ["kind", "left-out", (cell, stream) => put(cell, kindOf(stream))],
  ["modelAndMethod", "whole", (cell, stream) => showModel(cell, stream.model, stream.method)],
  ["client", "", (cell, stream) => showClient(cell, stream.client)],
  ["key", "key", (cell, stream) => showKey(cell, stream.key)],
  ["attempts", "number narrow-out left-out", (cell, stream) => put(cell, number(stream.attempts))],
  ["lastByte", "number narrow-out left-out", (cell, { last_byte: last }) => put(cell, duration(last && Math.max(0, now() - last)))],
  ["sent", "number", (cell, stream) => put(cell, bytes(stream.sent_bytes))],
  ["actions", "narrow-out left-out", () => {}],
];

const kindOf = ({ kind }) => say(kind === "live" ? "kindLive" : "kindStream");

/** Shows the open streams of a status, the oldest first. */
export class OpenStreams {
  constructor(ask) {
    Object.assign(this, { ask, most: FEW, streams: [], items: [] });
    this.count = make("b", "n");
    this.waiting = make("span", "muted");
    this.output = result();
    this.more = button(null, "plain", () => this.toggle());
    this.empty = make("p", "empty");
    this.empty.dataset.say = "nothingOpen";
    const title = make("h2");
    title.dataset.say = "openNow";
    this.table = new Table({ kind: "open-streams", caption: "openNowCaption", guess: { row: 36 }, columns: this.columns() });
    this.place = make("div", "open-rows", this.table.element, this.empty);
    const head = make("div", "card-head", title, this.count, make("span", "push"), this.output, this.waiting, this.more);
    this.element = panel(title, "", head, this.place);
  }

  columns() {
    // What has ended is shown as it was.
    const columns = COLUMNS.map(([word, kind, show], at) => ({
      word, kind, width: WIDTHS[at], label: word, unseen: word === "actions", show: (cell, { stream, isOver }) => isOver || show(cell, stream),
    }));
    const end = { word: "actions", unseen: true, kind: "end-cell", width: WIDTHS.at(-1), show: (cell, item) => this.showEnd(cell, item) };
    return [...columns, end];
  }

  showEnd(cell, { stream, isOver }) {
    fill(cell, "end", () => [make("div", "", make("span", "muted"), button("end", "", () => this.askToEnd(cell.stream)))]);
    const [over, end] = cell.firstChild.children;
    cell.stream = stream;
    put(over, isOver ? say("ended") : "");
    put(end, say("end"));
    end.hidden = isOver;
    set(end, "aria-label", say("endNamed", { client: clientOf(stream) }));
  }

  /** Shows the streams of the status. */
  show(status) {
    this.streams = status.streams;
    put(this.count, number(status.open.streams + status.open.live));
    put(this.waiting, status.waiting ? say(status.waiting === 1 ? "waitsForKey" : "waitForKey", { count: number(status.waiting) }) : "");
    const rest = this.streams.length - this.most;
    put(this.more, rest > 0 ? say("showMoreOf", { count: number(rest) }) : this.most > FEW ? say("showFewer") : "");
    this.more.hidden = !this.more.textContent;
    this.arrange();
  }

  /** Counts on: how long they are open, and when they last sent something. */
  tick() {
    if (this.items.some(({ isOver }) => isOver)) this.arrange(); // unless the reader is still there
    else this.table.refresh();
  }

  translate() {
    this.table.translate();
    put(this.empty, say("nothingOpen"));
  }

  /** Puts the streams into rows. While the reader is at one of them, none moves: what has ended keeps its row. */
  arrange() {
    const shown = this.streams.slice(0, this.most).map((stream) => ({ stream, isOver: false }));
    const wanted = this.table.body.matches(":hover, :focus-within") ? this.kept(shown) : shown;
    this.items = wanted.map((item, at) => ({ ...item, id: at, kind: "row" })); // a row is that of a place: so none moves
    this.table.show(this.items);
    this.place.style.setProperty("--rows", this.most);
    this.empty.hidden = wanted.length > 0;
    this.place.classList.toggle("none", !wanted.length);
  }

  kept(shown) {
    const open = new Map(this.streams.map((stream) => [stream.id, stream]));
    const before = this.items.map(({ stream }) => ({ stream: open.get(stream.id) ?? stream, isOver: !open.has(stream.id) }));
    const known = new Set(before.map(({ stream }) => stream.id));
    return [...before, ...shown.filter(({ stream }) => !known.has(stream.id))].slice(0, Math.max(this.most, before.length));
  }

  toggle() {
    this.most = this.streams.length > this.most ? this.streams.length : FEW;
    this.items = [];
    put(this.more, this.most > FEW ? say("showFewer") : say("showMoreOf", { count: number(this.streams.length - FEW) }));
    this.arrange();
  }

  askToEnd(stream) {
    const { key, model, id, since } = stream;
    this.ask.open({
      title: say("endTitle"), yes: say("endYes"), output: this.output, orders: () => [{ action: "end", id }],
      text: say("endText", { kind: kindOf(stream), model: model || "–", client: clientOf(stream), key, time: clock(now() - since) }),
    });
  }
}

const clientOf = ({ client }) => (client === "-" ? say("openToAll") : client);
