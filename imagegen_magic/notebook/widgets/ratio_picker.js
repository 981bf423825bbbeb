// The shape of a picture: outlines of aspect ratios in a radio group, typed pixels, or auto.

const BOX = 26; // CSS pixels that an outline fits into
const PAUSE = 200; // ms without a key before typed pixels are sent
const PIXELS = /^\s*(\d{1,5})\s*(?:x|×|\*|\s|by|,)\s*(\d{1,5})\s*(?:px)?\s*$/i;
const SYNTAX = "Width × height in pixels, as in 1536x1024";

function outline(width, height, dashed = false) {
  const scale = (BOX - 2) / Math.max(width, height);
  const [wide, high] = [Math.max(3, width * scale), Math.max(3, height * scale)];
  const shape = { x: (BOX - wide) / 2, y: (BOX - high) / 2, width: wide, height: high, rx: 1.5 };
  const rect = make("rect", dashed ? { ...shape, "stroke-dasharray": "3 2.6" } : shape);
  return make("svg", { viewBox: `0 0 ${BOX} ${BOX}`, width: BOX, height: BOX, "aria-hidden": "true" }, rect);
}

function parse(text) {
  const found = PIXELS.exec(text);
  const [width, height] = found ? [Number(found[1]), Number(found[2])] : [0, 0];
  return width > 0 && height > 0 ? { width, height, value: `${width}x${height}` } : null;
}

function ratioOf({ width, height }) {
  const divisor = (a, b) => (b ? divisor(b, a % b) : a);
  const by = divisor(width, height);
  return width / by <= 32 && height / by <= 32 ? `${width / by}:${height / by}` : `${(width / height).toFixed(2)}:1`;
}

function describe(pixels) {
  return `${ratioOf(pixels)} · ${((pixels.width * pixels.height) / 1e6).toFixed(2)} MP`;
}

class View {
  constructor(model) {
    this.model = model;
    this.name = uniqueId("imagegen-ratio");
    this.timer = 0;
    this.syntaxError = "";
    this.edited = false; // since the typed pixels were last stored
    this.build();
    this.drawChoices();
    this.drawPixels();
    this.readField();
  }

  build() {
    this.choices = make("div", { class: "imagegen-ratio-choices", role: "radiogroup", "aria-label": "Aspect ratio" });
    this.reason = make("div", { class: "imagegen-ratio-reason", "aria-hidden": "true" });
    this.field = make("input", { class: "imagegen-input", type: "text", id: `${this.name}-field`, placeholder: "1536x1024", autocomplete: "off", spellcheck: "false" });
    this.field.setAttribute("aria-describedby", `${this.name}-hint ${this.name}-error`);
    this.description = make("span", { class: "imagegen-ratio-description" });
    this.hint = make("div", { class: "imagegen-ratio-hint", id: `${this.name}-hint` });
    this.error = make("div", { class: "imagegen-ratio-error", id: `${this.name}-error`, role: "status" });
    const label = make("label", { for: `${this.name}-field` }, "or pixels");
    this.pixels = make("div", { class: "imagegen-ratio-pixels" }, label, this.field, this.description, this.hint, this.error);
    this.root = make("div", { class: "imagegen-widget imagegen-ratio" }, this.choices, this.reason, this.pixels);
    keepKeys(this.root);
    this.choices.addEventListener("keydown", (event) => this.move(event));
    this.field.addEventListener("input", () => this.typed());
    this.field.addEventListener("keydown", (event) => event.key === "Enter" && this.store(true));
    this.field.addEventListener("blur", () => this.store(true));
  }

  drawChoices() {
    const focused = this.choices.querySelector(":focus")?.dataset.value;
    this.buttons = this.model.get("options").map((option) => this.choice(option));
    this.choices.replaceChildren(...this.buttons);
    this.reason.hidden = !this.buttons.some((button) => button.title);
    this.reason.textContent = "";
    this.check();
    if (focused !== undefined) (this.buttons.find((button) => button.dataset.value === focused) ?? this.tabStop())?.focus({ preventScroll: true });
  }

