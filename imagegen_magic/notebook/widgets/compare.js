// Two pictures, one over the other with a slider or side by side, and the differences of their prompts and settings.

const STEP = 0.02;
const LEAP = 0.1;

function knob() {
  return make("span", { class: "imagegen-compare-knob" }, icon("M6 4 2 8l4 4M10 4l4 4-4 4"));
}

class View {
  constructor(model) {
    this.model = model;
    this.position = model.get("position");
    this.dragging = false;
    this.buildStage();
    this.buildPair();
    this.buildAbout();
    const head = make("div", { class: "imagegen-compare-head" }, this.modes());
    const pictures = make("div", {}, this.over, this.pair);
    this.body = make("div", { class: "imagegen-compare-body" }, pictures, this.about);
    this.root = make("div", { class: "imagegen-widget imagegen-compare" }, head, this.body);
    keepKeys(this.root);
    this.drawPictures();
    this.drawPosition();
    this.drawMode();
    this.drawAbout();
  }

  modes() {
    const mode = (sideBySide, label) => {
      const button = make("button", { type: "button" }, label);
      button.addEventListener("click", () => setTrait(this.model, "side_by_side", sideBySide));
      return button;
    };
    this.modeButtons = [mode(false, "Slider"), mode(true, "Side by side")];
    return make("div", { class: "imagegen-segments", role: "group", "aria-label": "How to compare" }, ...this.modeButtons);
  }

