/** What happened to a key, and the errors that it got lately: read from the state file while its sheet is open. */

import { button, make, put, scroller, set, shape } from "./elements.js";
import { kindOf, sentence, SHAPES } from "./event-words.js";
import { reasonOf } from "./feed.js";
import { capital, minute, moment, number } from "./format.js";
import { reason } from "./reasons.js";
import { say } from "./words.js";

const PAGE = 50; // events
const OUTAGES = 20;
const REQUESTS = 200; // that are looked through for errors
const OUTAGE_KINDS = ["outage began", "outage ended"];
const FINE = new Set(["served", "abandoned"]); // verdicts of attempts that no error ended

/** A list that is read from the server, with what is said while it is empty. */
class List {
  constructor(word, kind) {
    this.list = make("ol", kind);
    this.said = make("p", "muted");
    this.inside = scroller(word, "key-scroll", this.said, this.list);
    const head = make("h3");
    head.dataset.say = word;
    this.element = make("section", "", head, this.inside);
  }

  tell(text) {
    this.list.replaceChildren();
    put(this.said, text);
  }

  show(rows) {
    put(this.said, "");
    this.list.replaceChildren(...rows);
  }
}

/** The events and the errors of the key of this name. */
export class KeyPast {
  constructor(feed, name) {
    this.feed = feed;
    this.name = name;
    this.events = new List("whatHappened", "key-events");
    this.errors = new List("lastErrors", "key-errors");
    this.known = null; // the events, the latest first
    this.more = button("showMore", "plain", () => this.readMore());
    this.more.hidden = true;
    this.events.inside.append(this.more);
  }

  /** Reads both anew. */
  async read() {
    if (!this.known) for (const list of [this.events, this.errors]) list.tell(say("reading"));
    this.reading?.abort();
    this.reading = new AbortController();
    const { signal } = this.reading;
    await Promise.all([this.readEvents(signal), this.readErrors(signal)]);
  }

  async readEvents(signal) {
    await this.attempt(this.events, signal, async () => {
      const asked = [{ key: this.name, limit: PAGE }, ...OUTAGE_KINDS.map((kind) => ({ kind, limit: OUTAGES }))];
      const answers = await Promise.all(asked.map((one) => this.feed.read("events.json", one, signal)));
      if (!answers.every(Boolean)) return;
      const [own, ...pool] = answers;
      this.outages = pool.flatMap((answer) => answer.events);
      this.known = own.events;
      this.cursor = own.cursor;
      this.showEvents();
    });
  }

  async readMore() {
    await this.attempt(this.events, this.reading.signal, async () => {
      const answer = await this.feed.read("events.json", { key: this.name, limit: PAGE, cursor: this.cursor }, this.reading.signal);
      if (!answer) return;
      this.known.push(...answer.events);
      this.cursor = answer.cursor;
      this.showEvents();
    });
  }

  /** Shows the key's events, and the outages of the same time. */
  showEvents() {
    const oldest = this.cursor === null ? 0 : this.known.at(-1)?.time ?? 0;
    const all = [...this.known, ...this.outages.filter(({ time }) => time >= oldest)].sort((one, other) => other.time - one.time);
    if (all.length) this.events.show(all.map(eventRow));
    else this.events.tell(say("nothingHappened"));
    this.more.hidden = this.cursor === null;
  }

  async readErrors(signal) {
    await this.attempt(this.errors, signal, async () => {
      const answer = await this.feed.read("requests.json", { key: this.name, limit: REQUESTS }, signal);
      if (!answer) return;
      this.failures = grouped(answer.requests, this.name);
      this.showErrors();
    });
  }

  showErrors() {
    if (this.failures.length) this.errors.show(this.failures.map(errorRow));
    else this.errors.tell(say("noErrors"));
  }

  /** Tells in the list why something could not be read. */
  async attempt(list, signal, read) {
    if (!this.feed.isKept) {
      list.tell(say("notKept"));
      return;
    }
    try {
      await read();
    } catch (error) {
      if (!signal.aborted) list.tell(say("notRead", { reason: reasonOf(error) }));
    }
  }

  translate() {
    if (this.known) this.showEvents();
    if (this.failures) this.showErrors();
  }

  arrive() { if (this.reading.signal.aborted) this.read(); }

  leave() { this.reading.abort(); }
}

/** The key's attempts that failed, by status and reason, the latest first. */
function grouped(requests, name) {
  const groups = new Map();
  for (const request of requests) {
    for (const { key, status, verdict, why } of request.attempts) {
      if (key !== name || FINE.has(verdict) || (status > 0 && status < 400)) continue;
      const id = `${status} ${why || verdict}`;
      if (!groups.has(id)) groups.set(id, { status, why: why || verdict, count: 0, last: request, first: request });
      Object.assign(groups.get(id), { count: groups.get(id).count + 1, first: request });
    }
  }
  return [...groups.values()];
}

function errorRow({ status, why, count, first, last }) {
  const isWorse = status === 401 || status === 403 || status === 400;
  const head = make("b", `mark ${isWorse ? "bad" : "warn"}`, shape(isWorse ? "square" : "down"),
    make("span", "", `${status || say("noResponse")} ${capital(reason(why))}`));
  const times = say(count === 1 ? "onceAt" : "timesFromTo", { count: number(count), from: moment(first.time), to: moment(last.time) });
  return make("li", "", head, make("p", "", times, " ", linkTo(last.id)));
}

function linkTo(id) {
  const link = make("a", "", say("itsRequest"));
  link.href = `#/requests?${new URLSearchParams({ id })}`;
  return link;
}

function eventRow(event) {
  const kind = kindOf(event);
  const time = make("time", "", minute(event.time));
  time.title = moment(event.time);
  const text = make("span", "", sentence(event));
  if (event.request && !["action", "reloaded"].includes(event.kind)) text.append(" ", linkTo(event.request));
  const mark = shape(SHAPES[kind]);
  set(mark, "class", `shape ${kind}`);
  return make("li", "", time, mark, text);
}
