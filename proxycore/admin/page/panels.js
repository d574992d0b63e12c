/** The panels around the table of keys: figures, outages, decisions, open streams, clients. */

import { ago, bytes, clock, duration, make, moment, now, number, percent, put } from "./format.js";
import { say, thought, whyOf } from "./words.js";

const DECISIONS = 5; // that are shown

/** The present figures, and the totals since the start. */
export function tiles(list, status) {
  const totals = status.totals, answered = totals.served;
  const tile = (name, value, more = "") => [name, value, more];
  const shown = [
    tile("requests", number(totals.requests), totals.requests ? say("ofServed", { percent: percent(answered, totals.requests) }) : ""),
    tile("running", number(status.running), say("up", { time: clock(status.time - status.started) })),
    tile("waiting", number(status.waiting)),
    tile("openStreams", number(status.open.streams + status.open.live), say("live_n", { count: number(status.open.live) })),
    tile("firstByte", duration(status.first_byte)),
    tile("failovers", number(totals.failovers),
      answered ? say("callsEach", { count: (totals.attempts / answered).toFixed(2) }) : ""),
    tile("refusedFailed", `${number(totals.refused)} · ${number(totals.failed + totals.cut)}`),
    tile("tokens", `${number(totals.input_tokens)} · ${number(totals.output_tokens)}`,
      totals.unread_answers ? say("unread", { count: number(totals.unread_answers) }) : ""),
    tile("bytes", bytes(totals.sent_bytes)),
  ];
  if (status.workers > 1) shown.push(tile("workers", number(status.workers)));
  while (list.children.length > shown.length) list.lastChild.remove();
  shown.forEach(([name, value, more], at) => {
    if (!list.children[at]) list.append(make("div", "", make("dt"), make("dd"), make("dd", "more")));
    [say(name), value, more].forEach((text, part) => put(list.children[at].children[part], text));
  });
}

/** The outages, suspected or certain. */
export function outages(place, status) {
  const shown = status.outages.map((outage) => {
    const next = outage.next_trial && outage.next_trial > now() ? ` · ${say("nextTrial", { time: clock(outage.next_trial - now()) })}` : "";
    return `${thought(outage)} · ${clock(now() - outage.since)}${next}`;
  });
  while (place.children.length > shown.length) place.lastChild.remove();
  shown.forEach((text, at) => {
    if (!place.children[at]) place.append(make("p", "outage", make("strong"), make("span")));
    [say("outage"), text].forEach((said, part) => put(place.children[at].children[part], said));
  });
}

/** Requests that were found to be at fault for their refusals, the newest first; empty if there are none. */
export function judgements(section, status) {
  const rows = status.judgements.slice(-DECISIONS).reverse().map((one) => [
    moment(one.time), one.model, [whyOf(one), one.model],
  ]);
  section.hidden = !rows.length;
  fill(section.querySelector("table"), "judgements", ["time figure", "model middle", "decision"], rows, "");
}

/** The streams and Live sessions that are open. */
export function streams(table, status) {
  const rows = status.streams.map((stream) => [
    say(stream.kind === "live" ? "liveKind" : "stream"), nameOf(stream.client),
    [stream.key, [nameOf(stream.client), stream.model].filter(Boolean).join(" · ")], stream.model || "–",
    clock(now() - stream.since), bytes(stream.sent_bytes),
  ]);
  fill(table, "streams", ["kind", "client middle", "key", "model middle", "age figure", "sent figure"], rows, say("noStreams"));
  const total = status.open.streams + status.open.live;
  put(document.getElementById("streams-count"),
    rows.length < total ? say("shown", { shown: number(rows.length), total: number(total) }) : total ? number(total) : "");
}

/** The clients. */
export function clients(table, status) {
  const rows = status.clients.map((client) => [
    [nameOf(client.name), `${say("lastSeen")} ${ago(client.last_seen)}`],
    number(client.requests), number(client.open), ago(client.last_seen),
    `${number(client.input_tokens)} · ${number(client.output_tokens)}`,
  ]);
  fill(table, "clients", ["client", "requests figure", "open figure", "lastSeen middle", "tokens figure"], rows, say("noClients"));
}

const nameOf = (client) => (client === "-" ? say("openToAll") : client);

/**
 * A table with a caption, columns (a name and classes), and rows of texts; changed in place. A pair of texts
 * is one with another below it, which says on narrow screens what is left out there.
 */
function fill(table, caption, columns, rows, nothing) {
  if (!table.tHead) {
    table.createCaption().className = "unseen";
    table.createTHead().insertRow();
    table.createTBody();
  }
  put(table.caption, say(caption));
  columns.forEach((column, at) => {
    const [name, ...kinds] = column.split(" "), head = table.tHead.rows[0];
    if (!head.cells[at]) {
      const cell = make("th", kinds.join(" "));
      cell.scope = "col";
      head.append(cell);
    }
    put(head.cells[at], say(name));
  });
  const shown = rows.length ? rows : [[nothing]], body = table.tBodies[0];
  while (body.rows.length > shown.length) body.deleteRow(-1);
  shown.forEach((texts, at) => {
    const row = body.rows[at] ?? body.insertRow();
    while (row.cells.length > texts.length) row.deleteCell(-1);
    texts.forEach((text, column) => {
      const cell = row.cells[column] ?? row.insertCell();
      const kind = rows.length ? columns[column].split(" ").slice(1).join(" ") : "none";
      if (cell.className !== kind) cell.className = kind;
      cell.colSpan = rows.length ? 1 : columns.length;
      write(cell, ...[text].flat());
    });
  });
}

function write(cell, text, below) {
  if (below === undefined) {
    put(cell, text);
    return;
  }
  if (!cell.querySelector(".below")) cell.replaceChildren(make("span"), make("span", "below"));
  put(cell.children[0], text);
  put(cell.children[1], below);
}
