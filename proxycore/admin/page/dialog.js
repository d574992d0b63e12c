/** The dialog that confirms an action on a key, and shows its result. */

import { put } from "./format.js";
import { outcome, say } from "./words.js";

const TEXTS = {
  try: ["tryTitle", "tryText", "tryNow"],
  rest: ["restTitle", "restText", "restIt"],
  release: ["releaseTitle", "releaseText", "release"],
};

/** Asks for confirmation, and passes the action to `act`. */
export class Ask {
  constructor(act) {
    this.act = act;
    this.dialog = document.getElementById("ask");
    this.times = document.getElementById("ask-times");
    this.minutes = document.getElementById("ask-minutes");
    this.notice = document.getElementById("notice");
    document.getElementById("ask-no").addEventListener("click", () => this.dialog.close());
    // An invalid number does not matter when another time is chosen.
    document.getElementById("ask-yes").addEventListener("click", (event) => {
      if (this.order.action === "rest" && this.chosen === "own" && !this.minutes.reportValidity()) event.preventDefault();
    });
    this.dialog.addEventListener("close", () => {
      this.refocus();
      if (this.dialog.returnValue === "yes") this.perform();
    });
    this.minutes.addEventListener("input", () => { this.times.querySelector("[value=own]").checked = true; });
  }

  /** Asks whether to do this to a key, or only for one `model` or `origin` of pages. */
  open(action, key, about = {}) {
    const model = about.model ?? about.origin;
    this.order = { action, key, ...about };
    this.from = document.activeElement;
    const [title, text, yes] = TEXTS[action];
    put(document.getElementById("ask-title"), say(model ? "releaseModelTitle" : title, { name: key, model }));
    put(document.getElementById("ask-text"), say(text));
    put(document.getElementById("ask-yes"), say(yes).replace("…", ""));
    this.times.hidden = this.times.disabled = action !== "rest";
    this.dialog.returnValue = "";
    this.dialog.showModal();
  }

  /** The browser returns focus to the pressed button; if that is gone, it goes to a neighbour. */
  refocus() {
    if (this.from.isConnected && !this.from.hidden) return;
    const details = this.from.closest(".details");
    (details?.isConnected ? details.querySelector(".actions button") : document.getElementById("filter")).focus();
  }

  async perform() {
    const order = this.order;
    if (order.action === "rest") order.seconds = this.chosen === "own" ? 60 * Number(this.minutes.value) : Number(this.chosen);
    this.say(say("doing"), "");
    try {
      const answer = await this.act(order);
      if (answer) this.say(outcome(order, answer), answer.accepted === false ? "bad" : "good");
    } catch (error) {
      // fetch() throws a TypeError when there is no connection, with a text that depends on the browser.
      this.say(say("failedAction", { reason: error instanceof TypeError ? say("lostShort") : error.message }), "bad");
    }
  }

  get chosen() {
    return this.times.querySelector("input[name=seconds]:checked").value;
  }

  say(text, kind) {
    this.notice.textContent = text;
    this.notice.dataset.kind = kind;
  }
}
