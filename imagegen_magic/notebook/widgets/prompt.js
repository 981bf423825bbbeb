// The prompt's field. The text goes to the model a moment after the last key, and with the press itself.

const PAUSE = 200; // ms

function make(tag, attributes, parent) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    element.setAttribute(name, value);
  }
  parent.append(element);
  return element;
}

let fields = 0;

// the notebook would take arrows and letters for its own commands
function keepToOneself(event) {
  if (!event.ctrlKey && !event.metaKey && !event.altKey) {
    event.stopPropagation();
  }
}

function render({ model, el }) {
  const id = `imagegen-prompt-${fields++}-${Math.random().toString(36).slice(2, 8)}`;
  el.classList.add("imagegen-prompt");
  el.setAttribute("data-lm-suppress-shortcuts", "true"); // Ctrl+Enter is ours here, not the notebook's
  el.addEventListener("keydown", keepToOneself);
  const label = make("label", { for: id }, el);
  label.textContent = "Prompt";
  const text = make("textarea", {
    id, rows: 3, spellcheck: "true", placeholder: "What shall the picture show?", "aria-describedby": `${id}-count`,
  }, el);
  const foot = make("div", { class: "imagegen-prompt-foot" }, el);
  const button = make("button", { type: "button", class: "imagegen-generate" }, foot);
  button.textContent = "Generate";
  const keys = make("span", { class: "imagegen-prompt-keys", "aria-hidden": "true" }, foot);
  keys.textContent = /Mac/.test(navigator.platform) ? "⌘ Enter" : "Ctrl + Enter";
  const count = make("span", { id: `${id}-count`, class: "imagegen-prompt-count" }, foot);

  let waiting = 0;

  function grow() {
    text.style.height = "auto";
    text.style.height = `${text.scrollHeight + text.offsetHeight - text.clientHeight}px`;
  }

  function tell() {
    const limit = model.get("limit");
    const length = Array.from(text.value).length; // code points, as the gateways count
    const over = limit > 0 && length > limit;
    count.textContent = limit > 0 ? `${length.toLocaleString("en")} of ${limit.toLocaleString("en")} characters` : "";
    count.classList.toggle("imagegen-over", over);
    text.setAttribute("aria-invalid", String(over));
    const idle = !model.get("ready") && !(text.value.trim() && !model.get("value").trim());
    button.setAttribute("aria-disabled", String(idle));
    button.title = model.get("why");
  }

  function keep() {
    clearTimeout(waiting);
    if (model.get("value") !== text.value) {
      model.set("value", text.value);
      model.save_changes();
    }
  }

  function typed() {
    clearTimeout(waiting);
    waiting = setTimeout(keep, PAUSE);
    grow();
    tell();
  }

  function generate() {
    clearTimeout(waiting);
    model.send({ event: "generate", prompt: text.value });
    keep();
  }

  function pressed(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing) {
      event.preventDefault();
      event.stopPropagation();
      generate();
    }
  }

  function refresh() {
    if (model.get("value") !== text.value && !waitingForUs()) {
      text.value = model.get("value");
      grow();
    }
    tell();
  }

  // what is being typed is newer than what Python knows
  function waitingForUs() {
    return document.activeElement === text && changedHere;
  }

  let changedHere = false;
  const onInput = () => { changedHere = true; typed(); };
  const onBlur = () => { keep(); changedHere = false; };
  const onChange = () => { if (model.get("value") === text.value) changedHere = false; refresh(); };

  text.value = model.get("value");
  text.addEventListener("input", onInput);
  text.addEventListener("blur", onBlur);
  text.addEventListener("keydown", pressed);
  button.addEventListener("click", generate);
  model.on("change:value", onChange);
  model.on("change:limit", tell);
  model.on("change:ready", tell);
  model.on("change:why", tell);
  const sized = new ResizeObserver(() => {
    grow();
    el.closest(".imagegen-panel")?.addEventListener("keydown", keepToOneself); // for the fields that are not ours
  });
  sized.observe(el);
  tell();

  return () => {
    clearTimeout(waiting);
    sized.disconnect();
    model.off("change:value", onChange);
    model.off("change:limit", tell);
    model.off("change:ready", tell);
    model.off("change:why", tell);
  };
}

export default { render };
