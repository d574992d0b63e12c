/** What became of a request, in words: its outcome in a few, what each attempt led to, and why it failed. */

import { bytes, duration, number } from "./format.js";
import { ownReason } from "./own-reasons.js";
import { reason } from "./reasons.js";
import { say } from "./words.js";

/** The outcomes that the log can be asked for, each with the name of its text. */
export const OUTCOMES = {
  served: "outcomeServed", client_error: "outcomeClientError", refused: "outcomeRefused",
  failed: "outcomeFailed", left: "outcomeLeft", cut: "outcomeCut",
};

/** The outcome: a shape, a class that colours it ("" for what is nobody's trouble here), and a text. */
export function outcomeOf(request) {
  const { status, outcome, attempts } = request;
  const told = (shape, tone, name) => ({ shape, tone, text: say(name, { status, count: attempts.length }) });
  switch (outcome) {
    case "served": return attempts.length > 1 ? told("half", "good", "servedAfter") : told("dot", "good", "servedAtOnce");
    case "client_error": return isLimited(request) ? told("triangle", "warn", "clientLimit") : told("ring", "", clientErrorOf(status));
    case "refused": return told("square", "bad", "noKeyAvailable");
    case "left": return told("left", "", "clientLeft");
    case "cut": return told("cross", "bad", "cutOff");
    default: return told("square", "bad", failureOf(request));
  }
}

/** Whether the proxy refused it because of the limits that the operator gave its client. */
const isLimited = ({ attempts, status, why }) =>
  !attempts.length && (status === 429 || status === 403) && /^(Client|The access of client) /.test(why);

function clientErrorOf(status) {
  if (status < 300) return "errorInStream";
  return status === 401 ? "noValidKey" : status === 404 ? "notFound" : "clientMistake";
}

function failureOf({ status, attempts }) {
  if (status < 300) return "errorInStream";
  const last = attempts.at(-1);
  if (!last) return "proxyError";
  if (last.why === "timeout" || last.why === "upstream deadline exceeded") return "upstreamTimedOut";
  return status === 503 ? "upstreamOverloaded" : "upstreamError";
}

/** The method of a path: what follows its last colon, or the path below its version. */
export function methodOf(path) {
  const last = path.slice(path.lastIndexOf("/") + 1), colon = last.lastIndexOf(":");
  return colon < 0 ? path.replace(/^\/(v\d\w*\/)?/, "") : last.slice(colon + 1);
}

/** The response to an attempt: as an outcome. */
export function answerOf({ status, verdict }) {
  if (verdict === "abandoned" && !status) return { shape: "left", tone: "", text: say("abandonedShort") };
  if (!status) return { shape: "square", tone: "bad", text: say("noResponseCame") };
  if (verdict === "served") return { shape: "dot", tone: "good", text: `${status}` };
  if (status >= 500) return { shape: "square", tone: "bad", text: `${status}` };
  return verdict === "relay" ? { shape: "ring", tone: "", text: `${status}` } : { shape: "triangle", tone: "warn", text: `${status}` };
}

const NEXT = { // what followed, by what the request did next
  failover: "nextKey", retry: "nextRetry", compare: "nextCompared", entitled: "nextEntitled", tokens: "nextTokens", owner: "nextOwner",
};

/** What an attempt of a request led to. */
export function verdictOf(request, at) {
  const { verdict, why, status } = request.attempts[at], isLast = at === request.attempts.length - 1;
  const about = capitalized(reason(why));
  if (verdict === "served") return say({ cut: "servedThenCut", left: "servedThenLeft" }[request.outcome] ?? "attemptServed");
  if (verdict === "abandoned") return say({ left: "abandonedByClient", served: "abandonedForOther" }[request.outcome] ?? "abandoned");
  if (isLast && request.outcome === "refused") return say("noOtherKey", { reason: about });
  if (status && (verdict === "relay" || (isLast && status === request.status))) return say("wentToClient", { reason: about });
  if (isLast) return say("noOtherAttempt", { reason: about });
  return say(NEXT[verdict] ?? "nextKey", { reason: about });
}

/** Why the request ended as it did: one sentence. */
export function headlineOf(request) {
  const { status, outcome, attempts, client, model } = request, last = attempts.at(-1);
  const why = ownReason(request.why), about = last ? reason(last.why || last.verdict) : "";
  const values = { status, client, model: model || say("thisRequest"), key: last?.key, count: attempts.length, reason: about, why };
  switch (outcome) {
    case "served": return say(attempts.length > 1 ? "headServedAfter" : "headServed", values);
    case "refused": return say(why ? "headRefusedWhy" : "headRefused", values);
    case "left": return say(!attempts.length ? "headLeftWaiting" : last.verdict === "served" ? "headLeftStream" : "headLeft", values);
    case "cut": return say(why ? "headCutWhy" : "headCut", values);
    case "client_error": return say(why ? "headRejectedWhy" : last ? "headClientError" : "headRejected", values);
    default: return say(why ? "headFailedWhy" : last ? "headFailed" : "headFailedInside", values);
  }
}

/** What was done about it: attempts, time, and what the client got. */
export function accountOf(request) {
  const { status, outcome, attempts, seconds, sent_bytes, first_byte } = request;
  const made = say(["noAttempt", "oneAttempt"][attempts.length] ?? "manyAttempts", { count: number(attempts.length) });
  const values = { made, status, seconds: duration(seconds), first: duration(first_byte), bytes: bytes(sent_bytes) };
  if (outcome === "served") return say("accountServed", values);
  if (outcome === "left" || outcome === "cut") return say(sent_bytes ? "accountSent" : "accountSentNothing", values);
  return say(attempts.at(-1)?.status === status && !request.why ? "accountRelayed" : "accountOwn", values);
}

const capitalized = (text) => (/^[a-z]+( |$)/.test(text) ? text[0].toUpperCase() + text.slice(1) : text);
