/** The view "requests": what is open now, and the log of what has ended, which is followed. */

import { button, make, panel, put, putCut, set } from "./elements.js";
import { day, now, number, readersDate } from "./format.js";
import { OpenStreams } from "./open-streams.js";
import { columnsOf } from "./request-columns.js";
import { parametersOf, RequestFilters } from "./request-filters.js";
import { nameOf, RequestLog } from "./request-log.js";
import { RequestSheet } from "./request-sheet.js";
import { Table } from "./table.js";
import { say } from "./words.js";

const PAUSE = 400; // milliseconds without a key pressed, after which the server is asked for an id
const AGAIN = 10; // seconds until the log is asked for again after an error
const YOUNG = 900; // seconds: a request that is not among the open streams has arrived within them
const ID = /^[A-Za-z0-9][A-Za-z0-9._:/+=@-]{5,127}$/;

export class Requests {
  constructor(root, { feed, ask, go }) {
    Object.assign(this, { root, go, feed, query: new URLSearchParams(), text: "", isFollowing: true, opened: new Set(), trouble: null });
    this.seen = { models: new Set(), statuses: new Set() };
    this.items = [];
    this.log = new RequestLog(feed);
    this.open = new OpenStreams(ask);
    this.filters = new RequestFilters({ change: (query) => this.address(query), typed: (text) => this.typed(text) });
    this.fresh = button(null, "fresh", () => this.bring());
    this.fresh.hidden = true;
    this.follow = button(null, "follow", () => this.toggleFollowing());
    this.followText = make("span");
    this.follow.append(make("span", "lamp"), this.followText);
    this.tools = make("div", "request-tools", this.filters.search, this.filters.element, this.filters.clear, make("div", "following", this.fresh, this.follow));
    this.table = new Table({
      kind: "request-log", caption: "requestLog", columns: columnsOf(this), wide: (item) => this.wide(item), guess: { row: 36 },
    });
    this.table.body.addEventListener("click", (event) => this.clicked(event));
    this.note = make("p", "empty");
    this.note.setAttribute("role", "status");
    this.count = make("span");
    this.more = button("showMore", "plain", () => this.readMore());
    const title = make("h2", "unseen");
    title.dataset.say = "requestLog";
    this.card = panel(title, "log-card", title, this.tools, this.table.element, this.note,
      make("div", "card-foot", this.count, make("span", "push"), this.more));
    root.append(this.open.element, this.card);
    root.classList.add("not-yet");
  }

  show(status, change) {
    this.status = status;
    if (!change || change.streams || "waiting" in change || change.open) this.open.show(status);
    this.filters.know(status, this.seen);
    if (!change) this.foot();
  }

  tick() {
    this.open.tick();
    this.tail();
  }

  arrive({ query }) {
    this.query = query;
    this.text = (query.get("q") ?? "").toLowerCase();
    this.filters.arrive(query);
    this.filters.know(this.status, this.seen);
    this.opened.clear();
    this.read();
  }

  leave() {
    clearTimeout(this.asking);
    this.log.stop();
  }

  translate() {
    this.open.translate();
    this.table.translate();
    this.filters.arrive(this.query);
    this.tell();
  }

  wide({ kind }) {
    if (kind === "sheet") return new RequestSheet();
    const element = make("span");
    return { element, show: (item) => put(element, day(item.time)) };
  }

  /** A click anywhere in a row opens it, but not one that ends a selection of text. */
  clicked(event) {
    const row = event.target.closest("tr.row");
    if (event.target.closest("button, a") || !row || row.closest(".attempts") || !document.getSelection().isCollapsed) return;
    this.toggle(row.lastElementChild.request);
  }

  toggle(request) {
    if (!this.opened.delete(request)) this.opened.add(request);
    this.render();
  }

  /** Reads the log anew for what the address asks for. */
  async read() {
    const query = this.query;
    set(this.table.element, "aria-busy", true);
    await this.attempt(async () => {
      if (!await this.log.open(parametersOf(query, now()))) return;
      this.learn(this.log.rows);
      if (query.get("id")) for (const request of this.log.rows.slice(0, 1)) this.opened.add(request);
      this.render();
    });
  }

  async readMore() {
    set(this.more, "aria-disabled", true);
    await this.attempt(async () => {
      await this.log.more(this.text ? 1000 : undefined);
      this.learn(this.log.rows);
      this.render();
    });
    set(this.more, "aria-disabled", null);
  }

  /** Does what reads from the server; if that fails, the reason is shown instead of the log. */
  async attempt(act) {
    try {
      if (!this.feed.isKept) throw new Error(say("requestsOff"));
      await act();
      this.trouble = null;
      this.root.classList.remove("not-yet");
    } catch (error) {
      if (error instanceof TypeError) return; // no connection: the page says so, and tries again
      this.trouble = error;
      this.triedAt = now();
      this.root.classList.remove("not-yet");
    } finally {
      set(this.table.element, "aria-busy", null);
      this.tell();
    }
  }

  /** Brings in what has ended since; while the reader is at something, it is only counted. */
  async tail() {
    if (this.trouble || !this.log.filter) {
      if (this.trouble && now() - this.triedAt > AGAIN) await this.read();
      return;
    }
    if (!this.isFollowing) return;
    const oldest = this.status.streams[0]?.since ?? Infinity;
    const since = Math.min(oldest, this.oldest ?? Infinity, now() - YOUNG);
    this.oldest = oldest; // of those that were open at the last look, one may have ended
    await this.attempt(async () => {
      await this.log.tail(since);
      if (!this.log.fresh.length || this.isHeld) return;
      if (this.log.isBehind) await this.log.open(this.log.filter);
      this.bringIn();
    });
  }

