// Two pictures without a name, and which of them is better: arrows, a tie, one step back, and the end.

const KEYS = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "tie", "=": "tie", u: "undo", U: "undo", Backspace: "undo", Escape: "done" };

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

class View {
  constructor(model, el) {
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
    this.live = make("span", { class: "imagegen-vote-unseen", role: "status" });
    const head = make("div", { class: "imagegen-vote-head" }, make("strong", {}, "Which is better?"), this.count, this.bar);
    this.foot = make("div", { class: "imagegen-vote-foot" }, this.tie, this.undo, this.done);
    this.root = make(
      "div",
      { class: "imagegen-instrument imagegen-vote", role: "group", tabindex: "0", "aria-label": "Which picture is better? Left and right arrow choose, down arrow or = is a tie, U takes back, Escape ends" },
      head,
      this.pictures,
      this.end,
      this.foot,
      this.error,
      this.live,
    );
    this.root.setAttribute("data-lm-suppress-shortcuts", "true"); // arrows and letters are ours here
    this.root.addEventListener("keydown", (event) => this.key(event));
    this.draw();
    el.append(this.root);
  }

  side(side, image) {
    const arrow = side === "left" ? "←" : "→";
    const button = make("button", { type: "button", class: "imagegen-vote-side", "aria-label": `The ${side} picture is better` }, image, make("kbd", { "aria-hidden": "true" }, arrow));
    button.addEventListener("click", () => this.tell(side));
    return button;
  }

  button(event, label, key) {
    const button = make("button", { type: "button", class: "imagegen-vote-button" }, `${label} `, make("kbd", { "aria-hidden": "true" }, key));
    button.addEventListener("click", () => this.tell(event));
    return button;
  }

  // The notebook's own one-letter commands must not take what is meant for the vote.
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    event.stopPropagation();
    const over = event.key === "Enter" && event.target === this.root && this.model.get("enough");
    const meant = over ? "done" : KEYS[event.key];
    if (!meant || event.repeat) return;
    event.preventDefault();
    this.tell(meant);
  }

  tell(event) {
    const asking = !this.model.get("enough") && this.model.get("pair") > 0;
    if (this.waiting || (event === "undo" && !this.model.get("undoable"))) return;
    if (!["undo", "done"].includes(event) && !asking) return;
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
    this.done.classList.toggle("imagegen-vote-primary", enough);
    this.undo.setAttribute("aria-disabled", String(!this.model.get("undoable")));
    this.count.textContent = `${given} of ${goal}`;
    this.bar.firstChild.style.width = `${Math.min(100, (100 * given) / goal)}%`;
    this.error.textContent = this.model.get("error");
    this.error.hidden = !this.model.get("error");
    this.live.textContent = enough ? this.end.textContent : `Pair ${given + 1} of ${goal}`;
  }

  // The person who ran the cell wants to vote: the keys are theirs at once, unless they went on to write something.
  take() {
    const active = document.activeElement;
    const writing = active && (active.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(active.tagName));
    if (this.root.isConnected && !writing) this.root.focus({ preventScroll: true });
  }
}

export default {
  render({ model, el }) {
    const view = new View(model, el);
    const draw = () => view.draw();
    // all of a pair's values come in one message: drawn once, when the last of them is there
    for (const name of ["pair", "given", "enough", "undoable", "said"]) model.on(`change:${name}`, draw);
    const soon = [60, 300].map((pause) => setTimeout(() => view.take(), pause));
    return () => {
      soon.forEach(clearTimeout);
      for (const name of ["pair", "given", "enough", "undoable", "said"]) model.off(`change:${name}`, draw);
      view.root.remove();
    };
  },
};
