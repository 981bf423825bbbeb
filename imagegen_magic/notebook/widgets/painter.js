// A painter for the part of a picture that is repainted. The marks are bytes, one for each pixel of the original: 255 is marked.
// A canvas of the screen's size shows them; only what changed is drawn again.

const TILE = 256; // pixels; undo stores the marks in tiles
const MAX_UNDO = 64 * 2 ** 20; // bytes
const TINT = [230, 0, 126]; // the colour of the marks, and its opacity
const STRENGTH = 0.58;
const MAX_ZOOM = 32;
const MAX_DENSITY = 2;
const STEP = 1.25;
const PAN = 0.1;
const ICONS = {
  brush: "M13.5 2.5 7 9M7 9c-1.6-.6-3 .3-3.2 2-.1 1.1-.7 1.9-1.6 2.3 2.3.9 5.3.3 5.8-2.3C8.2 10 7.7 9.3 7 9z",
  eraser: "M6 13.5 2.5 10 9.5 3l4 4-6.5 6.5zM5.5 7l4 4M6 13.5h7.5",
  rectangle: "M2.5 3.5h11v9h-11z",
  lasso: "M8 3c3.3 0 5.5 1.5 5.5 3.5S11.3 10 8 10 2.5 8.5 2.5 6.5 4.7 3 8 3zM5 9.5c-1.5.8-1.5 2.5 0 2.5s1 1.5 0 2",
  hand: "M8 2v12M2 8h12M8 2 6.3 3.7M8 2l1.7 1.7M8 14l-1.7-1.7M8 14l1.7-1.7M2 8l1.7-1.7M2 8l1.7 1.7M14 8l-1.7-1.7M14 8l-1.7 1.7",
  undo: "M3 6h6.5a3.5 3.5 0 0 1 0 7H6M3 6l3-3M3 6l3 3",
  redo: "M13 6H6.5a3.5 3.5 0 0 0 0 7H10M13 6l-3-3M13 6l-3 3",
  invert: "M8 2.5a5.5 5.5 0 0 0 0 11zM8 2.5a5.5 5.5 0 0 1 0 11",
  clear: "M3 4.5h10M6.5 4.5v-2h3v2M4.5 4.5l.5 9h6l.5-9M7 7v4M9 7v4",
  out: "M3.5 8h9",
  in: "M3.5 8h9M8 3.5v9",
  fit: "M2.5 5.5v-3h3M10.5 2.5h3v3M13.5 10.5v3h-3M5.5 13.5h-3v-3M6 6h4v4H6z",
  screen: "M9.5 2.5h4v4M13.5 2.5 9 7M6.5 13.5h-4v-4M2.5 13.5 7 9",
};
const TOOLS = [
  ["brush", "Brush", "B"],
  ["eraser", "Eraser", "E"],
  ["rectangle", "Rectangle", "R"],
  ["lasso", "Lasso", "L"],
  ["hand", "Move the picture", "H"],
];
const KEYS = [
  ["B E R L H", "brush, eraser, rectangle, lasso, move"],
  ["[ ]", "smaller, larger brush; with Shift: harder, softer"],
  ["Ctrl+Z, Ctrl+Y", "undo, redo"],
  ["+ − 0", "zoom in, out, whole picture; Ctrl+wheel too"],
  ["Space and drag", "move the picture; arrow keys too, with Shift by less"],
  ["Enter", "put the tool down in the middle of the view, or lift it; arrow keys draw in between"],
  ["Escape", "cancel the current stroke"],
  ["Alt", "unmark with rectangle and lasso, or with the brush"],
  ["I, Delete", "swap marked and unmarked; unmark all"],
  ["F", "full screen"],
];

function clamp(value, least, most) {
  return Math.min(most, Math.max(least, value));
}

// Marks

