// A blind vote: two pictures without a name, chosen by keyboard or pointer.

const KEYS = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "tie", "=": "tie", u: "undo", U: "undo", Backspace: "undo", Escape: "done" };

class View {
  constructor(model) {
    this.model = model;
    this.waiting = false;
    this.images = ["left", "right"].map((side) => make("img", { alt: `the ${side} picture`, draggable: "false" }));
    this.sides = ["left", "right"].map((side, place) => this.side(side, this.images[place]));
    this.pictures = make("div", { class: "imagegen-vote-pair" }, ...this.sides);
    this.end = make("p", { class: "imagegen-vote-end", tabindex: "-1" });
    this.count = make("span", { class: "imagegen-vote-count" });
    this.bar = make("div", { class: "imagegen-vote-bar", "aria-hidden": "true" }, make("div"));
    this.tie = this.button("tie", "Equal", "↓ or =");
    this.undo = this.button("undo", "Undo", "U");
    this.done = this.button("done", "Done", "Esc");
    this.error = make("p", { class: "imagegen-vote-error", role: "alert" });
    this.live = make("span", { class: "imagegen-unseen", role: "status" });
    const head = make("div", { class: "imagegen-vote-head" }, make("strong", {}, "Which is better?"), this.count, this.bar);
    this.foot = make("div", { class: "imagegen-vote-foot" }, this.tie, this.undo, this.done);
    this.root = make(
      "div",
      { class: "imagegen-widget imagegen-vote", role: "group", tabindex: "0", "aria-label": "Which picture is better? Left and right arrow choose, down arrow or = is a tie, U takes back, Escape ends" },
      head,
      this.pictures,
      this.end,
      this.foot,
      this.error,
      this.live,
    );
    this.root.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab has commands for arrows and letters
    this.root.addEventListener("keydown", (event) => this.key(event));
    this.timers = [60, 300].map((delay) => setTimeout(() => this.takeFocus(), delay));
    this.draw();
  }

  side(side, image) {
    const arrow = side === "left" ? "←" : "→";
    const button = make("button", { type: "button", class: "imagegen-vote-side", "aria-label": `The ${side} picture is better` }, image, make("kbd", { "aria-hidden": "true" }, arrow));
    button.addEventListener("click", () => this.send(side));
    return button;
  }

  button(event, label, key) {
    const button = make("button", { type: "button", class: "imagegen-button imagegen-vote-button" }, `${label} `, make("kbd", { "aria-hidden": "true" }, key));
    button.addEventListener("click", () => this.send(event));
    return button;
  }

  // No key of the vote reaches JupyterLab.
  key(event) {
    if (hasModifier(event)) return;
    event.stopPropagation();
    const ends = event.key === "Enter" && event.target === this.root && this.model.get("enough");
    const meaning = ends ? "done" : KEYS[event.key];
    if (!meaning || event.repeat) return;
    event.preventDefault();
    this.send(meaning);
  }

  send(event) {
    const voting = !this.model.get("enough") && this.model.get("pair") > 0;
    if (this.waiting || (event === "undo" && !this.model.get("undoable"))) return;
    if (!["undo", "done"].includes(event) && !voting) return;
    this.waiting = true;
    this.root.classList.add("imagegen-vote-waiting");
    this.model.send({ event, pair: this.model.get("pair") });
    if (event !== "done") this.root.focus({ preventScroll: true });
  }

  draw() {
    this.waiting = false;
    this.root.classList.remove("imagegen-vote-waiting");
    const [given, goal, enough] = ["given", "goal", "enough"].map((name) => this.model.get(name));
    ["left", "right"].forEach((side, place) => {
      const address = this.model.get(side);
      if (this.images[place].getAttribute("src") !== address) this.images[place].src = address;
    });
    this.pictures.hidden = enough;
    this.tie.hidden = enough;
    this.end.hidden = !enough;
    this.end.textContent = `${given} votes: enough for a ranking.`;
    this.done.firstChild.textContent = enough ? "Show the ranking " : "Done ";
    this.done.classList.toggle("imagegen-primary", enough);
    enable(this.undo, this.model.get("undoable"));
    this.count.textContent = `${given} of ${goal}`;
    this.bar.firstChild.style.width = `${Math.min(100, (100 * given) / goal)}%`;
    this.error.textContent = this.model.get("error");
    this.error.hidden = !this.model.get("error");
    this.live.textContent = enough ? this.end.textContent : `Pair ${given + 1} of ${goal}`;
  }

  // Focus the vote at once, so that its keys work, unless the user writes elsewhere.
  takeFocus() {
    const active = document.activeElement;
    const writing = active && (active.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(active.tagName));
    if (this.root.isConnected && !writing) this.root.focus({ preventScroll: true });
  }

  remove() {
    this.timers.forEach(clearTimeout);
  }
}

// The values of a pair come in one message, and are all set before the first event.
export default {
  render: renderer(View, (view) => ({
    "change:pair": () => view.draw(),
    "change:given": () => view.draw(),
    "change:enough": () => view.draw(),
    "change:undoable": () => view.draw(),
    "change:error": () => view.draw(),
  })),
};
