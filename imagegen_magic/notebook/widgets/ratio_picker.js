// A picture's shape: outlines drawn to shape in a radio group, pixels typed by hand, or auto.

const SVG = "http://www.w3.org/2000/svg";
const BOX = 26; // CSS pixels that an outline fits into
const PAUSE = 200; // ms without a key before typed pixels are sent
const PIXELS = /^\s*(\d{1,5})\s*(?:x|×|\*|\s|by|,)\s*(\d{1,5})\s*(?:px)?\s*$/i;
const SYNTAX = "Width × height in pixels, as in 1536x1024";
let counted = 0;

function make(tag, attributes = {}, ...children) {
  const node = tag === "svg" || tag === "rect" ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function outline(width, height, dashed = false) {
  const scale = (BOX - 2) / Math.max(width, height);
  const [wide, high] = [Math.max(3, width * scale), Math.max(3, height * scale)];
  const place = { x: (BOX - wide) / 2, y: (BOX - high) / 2, width: wide, height: high, rx: 1.5 };
  const rect = make("rect", dashed ? { ...place, "stroke-dasharray": "3 2.6" } : place);
  return make("svg", { viewBox: `0 0 ${BOX} ${BOX}`, width: BOX, height: BOX, "aria-hidden": "true" }, rect);
}

function parse(text) {
  const found = PIXELS.exec(text);
  const [width, height] = found ? [Number(found[1]), Number(found[2])] : [0, 0];
  return width > 0 && height > 0 ? { width, height, value: `${width}x${height}` } : null;
}

function reading({ width, height }) {
  const divisor = (a, b) => (b ? divisor(b, a % b) : a);
  const by = divisor(width, height);
  const ratio = width / by <= 32 && height / by <= 32 ? `${width / by}:${height / by}` : `${(width / height).toFixed(2)}:1`;
  return `${ratio} · ${((width * height) / 1e6).toFixed(2)} MP`;
}

class View {
  constructor(model, el) {
    this.model = model;
    this.name = `imagegen-ratio-${++counted}`;
    this.timer = 0;
    this.complaint = "";
    this.dirty = false;
    this.build(el);
    this.drawChoices();
    this.drawPixels();
    this.readField();
  }

  build(el) {
    this.choices = make("div", { class: "imagegen-ratio-choices", role: "radiogroup", "aria-label": "Aspect ratio" });
    this.reason = make("div", { class: "imagegen-ratio-reason", "aria-hidden": "true" });
    this.field = make("input", { type: "text", id: `${this.name}-field`, placeholder: "1536x1024", autocomplete: "off", spellcheck: "false" });
    this.field.setAttribute("aria-describedby", `${this.name}-hint ${this.name}-error`);
    this.reading = make("span", { class: "imagegen-ratio-reading" });
    this.hint = make("div", { class: "imagegen-ratio-hint", id: `${this.name}-hint` });
    this.error = make("div", { class: "imagegen-ratio-error", id: `${this.name}-error`, role: "status" });
    const label = make("label", { for: `${this.name}-field` }, "or pixels");
    this.pixels = make("div", { class: "imagegen-ratio-pixels" }, label, this.field, this.reading, this.hint, this.error);
    this.root = make("div", { class: "imagegen-instrument imagegen-ratio" }, this.choices, this.reason, this.pixels);
    this.root.addEventListener("keydown", keepToOneself);
    this.choices.addEventListener("keydown", (event) => this.move(event));
    this.field.addEventListener("input", () => this.typed());
    this.field.addEventListener("keydown", (event) => event.key === "Enter" && this.tell(true));
    this.field.addEventListener("blur", () => this.tell(true));
    el.append(this.root);
  }

  all() {
    const options = this.model.get("options");
    const auto = { value: "auto", label: "auto", width: 1, height: 1, auto: true };
    return this.model.get("allow_auto") && !options.some((one) => one.value === "auto") ? [auto, ...options] : options;
  }

  drawChoices() {
    const focused = this.choices.querySelector(":focus")?.dataset.value;
    this.buttons = this.all().map((option) => this.choice(option));
    this.choices.replaceChildren(...this.buttons);
    this.reason.hidden = !this.buttons.some((button) => button.title);
    this.reason.textContent = "";
    this.check();
    if (focused !== undefined) (this.buttons.find((button) => button.dataset.value === focused) ?? this.stop())?.focus({ preventScroll: true });
  }

  choice(option) {
    const label = make("span", {}, option.label || option.value);
    const shape = outline(option.width || 1, option.height || 1, option.auto || option.value === "auto");
    const button = make("button", { type: "button", role: "radio", class: "imagegen-ratio-choice" }, shape, label);
    button.dataset.value = option.value;
    if (option.disabled) {
      button.setAttribute("aria-disabled", "true");
      button.setAttribute("aria-description", option.reason || "not available");
      button.title = option.reason || "not available";
    }
    button.addEventListener("click", () => this.choose(button));
    for (const sign of ["focus", "pointerenter"]) button.addEventListener(sign, () => (this.reason.textContent = button.title && `${option.label}: ${button.title}`));
    for (const sign of ["blur", "pointerleave"]) button.addEventListener(sign, () => (this.reason.textContent = ""));
    return button;
  }

  check() {
    const value = this.model.get("value");
    for (const button of this.buttons) button.setAttribute("aria-checked", String(button.dataset.value === value));
    this.rove(this.buttons.find((button) => button.dataset.value === value) ?? this.buttons.find((button) => !button.title) ?? this.buttons[0]);
    const typed = parse(value);
    this.pixels.classList.toggle("imagegen-ratio-chosen", Boolean(typed));
  }

  rove(stop) {
    for (const button of this.buttons) button.tabIndex = button === stop ? 0 : -1;
  }

  stop() {
    return this.buttons.find((button) => button.tabIndex === 0);
  }

  choose(button) {
    this.rove(button);
    if (button.title) return;
    clearTimeout(this.timer);
    this.field.value = "";
    this.complaint = "";
    this.dirty = false;
    this.set(button.dataset.value);
    this.read();
  }

  set(value) {
    if (this.model.get("value") === value) return;
    this.model.set("value", value);
    this.model.save_changes();
  }

  move(event) {
    const here = this.buttons.indexOf(event.target.closest("button"));
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    const count = this.buttons.length;
    const goal = { Home: 0, End: count - 1 }[event.key] ?? (event.key in steps ? (here + steps[event.key] + count) % count : -1);
    if (goal < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.buttons[goal].focus();
    this.choose(this.buttons[goal]);
  }

  typed() {
    clearTimeout(this.timer);
    this.dirty = true;
    this.complaint = "";
    this.read();
    this.timer = setTimeout(() => this.tell(false), PAUSE);
  }

  tell(finished) {
    clearTimeout(this.timer);
    const typed = parse(this.field.value);
    if (typed && this.dirty) this.set(typed.value);
    else if (!typed && finished) this.complaint = this.field.value.trim() ? SYNTAX : "";
    if (finished) this.dirty = false;
    if (finished && !this.complaint) this.readField();
    this.read();
  }

  readField() {
    const typed = parse(this.model.get("value"));
    if (typed || parse(this.field.value)) this.field.value = typed ? typed.value : "";
    this.read();
  }

  read() {
    const typed = parse(this.field.value);
    this.reading.replaceChildren(...(typed ? [outline(typed.width, typed.height), reading(typed)] : []));
    const words = this.complaint || this.model.get("error");
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
    this.root.remove();
  }
}

// The notebook's own one-letter commands must not take what is meant for the picker.
function keepToOneself(event) {
  if (!event.ctrlKey && !event.metaKey && !event.altKey && event.key !== "Escape") event.stopPropagation();
}

export default {
  render({ model, el }) {
    const view = new View(model, el);
    const listeners = [
      ["change:options", () => view.drawChoices()],
      ["change:allow_auto", () => view.drawChoices()],
      ["change:allow_pixels", () => view.drawPixels()],
      ["change:pixel_hint", () => view.drawPixels()],
      ["change:value", () => view.valueChanged()],
      ["change:error", () => view.read()],
    ];
    for (const [name, callback] of listeners) model.on(name, callback);
    return () => {
      for (const [name, callback] of listeners) model.off(name, callback);
      view.remove();
    };
  },
};
