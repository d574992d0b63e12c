/** The dialog that confirms actions; their results are shown where they were asked for. */

import { make, put } from "./elements.js";
import { reasonOf } from "./feed.js";
import { acted } from "./reasons.js";
import { say } from "./words.js";

const here = (id) => document.getElementById(id);

/** An element that shows the result of an action, beside the buttons that ask for it. */
export function result() {
  const one = make("output", "result");
  one.setAttribute("role", "status");
  return one;
}

/** Asks for confirmation, then sends orders to `act`, which returns the server's answer. */
export class Ask {
  constructor(act) {
    this.act = act;
    this.dialog = here("ask");
    here("ask-no").addEventListener("click", () => this.dialog.close());
    here("ask-yes").addEventListener("click", (event) => {
      if (!this.fields.every((field) => field.reportValidity())) event.preventDefault();
    });
    this.dialog.addEventListener("close", () => {
      if (this.from.isConnected && !this.from.hidden) this.from.focus();
      if (this.dialog.returnValue === "yes") this.perform(this.asked.orders(), this.asked.output, this.asked.done);
    });
  }

  /**
   * Opens the dialog: `title`, `text` and `yes` are what it says, `fields` an element with inputs (or null),
   * `orders` returns what to send once it is confirmed, `output` shows the results, `done` is called with each
   * order and its answer.
   */
  open({ title, text, yes, fields = null, orders, output, done = () => {} }) {
    this.asked = { orders, output, done };
    this.from = document.activeElement;
    put(here("ask-title"), title);
    put(here("ask-text"), text);
    put(here("ask-yes"), yes);
    here("ask-fields").replaceChildren(...(fields ? [fields] : []));
    this.dialog.returnValue = "";
    this.dialog.showModal();
  }

  /** Sends orders, one after the other, and shows what came of them. */
  async perform(orders, output, done = () => {}) {
    if (output.ariaBusy === "true") return; // it was pressed twice
    output.ariaBusy = "true";
    try {
      await this.send(orders, output, done);
    } finally {
      output.ariaBusy = "false";
    }
  }

  async send(orders, output, done) {
    const failures = [], trials = { accepted: 0, refused: 0, unknown: 0 };
    let last = null;
    for (const [at, order] of orders.entries()) {
      tell(output, orders.length > 1 ? say("doneOf", { done: at, total: orders.length }) : say("doing"), "");
      try {
        const answer = await this.act(order);
        if (!answer) return;
        last = [acted(answer.message), answer.accepted === false ? "bad" : "good"];
        if (order.action === "try") trials[{ true: "accepted", false: "refused", null: "unknown" }[answer.accepted]] += 1;
        done(order, answer);
      } catch (error) {
        failures.push(say("failedAction", { reason: reasonOf(error) }));
      }
    }
    if (failures.length) tell(output, [...new Set(failures)].join(" "), "bad");
    else if (orders.length === 1) tell(output, ...last);
    else if (orders[0].action === "try") tell(output, say("triedSeveral", trials), trials.refused ? "bad" : "good");
    else tell(output, say("doneOf", { done: orders.length, total: orders.length }), "good");
  }

  get fields() {
    return [...here("ask-fields").querySelectorAll("input, textarea, select")].filter((field) => !field.disabled);
  }
}

function tell(output, text, kind) {
  output.textContent = text;
  output.title = text;
  output.dataset.kind = kind;
}
