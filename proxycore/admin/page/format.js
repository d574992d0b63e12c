/** Numbers and times for people, in the page's language. Times are seconds since the epoch by the server's clock. */

import { say, spoken } from "./words.js";

let ahead = 0; // seconds that the server's clock is ahead of the browser's
let shift = 0; // the same in whole seconds, for what is shown: it stays, and so a full minute is shown as one

/** Sets the server's clock, in seconds since the epoch. */
export function setClock(seconds) {
  ahead = seconds - Date.now() / 1000;
  if (Math.abs(ahead - shift) > 1) shift = Math.round(ahead);
}

/** Seconds since the epoch by the server's clock. */
export const now = () => Date.now() / 1000 + ahead;

const locale = (kind) => (spoken() === "zh" ? "zh-CN" : kind === Intl.NumberFormat ? "en" : "en-GB");

const formats = new Map(); // to make one takes longer than to use it a hundred times

function format(kind, style) {
  const name = `${kind.name} ${spoken()} ${JSON.stringify(style)}`;
  if (!formats.has(name)) formats.set(name, new kind(locale(kind), style));
  return formats.get(name);
}

/** A text as the beginning of a sentence. */
export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** A whole number; from a million on short. */
export function number(n) {
  if (n == null) return "–";
  return format(Intl.NumberFormat, n >= 1_000_000 ? { notation: "compact", maximumFractionDigits: 2 } : {}).format(n);
}

/** A number in few characters: from ten thousand on short. */
export function short(n) {
  if (n == null) return "–";
  return format(Intl.NumberFormat, n >= 10_000 ? { notation: "compact", maximumFractionDigits: 1 } : {}).format(n);
}

/** A share of a whole, with up to `digits` decimals, and at least so many. */
export const percent = (part, whole = 1, digits = 1, least = 0) =>
  part == null || !whole ? "–" : `${format(Intl.NumberFormat, { minimumFractionDigits: least, maximumFractionDigits: digits }).format(100 * part / whole)} %`;

/** An amount of money: prices have no currency of their own. */
export const money = (n) => (n == null ? "–" : format(Intl.NumberFormat, { minimumFractionDigits: 2, maximumFractionDigits: n < 1 ? 4 : 2 }).format(n));

/** Bytes, in the unit that fits. */
export function bytes(n) {
  if (n == null) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (n >= 1000 && unit < units.length - 1) { n /= 1000; unit += 1; }
  return `${unit && n < 100 ? n.toFixed(1) : Math.round(n)} ${units[unit]}`;
}

/** A duration in seconds that was measured: 0.48 s, 9.87 s, 41.3 s, 12:05. */
export function duration(seconds) {
  if (seconds == null) return "–";
  return seconds < 99.95 ? `${seconds.toFixed(seconds < 9.995 ? 2 : 1)} s` : clock(seconds);
}

/** A span in seconds as clocks write it: 0:41, 12:05, 3:12:05, and days before that. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds)); // shown for a second: so it is off by less than one
  const two = (n) => String(n).padStart(2, "0");
  const days = Math.floor(whole / 86400), hours = Math.floor(whole / 3600) % 24, minutes = Math.floor(whole / 60) % 60;
  const start = days ? `${days} d ${hours}:${two(minutes)}` : hours ? `${hours}:${two(minutes)}` : `${minutes}`;
  return `${start}:${two(whole % 60)}`;
}

const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

/** A span in seconds in words, with its two largest units: 38 s, 12 min, 14 h 36 min, 3 d 4 h. */
export function span(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const at = Math.max(0, UNITS.findIndex(([, size]) => whole >= size)), [unit, size] = UNITS[whole ? at : 3];
  const first = say(unit, { n: Math.floor(whole / size) }), below = UNITS[at + 1];
  const rest = below && whole ? Math.floor((whole % size) / below[1]) : 0;
  return rest && unit !== "minute" ? `${first} ${say(below[0], { n: rest })}` : first;
}

/** How long ago it was. */
export function ago(seconds) {
  if (!seconds) return say("never");
  const gone = now() - seconds;
  return gone < 2 ? say("justNow") : say("ago", { span: span(gone) });
}

const SECONDS = { hour: "2-digit", minute: "2-digit", second: "2-digit" }, MINUTES = { hour: "2-digit", minute: "2-digit" };
const DAY = { month: "short", day: "numeric" };

/** A moment as a date of the reader's own clock. */
export const readersDate = (seconds) => new Date((seconds - shift) * 1000);

/** The moment of a date of the reader's own clock. */
export const epoch = (date) => date.getTime() / 1000 + shift;

/** A moment as the reader's time, with the date if it is not today. */
export const moment = (seconds) => told(seconds, SECONDS);

/** The same to the minute. */
export const minute = (seconds) => told(seconds, MINUTES);

/** The time of day of a moment, to the minute. */
export const clockTime = (seconds) => format(Intl.DateTimeFormat, MINUTES).format(readersDate(seconds));

/** A moment to the thousandth of a second, without the date. */
export const instant = (seconds) => format(Intl.DateTimeFormat, { ...SECONDS, fractionalSecondDigits: 3 }).format(readersDate(seconds));

/** The day of a moment. */
export const day = (seconds) => format(Intl.DateTimeFormat, DAY).format(readersDate(seconds));

/** A moment to the minute in Google's time, in which day quotas end. */
export const pacific = (seconds) =>
  format(Intl.DateTimeFormat, { ...MINUTES, timeZone: "America/Los_Angeles" }).format(new Date(seconds * 1000));

/** The reader's time zone, like GMT+1. */
export const zone = () =>
  format(Intl.DateTimeFormat, { timeZoneName: "shortOffset" }).formatToParts().find((part) => part.type === "timeZoneName").value;

function told(seconds, style) {
  const then = readersDate(seconds), isToday = then.toDateString() === new Date().toDateString();
  return format(Intl.DateTimeFormat, isToday ? style : { ...style, ...DAY }).format(then);
}

/** When the present day of Google's quotas began: the last midnight in Los Angeles, by the server's clock. */
export function pacificMidnight() {
  const style = { ...SECONDS, hourCycle: "h23", timeZone: "America/Los_Angeles" };
  const parts = format(Intl.DateTimeFormat, style).formatToParts(new Date(now() * 1000));
  const [hours, minutes, seconds] = ["hour", "minute", "second"].map((name) => Number(parts.find((part) => part.type === name).value));
  return Math.floor(now()) - 3600 * hours - 60 * minutes - seconds;
}
