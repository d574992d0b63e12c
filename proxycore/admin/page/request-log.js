/** The requests that have been read from the server's log: older ones by cursor, new ones as they end. */

const FIRST = 100, MORE = 200, MOST = 1000; // requests of a page: the first, the next ones, the server's limit
const LEAST_TAIL = 20; // requests that are asked for each second, at least
const MOST_KEPT = 5000; // requests that are kept while new ones come in
const MOST_EMPTY = 20; // pages without a match that are read at once: each looks only so far

/** Requests of the log that match a filter, the last to end first. Its methods throw the feed's errors. */
export class RequestLog {
  constructor(feed) {
    this.feed = feed;
    this.clear();
  }

  /** Reads the first page for this filter; returns whether there is one (not if another was opened meanwhile). */
  async open(filter) {
    this.abort?.abort();
    const abort = this.abort = new AbortController();
    this.isReading = true;
    try {
      const page = await this.read({ ...filter, limit: FIRST }, abort);
      if (!page) return false;
      this.clear();
      this.filter = filter;
      this.add(page);
      if (!this.rows.length && this.cursor) await this.look(FIRST, abort);
      return abort === this.abort;
    } finally {
      if (abort === this.abort) this.isReading = false;
    }
  }

  /** Reads older requests; returns whether there were any. */
  async more(limit = MORE) {
    await this.tailing?.catch(() => {}); // it tells its own failure
    if (this.isReading || !this.cursor) return false;
    this.isReading = true;
    const abort = this.abort, before = this.rows.length;
    try {
      await this.look(limit, abort);
      this.most = Math.max(MOST_KEPT, this.rows.length);
      return this.rows.length > before;
    } finally {
      if (abort === this.abort) this.isReading = false;
    }
  }

  /** Reads the requests that ended since, into `fresh`. All of them arrived at this time or later. */
  tail(since) {
    if (this.isReading || !this.filter || this.isBehind) return Promise.resolve();
    this.tailing = this.readTail(since);
    return this.tailing;
  }

  async readTail(since) {
    this.isReading = true;
    const abort = this.abort;
    try {
      const found = await this.newest(since, abort);
      if (abort !== this.abort || !found) return;
      for (const request of found) this.known.set(nameOf(request), request);
      this.fresh = [...found, ...this.fresh];
      this.limit = Math.min(MOST, Math.max(LEAST_TAIL, Math.ceil(1.2 * found.length) + 10));
      this.isBehind = this.fresh.length >= MOST;
    } finally {
      if (abort === this.abort) this.isReading = false;
    }
  }

  /** Puts what is fresh before the others, and forgets the oldest ones if there are too many. */
  bring() {
    this.rows = [...this.fresh, ...this.rows];
    this.fresh = [];
    if (this.rows.length < this.most + MOST) return;
    let end = this.most;
    while (end && !this.rows[end - 1].cursor) end -= 1; // the next page begins after a request with a cursor
    if (!end) return;
    this.cursor = this.rows[end - 1].cursor;
    for (const request of this.rows.splice(end)) this.known.delete(nameOf(request));
  }

  /** Ends what is being read. */
  stop() { this.abort?.abort(); }

  clear() {
    this.filter = null;
    this.rows = [];
    this.fresh = [];
    this.known = new Map();
    this.cursor = null;
    this.limit = LEAST_TAIL;
    this.most = MOST_KEPT;
    this.isBehind = false; // so much is fresh that the log has to be read anew
  }

  async newest(since, abort) {
    const found = [], filter = { ...this.filter, since: Math.max(since, this.filter.since ?? 0) };
    let limit = this.limit, cursor = null;
    do {
      const page = await this.read({ ...filter, limit, cursor }, abort);
      if (!page) return null;
      const end = page.requests.findIndex((request) => this.known.has(nameOf(request)));
      found.push(...(end < 0 ? page.requests : page.requests.slice(0, end)));
      const last = page.requests.length === limit ? this.known.get(nameOf(page.requests.at(-1))) : null;
      if (last) last.cursor = page.cursor;
      cursor = end < 0 && page.requests.length ? page.cursor : null;
      limit = MOST;
    } while (cursor && found.length < MOST);
    return found;
  }

  /** Reads pages until there is a match, or none is left, or it took too many. */
  async look(limit, abort) {
    const before = this.rows.length;
    for (let pages = 0; this.cursor && this.rows.length === before && pages < MOST_EMPTY; pages += 1) {
      const page = await this.read({ ...this.filter, limit, cursor: this.cursor }, abort);
      if (!page) return;
      this.add(page);
    }
  }

  add(page) {
    for (const request of page.requests) {
      if (this.known.has(nameOf(request))) continue;
      this.known.set(nameOf(request), request);
      this.rows.push(request);
    }
    this.cursor = page.cursor;
    if (this.rows.length) this.rows.at(-1).cursor = page.cursor;
  }

  /** A page; null if the operator has logged out, or another log was opened meanwhile. */
  async read(parameters, abort) {
    try {
      return await this.feed.read("requests.json", parameters, abort.signal);
    } catch (error) {
      if (abort.signal.aborted) return null;
      throw error;
    }
  }
}

/** What tells a request from others: clients choose ids, and may choose one twice. */
export const nameOf = (request) => `${request.id} ${request.time}`;