class Marks {
  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.values = new Uint8Array(width * height);
    this.sum = 0;
    this.past = [];
    this.future = [];
    this.stroke = null;
    this.changed = false;
    this.views = new Set();
    this.columns = Math.ceil(width / TILE);
  }

  get share() {
    return this.sum / 255 / this.values.length;
  }

  get undoBytes() {
    return [...this.past, ...this.future].reduce((bytes, one) => bytes + one.bytes, 0);
  }

  notify(box) {
    for (const view of this.views) view.marked(box);
  }

  begin() {
    this.end();
    this.stroke = new Map();
    this.changed = false;
  }

  end() {
    const stroke = this.stroke;
    this.stroke = null;
    if (!stroke || !this.changed) return;
    this.past.push({ tiles: stroke, bytes: weight(stroke) });
    this.future = [];
    this.limitUndo();
    this.notify(null);
  }

  limitUndo() {
    let bytes = this.undoBytes;
    while (bytes > MAX_UNDO && this.past.length > 1) bytes -= this.past.shift().bytes;
  }

  drop() {
    const stroke = this.stroke;
    this.stroke = null;
    if (stroke) this.swap(stroke);
  }

  undo() {
    this.end();
    this.step(this.past, this.future);
  }

  redo() {
    this.end();
    this.step(this.future, this.past);
  }

  step(from, to) {
    const entry = from.pop();
    if (!entry) return;
    const tiles = this.swap(entry.tiles);
    to.push({ tiles, bytes: weight(tiles) });
    this.notify(null);
  }

  swap(tiles) {
    const before = new Map();
    for (const [tile, saved] of tiles) {
      before.set(tile, this.saved(tile));
      this.put(tile, saved);
    }
    return before;
  }

  box(tile) {
    const left = (tile % this.columns) * TILE;
    const top = Math.floor(tile / this.columns) * TILE;
    return [left, top, Math.min(left + TILE, this.width), Math.min(top + TILE, this.height)];
  }

  saved(tile) {
    const [left, top, right, bottom] = this.box(tile);
    const wide = right - left;
    const copy = new Uint8Array(wide * (bottom - top));
    for (let y = top, at = 0; y < bottom; y++, at += wide) {
      const row = y * this.width;
      copy.set(this.values.subarray(row + left, row + right), at);
    }
    const first = copy[0];
    return copy.every((value) => value === first) ? first : copy;
  }

  put(tile, saved) {
    const [left, top, right, bottom] = this.box(tile);
    const wide = right - left;
    for (let y = top, at = 0; y < bottom; y++, at += wide) {
      const row = this.values.subarray(y * this.width + left, y * this.width + right);
      for (const value of row) this.sum -= value;
      if (typeof saved === "number") row.fill(saved);
      else row.set(saved.subarray(at, at + wide));
      for (const value of row) this.sum += value;
    }
    this.notify([left, top, right, bottom]);
  }

  touch(left, top, right, bottom) {
    for (let y = Math.floor(top / TILE); y * TILE < bottom; y++) {
      for (let x = Math.floor(left / TILE); x * TILE < right; x++) {
        const tile = y * this.columns + x;
        if (!this.stroke.has(tile)) this.stroke.set(tile, this.saved(tile));
      }
    }
  }

  // Mark the pixels within the brush's radius of a line between two points, softer towards the rim.
  line(x0, y0, r0, x1, y1, r1, softness, erase) {
    const pieces = Math.max(1, Math.ceil(Math.hypot(x1 - x0, y1 - y0) / Math.max(32, 4 * Math.max(r0, r1))));
    for (let piece = 0; piece < pieces; piece++) {
      const [a, b] = [piece / pieces, (piece + 1) / pieces];
      const at = (part) => [x0 + (x1 - x0) * part, y0 + (y1 - y0) * part, r0 + (r1 - r0) * part];
      this.piece(...at(a), ...at(b), softness, erase);
    }
  }

  piece(x0, y0, r0, x1, y1, r1, softness, erase) {
    const most = Math.max(r0, r1) + 0.5;
    const left = clamp(Math.floor(Math.min(x0, x1) - most), 0, this.width);
    const right = clamp(Math.ceil(Math.max(x0, x1) + most), 0, this.width);
    const top = clamp(Math.floor(Math.min(y0, y1) - most), 0, this.height);
    const bottom = clamp(Math.ceil(Math.max(y0, y1) + most), 0, this.height);
    if (left >= right || top >= bottom) return;
    this.touch(left, top, right, bottom);
    const [dx, dy] = [x1 - x0, y1 - y0];
    const length = dx * dx + dy * dy || 1;
    const values = this.values;
    let difference = 0;
    for (let y = top; y < bottom; y++) {
      const fy = y + 0.5 - y0;
      for (let x = left, at = y * this.width + left; x < right; x++, at++) {
        const fx = x + 0.5 - x0;
        const along = (fx * dx + fy * dy) / length;
        const t = along < 0 ? 0 : along > 1 ? 1 : along;
        const [nx, ny] = [fx - dx * t, fy - dy * t];
        const near = nx * nx + ny * ny;
        const radius = r0 + (r1 - r0) * t;
        const outer = radius + 0.5;
        if (near >= outer * outer) continue;
        const inner = Math.max(0, radius * (1 - softness) - 0.5);
        let mark = 255;
        if (near > inner * inner) {
          const part = (outer - Math.sqrt(near)) / (outer - inner);
          mark = Math.round(255 * part * part * (3 - 2 * part));
        }
        const old = values[at];
        const now = erase ? (255 - mark < old ? 255 - mark : old) : mark > old ? mark : old;
        values[at] = now;
        difference += now - old;
      }
    }
    this.note(difference, [left, top, right, bottom]);
  }

  rectangle(x0, y0, x1, y1, erase) {
    const [left, right] = [Math.min(x0, x1), Math.max(x0, x1)].map((x) => clamp(Math.round(x), 0, this.width));
    const [top, bottom] = [Math.min(y0, y1), Math.max(y0, y1)].map((y) => clamp(Math.round(y), 0, this.height));
    if (left >= right || top >= bottom) return;
    this.fill(left, top, right, bottom, () => (erase ? 0 : 255));
  }

  polygon(points, erase) {
    const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
    const [left, right] = [Math.floor(Math.min(...xs)), Math.ceil(Math.max(...xs))].map((x) => clamp(x, 0, this.width));
    const [top, bottom] = [Math.floor(Math.min(...ys)), Math.ceil(Math.max(...ys))].map((y) => clamp(y, 0, this.height));
    if (points.length < 3 || left >= right || top >= bottom) return;
    const context = canvas(right - left, bottom - top).getContext("2d", { willReadFrequently: true });
    context.beginPath();
    for (const [x, y] of points) context.lineTo(x - left, y - top);
    context.fill("nonzero");
    const inside = context.getImageData(0, 0, right - left, bottom - top).data;
    let at = 3;
    this.fill(left, top, right, bottom, (old) => {
      const mark = inside[at];
      at += 4;
      return erase ? Math.min(old, 255 - mark) : Math.max(old, mark);
    });
  }

  fill(left, top, right, bottom, value) {
    this.touch(left, top, right, bottom);
    let difference = 0;
    for (let y = top; y < bottom; y++) {
      for (let at = y * this.width + left, end = at + right - left; at < end; at++) {
        const old = this.values[at];
        difference += (this.values[at] = value(old)) - old;
        this.changed ||= this.values[at] !== old;
      }
    }
    this.note(difference, [left, top, right, bottom]);
  }

  note(difference, box) {
    this.changed ||= difference !== 0;
    this.sum += difference;
    this.notify(box);
  }

  whole(value) {
    this.begin();
    this.fill(0, 0, this.width, this.height, value);
    this.end();
  }

  // Return the mask as a PNG of the original's pixels, transparent where it is marked.
  png() {
    const whole = canvas(this.width, this.height);
    const context = whole.getContext("2d", { willReadFrequently: true });
    for (let top = 0; top < this.height; top += TILE) {
      const rows = Math.min(TILE, this.height - top);
      const strip = context.createImageData(this.width, rows);
      const from = top * this.width;
      for (let at = 0, end = rows * this.width; at < end; at++) strip.data[at * 4 + 3] = 255 - this.values[from + at];
      context.putImageData(strip, 0, top);
    }
    return new Promise((resolve, reject) => whole.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no room for the mask"))), "image/png"));
  }

  // Start from a mask: its transparent pixels are marked.
  take(bitmap) {
    for (let top = 0; top < this.height; top += TILE) {
      const rows = Math.min(TILE, this.height - top);
      const context = canvas(this.width, rows).getContext("2d", { willReadFrequently: true });
      context.drawImage(bitmap, 0, -top, this.width, this.height);
      const strip = context.getImageData(0, 0, this.width, rows).data;
      const from = top * this.width;
      for (let at = 0, end = rows * this.width; at < end; at++) this.sum += this.values[from + at] = 255 - strip[at * 4 + 3];
    }
    this.notify([0, 0, this.width, this.height]);
  }
}

