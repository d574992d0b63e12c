/** Elements, made once and changed in place: what is focused or just being pressed has to stay. */

const SVG = "http://www.w3.org/2000/svg";

/** An element with a class, texts and other elements in it. */
export function make(tag, kind = "", ...content) {
  const one = document.createElement(tag);
  if (kind) one.className = kind;
  one.append(...content);
  return one;
}

/** An SVG element with these attributes. */
export function draw(tag, attributes = {}, ...content) {
  const one = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) one.setAttribute(name, value);
  one.append(...content);
  return one;
}

/** One of the shapes in the page's head; `name` is its id without "i-". */
export const shape = (name) => draw("svg", { class: "shape", "aria-hidden": "true" }, draw("use", { href: `#i-${name}` }));

/** A button that does this; its text is the word of this name (see `say`), or (null) what is put into it. */
export function button(word, kind, act) {
  const one = make("button", kind);
  one.type = "button";
  if (word) one.dataset.say = word;
  one.addEventListener("click", act);
  return one;
}

let titles = 0;

/** A part of a view with a border; `title` is the heading in it that names it. */
export function panel(title, kind, ...content) {
  title.id = `title-${titles += 1}`;
  const one = make("section", `card ${kind}`.trim(), ...content);
  one.setAttribute("aria-labelledby", title.id);
  return one;
}

/** A part that scrolls: the keyboard reaches it, and the text of this name says what it is. */
export function scroller(word, kind, ...content) {
  const one = make("div", kind, ...content);
  one.tabIndex = 0;
  one.setAttribute("role", "group");
  one.dataset.label = word;
  return one;
}

/** Puts a text into an element, if it is not there already. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Puts a text that may be cut off into an element, with the whole of it as its title. */
export function putCut(element, text, title = text) {
  put(element, text);
  set(element, "title", title);
}

/** Sets an attribute, if it is not so already; null removes it. */
export function set(element, name, value) {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/** Gives an element a role, and returns it. */
export function roled(role, element) {
  element.setAttribute("role", role);
  return element;
}

/** Makes these the children, in this order, and moves none that is in its place. */
export function arrange(parent, elements) {
  const wanted = new Set(elements);
  for (const one of [...parent.children]) if (!wanted.has(one)) one.remove();
  elements.forEach((one, at) => {
    if (parent.children[at] !== one) parent.insertBefore(one, parent.children[at] ?? null);
  });
}

/** Keeps one part (with an `element`) for each name, in the order of the names; those that are new are built. */
export function keep(parent, parts, names, build) {
  const wanted = new Set(names);
  for (const name of parts.keys()) if (!wanted.has(name)) parts.delete(name);
  for (const name of names) if (!parts.has(name)) parts.set(name, build(name));
  arrange(parent, names.map((name) => parts.get(name).element));
}
