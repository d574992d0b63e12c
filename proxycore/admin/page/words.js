/** The language of the page, and its texts in that language. */

import { CHINESE } from "./chinese.js";
import { ENGLISH } from "./english.js";

let language = remembered();

/** The language of the page: `en` or `zh`. */
export const spoken = () => language;

/** Uses this language from now on, and remembers it. */
export function speak(code) {
  language = code;
  try { localStorage.setItem("language", code); } catch { /* a browser may forbid it: then it is not remembered */ }
}

/** The text of this name, with values put in. */
export function say(name, values = {}) {
  const text = (language === "zh" ? CHINESE : ENGLISH)[name] ?? name;
  return text.replace(/\{(\w+)\}/g, (_, value) => values[value] ?? "");
}

/** Puts texts into all elements that name one; a tab's width is that of its text in bold. */
export function translate(root = document) {
  for (const one of root.querySelectorAll("[data-say]")) one.textContent = say(one.dataset.say);
  for (const one of root.querySelectorAll("[data-hint]")) one.placeholder = say(one.dataset.hint);
  for (const one of root.querySelectorAll("[data-label]")) {
    one.setAttribute("aria-label", say(one.dataset.label));
    if (one.matches("button")) one.title = say(one.dataset.label);
  }
  for (const one of root.querySelectorAll("#tabs [data-say]")) one.dataset.bold = one.textContent;
}

function remembered() {
  let code = null;
  try { code = localStorage.getItem("language"); } catch { /* as above */ }
  return code ?? (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");
}
