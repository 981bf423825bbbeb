// One page of thumbnails, the actions on each picture, a large view, and texts for the clipboard.

const STATUS_TIME = 5000; // ms that a message is shown
const MAX_SELECTED = 2;
const FULL = "Two are selected already: unselect one first";
const BLOCKED = "The browser does not let this page use the clipboard. The text is selected: press Ctrl+C (⌘C on a Mac).";
const ICONS = {
  "use-settings": "M2 4.5h6M12 4.5h2M2 11.5h2M8 11.5h6M10 2.5v4M6 9.5v4",
  "use-reference": "M9 3H3.5A1.5 1.5 0 0 0 2 4.5v8A1.5 1.5 0 0 0 3.5 14h8a1.5 1.5 0 0 0 1.5-1.5V8M2.5 12l3.5-3.5L10.5 13M12.5 1.5v5M10 4h5",
  "copy-cell": "M5.5 5.5V3A1 1 0 0 1 6.5 2H13a1 1 0 0 1 1 1v6.5a1 1 0 0 1-1 1h-2.5M3 5.5h6.5a1 1 0 0 1 1 1V13a1 1 0 0 1-1 1H3a1 1 0 0 1-1-1V6.5a1 1 0 0 1 1-1z",
  "open-file": "M9.5 2H14v4.5M14 2 7.5 8.5M11.5 9.5V13a1 1 0 0 1-1 1H3a1 1 0 0 1-1-1V5.5a1 1 0 0 1 1-1h3.5",
  differences: "M3 6h10M3 10.5h10M10.5 2.5l-5 11",
  remove: "M2.5 4.5h11M6 4.5V2.5h4v2M4 4.5l.6 9h6.8l.6-9M6.7 7v4M9.3 7v4",
  star: "M8 1.8l1.9 4 4.4.6-3.2 3 .8 4.4L8 11.7l-3.9 2.1.8-4.4-3.2-3 4.4-.6z",
  first: "M12.5 3.5 8 8l4.5 4.5M7.5 3.5 3 8l4.5 4.5",
  previous: "M10 3.5 5.5 8l4.5 4.5",
  next: "M6 3.5 10.5 8 6 12.5",
  last: "M3.5 3.5 8 8l-4.5 4.5M8.5 3.5 13 8l-4.5 4.5",
  close: "M3.5 3.5l9 9M12.5 3.5l-9 9",
};
const ACTIONS = [
  ["use-settings", "Use these settings"],
  ["use-reference", "Use as reference"],
  ["copy-cell", "Copy as cell"],
  ["open-file", "Open file"],
  ["differences", "Differences from what was asked"],
  ["remove", "Remove from view (the file stays)"],
];

function setAttribute(node, attribute, value) {
  if (node.getAttribute(attribute) !== value) node.setAttribute(attribute, value);
}

// The picture that a key leads to: the next or previous one, the first, the last; null for any other key.
function goalOf(key, here, count, steps) {
  return { Home: 0, End: count - 1 }[key] ?? (key in steps ? here + steps[key] : null);
}

// One thumbnail with its controls; the view does what concerns other pictures too.
class Card {
  constructor(view, picture) {
    this.view = view;
    this.id = picture.id;
    this.image = make("img", { decoding: "async", draggable: "false" });
    this.thumb = make("button", { type: "button", class: "imagegen-gallery-thumb" }, this.image);
    this.thumb.addEventListener("click", () => view.large.open(this.id));
    this.box = make("input", { type: "checkbox" });
    this.box.addEventListener("click", (event) => view.toggle(this.id, event));
    this.star = iconButton(ICONS.star, "Star", () => view.act("star", this.id));
    this.star.classList.add("imagegen-gallery-star");
    this.badge = make("span", { class: "imagegen-label imagegen-gallery-badge" }, "≠ asked");
    this.caption = make("p", { class: "imagegen-gallery-caption" });
    this.actions = ACTIONS.map(([name, label]) => iconButton(ICONS[name], label, () => view.act(name, this.id)));
    const bar = make("div", { class: "imagegen-gallery-actions" }, ...this.actions);
    const select = make("label", { class: "imagegen-gallery-select", title: "Select for comparing" }, this.box);
    const about = make("div", { class: "imagegen-gallery-about" }, this.caption, bar);
    this.differences = this.actions[ACTIONS.findIndex(([name]) => name === "differences")];
    this.controls = [this.box, this.star, ...this.actions];
    this.bar = make("div", { class: "imagegen-gallery-controls", role: "toolbar" }, select, this.star, about);
    this.bar.addEventListener("keydown", (event) => this.move(event));
    this.root = make("li", { class: "imagegen-gallery-card" }, this.thumb, this.badge, this.bar);
    this.root.addEventListener("focusin", (event) => view.setTabStop(this, this.controls.indexOf(event.target)));
    this.update(picture);
  }

