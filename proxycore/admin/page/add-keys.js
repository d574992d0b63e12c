/** The dialog that adds keys which are found in a pasted text, and shows what became of each. */

import { result } from "./dialog.js";
import { button, make, put, putCut, scroller, shape } from "./elements.js";
import { reasonOf } from "./feed.js";
import { capital, number } from "./format.js";
import { reason } from "./reasons.js";
import { say, translate } from "./words.js";

const MOST_AT_ONCE = 20000; // characters in one order: the server takes 64 kB
const RESULTS = {
  added: { word: "foundAdded", shape: "check", kind: "good" },
  "already there": { word: "foundPresent", shape: "dot", kind: "muted" },
  dead: { word: "foundDead", shape: "square", kind: "bad" },
  "not tried": { word: "foundUntried", shape: "ring", kind: "warn" },
};

export class AddKeys {
  /** `act` sends an order, and returns the server's answer. The dialog becomes a part of `root`. */
  constructor(root, act) {
    this.act = act;
    this.text = make("textarea");
    Object.assign(this.text, { id: "add-text", spellcheck: false, autocomplete: "off", required: true });
    this.note = make("input");
    Object.assign(this.note, { id: "add-note", maxLength: 200, autocomplete: "off" });
    this.hint = make("p", "hint");
    this.hint.dataset.say = "addText";
    this.output = result();
    this.rows = make("tbody");
    const heads = ["key", "name", "keyResult"].map((word) => {
      const head = make("th");
      head.scope = "col";
      head.dataset.say = word;
      return head;
    });
    const table = make("table", "", make("colgroup", "", make("col", "found-key"), make("col", "found-name"), make("col")),
      make("thead", "", make("tr", "", ...heads)), this.rows);
    this.found = scroller("keyResult", "found", table);
    this.found.hidden = true;
    this.close = button("close", "", () => this.dialog.close());
    this.force = button("addAllTheSame", "", () => this.add(true));
    this.add_ = button("addThem", "main", () => this.text.reportValidity() && this.add(false));
    this.force.hidden = true;
    const title = make("h2");
    title.id = "add-title";
    title.dataset.say = "addTitle";
    this.dialog = make("dialog", "add", title, this.hint, labelled("pasted", this.text), labelled("note", this.note),
      this.output, this.found, make("p", "buttons", this.close, this.force, this.add_));
    this.dialog.setAttribute("aria-labelledby", title.id);
    this.dialog.addEventListener("close", () => this.clear());
    root.append(this.dialog);
  }

  open() {
    translate(this.dialog);
    this.clear();
    this.dialog.showModal();
    this.text.focus();
  }

  /** No key stays in the document. */
  clear() {
    this.text.value = this.note.value = "";
    this.tell("");
    this.rows.replaceChildren();
    this.found.hidden = this.force.hidden = true;
  }

  /** Adds what is in the text; `force`: also keys that Google does not accept. */
  async add(force) {
    for (const one of [this.add_, this.force]) one.disabled = true;
    const found = [];
    try {
      for (const text of parts(this.text.value)) {
        this.tell(say("doing"));
        const answer = await this.act({ action: "add", text, note: this.note.value.trim(), force });
        if (!answer) return;
        found.push(...(answer.found ?? []));
      }
      this.show(found);
    } catch (error) {
      this.show(found);
      this.tell(say("failedAction", { reason: reasonOf(error) }), "bad");
    } finally {
      for (const one of [this.add_, this.force]) one.disabled = false;
    }
  }

  show(found) {
    const added = found.filter((one) => one.result === "added").length, known = found.filter((one) => one.result === "already there").length;
    const rest = found.length - added - known;
    this.rows.replaceChildren(...found.map(rowOf));
    this.found.hidden = !found.length;
    this.tell(say("addedOf", { added: number(added), total: number(found.length) }), rest ? "bad" : "good");
    const isFocused = document.activeElement === this.force;
    this.force.hidden = !rest;
    put(this.force, say("addAllTheSame"));
    if (isFocused && !rest) this.close.focus();
    if (!rest) this.text.value = "";
  }

  tell(text, kind = "") {
    putCut(this.output, text);
    this.output.dataset.kind = kind;
  }
}

function labelled(word, field) {
  const label = make("label");
  label.htmlFor = field.id;
  label.dataset.say = word;
  return make("div", "field", label, field);
}

/** The text in parts that the server takes, each of whole lines. */
function parts(text) {
  const all = [""];
  for (const line of text.split("\n")) {
    if (all.at(-1) && all.at(-1).length + line.length > MOST_AT_ONCE) all.push("");
    all[all.length - 1] += `${line}\n`;
  }
  return all;
}

function rowOf({ key, name, result: became, reason: why }) {
  const { word, shape: form, kind } = RESULTS[became] ?? RESULTS["not tried"];
  const text = make("span");
  putCut(text, why ? say("resultAndReason", { result: say(word), reason: capital(reason(why)) }) : say(word));
  const named = make("td");
  putCut(named, name ?? "–");
  return make("tr", "", make("td", "", key), named, make("td", "", make("span", `mark ${kind}`, shape(form), text)));
}