  buildStage() {
    this.sliding = [make("img", { class: "imagegen-compare-over", draggable: "false" }), make("img", { class: "imagegen-compare-under", draggable: "false" })];
    for (const image of this.sliding) image.addEventListener("load", () => this.fit());
    this.handle = make("div", { class: "imagegen-compare-handle", role: "slider", tabindex: "0", "aria-label": "Dividing line between the left and the right picture", "aria-orientation": "horizontal", "aria-valuemin": "0", "aria-valuemax": "100" }, knob());
    const letters = ["A", "B"].map((letter) => make("span", { class: "imagegen-label imagegen-compare-letter", "aria-hidden": "true" }, letter));
    this.stage = make("div", { class: "imagegen-compare-stage" }, ...this.sliding, ...letters, this.handle);
    this.captions = [make("span"), make("span")];
    this.over = make("div", {}, this.stage, make("div", { class: "imagegen-compare-captions" }, ...this.captions));
    this.stage.style.setProperty("--imagegen-shape", 1.5);
    this.stage.addEventListener("pointerdown", (event) => this.startDrag(event));
    this.stage.addEventListener("pointermove", (event) => this.dragging && this.drag(event));
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) this.stage.addEventListener(name, () => this.release());
    this.handle.addEventListener("keydown", (event) => this.key(event));
  }

  buildPair() {
    this.standing = [make("img"), make("img")];
    this.words = [make("figcaption"), make("figcaption")];
    this.pair = make("div", { class: "imagegen-compare-pair" }, ...this.standing.map((image, side) => make("figure", {}, image, this.words[side])));
  }

  buildAbout() {
    this.prompts = make("section");
    this.settings = make("section");
    this.about = make("div", { class: "imagegen-compare-about", role: "group", "aria-label": "How the two pictures differ" }, this.prompts, this.settings);
  }

  // Drawing

  drawPictures() {
    [this.model.get("left"), this.model.get("right")].forEach((picture, side) => {
      const words = `${"AB"[side]}${picture.caption ? `: ${picture.caption}` : ""}`;
      for (const image of [this.sliding[side], this.standing[side]]) {
        if (!picture.url) image.removeAttribute("src");
        else if (image.getAttribute("src") !== picture.url) image.src = picture.url;
        image.alt = picture.alt || picture.caption || "picture";
      }
      this.captions[side].textContent = words;
      this.words[side].textContent = words;
    });
  }

  // The stage's shape is the mean of both shapes, so that both pictures leave some of it empty.
  fit() {
    const shapes = this.sliding.filter((image) => image.naturalHeight).map((image) => image.naturalWidth / image.naturalHeight);
    if (!shapes.length) return;
    const middle = Math.exp(shapes.reduce((sum, shape) => sum + Math.log(shape), 0) / shapes.length);
    this.stage.style.setProperty("--imagegen-shape", middle);
  }

  drawPosition() {
    const percent = Math.round(this.position * 100);
    this.stage.style.setProperty("--imagegen-position", `${this.position * 100}%`);
    this.handle.setAttribute("aria-valuenow", percent);
    this.handle.setAttribute("aria-valuetext", `${percent} % of the left picture, ${100 - percent} % of the right`);
  }

  drawMode() {
    const sideBySide = this.model.get("side_by_side");
    this.over.hidden = sideBySide;
    this.pair.hidden = !sideBySide;
    this.modeButtons.forEach((button, index) => button.setAttribute("aria-pressed", String(Boolean(index) === sideBySide)));
  }

  drawAbout() {
    this.prompts.replaceChildren(...this.promptNodes());
    this.settings.replaceChildren(...this.settingNodes());
  }

  promptNodes() {
    const [left, right] = [this.model.get("prompt_left"), this.model.get("prompt_right")];
    if (!left.length && !right.length) return [];
    const pieces = (prompt) => prompt.map(([text, changed]) => (changed ? make("mark", {}, text) : text));
    const same = [...left, ...right].every(([, changed]) => !changed);
    const title = make("h3", {}, same ? "Prompt, the same for both" : "Prompts");
    const line = (letter, prompt) => make("p", { class: "imagegen-compare-prompt" }, make("span", {}, letter), make("span", {}, ...pieces(prompt)));
    return same ? [title, line("A, B", left)] : [title, line("A", left), line("B", right)];
  }

  settingNodes() {
    const differences = this.model.get("differences");
    if (!differences.length) return [make("h3", {}, "Settings"), make("p", {}, "No setting differs.")];
    const heads = ["Setting", "A", "B"].map((word) => make("th", { scope: "col" }, word));
    const rows = differences.map(({ name, left, right }) => make("tr", {}, make("th", { scope: "row" }, text(name)), make("td", {}, text(left)), make("td", {}, text(right))));
    const table = make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows));
    return [make("h3", {}, "Settings that differ"), table];
  }

  // The slider

  move(position) {
    this.position = Math.min(1, Math.max(0, position));
    this.drawPosition();
  }

  startDrag(event) {
    if (event.button !== 0) return;
    this.dragging = true;
    this.stage.setPointerCapture(event.pointerId);
    event.preventDefault();
    this.handle.focus({ preventScroll: true });
    this.drag(event);
  }

  drag(event) {
    const box = this.stage.getBoundingClientRect();
    this.move((event.clientX - box.left) / box.width);
  }

  release() {
    if (!this.dragging) return;
    this.dragging = false;
    setTrait(this.model, "position", this.position);
  }

  key(event) {
    const by = event.shiftKey ? LEAP : STEP;
    const steps = { ArrowLeft: -by, ArrowDown: -by, ArrowRight: by, ArrowUp: by, PageDown: -LEAP, PageUp: LEAP };
    const goal = { Home: 0, End: 1 }[event.key] ?? (event.key in steps ? this.position + steps[event.key] : null);
    if (goal === null || hasModifier(event)) return;
    event.preventDefault();
    this.move(goal);
    setTrait(this.model, "position", this.position);
  }

  positionChanged() {
    if (!this.dragging) this.move(this.model.get("position"));
  }
}

function text(value) {
  return value === null || value === undefined || value === "" ? "–" : String(value);
}

export default {
  render: renderer(View, (view) => ({
    "change:left": () => view.drawPictures(),
    "change:right": () => view.drawPictures(),
    "change:position": () => view.positionChanged(),
    "change:side_by_side": () => view.drawMode(),
    "change:differences": () => view.drawAbout(),
    "change:prompt_left": () => view.drawAbout(),
    "change:prompt_right": () => view.drawAbout(),
  })),
};
