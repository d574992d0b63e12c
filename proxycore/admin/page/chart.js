/** The last hour as a picture: bars for requests and refusals, a line for the time to the first byte. */

import { duration, make, moment, number } from "./format.js";
import { say } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 600, HEIGHT = 120;

/** Draws the chart into a figure. */
export function draw(figure, history) {
  const shown = JSON.stringify([history, say("hour")]);
  if (figure.dataset.shown === shown) return;
  figure.dataset.shown = shown;
  const most = Math.max(1, ...history.map((minute) => Math.max(minute.requests, minute.refusals)));
  const slowest = Math.max(0.001, ...history.map((minute) => minute.first_byte ?? 0));
  const summary = summaryOf(history);
  const picture = part("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": summary });
  const step = WIDTH / history.length;
  history.forEach((minute, at) => picture.append(column(minute, at * step, step, most)));
  for (const points of lines(history, step, slowest)) {
    picture.append(part("polyline", { class: "line", points, "vector-effect": "non-scaling-stroke" }));
  }
  figure.replaceChildren(picture, axis(history), make("figcaption", "", ...legend(most, slowest), make("p", "summary", summary)));
}

function column(minute, x, step, most) {
  const group = part("g");
  const title = part("title");
  title.textContent = say("chartMinute", {
    time: moment(minute.time), requests: number(minute.requests), refusals: number(minute.refusals), first: duration(minute.first_byte),
  });
  group.append(title, part("rect", { class: "ground", x, y: 0, width: step, height: HEIGHT }));
  for (const [kind, count, inset] of [["requests", minute.requests, 1], ["refusals", minute.refusals, 3]]) {
    const height = count ? Math.max(2, (HEIGHT - 6) * count / most) : 0;
    group.append(part("rect", { class: kind, x: x + inset, y: HEIGHT - height, width: Math.max(1, step - 2 * inset), height }));
  }
  return group;
}

/** The parts of the line without a gap: minutes without a response have no time to first byte. */
function lines(history, step, slowest) {
  const stretches = [[]];
  history.forEach((minute, at) => {
    if (minute.first_byte == null) stretches.push([]);
    else stretches.at(-1).push([(at + 0.5) * step, HEIGHT - 3 - (HEIGHT - 12) * minute.first_byte / slowest]);
  });
  return stretches.filter((points) => points.length).map((points) => {
    if (points.length === 1) points = [[points[0][0] - step / 2, points[0][1]], [points[0][0] + step / 2, points[0][1]]];
    return points.map((point) => point.map((n) => n.toFixed(1)).join(",")).join(" ");
  });
}

function axis(history) {
  const hour = (minute) => moment(minute.time).replace(/:\d\d(?!.*:)/, "");
  const marks = [0, 15, 30, 45, history.length - 1].map((at) => make("span", "", hour(history[at])));
  const line = make("div", "axis", ...marks);
  line.setAttribute("aria-hidden", "true");
  return line;
}

function legend(most, slowest) {
  return [["requests", say("legendRequests", { most: number(most) })], ["refusals", say("legendRefusals")],
    ["line", say("legendFirst", { most: duration(slowest) })]].map(([kind, text]) => {
    const mark = make("span", `mark ${kind}`);
    mark.setAttribute("aria-hidden", "true");
    return make("span", "legend", mark, text);
  });
}

function summaryOf(history) {
  const total = (name) => history.reduce((sum, minute) => sum + minute[name], 0);
  if (!total("requests") && !total("refusals")) return say("chartNothing");
  const times = history.map((minute) => minute.first_byte).filter((seconds) => seconds != null).sort((one, other) => one - other);
  return say("chartSummary", {
    requests: number(total("requests")), refusals: number(total("refusals")),
    most: number(Math.max(...history.map((minute) => minute.requests))), first: duration(times[Math.floor(times.length / 2)]),
  });
}

function part(name, attributes = {}) {
  const one = document.createElementNS(SVG, name);
  for (const [attribute, value] of Object.entries(attributes)) one.setAttribute(attribute, value);
  return one;
}