  update(picture) {
    const words = picture.alt || picture.caption || "picture";
    setAttribute(this.image, "src", picture.thumbnail);
    setAttribute(this.image, "alt", words);
    setAttribute(this.thumb, "aria-description", picture.caption);
    setAttribute(this.box, "aria-label", `Select for comparing: ${words}`);
    setAttribute(this.bar, "aria-label", `What to do with: ${words}`);
    setAttribute(this.star, "aria-pressed", String(Boolean(picture.starred)));
    this.star.title = picture.starred ? "Remove the star" : "Star";
    this.thumb.title = picture.caption;
    this.badge.hidden = !picture.different;
    this.differences.classList.toggle("imagegen-gallery-differs", Boolean(picture.different));
    this.caption.textContent = picture.caption;
  }

  mark(selected) {
    const chosen = selected.includes(this.id);
    this.box.checked = chosen;
    setAttribute(this.box, "aria-disabled", String(!chosen && selected.length >= MAX_SELECTED));
    this.box.parentNode.title = !chosen && selected.length >= MAX_SELECTED ? FULL : "Select for comparing";
    this.root.classList.toggle("imagegen-gallery-chosen", chosen);
  }

  // The Tab key reaches the picture, and one control of the current picture; arrow keys reach the other controls.
  setReachable(control) {
    this.controls.forEach((node, index) => (node.tabIndex = index === control ? 0 : -1));
  }

  move(event) {
    const count = this.controls.length;
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    const goal = goalOf(event.key, this.controls.indexOf(event.target), count, steps);
    if (goal === null || hasModifier(event)) return;
    event.preventDefault();
    event.stopPropagation();
    this.controls[(goal + count) % count].focus();
  }
}

// The large view: a dialog that shows the thumbnail at once, and the preview when it arrives.
class Large {
  constructor(view) {
    this.view = view;
    this.id = null;
    this.turning = 0;
    this.image = make("img", {});
    this.caption = make("p");
    this.previous = iconButton(ICONS.previous, "Previous picture", () => this.step(-1));
    this.next = iconButton(ICONS.next, "Next picture", () => this.step(1));
    const close = iconButton(ICONS.close, "Close", () => this.root.close());
    const caption = make("figcaption", {}, this.caption, this.previous, this.next, close);
    this.root = make("dialog", { class: "imagegen-gallery-large", "aria-label": "Picture, enlarged", tabindex: "-1" }, make("figure", {}, this.image, caption));
    this.root.addEventListener("keydown", (event) => this.key(event));
    this.root.addEventListener("click", (event) => event.target === this.root && this.root.close());
    this.root.addEventListener("close", () => this.closed());
  }

  open(id) {
    const picture = this.view.picture(id);
    if (!picture) return;
    this.id = id;
    this.turning = 0;
    this.caption.textContent = picture.caption;
    this.root.style.setProperty("--imagegen-shape", (picture.width || 1) / (picture.height || 1));
    this.root.style.setProperty("--imagegen-wide", `${Math.max(picture.width || 0, 480)}px`);
    this.image.src = picture.thumbnail;
    this.image.alt = picture.alt || picture.caption || "picture";
    this.root.setAttribute("aria-busy", "true");
    this.limits();
    if (!this.root.open) this.root.showModal();
    if (!this.root.querySelector(":focus")?.matches('[aria-disabled="false"]')) this.root.focus();
    if (this.view.model.get("enlarged").id === id) this.fill();
    else this.view.act("enlarge", id);
  }

  fill() {
    const enlarged = this.view.model.get("enlarged");
    if (!this.root.open || !enlarged.url || enlarged.id !== this.id) return;
    this.image.src = enlarged.url;
    if (enlarged.caption) this.caption.textContent = enlarged.caption;
    this.root.removeAttribute("aria-busy");
  }

  limits() {
    const [ids, page] = [this.view.ids(), this.view.page()];
    const here = ids.indexOf(this.id);
    enable(this.previous, here > 0 || page > 0);
    enable(this.next, here < ids.length - 1 || page < this.view.pages() - 1);
  }

  step(by) {
    const ids = this.view.ids();
    const goal = ids.indexOf(this.id) + by;
    if (goal >= 0 && goal < ids.length) this.open(ids[goal]);
    else if (this.view.turn(this.view.page() + by)) this.turning = by;
  }