  /** Whether rows that move would disturb: the reader has scrolled down, opened or selected something, or is at a row. */
  get isHeld() {
    const { body } = this.table;
    const isScrolled = this.shown > 0 && body.getBoundingClientRect().top < this.tools.getBoundingClientRect().bottom - 4;
    const selection = document.getSelection();
    const isSelected = !selection.isCollapsed && this.card.contains(selection.anchorNode);
    return isScrolled || isSelected || this.opened.size > 0 || body.querySelector(":focus-visible") !== null;
  }

  bringIn() {
    this.learn(this.log.fresh);
    this.log.bring();
    this.render();
  }

  async bring() {
    this.follow.focus({ preventScroll: true });
    if (this.log.isBehind) await this.read();
    else this.bringIn();
    if (this.isHeld) scrollTo(0, this.card.getBoundingClientRect().top + scrollY - document.querySelector(".top").offsetHeight);
    this.tell();
  }

  toggleFollowing() {
    this.isFollowing = !this.isFollowing;
    this.tell();
  }

  /** Goes to the address of this query. */
  address(query) {
    const text = query.toString();
    this.go(`#/requests${text ? `?${text}` : ""}`);
  }

  /** Searches what is loaded for a text, and, if it has none and the text may be an id, the server for that. */
  typed(text) {
    if (text === (this.query.get("id") ?? this.query.get("q") ?? "")) return;
    clearTimeout(this.asking);
    if (this.query.has("id")) { // it is the only filter: another text takes its place
      this.address(new URLSearchParams(text ? { q: text } : {}));
      return;
    }
    if (text) this.query.set("q", text);
    else this.query.delete("q");
    history.replaceState(null, "", `#/requests${this.query.size ? `?${this.query}` : ""}`);
    this.filters.arrive(this.query);
    this.text = text.toLowerCase();
    this.render();
    if (ID.test(text)) this.asking = setTimeout(() => this.find(text), PAUSE);
  }

  /** Opens the request of this id, if there is one: what was pasted into the search is most often an id. */
  async find(id) {
    const loaded = this.log.rows.find((request) => request.id === id);
    if (loaded) {
      this.opened.add(loaded);
      this.render();
    }
    if (this.items.length) return;
    const page = await this.feed.read("requests.json", { id, limit: 1 }).catch(() => null);
    if (page?.requests.length && this.filters.search.value.trim() === id) this.address(new URLSearchParams({ id }));
  }

  /** Remembers which models and statuses there are, for the filters. */
  learn(requests) {
    for (const { model, status } of requests) {
      this.seen.models.add(model);
      this.seen.statuses.add(status);
    }
  }

  render() {
    const items = [];
    let today = new Date().toDateString(), at = 0;
    for (const request of this.log.rows) {
      if (this.text && !textOf(request).includes(this.text)) continue;
      const date = dayOf(request);
      if (date !== today) items.push({ id: `day ${date}`, kind: "group", time: request.time + request.seconds });
      today = date;
      // A row is that of a place, not of a request: so none has to move when new ones come in.
      items.push({ id: at, kind: "row", request });
      at += 1;
      if (this.opened.has(request)) items.push({ id: `sheet ${nameOf(request)}`, kind: "sheet", request });
    }
    this.items = items;
    this.shown = at;
    this.table.show(items);
    this.tell();
  }

  /** Shows what is not in the table: counts, what is new, and what there is instead of rows. */
  tell() {
    const { log, trouble } = this, count = log.fresh.length;
    this.fresh.hidden = !count || !this.isFollowing;
    put(this.fresh, say("newRequests", { count: log.isBehind ? `${number(count)}+` : number(count) }));
    set(this.follow, "aria-pressed", this.isFollowing);
    put(this.followText, say(this.isFollowing ? "following" : "notFollowing"));
    this.follow.disabled = trouble !== null;
    this.table.element.hidden = Boolean(trouble) || !this.shown;
    this.note.hidden = !this.table.element.hidden;
    put(this.note, this.noteText());
    set(this.more, "hidden", log.cursor && !trouble ? null : "");
    this.foot();
  }

  noteText() {
    const { trouble, log } = this;
    if (trouble) return this.feed.isKept ? trouble.message : say("requestsOff");
    if (!log.filter) return "";
    if (log.cursor) return say("olderMayMatch");
    return say([...this.query.keys()].length ? "noRequestMatches" : "noRequestYet");
  }

  foot() {
    const total = number(this.log.rows.length), days = this.status?.keep_days;
    const loaded = this.text ? say("requestsMatch", { count: number(this.shown), total, text: this.text })
      : say("requestsLoaded", { count: total });
    putCut(this.count, this.trouble ? "" : days ? `${loaded} · ${say("keptDays", { days: number(days) })}` : loaded);
  }
}

/** The reader's day on which a request ended. */
const dayOf = (request) => (request.day ??= readersDate(request.time + request.seconds).toDateString());

/** All of a request that can be searched for. */
function textOf(request) {
  const { id, path, model, client, key, address, why, status, attempts } = request;
  const texts = [id, path, model, client, key, address, why, status, ...attempts.flatMap((one) => [one.key, one.why])];
  return (request.text ??= texts.join("\n").toLowerCase());
}
