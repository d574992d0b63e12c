/** Numbers and times for people, and elements made of them. */

import { say, spoken } from "./words.js";

let ahead = 0; // seconds that the server's clock is ahead of the browser's

/** Sets the server's clock, in seconds since the epoch. */
export function setClock(seconds) { ahead = seconds - Date.now() / 1000; }

/** Seconds since the epoch by the server's clock. */
export const now = () => Date.now() / 1000 + ahead;

const locale = () => (spoken() === "zh" ? "zh-CN" : "en-GB");

const formats = new Map(); // to make one takes longer than to use it a hundred times

function format(kind, style) {
  const name = `${locale()} ${JSON.stringify(style)}`;
  if (!formats.has(name)) formats.set(name, new kind(locale(), style));
  return formats.get(name);
}

/** A whole number, large ones short. */
export function number(n) {
  if (n == null) return "–";
  return format(Intl.NumberFormat, n >= 10_000 ? { notation: "compact", maximumFractionDigits: 1 } : {}).format(n);
}

/** A share of a whole. */
export const percent = (part, whole) =>
  whole ? format(Intl.NumberFormat, { style: "percent", maximumFractionDigits: 1 }).format(part / whole) : "–";

/** Bytes, in the unit that fits. */
export function bytes(n) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (n >= 1000 && unit < units.length - 1) { n /= 1000; unit += 1; }
  return `${unit && n < 100 ? n.toFixed(1) : Math.round(n)} ${units[unit]}`;
}

/** A duration in seconds that was measured. */
export function duration(seconds) {
  if (seconds == null) return "–";
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  return seconds < 99.5 ? `${seconds.toFixed(seconds < 9.95 ? 1 : 0)} s` : clock(seconds);
}

/** A span in seconds as clocks write it: 0:41, 12:05, 3:12:05, and days before that. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds)); // shown for a second: so it is off by less than one
  const two = (n) => String(n).padStart(2, "0");
  const days = Math.floor(whole / 86400), hours = Math.floor(whole / 3600) % 24, minutes = Math.floor(whole / 60) % 60;
  const start = days ? `${days} d ${hours}:${two(minutes)}` : hours ? `${hours}:${two(minutes)}` : `${minutes}`;
  return `${start}:${two(whole % 60)}`;
}

/** A moment as local time, with the date if it is not today. */
export function moment(seconds) {
  const then = new Date((seconds - ahead) * 1000);
  const today = then.toDateString() === new Date().toDateString();
  const style = { hour: "2-digit", minute: "2-digit", second: "2-digit", ...(today ? {} : { month: "short", day: "numeric" }) };
  return format(Intl.DateTimeFormat, style).format(then);
}

/** How long ago it was. */
export function ago(seconds) {
  if (!seconds) return say("never");
  const gone = now() - seconds;
  if (gone < 2) return say("justNow");
  const [unit, size] = gone < 60 ? ["second", 1] : gone < 3600 ? ["minute", 60] : gone < 86400 ? ["hour", 3600] : ["day", 86400];
  return format(Intl.RelativeTimeFormat, { style: "narrow" }).format(-Math.floor(gone / size), unit);
}

/** Makes these the children, in this order, and moves none that is in its place. */
export function arrange(parent, elements) {
  const wanted = new Set(elements);
  for (const one of [...parent.children]) if (!wanted.has(one)) one.remove();
  elements.forEach((one, at) => {
    if (parent.children[at] !== one) parent.insertBefore(one, parent.children[at] ?? null);
  });
}

/** An element with a class, texts and other elements in it. */
export function make(tag, kind = "", ...content) {
  const one = document.createElement(tag);
  if (kind) one.className = kind;
  one.append(...content);
  return one;
}

/** Puts a text into an element, if it is not there already. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
