/** The panel of the oldest open streams. */

import { make, panel, put, putCut } from "./elements.js";
import { bytes, clock, now, number } from "./format.js";
import { Table, TwoLines } from "./table.js";
import { say } from "./words.js";

const SHOWN = 6;

/** The panel. */
export class OldestStreams {
  constructor() {
    this.table = new Table({ kind: "streams", caption: "streamsCaption", columns: [
      { word: "clientAndModel", kind: "whole", row: true, part: () => new TwoLines(),
        show: (lines, { stream }) => lines.show(stream.client === "-" ? say("openToAll") : stream.client, stream.model || "–") },
      { word: "key", label: "key", width: "w-key", show: (cell, { stream }) => putCut(cell, stream.key) },
      { word: "openFor", label: "openFor", width: "w-age", kind: "number", show: (cell, { stream }) => put(cell, clock(now() - stream.since)) },
      { word: "sent", label: "sent", width: "w-bytes", kind: "number", show: (cell, { stream }) => put(cell, bytes(stream.sent_bytes)) },
    ] });
    this.count = make("b", "n");
    this.foot = make("p", "card-foot");
    this.nothing = make("p", "empty");
    this.nothing.dataset.say = "noStreams";
    const title = make("span"), more = make("a", "push");
    title.dataset.say = "openStreams";
    more.dataset.say = "all";
    more.href = "#/requests";
    const heading = make("h2", "", title, " ", this.count);
    this.element = panel(heading, "", make("header", "card-head", heading, more),
      this.table.element, this.nothing, this.foot);
  }

  show(status) {
    this.status = status;
    const total = status.open.streams + status.open.live, shown = status.streams.slice(0, SHOWN);
    put(this.count, number(total));
    this.nothing.hidden = shown.length > 0;
    this.table.element.hidden = !shown.length;
    this.foot.hidden = !shown.length;
    put(this.foot, say(total > shown.length ? "oldestOf" : "allOpen", { shown: number(shown.length), total: number(total), live: number(status.open.live) }));
    this.table.show(shown.map((stream) => ({ id: stream.id, kind: "row", stream })));
  }

  tick() { this.table.refresh(); }

  translate() {
    this.table.translate();
    this.show(this.status);
  }
}
