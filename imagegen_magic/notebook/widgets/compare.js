// Two pictures: one over the other with a slider or side by side, and what differs in prompts and settings.

const SVG = "http://www.w3.org/2000/svg";
const STEP = 0.02;
const LEAP = 0.1;

function make(tag, attributes = {}, ...children) {
  const node = tag === "svg" || tag === "path" ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function knob() {
  const arrows = make("path", { d: "M6 4 2 8l4 4M10 4l4 4-4 4", fill: "none", stroke: "currentColor" });
  const drawing = make("svg", { viewBox: "0 0 16 16", width: 18, height: 18, "aria-hidden": "true" }, arrows);
  return make("span", { class: "imagegen-compare-knob" }, drawing);
}

class View {
  constructor(model, el) {
    this.model = model;
    this.position = model.get("position");
    this.held = false;
    this.buildStage();
    this.buildPair();
    this.buildAbout();
    const head = make("div", { class: "imagegen-compare-head" }, this.modes());
    const pictures = make("div", {}, this.over, this.pair);
    this.body = make("div", { class: "imagegen-compare-body" }, pictures, this.about);
    this.root = make("div", { class: "imagegen-instrument imagegen-compare" }, head, this.body);
    this.root.addEventListener("keydown", keepToOneself);
    this.drawPictures();
    this.drawPosition();
    this.drawMode();
    this.drawAbout();
    el.append(this.root);
  }

  modes() {
    const mode = (beside, label) => {
      const button = make("button", { type: "button" }, label);
      button.addEventListener("click", () => this.set("side_by_side", beside));
      return button;
    };
    this.modeButtons = [mode(false, "Slider"), mode(true, "Side by side")];
    return make("div", { class: "imagegen-segments", role: "group", "aria-label": "How to compare" }, ...this.modeButtons);
  }

  buildStage() {
    this.sliding = [make("img", { class: "imagegen-compare-over", draggable: "false" }), make("img", { class: "imagegen-compare-under", draggable: "false" })];
    for (const image of this.sliding) image.addEventListener("load", () => this.fit());
    this.handle = make("div", { class: "imagegen-compare-handle", role: "slider", tabindex: "0", "aria-label": "Dividing line between the left and the right picture", "aria-orientation": "horizontal", "aria-valuemin": "0", "aria-valuemax": "100" }, knob());
    const letters = ["A", "B"].map((letter) => make("span", { class: "imagegen-compare-letter", "aria-hidden": "true" }, letter));
    this.stage = make("div", { class: "imagegen-compare-stage" }, ...this.sliding, ...letters, this.handle);
    this.captions = [make("span"), make("span")];
    this.over = make("div", {}, this.stage, make("div", { class: "imagegen-compare-captions" }, ...this.captions));
    this.stage.style.setProperty("--imagegen-shape", 1.5);
    this.stage.addEventListener("pointerdown", (event) => this.hold(event));
    this.stage.addEventListener("pointermove", (event) => this.held && this.drag(event));
    for (const sign of ["pointerup", "pointercancel", "lostpointercapture"]) this.stage.addEventListener(sign, () => this.release());
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
    this.about = make("div", { class: "imagegen-compare-about" }, this.prompts, this.settings);
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

  // Two shapes share one stage: its own lies in the middle of theirs, so that neither gets all of the empty space.
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
    const beside = this.model.get("side_by_side");
    this.over.hidden = beside;
    this.pair.hidden = !beside;
    this.modeButtons.forEach((button, place) => button.setAttribute("aria-pressed", String(Boolean(place) === beside)));
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

  tell() {
    this.set("position", this.position);
  }

  hold(event) {
    if (event.button !== 0) return;
    this.held = true;
    this.stage.setPointerCapture(event.pointerId);
    event.preventDefault();
    this.handle.focus({ preventScroll: true });
    this.drag(event);
  }

  drag(event) {
    const place = this.stage.getBoundingClientRect();
    this.move((event.clientX - place.left) / place.width);
  }

  release() {
    if (!this.held) return;
    this.held = false;
    this.tell();
  }

  key(event) {
    const by = event.shiftKey ? LEAP : STEP;
    const steps = { ArrowLeft: -by, ArrowDown: -by, ArrowRight: by, ArrowUp: by, PageDown: -LEAP, PageUp: LEAP };
    const goal = { Home: 0, End: 1 }[event.key] ?? (event.key in steps ? this.position + steps[event.key] : null);
    if (goal === null || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.move(goal);
    this.tell();
  }

  set(name, value) {
    if (this.model.get(name) === value) return;
    this.model.set(name, value);
    this.model.save_changes();
  }

  positionChanged() {
    if (this.held) return;
    this.move(this.model.get("position"));
  }

  remove() {
    this.root.remove();
  }
}

function text(value) {
  return value === null || value === undefined || value === "" ? "–" : String(value);
}

// The notebook's own one-letter commands must not take what is meant for the slider.
function keepToOneself(event) {
  if (!event.ctrlKey && !event.metaKey && !event.altKey && event.key !== "Escape") event.stopPropagation();
}

export default {
  render({ model, el }) {
    const view = new View(model, el);
    const pictures = () => view.drawPictures();
    const about = () => view.drawAbout();
    const listeners = [
      ["change:left", pictures],
      ["change:right", pictures],
      ["change:position", () => view.positionChanged()],
      ["change:side_by_side", () => view.drawMode()],
      ["change:differences", about],
      ["change:prompt_left", about],
      ["change:prompt_right", about],
    ];
    for (const [name, callback] of listeners) model.on(name, callback);
    return () => {
      for (const [name, callback] of listeners) model.off(name, callback);
      view.remove();
    };
  },
};
