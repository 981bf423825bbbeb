// What all widgets share: elements, icons, the events of a model, and the keys that belong to a widget.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = ["svg", "path", "circle", "rect"];

function make(tag, attributes = {}, ...children) {
  const node = SVG_TAGS.includes(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function uniqueId(prefix) {
  return `${prefix}-${Math.random().toString(36).slice(2)}`;
}

function icon(path) {
  return make("svg", { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" }, make("path", { d: path }));
}

// A disabled button keeps the focus, so it is marked with aria-disabled and ignores a click.
function enable(button, enabled) {
  button.setAttribute("aria-disabled", String(!enabled));
}

function isEnabled(button) {
  return button.getAttribute("aria-disabled") !== "true";
}

function iconButton(path, label, onClick, attributes = {}) {
  const button = make("button", { type: "button", title: label, "aria-label": label, ...attributes }, icon(path));
  button.addEventListener("click", () => isEnabled(button) && onClick());
  return button;
}

function hasModifier(event) {
  return event.ctrlKey || event.metaKey || event.altKey;
}

// JupyterLab would take arrows and letters for its own commands. Escape still leaves the widget.
function stopPlainKey(event) {
  if (!hasModifier(event) && event.key !== "Escape") event.stopPropagation();
}

function keepKeys(element) {
  element.addEventListener("keydown", stopPlainKey);
}

function setTrait(model, name, value) {
  if (model.get(name) === value) return;
  model.set(name, value);
  model.save_changes();
}

// Call the handlers of a model's events; the function that is returned removes them.
function listen(model, handlers) {
  for (const [event, handler] of Object.entries(handlers)) model.on(event, handler);
  return () => {
    for (const [event, handler] of Object.entries(handlers)) model.off(event, handler);
  };
}

// Return the render function of a class of views with a `root`; `handlers(view)` are its handlers of the model's events.
function renderer(View, handlers) {
  return ({ model, el }) => {
    const view = new View(model);
    el.append(view.root);
    const stopListening = listen(model, handlers(view));
    return () => {
      stopListening();
      view.remove?.();
      view.root.remove();
    };
  };
}
