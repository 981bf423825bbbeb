// The prompt's field. The text is sent to the model a moment after the last key, and with each click on Generate.

const PAUSE = 200; // ms
const BUSY = 700; // ms without a confirmation, after which the kernel is busy with a cell

function render({ model, el }) {
  const id = uniqueId("imagegen-prompt");
  const text = make("textarea", { id, class: "imagegen-input", rows: 3, spellcheck: "true", placeholder: "What shall the picture show?", "aria-describedby": `${id}-count` });
  const button = make("button", { type: "button", class: "imagegen-primary" }, "Generate");
  const keys = make("span", { class: "imagegen-prompt-keys", "aria-hidden": "true" }, /Mac/.test(navigator.platform) ? "⌘ Enter" : "Ctrl + Enter");
  const waiting = make("span", { class: "imagegen-prompt-waiting", role: "status" });
  const count = make("span", { id: `${id}-count`, class: "imagegen-prompt-count" });
  el.classList.add("imagegen-widget", "imagegen-prompt");
  el.setAttribute("data-lm-suppress-shortcuts", "true"); // Ctrl+Enter would run the cell
  el.append(make("label", { for: id }, "Prompt"), text, make("div", { class: "imagegen-prompt-foot" }, button, keys, waiting, count));
  keepKeys(el);

  let timer = 0;
  const clicks = new Map(); // those that the kernel has not read, with their timers
  let edited = false; // since the text was last equal to the model's

  function grow() {
    text.style.height = "auto";
    text.style.height = `${text.scrollHeight + text.offsetHeight - text.clientHeight}px`;
  }

  function draw() {
    const limit = model.get("limit");
    const length = Array.from(text.value).length; // code points, as the gateways count
    const over = limit > 0 && length > limit;
    count.textContent = limit > 0 ? `${length.toLocaleString("en")} of ${limit.toLocaleString("en")} characters` : "";
    count.classList.toggle("imagegen-over", over);
    text.setAttribute("aria-invalid", String(over));
    enable(button, model.get("ready") || (text.value.trim() && !model.get("value").trim()));
    button.title = model.get("why");
  }

  function store() {
    clearTimeout(timer);
    setTrait(model, "value", text.value);
  }

  // A disabled button sends too: the panel answers with the reason.
  function generate() {
    const click = uniqueId("click");
    clicks.set(click, setTimeout(() => drawWaiting(click), BUSY));
    model.send({ event: "generate", prompt: text.value, click });
    store();
  }

  function drawWaiting(late = null) {
    if (late) clicks.set(late, 0);
    const number = [...clicks.values()].filter((timer) => timer === 0).length;
    waiting.textContent = number ? `${number > 1 ? `${number} requests wait` : "waits"} for the running cell` : "";
    keys.hidden = number > 0;
  }

  function received(message) {
    if (!clicks.has(message.received)) return;
    clearTimeout(clicks.get(message.received));
    clicks.delete(message.received);
    drawWaiting();
  }

  // A text that is being edited is newer than the model's.
  function valueChanged() {
    if (model.get("value") === text.value) edited = false;
    else if (!edited || document.activeElement !== text) {
      text.value = model.get("value");
      grow();
    }
    draw();
  }

  text.addEventListener("input", () => {
    edited = true;
    clearTimeout(timer);
    timer = setTimeout(store, PAUSE);
    grow();
    draw();
  });
  text.addEventListener("blur", () => {
    store();
    edited = false;
  });
  text.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
    event.preventDefault();
    event.stopPropagation();
    generate();
  });
  button.addEventListener("click", generate);
  const observer = new ResizeObserver(() => {
    grow();
    const panel = el.closest(".imagegen-panel");
    if (panel) keepKeys(panel); // its other fields are widgets of ipywidgets
  });
  observer.observe(el);
  text.value = model.get("value");
  draw();

  const stopListening = listen(model, { "change:value": valueChanged, "change:limit": draw, "change:ready": draw, "change:why": draw, "msg:custom": received });
  return () => {
    clearTimeout(timer);
    for (const late of clicks.values()) clearTimeout(late);
    observer.disconnect();
    stopListening();
  };
}

export default { render };
