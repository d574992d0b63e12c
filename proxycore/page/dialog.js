/** The dialog that asks back before something is done to a key, and says what came of it. */

import { put } from "./format.js";
import { outcome, say } from "./words.js";

const TEXTS = {
  try: ["tryTitle", "tryText", "tryNow"],
  rest: ["restTitle", "restText", "restIt"],
  release: ["releaseTitle", "releaseText", "release"],
};

/** Asks, and has it done by `act`. */
export class Ask {
  constructor(act) {
    this.act = act;
    this.dialog = document.getElementById("ask");
    this.times = document.getElementById("ask-times");
    this.minutes = document.getElementById("ask-minutes");
    this.notice = document.getElementById("notice");
    document.getElementById("ask-no").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("close", () => this.dialog.returnValue === "yes" && this.perform());
    this.minutes.addEventListener("input", () => { this.times.querySelector("[value=own]").checked = true; });
  }

  /** Asks whether to do this to a key, or to a key and one of its models. */
  open(action, key, model) {
    this.order = { action, key, ...(model ? { model } : {}) };
    const [title, text, yes] = TEXTS[action];
    put(document.getElementById("ask-title"), say(model ? "releaseModelTitle" : title, { name: key, model }));
    put(document.getElementById("ask-text"), say(text));
    put(document.getElementById("ask-yes"), say(yes).replace("…", ""));
    this.times.hidden = this.times.disabled = action !== "rest";
    this.dialog.returnValue = "";
    this.dialog.showModal();
  }

  async perform() {
    const order = this.order;
    if (order.action === "rest") order.seconds = this.seconds();
    try {
      const answer = await this.act(order);
      this.say(outcome(order, answer), answer.accepted === false ? "bad" : "good");
    } catch (error) {
      this.say(say("failedAction", { reason: error.message }), "bad");
    }
  }

  seconds() {
    const chosen = this.times.querySelector("input[name=seconds]:checked").value;
    return chosen === "own" ? 60 * Number(this.minutes.value) : Number(chosen);
  }

  say(text, kind) {
    this.notice.textContent = text;
    this.notice.dataset.kind = kind;
  }
}
