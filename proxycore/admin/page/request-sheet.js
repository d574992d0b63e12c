/** What a request opens into: why it ended as it did, facts, and its attempts in the order of time. */

import { copy } from "./clipboard.js";
import { result } from "./dialog.js";
import { button, draw, make, put, set, shape } from "./elements.js";
import { bytes, duration, instant, moment, number, percent } from "./format.js";
import { showMark } from "./request-cells.js";
import { accountOf, answerOf, headlineOf, outcomeOf, verdictOf } from "./request-words.js";
import { say, spoken } from "./words.js";

const MOST = 40; // attempts that are shown at first
const LEAST_PAUSE = 0.02; // seconds that are shown as a pause
const HEADS = [["number", "no"], ["key", "key"], ["answer", "answer"], ["verdict", "led-to"], ["took", "seconds number"], [null, "fall"]];

/** The sheet of a request, built once; again if the language changes. */
export class RequestSheet {
  constructor() {
    this.element = make("div", "request-sheet");
    this.output = result();
    this.all = false;
  }

  show({ request }) {
    const told = `${spoken()} ${request.id} ${request.time} ${this.all}`;
    if (this.told === told) return;
    this.told = told;
    this.element.replaceChildren(this.head(request), facts(request), ...this.attempts(request));
  }

  head(request) {
    const { shape: name, tone } = outcomeOf(request);
    const title = make("p", "headline", make("span", `mark ${tone}`, shape(name)), headlineOf(request));
    const tell = async (text) => {
      const copied = await copy(text);
      put(this.output, say(copied ? "copied" : "notCopied"));
      set(this.output, "data-kind", copied ? "good" : "bad");
    };
    const copyId = button("copyId", "quiet", () => tell(request.id));
    const copyJson = button("copyJson", "", () => tell(jsonOf(request)));
    put(copyId, say("copyId"));
    put(copyJson, say("copyJson"));
    put(this.output, "");
    return make("div", "sheet-head", make("div", "told", title, make("p", "muted", accountOf(request))),
      make("div", "together", this.output, copyId, copyJson));
  }

  attempts(request) {
    const { attempts } = request;
    if (!attempts.length) return [make("p", "muted", say("noAttemptMade"))];
    const rows = make("tbody"), end = Math.max(request.seconds, ...attempts.map((one) => (one.at ?? 0) + one.seconds)) || 1;
    const last = this.all || attempts.length <= MOST + 5 ? attempts.length : MOST;
    let before = 0;
    for (let at = 0; at < last; at += 1) {
      const { at: began, seconds } = attempts[at];
      if (began != null && began - before >= LEAST_PAUSE) rows.append(pauseRow(at ? "pauseBefore" : "waitedForKey", before, began, end));
      rows.append(attemptRow(request, at, end));
      before = Math.max(before, (began ?? 0) + seconds);
    }
    const isTimed = attempts[0].at != null;
    if (request.outcome === "refused" && isTimed && end - before >= LEAST_PAUSE) rows.append(pauseRow("waitedForKey", before, end, end));
    const heads = HEADS.map(([word, kind]) => scoped(make("th", kind, word ? say(word) : say("fromTo", { seconds: duration(end) }))));
    const widths = make("colgroup", "", ...HEADS.map(([, kind]) => make("col", `attempt-${kind.split(" ")[0]}`)));
    const head = roled("rowgroup", make("thead", "", roled("row", make("tr", "", ...heads))));
    const table = make("table", "cards attempts", make("caption", "unseen", say("attemptsCaption")), widths, head, roled("rowgroup", rows));
    const more = button(null, "plain", () => { this.all = true; this.show({ request }); this.element.querySelector("tbody a")?.focus(); });
    put(more, say("showAllAttempts", { count: number(attempts.length) }));
    return [roled("table", table), ...(last < attempts.length ? [more] : [])];
  }
}

const jsonOf = ({ text, day, cursor, ...request }) => JSON.stringify(request, null, 2); // without what the page added

function facts(request) {
  const { id, client, address, method, path, time, waited } = request;
  const { cached_tokens: cached, input_tokens: input, output_tokens: output, thinking_tokens: thinking } = request;
  const who = make("a", "", client === "-" ? say("openToAll") : client);
  who.href = `#/requests?client=${encodeURIComponent(client)}`;
  const list = make("dl", "facts");
  const add = (word, ...content) => list.append(make("div", "", make("dt", "", say(word)), make("dd", "", ...content)));
  add("factId", id);
  add("factFrom", who, ` ${address}`);
  add("factPath", `${method} ${path}`);
  add("factPrompt", amount(request.unread || !input, input, request.received_bytes));
  add("factResponse", amount(request.unread || !output, output, request.sent_bytes));
  if (thinking) add("factThinking", say("someTokens", { tokens: number(thinking) }));
  if (cached) add("factCached", say("cachedTokens", { tokens: number(cached), share: percent(cached, input, 0) }));
  if (waited != null) add("factWaited", duration(waited));
  add("factArrived", fullTime(time));
  return list;
}

const amount = (isUnknown, tokens, size) => (isUnknown ? bytes(size) : say("tokensAndBytes", { tokens: number(tokens), bytes: bytes(size) }));

/** A moment to the millisecond, with the date if it is not today. */
const fullTime = (time) => moment(time).replace(/\d+:\d+:\d+/, instant(time));

function attemptRow(request, at, end) {
  const attempt = request.attempts[at], { key, at: began, seconds } = attempt;
  const link = make("a", "", key), answer = make("td", "answer"), verdict = verdictOf(request, at), outcome = answerOf(attempt);
  link.href = `#/keys/${encodeURIComponent(key)}`;
  showMark(answer, outcome);
  const isStreamed = attempt.verdict === "served" && at === request.attempts.length - 1;
  const tone = { warn: "warn", bad: "bad" }[outcome.tone] ?? "";
  const streamed = isStreamed ? [[began + seconds, request.seconds - began - seconds, "streamed"]] : [];
  const fall = began == null ? [] : [[began, seconds, tone], ...streamed];
  return row("row", `${at + 1}`, link, answer, verdict, duration(seconds), waterfall(fall, end));
}

function pauseRow(word, from, to, end) {
  return row("row pause", "", "", make("td", "answer"), say(word), duration(to - from), waterfall([[from, to - from, "idle"]], end));
}

function row(kind, number, key, answer, verdict, seconds, drawing) {
  const cells = [
    make("td", "no", number), make("td", "key", key), answer,
    make("td", "led-to", verdict), make("td", "seconds number", seconds), make("td", "fall", drawing),
  ];
  set(cells[1], "title", key ? key.textContent : null);
  set(cells[3], "title", verdict);
  return roled("row", make("tr", kind, ...cells.map((cell) => roled("cell", cell))));
}

/** Spans of time, `[from, seconds, class]`, on an axis that ends with the request. */
function waterfall(spans, end) {
  const drawing = draw("svg", { class: "waterfall", "aria-hidden": "true" });
  for (const [from, seconds, kind] of spans) {
    if (seconds <= 0) continue;
    const left = Math.min(99.5, 100 * from / end), width = Math.max(0.5, Math.min(100 - left, 100 * seconds / end));
    drawing.append(draw("rect", { class: kind, x: `${left.toFixed(2)}%`, width: `${width.toFixed(2)}%`, height: 12, rx: 2 }));
  }
  return drawing;
}

function scoped(head) {
  head.scope = "col";
  return roled("columnheader", head);
}

function roled(role, element) {
  element.setAttribute("role", role);
  return element;
}