function canvas(width, height) {
  const made = document.createElement("canvas");
  made.width = width;
  made.height = height;
  return made;
}

function around(one, other) {
  return [Math.min(one[0], other[0]), Math.min(one[1], other[1]), Math.max(one[2], other[2]), Math.max(one[3], other[3])];
}

function weight(tiles) {
  let bytes = 0;
  for (const saved of tiles.values()) bytes += 64 + (typeof saved === "number" ? 0 : saved.length);
  return bytes;
}

// The colour of each value, in the memory layout of a pixel.
const COLOURS = (() => {
  const bytes = new Uint8ClampedArray(256 * 4);
  for (let value = 0; value < 256; value++) bytes.set([...TINT, value * STRENGTH], value * 4);
  return new Uint32Array(bytes.buffer);
})();

function describe(share) {
  if (share <= 0) return "Nothing marked yet: mark what is to be repainted";
  if (share >= 1) return "All of it is marked: leave something to keep";
  if (share < 0.01) return "Under 1 % to be repainted";
  if (share > 0.99) return "Over 99 % to be repainted";
  return `${Math.round(share * 100)} % to be repainted`;
}

// The page

class View {
  constructor(model) {
    const marks = marksOf(model);
    this.model = model;
    this.marks = marks;
    this.tool = "brush";
    this.size = clamp(Math.round(Math.max(marks.width, marks.height) / 20), 1, this.mostSize());
    this.softness = 0.25;
    this.scale = 0;
    this.fitted = true;
    this.path = []; // of the current stroke: points of x, y and the brush's radius, in pixels of the picture
    this.drawing = null;
    this.fingers = new Map();
    this.build();
    this.root.append(make("style", {}, `.imagegen-mask-${model.get("key")}{display:none}`)); // the picture below, of a saved notebook
    this.listen();
    marks.views.add(this);
    this.observer = new ResizeObserver(() => this.measure());
    this.observer.observe(this.stage);
    this.pick(this.tool);
    this.drawKnobs();
    this.drawState();
    this.loadPicture();
  }