  // Continue with the nearest picture of the next page, which has arrived.
  pageArrived() {
    const ids = this.view.ids();
    if (this.root.open && this.turning && ids.length) this.open(ids.at(this.turning > 0 ? 0 : -1));
    else if (this.root.open) this.limits();
  }

  key(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    event.stopPropagation();
    if (!by || hasModifier(event)) return;
    event.preventDefault();
    this.step(by);
  }

  closed() {
    this.turning = 0;
    this.image.removeAttribute("src");
    this.view.clearEnlarged(this.id);
    this.view.focus(this.id);
  }
}

class View {
  constructor(model) {
    this.model = model;
    this.key = uniqueId("view");
    this.cards = new Map();
    this.current = null;
    this.control = 0; // of the current picture, the one that the Tab key reaches
    this.timer = 0;
    this.large = new Large(this);
    this.build();
    this.draw();
    this.drawHead();
  }

  build() {
    const source = (all, label) => {
      const button = make("button", { type: "button" }, label);
      button.addEventListener("click", () => all !== this.model.get("ledger") && this.act("ledger", all ? "all" : "session"));
      return button;
    };
    this.sources = [source(false, "This session"), source(true, "All of the ledger")];
    const sources = make("div", { class: "imagegen-segments", role: "group", "aria-label": "Which pictures" }, ...this.sources);
    this.count = make("span");
    const clear = make("button", { type: "button" }, "Clear");
    clear.addEventListener("click", () => this.select([]));
    this.picked = make("span", { class: "imagegen-gallery-picked" }, this.count, clear);
    this.status = make("span", { class: "imagegen-gallery-status", role: "status" });
    this.pagers = [this.pager("Pages"), this.pager("Pages, below")];
    this.grid = make("ul", { class: "imagegen-gallery-grid", role: "list", "aria-label": "Pictures, newest first; arrow keys, Home and End move among them" });
    this.grid.addEventListener("keydown", (event) => this.move(event));
    this.empty = make("div", { class: "imagegen-gallery-empty" });
    const head = make("div", { class: "imagegen-gallery-head" }, sources, this.picked, this.status, this.pagers[0].root);
    this.foot = make("div", { class: "imagegen-gallery-foot" }, this.pagers[1].root);
    this.root = make("div", { class: "imagegen-widget imagegen-gallery" }, head, this.grid, this.empty, this.foot, this.large.root);
    keepKeys(this.root);
  }

  pager(label) {
    const to = (name, label, goal) => iconButton(ICONS[name], label, () => this.turn(goal()));
    const buttons = [
      to("first", "First page", () => 0),
      to("previous", "Previous page", () => this.page() - 1),
      to("next", "Next page", () => this.page() + 1),
      to("last", "Last page", () => this.pages() - 1),
    ];
    const count = make("span");
    const root = make("nav", { class: "imagegen-gallery-pages", "aria-label": label }, ...buttons.slice(0, 2), count, ...buttons.slice(2));
    return { root, count, buttons };
  }

  // State

  pictures() {
    return this.model.get("pictures");
  }

  picture(id) {
    return this.pictures().find((one) => one.id === id);
  }

  ids() {
    return this.pictures().map((one) => one.id);
  }

  page() {
    return this.model.get("page");
  }

  pages() {
    return Math.max(1, Math.ceil(this.model.get("total") / this.model.get("page_size")));
  }

  // Drawing

  draw() {
    const focused = [...this.grid.children].findIndex((child) => child.querySelector(":focus"));
    const kept = new Map();
    const ordered = this.pictures().map((picture) => {
      const card = this.cards.get(picture.id) ?? new Card(this, picture);
      card.update(picture);
      kept.set(picture.id, card);
      return card;
    });
    for (const [id, card] of this.cards) if (kept.get(id) !== card) card.root.remove();
    ordered.forEach((card, index) => this.grid.children[index] !== card.root && this.grid.insertBefore(card.root, this.grid.children[index] ?? null));
    this.cards = kept;
    this.setTabStop(kept.get(this.current) ?? ordered[Math.min(Math.max(focused, 0), ordered.length - 1)]);
    this.mark();
    this.drawEmpty();
    this.grid.removeAttribute("aria-busy");
    if (focused >= 0 && !this.grid.querySelector(":focus")) this.focus(this.current);
    this.large.pageArrived();
  }

  drawEmpty() {
    const none = this.pictures().length === 0;
    this.grid.hidden = none;
    this.empty.hidden = !none || this.model.get("total") > 0;
    this.empty.textContent = this.model.get("ledger") ? "The ledger holds no pictures yet." : "No pictures yet. What you generate appears here.";
  }

