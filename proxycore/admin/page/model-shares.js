/** Who uses what: the share that each client has of each model's requests, and what is left of the models today. */

import { clientName, requestsOf } from "./client-table.js";
import { arrange, keep, make, panel, put, putCut, set } from "./elements.js";
import { number, percent } from "./format.js";
import { say } from "./words.js";

const MODELS = 6, CLIENTS = 20; // that have a column and a row of their own
const OTHERS = ""; // the name of the column and the row of all others
const TINTS = [0, 0.1, 0.3, 0.6]; // shares from which a cell is tinted stronger

/** The panel. */
export class ModelShares {
  constructor() {
    this.rows = new Map();
    this.models = [];
    this.head = roled("rowgroup", make("thead"));
    this.body = roled("rowgroup", make("tbody"));
    this.total = new Line("requests", "total");
    this.left = new Line("leftToday", "total");
    this.caption = make("caption", "unseen");
    this.columns = make("colgroup");
    const foot = roled("rowgroup", make("tfoot", "", this.total.element, this.left.element));
    this.table = roled("table", make("table", "cards shares", this.caption, this.columns, this.head, this.body, foot));
    this.title = make("h2");
    this.nothing = make("p", "empty");
    this.nothing.dataset.say = "noRequests";
    for (const one of [this.title, this.caption]) one.dataset.say = "whoUsesWhat";
    this.element = panel(this.title, "", make("header", "card-head", this.title), this.table, this.nothing);
  }

  /** Shows the usage by client and model, and of the status what is left `today`. */
  show(usage, today) {
    const counted = usage.filter(({ model }) => model);
    const models = names(counted, "model", MODELS), clients = names(counted, "client", CLIENTS);
    this.counts = sumsOf(counted, clients, models);
    this.nothing.hidden = counted.length > 0;
    this.table.hidden = !counted.length;
    if (JSON.stringify(models) !== JSON.stringify(this.models)) this.rebuild(models);
    keep(this.body, this.rows, clients, () => new Line(null, "row"));
    for (const client of clients) this.rows.get(client).show(client, this.models, this.counts);
    this.total.tell(say("requests"), this.models, (model) => number(this.counts.of(null, model)));
    this.showLeft(today);
  }

  /** Shows what is left of the models' day quotas. */
  showLeft(today) {
    this.left.tell(say("leftToday"), this.models, (model) => {
      const day = today[model], all = day ? day.left + day.used : 0;
      return all ? percent(day.left, all, 0) : "–";
    }, (model) => (today[model] ? say("leftOfDay", { left: number(today[model].left), total: number(today[model].left + today[model].used) }) : null));
  }

  rebuild(models) {
    this.models = models;
    this.rows.clear();
    this.body.replaceChildren();
    this.columns.replaceChildren(make("col", "w-client"), ...models.map(() => make("col")));
    const heads = ["client", ...models].map((model, at) => {
      const head = roled("columnheader", make("th", at ? "number" : ""));
      head.scope = "col";
      if (at) putCut(head, shortName(model), model || say("otherModels"));
      else put(head, say("client"));
      return head;
    });
    arrange(this.head, [roled("row", make("tr", "", ...heads))]);
    for (const line of [this.total, this.left]) line.clear();
  }

  translate(usage, today) {
    for (const one of [this.title, this.caption, this.nothing]) put(one, say(one.dataset.say));
    this.models = [];
    if (usage) this.show(usage, today);
  }
}

/** A row: a head, and a cell for each model. */
class Line {
  constructor(word, kind) {
    this.link = make("a");
    this.head = roled("rowheader", make("th", "whole"));
    this.head.scope = "row";
    if (!word) this.head.append(this.link);
    this.cells = [];
    this.element = roled("row", make("tr", kind, this.head));
  }

  clear() {
    for (const cell of this.cells) cell.remove();
    this.cells = [];
  }

  /** Shows the shares of a client. */
  show(client, models, counts) {
    putCut(this.link, client ? clientName(client) : say("otherClients"));
    set(this.link, "href", client ? requestsOf(client) : null);
    this.fill(models, (cell, model) => {
      const count = counts.of(client, model), share = count / counts.of(null, model);
      putCut(cell, count ? percent(share, 1, share < 0.01 ? 1 : 0) : "–", count ? say("requestsOfModel", { count: number(count), model: model || say("otherModels") }) : null);
      set(cell, "class", `number share${count ? TINTS.findLastIndex((from) => share >= from) + 1 : 0}`);
    });
  }

  /** Shows texts with titles. */
  tell(name, models, text, title = () => null) {
    put(this.head, name);
    this.fill(models, (cell, model) => putCut(cell, text(model), title(model)));
  }

  fill(models, show) {
    while (this.cells.length < models.length) this.cells.push(this.element.appendChild(roled("cell", make("td", "number"))));
    models.forEach((model, at) => {
      set(this.cells[at], "data-label", shortName(model));
      show(this.cells[at], model);
    });
  }
}

/** The names with the most requests; if there are more than that many, the others have one together. */
function names(usage, label, most) {
  const counts = new Map();
  for (const row of usage) counts.set(row[label], (counts.get(row[label]) ?? 0) + row.requests);
  const sorted = [...counts].sort(([one, some], [other, more]) => more - some || (one < other ? -1 : 1)).map(([name]) => name);
  return sorted.length > most ? [...sorted.slice(0, most - 1), OTHERS] : sorted;
}

/** Requests by client and model; those of all clients are under null. */
function sumsOf(usage, clients, models) {
  const sums = new Map(), add = (client, model, count) => sums.set(`${client}\n${model}`, (sums.get(`${client}\n${model}`) ?? 0) + count);
  for (const row of usage) {
    const model = models.includes(row.model) ? row.model : OTHERS;
    add(clients.includes(row.client) ? row.client : OTHERS, model, row.requests);
    add(null, model, row.requests);
  }
  return { of: (client, model) => sums.get(`${client}\n${model}`) ?? 0 };
}

const shortName = (model) => (model ? model.replace(/^gemini-/, "") : say("otherModels"));

function roled(role, element) {
  element.setAttribute("role", role);
  return element;
}