  mostSize() {
    return Math.max(8, Math.min(this.marks.width, this.marks.height));
  }

  // Building

  build() {
    this.buildHead();
    this.buildStage();
    this.buildFoot();
    this.root = make("div", { class: "imagegen-widget imagegen-painter", role: "group", "aria-label": `Mask of ${this.name}`, "data-lm-suppress-shortcuts": "true" }, this.head, this.stage, this.foot, this.keys, this.live);
  }

  get name() {
    return this.model.get("name") || "the picture";
  }

  button(drawing, label, key, onClick) {
    const attributes = { class: "imagegen-painter-icon", title: `${label} (${key})`, "aria-keyshortcuts": key.replace("Ctrl", "Control") };
    return iconButton(ICONS[drawing], label, onClick, attributes);
  }

  group(label, ...buttons) {
    return make("div", { class: "imagegen-segments", role: "group", "aria-label": label }, ...buttons);
  }

  buildHead() {
    this.tools = new Map(TOOLS.map(([tool, label, key]) => [tool, this.button(tool, label, key, () => this.pick(tool))]));
    this.undoing = this.button("undo", "Undo", "Ctrl+Z", () => this.undo());
    this.redoing = this.button("redo", "Redo", "Ctrl+Y", () => this.redo());
    const all = [this.button("invert", "Swap marked and unmarked", "I", () => this.invert()), this.button("clear", "Unmark all", "Delete", () => this.clear())];
    const zoom = [
      this.button("out", "Zoom out", "-", () => this.zoom(1 / STEP)),
      this.button("in", "Zoom in", "+", () => this.zoom(STEP)),
      this.button("fit", "Whole picture", "0", () => this.fit()),
      this.button("screen", "Full screen", "F", () => this.fullScreen()),
    ];
    this.percent = make("span", { class: "imagegen-painter-percent" });
    this.sizeKnob = this.knob("Size", (part) => this.resize(Math.round(this.mostSize() ** part)));
    this.softKnob = this.knob("Softness", (part) => this.soften(part));
    this.head = make(
      "div",
      { class: "imagegen-painter-head" },
      this.group("Tool", ...this.tools.values()),
      this.sizeKnob.field,
      this.softKnob.field,
      this.group("Marks", this.undoing, this.redoing, ...all),
      this.group("View", ...zoom),
      this.percent,
    );
  }

  knob(label, turned) {
    const input = make("input", { type: "range", min: 0, max: 1, step: 0.01 });
    const output = make("span", { class: "imagegen-painter-value" });
    input.addEventListener("input", () => turned(Number(input.value)));
    return { input, output, field: make("label", { class: "imagegen-painter-knob" }, make("span", {}, label), input, output) };
  }

  buildStage() {
    this.under = make("canvas", { "aria-hidden": "true" });
    this.over = make("canvas", { "aria-hidden": "true" });
    this.ring = make("circle", { r: 0 });
    this.ringShade = make("circle", { r: 0, class: "imagegen-painter-shade" });
    this.cross = make("path", { d: "" });
    this.outline = make("path", { d: "", class: "imagegen-painter-outline" });
    this.lines = make("svg", { class: "imagegen-painter-lines", "aria-hidden": "true" }, this.outline, this.ringShade, this.ring, this.cross);
    const { width, height } = this.marks;
    this.stage = make(
      "div",
      { class: "imagegen-painter-stage", tabindex: 0, role: "application", "aria-label": `${this.name}, ${width} by ${height} pixels: mark what is to be repainted` },
      this.under,
      this.over,
      this.lines,
    );
    this.stage.style.setProperty("--imagegen-shape", width / height);
  }

  buildFoot() {
    this.amount = make("span", { class: "imagegen-painter-amount" });
    this.refusal = make("span", { class: "imagegen-painter-refusal", role: "alert" });
    this.close = make("button", { type: "button", class: "imagegen-button" }, "Close");
    this.use = make("button", { type: "button", class: "imagegen-primary" }, this.model.get("label"));
    this.foot = make("div", { class: "imagegen-painter-foot" }, make("div", { class: "imagegen-painter-words" }, this.amount, this.refusal), this.close, this.use);
    const rows = KEYS.flatMap(([key, does]) => [make("dt", {}, key), make("dd", {}, does)]);
    this.keys = make("details", { class: "imagegen-painter-keys" }, make("summary", {}, "Keys"), make("dl", {}, ...rows));
    this.live = make("div", { class: "imagegen-unseen", role: "status" });
  }

