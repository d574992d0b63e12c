/** The scales of a chart: round values, and round times of the reader's clock. */

import { clockTime, day, epoch, readersDate } from "./format.js";

const DAY = 86400;
const TIMES = [60, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200]; // seconds between two ticks within a day
const DAYS = [1, 2, 7, 14];

/** A scale from 0: its highest value, which is at least `most`, and about `count` round values up to it. */
export function valueScale(most, count, whole = false) {
  const rough = most / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(whole ? 1 : 0, [1, 2, 5, 10].map((factor) => factor * power).find((one) => one > rough * 0.999));
  const steps = Math.ceil(most / step - 0.001);
  return { top: steps * step, values: Array.from({ length: steps + 1 }, (_, at) => Number((at * step).toPrecision(6))) };
}

/** Round times from `from` to `to`, at most `count`, each with its text; at midnight that is the day. */
export function timeTicks(from, to, count) {
  const step = TIMES.find((one) => (to - from) / one <= count);
  if (!step) return dayTicks(from, to, count);
  const ticks = [];
  for (const midnight of midnights(from - 26 * 3600, to)) { // from the midnight before: days have up to 25 hours
    const date = readersDate(midnight), end = Math.min(to, nextMidnight(midnight));
    for (let seconds = 0; ; seconds += step) {
      // Hours are counted by the clock, which is put forward or back on two days of the year.
      const time = epoch(new Date(date.getFullYear(), date.getMonth(), date.getDate(), 0, 0, seconds));
      if (time >= end) break;
      if (time >= from && time > (ticks.at(-1)?.time ?? -1)) ticks.push({ time, text: seconds ? clockTime(time) : day(time) });
    }
  }
  return ticks;
}

function dayTicks(from, to, count) {
  const step = DAYS.find((one) => (to - from) / DAY / one <= count) ?? DAYS.at(-1);
  // Days are numbered alike on each call: labels stay with their days while time goes on.
  const numberOf = (time) => { const date = readersDate(time); return Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) / 1000 / DAY; };
  return midnights(from, to).filter((time) => numberOf(time) % step === 0).map((time) => ({ time, text: day(time) }));
}

/** The midnights of the reader's days from `from` to before `to`. */
export function midnights(from, to) {
  const found = [];
  const date = readersDate(from);
  let time = epoch(new Date(date.getFullYear(), date.getMonth(), date.getDate()));
  if (time < from) time = nextMidnight(time);
  for (; time < to; time = nextMidnight(time)) found.push(time);
  return found;
}

function nextMidnight(time) {
  const date = readersDate(time);
  return epoch(new Date(date.getFullYear(), date.getMonth(), date.getDate() + 1));
}