  choice({ value, reason }) {
    const label = value.replace("x", "×");
    const [width, height] = value === "auto" ? [1, 1] : value.split(/[:x]/).map(Number);
    const shape = outline(width, height, value === "auto");
    const pixels = parse(value);
    const name = pixels ? { "aria-label": `${label}, ${ratioOf(pixels)}` } : {};
    const refusal = reason ? { "aria-disabled": "true", "aria-description": reason, title: reason } : {};
    const button = make("button", { type: "button", role: "radio", class: "imagegen-ratio-choice", "data-value": value, ...name, ...refusal }, shape, make("span", {}, label));
    button.addEventListener("click", () => this.choose(button));
    for (const event of ["focus", "pointerenter"]) button.addEventListener(event, () => (this.reason.textContent = reason && `${label}: ${reason}`));
    for (const event of ["blur", "pointerleave"]) button.addEventListener(event, () => (this.reason.textContent = ""));
    return button;
  }

  check() {
    const value = this.model.get("value");
    for (const button of this.buttons) button.setAttribute("aria-checked", String(button.dataset.value === value));
    this.setTabStop(this.buttons.find((button) => button.dataset.value === value) ?? this.buttons.find((button) => !button.title) ?? this.buttons[0]);
    const typed = parse(value);
    this.pixels.classList.toggle("imagegen-ratio-chosen", Boolean(typed));
  }

  // Only one button is reached by the Tab key; arrow keys reach the others.
  setTabStop(stop) {
    for (const button of this.buttons) button.tabIndex = button === stop ? 0 : -1;
  }

  tabStop() {
    return this.buttons.find((button) => button.tabIndex === 0);
  }

  choose(button) {
    this.setTabStop(button);
    if (button.title) return;
    clearTimeout(this.timer);
    this.field.value = "";
    this.syntaxError = "";
    this.edited = false;
    setTrait(this.model, "value", button.dataset.value);
    this.drawField();
  }

  move(event) {
    const here = this.buttons.indexOf(event.target.closest("button"));
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    const count = this.buttons.length;
    const goal = { Home: 0, End: count - 1 }[event.key] ?? (event.key in steps ? (here + steps[event.key] + count) % count : -1);
    if (goal < 0 || hasModifier(event)) return;
    event.preventDefault();
    this.buttons[goal].focus();
    this.choose(this.buttons[goal]);
  }

  typed() {
    clearTimeout(this.timer);
    this.edited = true;
    this.syntaxError = "";
    this.drawField();
    this.timer = setTimeout(() => this.store(false), PAUSE);
  }

  store(finished) {
    clearTimeout(this.timer);
    const typed = parse(this.field.value);
    if (typed && this.edited) setTrait(this.model, "value", typed.value);
    else if (!typed && finished) this.syntaxError = this.field.value.trim() ? SYNTAX : "";
    if (finished) this.edited = false;
    if (finished && !this.syntaxError) this.readField();
    this.drawField();
  }

  readField() {
    const typed = parse(this.model.get("value"));
    if (typed || parse(this.field.value)) this.field.value = typed ? typed.value : "";
    this.drawField();
  }

  drawField() {
    const typed = parse(this.field.value);
    this.description.replaceChildren(...(typed ? [outline(typed.width, typed.height), describe(typed)] : []));
    const words = this.syntaxError || this.model.get("error");
    this.error.textContent = words;
    this.field.setAttribute("aria-invalid", String(Boolean(words)));
  }

  drawPixels() {
    this.pixels.hidden = !this.model.get("allow_pixels");
    this.hint.textContent = this.model.get("pixel_hint");
    this.hint.hidden = !this.hint.textContent;
  }

  valueChanged() {
    this.check();
    if (!this.field.matches(":focus")) this.readField();
  }

  remove() {
    clearTimeout(this.timer);
  }
}

export default {
  render: renderer(View, (view) => ({
    "change:options": () => view.drawChoices(),
    "change:allow_pixels": () => view.drawPixels(),
    "change:pixel_hint": () => view.drawPixels(),
    "change:value": () => view.valueChanged(),
    "change:error": () => view.drawField(),
  })),
};