  listen() {
    const stage = this.stage;
    stage.addEventListener("pointerdown", (event) => this.down(event));
    stage.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, (event) => this.up(event));
    stage.addEventListener("pointerleave", () => this.hover(null));
    stage.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    stage.addEventListener("contextmenu", (event) => event.preventDefault());
    stage.addEventListener("blur", () => this.blurred());
    this.root.addEventListener("keydown", (event) => this.key(event));
    this.root.addEventListener("keyup", (event) => this.keyUp(event));
    this.close.addEventListener("click", () => this.model.send({ event: "close" }));
    this.use.addEventListener("click", () => this.send());
  }

  async loadPicture() {
    const bytes = this.model.get("picture");
    if (!bytes || !bytes.byteLength) return;
    this.picture = await createImageBitmap(new Blob([bytes], { type: this.model.get("mime_type") }));
    this.redraw();
  }

  // Geometry: `scale` is CSS pixels for one pixel of the picture, `x` and `y` are its corner on the stage

  measure() {
    const [width, height] = [this.stage.clientWidth, this.stage.clientHeight];
    if (!width || !height) return;
    const middle = this.scale ? this.middle() : null;
    this.wide = width;
    this.high = height;
    this.density = Math.min(window.devicePixelRatio || 1, MAX_DENSITY);
    for (const one of [this.under, this.over]) {
      one.width = Math.round(width * this.density);
      one.height = Math.round(height * this.density);
    }
    if (this.fitted || !middle) this.fit();
    else this.showAt(middle, this.scale);
  }

  fitting() {
    return Math.min(this.wide / this.marks.width, this.high / this.marks.height);
  }

  fit() {
    this.showAt([this.marks.width / 2, this.marks.height / 2], this.fitting());
    this.fitted = true;
  }

  middle() {
    return [(this.wide / 2 - this.x) / this.scale, (this.high / 2 - this.y) / this.scale];
  }

  // Show the picture with this point in the middle.
  showAt([x, y], scale) {
    this.fitted = false;
    this.scale = clamp(scale, this.fitting() / 2, Math.max(MAX_ZOOM, this.fitting()));
    this.x = this.wide / 2 - clamp(x, 0, this.marks.width) * this.scale;
    this.y = this.high / 2 - clamp(y, 0, this.marks.height) * this.scale;
    this.percent.textContent = `${Math.round(this.scale * 100)} %`;
    this.redraw();
    this.drawLines();
  }

  zoom(by, [x, y] = [this.wide / 2, this.high / 2]) {
    const scale = clamp(this.scale * by, this.fitting() / 2, Math.max(MAX_ZOOM, this.fitting()));
    const point = [(x - this.x) / this.scale, (y - this.y) / this.scale];
    this.showAt([point[0] + (this.wide / 2 - x) / scale, point[1] + (this.high / 2 - y) / scale], scale);
  }

  pan(dx, dy) {
    const [x, y] = this.middle();
    this.showAt([x - dx / this.scale, y - dy / this.scale], this.scale);
  }

  fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.root.requestFullscreen?.();
  }

  // Drawing

  // Called with a box of changed marks, and with null at the end of a stroke.
  marked(box) {
    if (box) this.dirty = this.dirty ? around(this.dirty, box) : box;
    else this.settled = true;
    this.requestDraw();
  }

  redraw() {
    this.stale = true;
    this.requestDraw();
  }

  requestDraw() {
    this.frame ||= requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.frame = 0;
    this.flush();
    if (!this.wide) return;
    if (this.stale) {
      this.drawPicture();
      this.drawMarks(0, 0, this.over.width, this.over.height);
    } else if (this.dirty) this.drawMarks(...this.onScreen(this.dirty));
    if (this.dirty || this.settled) this.drawState();
    this.stale = this.settled = false;
    this.dirty = null;
  }

  onScreen([left, top, right, bottom]) {
    const scale = this.scale * this.density;
    const [x, y] = [this.x * this.density, this.y * this.density];
    const place = (value, most) => clamp(value, 0, most);
    const [x0, x1] = [Math.floor(left * scale + x) - 1, Math.ceil(right * scale + x) + 1].map((one) => place(one, this.over.width));
    const [y0, y1] = [Math.floor(top * scale + y) - 1, Math.ceil(bottom * scale + y) + 1].map((one) => place(one, this.over.height));
    return [x0, y0, x1, y1];
  }

  drawPicture() {
    const context = this.under.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.under.width, this.under.height);
    if (!this.picture) return;
    const { width, height } = this.marks;
    context.setTransform(this.density, 0, 0, this.density, 0, 0);
    context.imageSmoothingEnabled = this.scale * width < this.picture.width * 4;
    context.imageSmoothingQuality = "medium";
    context.drawImage(this.picture, this.x, this.y, width * this.scale, height * this.scale);
  }

  drawMarks(x0, y0, x1, y1) {
    if (x0 >= x1 || y0 >= y1) return;
    const context = this.over.getContext("2d");
    const image = context.createImageData(x1 - x0, y1 - y0);
    const pixels = new Uint32Array(image.data.buffer);
    const { width, height, values } = this.marks;
    const step = 1 / (this.scale * this.density);
    const place = (at, shift, part) => Math.floor((at + part - shift * this.density) * step);
    const columns = new Int32Array(x1 - x0);
    const others = new Int32Array(x1 - x0);
    for (let x = x0; x < x1; x++) {
      const at = place(x, this.x, 0.25);
      columns[x - x0] = at < 0 || at >= width ? -1 : at;
      others[x - x0] = clamp(place(x, this.x, 0.75), 0, width - 1);
    }
    for (let y = y0, at = 0; y < y1; y++) {
      const row = place(y, this.y, 0.25);
      if (row < 0 || row >= height) {
        at += x1 - x0;
        continue;
      }
      const [upper, lower] = [row * width, clamp(place(y, this.y, 0.75), 0, height - 1) * width];
      for (let x = 0; x < columns.length; x++, at++) {
        const column = columns[x];
        if (column < 0) continue;
        const other = others[x];
        pixels[at] = COLOURS[(values[upper + column] + values[upper + other] + values[lower + column] + values[lower + other] + 2) >> 2];
      }
    }
    context.putImageData(image, x0, y0);
  }

  drawState() {
    const { share, past, future } = this.marks;
    const text = describe(share);
    const usable = share > 0 && share < 1;
    setText(this.amount, text);
    if (this.settled) setText(this.live, text);
    enable(this.undoing, past.length > 0);
    enable(this.redoing, future.length > 0);
    enable(this.use, usable && !this.sending);
    this.use.title = usable ? "" : text;
  }

  drawKnobs() {
    const part = Math.log(this.size) / Math.log(this.mostSize());
    this.sizeKnob.input.value = part;
    this.sizeKnob.output.textContent = `${this.size} px`;
    this.sizeKnob.input.setAttribute("aria-valuetext", `${this.size} pixels`);
    this.softKnob.input.value = this.softness;
    this.softKnob.output.textContent = `${Math.round(this.softness * 100)} %`;
    this.softKnob.input.setAttribute("aria-valuetext", `${Math.round(this.softness * 100)} percent`);
    this.drawLines();
  }

  // Draw the brush's rim at the pointer, or in the middle if the keyboard draws, and the outline of a rectangle or lasso.
  drawLines() {
    if (!this.wide) return;
    const at = this.steered ? [this.wide / 2, this.high / 2] : this.pointer;
    const round = at && (this.tool === "brush" || this.tool === "eraser");
    for (const ring of [this.ring, this.ringShade]) {
      ring.setAttribute("r", round ? Math.max(1, (this.size / 2) * this.scale) : 0);
      if (at) for (const [name, value] of [["cx", at[0]], ["cy", at[1]]]) ring.setAttribute(name, value);
    }
    const [x, y] = [this.wide / 2, this.high / 2];
    this.cross.setAttribute("d", this.steered ? `M${x - 9} ${y}h18M${x} ${y - 9}v18` : "");
    this.outline.setAttribute("d", this.drawsOutline() && this.path.length > 1 ? this.outlined() : "");
    this.stage.classList.toggle("imagegen-painter-moving", this.tool === "hand" || Boolean(this.space));
    this.stage.classList.toggle("imagegen-painter-round", Boolean(round) && !this.space);
  }

  drawsOutline() {
    return this.tool === "rectangle" || this.tool === "lasso";
  }

  outlined() {
    const place = ([x, y]) => `${(x * this.scale + this.x).toFixed(1)} ${(y * this.scale + this.y).toFixed(1)}`;
    if (this.tool === "lasso") return `M${this.path.map(place).join("L")}Z`;
    const [[x0, y0], [x1, y1]] = [this.path[0], this.path.at(-1)];
    return `M${[[x0, y0], [x1, y0], [x1, y1], [x0, y1]].map(place).join("L")}Z`;
  }

  // Choosing

  pick(tool) {
    this.cancelStroke();
    this.tool = tool;
    for (const [name, button] of this.tools) button.setAttribute("aria-pressed", String(name === tool));
    this.steer(false);
    const sized = tool === "brush" || tool === "eraser";
    for (const knob of [this.sizeKnob, this.softKnob]) {
      knob.input.disabled = !sized;
      knob.field.classList.toggle("imagegen-painter-off", !sized);
    }
    this.drawLines();
  }

  resize(size) {
    this.size = clamp(size, 1, this.mostSize());
    this.drawKnobs();
  }

  soften(part) {
    this.softness = clamp(Math.round(part * 100) / 100, 0, 1);
    this.drawKnobs();
  }

  undo() {
    this.cancelStroke();
    this.marks.undo();
  }

  redo() {
    this.cancelStroke();
    this.marks.redo();
  }

  invert() {
    this.cancelStroke();
    this.marks.whole((old) => 255 - old);
  }

  clear() {
    this.cancelStroke();
    this.marks.whole(() => 0);
  }

  // Strokes: a path of points (x, y and the brush's radius, in pixels of the picture), drawn frame by frame

  start(point, erase) {
    this.erase = erase || this.tool === "eraser";
    this.path = [point];
    this.drawn = 0;
    this.marks.begin();
    this.showRefusal("");
    this.requestDraw();
  }

  go(point) {
    this.path.push(point);
    this.requestDraw();
  }

  flush() {
    if (!this.drawing) return;
    if (this.drawsOutline()) {
      this.drawLines();
      return;
    }
    const path = this.path;
    if (this.drawn === 0 && path.length) {
      this.marks.line(...path[0], ...path[0], this.softness, this.erase);
      this.drawn = 1;
    }
    let last = path[this.drawn - 1];
    for (; this.drawn < path.length; this.drawn++) {
      const next = path[this.drawn];
      const near = Math.hypot(next[0] - last[0], next[1] - last[1]) < Math.max(0.5, next[2] / 8);
      if (near && this.drawn < path.length - 1) continue;
      this.marks.line(...last, ...next, this.softness, this.erase);
      last = next;
    }
    this.path = [last];
    this.drawn = 1;
  }

  finish() {
    if (!this.drawing) return;
    const [first, last] = [this.path[0], this.path.at(-1)];
    if (this.tool === "rectangle") this.marks.rectangle(first[0], first[1], last[0], last[1], this.erase);
    else if (this.tool === "lasso") this.marks.polygon(this.path, this.erase);
    else this.flush();
    this.drawing = null;
    this.path = [];
    this.marks.end();
    this.drawLines();
  }

  cancelStroke() {
    if (!this.drawing) return;
    this.drawing = null;
    this.path = [];
    this.marks.drop();
    this.drawLines();
  }

  // Pointers: mouse, pen with its pressure, and fingers, of which two move the picture

  position(event) {
    const box = this.stage.getBoundingClientRect();
    return [event.clientX - box.left - this.stage.clientLeft, event.clientY - box.top - this.stage.clientTop];
  }

  point(event) {
    const [x, y] = this.position(event);
    const radius = this.size / 2;
    const pressed = event.pointerType === "pen" ? radius * (0.25 + 0.75 * clamp(event.pressure, 0, 1)) : radius;
    return [(x - this.x) / this.scale, (y - this.y) / this.scale, pressed];
  }

  down(event) {
    this.stage.focus({ preventScroll: true });
    this.steer(false);
    if (event.pointerType === "touch") {
      this.fingers.set(event.pointerId, this.position(event));
      if (this.fingers.size > 1) this.cancelStroke();
      if (this.fingers.size === 2) this.pinch = this.grip();
    }
    if (this.drawing || this.fingers.size > 1) return;
    const moving = this.tool === "hand" || this.space || event.button === 1;
    const eraser = event.pointerType === "pen" && (event.buttons & 32) !== 0;
    if (!moving && event.button !== 0 && !eraser) return;
    event.preventDefault();
    this.stage.setPointerCapture(event.pointerId);
    if (moving) this.panFrom = this.position(event);
    else {
      this.drawing = `pointer ${event.pointerId}`;
      this.start(this.point(event), event.altKey || eraser);
    }
  }

  move(event) {
    if (this.fingers.has(event.pointerId)) this.fingers.set(event.pointerId, this.position(event));
    if (this.fingers.size === 2 && this.pinch) {
      this.squeeze();
      return;
    }
    const place = this.position(event);
    this.hover(event.pointerType === "touch" ? null : place);
    if (this.panFrom) {
      this.pan(place[0] - this.panFrom[0], place[1] - this.panFrom[1]);
      this.panFrom = place;
    } else if (this.drawing === `pointer ${event.pointerId}`) {
      const all = event.getCoalescedEvents?.() ?? [];
      for (const one of all.length ? all : [event]) this.go(this.point(one));
    }
  }

  up(event) {
    this.fingers.delete(event.pointerId);
    if (this.fingers.size < 2) this.pinch = null;
    this.panFrom = null;
    if (this.drawing !== `pointer ${event.pointerId}`) return;
    if (event.type === "pointercancel") this.cancelStroke();
    else this.finish();
  }

  grip() {
    const [[x0, y0], [x1, y1]] = [...this.fingers.values()];
    return { middle: [(x0 + x1) / 2, (y0 + y1) / 2], apart: Math.max(1, Math.hypot(x1 - x0, y1 - y0)) };
  }

  squeeze() {
    const now = this.grip();
    this.pan(now.middle[0] - this.pinch.middle[0], now.middle[1] - this.pinch.middle[1]);
    this.zoom(now.apart / this.pinch.apart, now.middle);
    this.pinch = now;
  }

  hover(place) {
    this.pointer = place;
    if (place) this.steer(false);
    this.drawLines();
  }

  wheel(event) {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    this.zoom(Math.exp(-clamp(event.deltaY, -100, 100) / 250), this.position(event));
  }

  // Keys

  key(event) {
    if (event.isComposing || event.target.closest("summary")) return;
    const control = event.ctrlKey || event.metaKey;
    const acts = (control ? this.chord(event) : this.letter(event)) || (event.target === this.stage && !control && this.steering(event));
    if (acts) {
      event.preventDefault();
      acts();
    }
    // JupyterLab would take arrows and letters for its own commands
    if (acts || !control) event.stopPropagation();
  }

  chord(event) {
    const key = event.key.toLowerCase();
    if (key === "z") return () => (event.shiftKey ? this.redo() : this.undo());
    if (key === "y") return () => this.redo();
    return null;
  }

  letter(event) {
    if (event.altKey) return null;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const tool = TOOLS.find(([, , letter]) => letter.toLowerCase() === key);
    if (tool) return () => this.pick(tool[0]);
    const steps = {
      "[": () => this.resize(Math.min(this.size - 1, Math.round(this.size / STEP))),
      "]": () => this.resize(Math.max(this.size + 1, Math.round(this.size * STEP))),
      "{": () => this.soften(this.softness - 0.1),
      "}": () => this.soften(this.softness + 0.1),
      "+": () => this.zoom(STEP),
      "=": () => this.zoom(STEP),
      "-": () => this.zoom(1 / STEP),
      0: () => this.fit(),
      i: () => this.invert(),
      Delete: () => this.clear(),
      f: () => this.fullScreen(),
    };
    return steps[key];
  }

  steering(event) {
    const by = (event.shiftKey ? PAN / 5 : PAN) * Math.min(this.wide, this.high);
    const steps = { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, -by], ArrowDown: [0, by] };
    if (event.key in steps) return () => this.walk(...steps[event.key]);
    if (event.key === " ") return () => this.press(true);
    if (event.key === "Enter") return () => this.lower(event.altKey);
    if (event.key === "Escape" && this.drawing) return () => this.cancelStroke();
    return null;
  }

  press(space) {
    this.space = space;
    this.drawLines();
  }

  keyUp(event) {
    if (event.key === " " && this.space) this.press(false);
  }

  blurred() {
    this.press(false);
    this.steer(false);
    if (this.drawing === "keys") this.finish();
  }

  steer(steered) {
    if (this.steered === steered) return;
    this.steered = steered;
    this.drawLines();
  }

  walk(dx, dy) {
    this.steer(true);
    this.pan(-dx, -dy);
    if (this.drawing === "keys") this.go([...this.middle(), this.size / 2]);
  }

  lower(erase) {
    this.steer(true);
    if (this.drawing === "keys") {
      this.finish();
      return;
    }
    if (this.drawing || this.tool === "hand") return;
    this.drawing = "keys";
    this.start([...this.middle(), this.size / 2], erase);
    this.live.textContent = "Down: arrow keys draw, Enter lifts";
  }

  // The mask

  showRefusal(refusal) {
    this.refusal.textContent = refusal;
  }

  async send() {
    if (!isEnabled(this.use)) return;
    this.finish();
    this.sending = true;
    this.showRefusal("");
    this.drawState();
    try {
      const blob = await this.marks.png();
      this.model.send({ event: "mask" }, undefined, [await blob.arrayBuffer()]);
    } catch (error) {
      this.refused(`The page could not make the mask: ${error.message}`);
    }
  }

  refused(words) {
    this.sending = false;
    this.showRefusal(words);
    this.drawState();
  }

  remove() {
    this.marks.views.delete(this);
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
    this.picture?.close();
  }
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
// The marks outlive the views: the page may remove a view and create it again.
const known = new Map();

function marksOf(model) {
  const key = model.get("key");
  if (!known.has(key)) {
    const marks = new Marks(model.get("width"), model.get("height"));
    known.set(key, marks);
    const start = model.get("start");
    if (start?.byteLength) createImageBitmap(new Blob([start], { type: "image/png" })).then((bitmap) => marks.take(bitmap));
  }
  return known.get(key);
}

export default {
  initialize({ model }) {
    const key = model.get("key");
    return () => known.delete(key);
  },
  render: renderer(View, (view) => ({
    "msg:custom": (message) => message?.refused && view.refused(String(message.refused)),
  })),
};
