/** The view History: requests over an hour, a day, a week or a month, what happened, and how requests ended. */

import { Chart, lastHour } from "./chart.js";
import { button, make, panel, put, set } from "./elements.js";
import { Endings } from "./endings.js";
import { reasonOf } from "./feed.js";
import { minute } from "./format.js";
import { grouped, marks, Timeline } from "./timeline.js";
import { say } from "./words.js";

const RANGES = { "1h": ["lastHour", "shortHour"], "24h": ["lastDay", "shortDay"], "7d": ["lastWeek", "shortWeek"], "30d": ["lastMonth", "shortMonth"] };
const HOUR = "1h", USUAL = "24h";
const EVERY = 60, SOONER = 5; // seconds between two readings; sooner for the last hour, if there were requests
const RARE = ["retired", "outage began", "outage ended", "reloaded", "action"]; // kinds of events that have few
const OFTEN = ["benched", "recovered"];
const EVENTS = 500; // of each kind, at most

/** The view. */
export class History {
  constructor(root, { feed, go }) {
    this.feed = feed;
    this.range = null; // until the address has named one
    this.content = null; // what was read last: `{ range, history, groups, trouble }`
    this.readAt = this.requests = 0;
    this.chart = new Chart({ label: "trafficChart" });
    this.timeline = new Timeline();
    this.endings = new Endings();
    this.title = make("h2");
    this.switch = make("div", "switch push", ...Object.entries(RANGES).map(([range, [, word]]) => {
      const one = button(word, "", () => go(`#/history?range=${range}`));
      one.value = range;
      return one;
    }));
    this.switch.setAttribute("role", "group");
    this.switch.dataset.label = "timeRange";
    this.trouble = make("p", "card-foot");
    this.trouble.setAttribute("role", "status");
    this.rest = make("div", "split even", this.timeline.element, this.endings.element);
    const traffic = panel(this.title, "", make("header", "card-head", this.title, this.switch), this.chart.element, this.trouble);
    this.body = make("div", "view");
    this.body.hidden = true; // until there is something to show
    this.body.append(traffic, this.rest);
    root.append(this.body);
  }

  arrive({ query }) {
    const range = !this.feed.isKept ? HOUR : RANGES[query.get("range")] ? query.get("range") : USUAL;
    for (const one of this.switch.children) {
      set(one, "aria-pressed", one.value === range);
      one.disabled = !this.feed.isKept && one.value !== HOUR;
    }
    if (range === this.range && this.content) return;
    this.range = range;
    this.read();
  }

  /** Whether there is a state file. */
  show(status) {
    if (this.isDue(status)) this.read();
    if (this.range === HOUR && this.content?.range === HOUR) this.draw();
  }

  /** Whether it is time to read anew: for the last hour soon after there were requests, so that all adds up. */
  isDue(status) {
    if (!this.range || this.isReading) return false;
    const gone = performance.now() / 1000 - this.readAt;
    return gone > EVERY || (this.range === HOUR && gone > SOONER && status.totals.requests !== this.requests);
  }

  async read() {
    this.reading?.abort();
    const reading = this.reading = new AbortController(), { range } = this;
    this.isReading = true;
    this.requests = this.feed.document.totals.requests;
    this.readAt = performance.now() / 1000;
    try {
      const history = await this.feed.read("history.json", { range }, reading.signal);
      const happened = history && await this.readEvents(history.from, reading.signal);
      if (!happened || reading.signal.aborted) return;
      this.content = { range, history, ...happened, groups: grouped(happened.events, history.step) };
      put(this.trouble, this.feed.isKept ? "" : say("onlyLastHour"));
    } catch (error) {
      if (reading.signal.aborted) return;
      if (this.content?.range !== range) this.content = null;
      put(this.trouble, say("notRead", { reason: reasonOf(error) }));
    } finally {
      if (reading === this.reading) this.isReading = false;
    }
    this.draw();
  }

  /** What happened since that time, the last first. There can be too many of what happens often: then the last ones. */
  async readEvents(since, signal) {
    if (!this.feed.isKept) return { events: [], complete: null };
    const pages = await Promise.all([...RARE, ...OFTEN].map((kind) => this.feed.read("events.json", { kind, since, limit: EVENTS }, signal)));
    if (!pages.every(Boolean)) return null;
    const cut = pages.filter(({ cursor }) => cursor !== null).map((page) => page.events.at(-1).time);
    return {
      events: pages.flatMap((page) => page.events).sort((one, other) => other.time - one.time),
      complete: cut.length ? Math.max(...cut) : null,
    };
  }

  draw() {
    const { content, range } = this;
    this.body.hidden = false;
    this.trouble.hidden = !this.trouble.textContent;
    put(this.title, say("trafficIn", { range: say(RANGES[range][0]) }));
    this.chart.element.hidden = this.rest.hidden = !content;
    if (content?.range !== range) return;
    const shown = range === HOUR ? lastHour(this.feed.document) : content.history;
    this.chart.show({ ...shown, events: marks(content.groups) });
    if (content === this.drawn) return;
    this.drawn = content;
    this.timeline.show(content.groups, say(this.feed.isKept ? "nothingHappenedThen" : "eventsNotKept"),
      content.complete === null ? "" : say("eventsSince", { time: minute(content.complete) }));
    this.endings.show(content.history.ended);
  }

  leave() {
    this.reading?.abort();
    this.isReading = false;
  }

  translate() {
    this.drawn = null;
    this.chart.translate();
    this.endings.translate();
    if (!this.feed.isKept) put(this.trouble, say("onlyLastHour"));
    if (this.content) this.draw();
  }
}