  drawHead() {
    const [total, size, page] = [this.model.get("total"), this.model.get("page_size"), this.page()];
    const [from, to] = [page * size + 1, Math.min(total, (page + 1) * size)];
    for (const { root, count, buttons } of this.pagers) {
      root.hidden = total === 0;
      count.textContent = total <= size ? `${total} ${total === 1 ? "picture" : "pictures"}` : `${from}–${to} of ${total}`;
      buttons.forEach((button, index) => {
        button.hidden = total <= size;
        enable(button, index < 2 ? page > 0 : page < this.pages() - 1);
      });
    }
    this.foot.hidden = total <= size;
    this.sources.forEach((button, index) => button.setAttribute("aria-pressed", String(Boolean(index) === this.model.get("ledger"))));
    this.drawEmpty();
  }

  mark() {
    const selected = this.model.get("selected");
    for (const card of this.cards.values()) card.mark(selected);
    this.picked.hidden = selected.length === 0;
    this.count.textContent = selected.length === 1 ? "1 selected: one more to compare" : `${selected.length} selected`;
  }

  showStatus(text) {
    clearTimeout(this.timer);
    this.status.textContent = text;
    if (text) this.timer = setTimeout(() => this.showStatus(""), STATUS_TIME);
  }

  // Keyboard

  setTabStop(card, control = -1) {
    this.current = card?.id ?? null;
    if (control >= 0) this.control = control;
    for (const one of this.cards.values()) one.setReachable(one === card ? this.control : -1);
  }

  focus(id) {
    const card = this.cards.get(id) ?? this.cards.get(this.current);
    if (card) card.thumb.focus({ preventScroll: false });
  }

  move(event) {
    if (!event.target.classList.contains("imagegen-gallery-thumb") || hasModifier(event)) return;
    const columns = getComputedStyle(this.grid).gridTemplateColumns.split(" ").length;
    const cards = [...this.cards.values()];
    const here = cards.findIndex((card) => card.thumb === event.target);
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
    const goal = goalOf(event.key, here, cards.length, steps);
    const page = { PageUp: -1, PageDown: 1 }[event.key];
    if (goal === null && !page) return;
    event.preventDefault();
    if (page) this.turn(this.page() + page);
    else cards[goal]?.thumb.focus();
  }

  // Actions

  act(action, id) {
    this.model.send({ action, id, view: this.key });
  }

  turn(page) {
    if (page < 0 || page >= this.pages() || page === this.page()) return false;
    this.grid.setAttribute("aria-busy", "true");
    setTrait(this.model, "page", page);
    return true;
  }

  toggle(id, event) {
    const selected = this.model.get("selected");
    if (selected.includes(id)) this.select(selected.filter((one) => one !== id));
    else if (selected.length < MAX_SELECTED) this.select([...selected, id]);
    else {
      event.preventDefault();
      this.showStatus(FULL);
    }
  }

  select(ids) {
    setTrait(this.model, "selected", ids);
  }

  clearEnlarged(id) {
    if (this.model.get("enlarged").id !== id) return;
    setTrait(this.model, "enlarged", {});
  }

  // Texts for the clipboard

  async onMessage(message) {
    if (message.view !== this.key) return;
    const done = (await copy(message.copy)) || copySelection(message.copy, this.root);
    this.act(done ? "copied" : "copy-failed", message.id);
    this.showStatus(done ? "Copied" : "");
    if (!done) this.offer(message.copy);
  }

  offer(text) {
    const area = make("textarea", { readonly: "", "aria-label": "Text to copy" });
    const close = make("button", { type: "button" }, "Close");
    const dialog = make("dialog", { class: "imagegen-gallery-text", "aria-label": "Text to copy" }, make("p", {}, BLOCKED), area, close);
    area.value = text;
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => dialog.remove());
    this.root.append(dialog);
    dialog.showModal();
    area.select();
  }

  remove() {
    clearTimeout(this.timer);
  }
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // no secure context, no permission, or a page in the background
  }
}

function copySelection(text, root) {
  const focused = root.querySelector(":focus");
  const area = make("textarea", { class: "imagegen-gallery-hidden", readonly: "", "aria-hidden": "true", tabindex: "-1" });
  area.value = text;
  root.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  focused?.focus();
  return done;
}

export default {
  render: renderer(View, (view) => ({
    "change:pictures": () => view.draw(),
    "change:total": () => view.drawHead(),
    "change:page": () => view.drawHead(),
    "change:page_size": () => view.drawHead(),
    "change:ledger": () => view.drawHead(),
    "change:selected": () => view.mark(),
    "change:enlarged": () => view.large.fill(),
    "msg:custom": (message) => view.onMessage(message),
  })),
};
