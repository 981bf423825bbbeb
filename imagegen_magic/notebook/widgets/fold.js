// The head of a group that can be folded: a heading with a button, as in an accordion.

function render({ model, el }) {
  const title = make("span", { class: "imagegen-fold-title" });
  const summary = make("span", { class: "imagegen-fold-summary" });
  const button = make("button", { type: "button", class: "imagegen-fold-button" }, icon("M6 3.5 10.5 8 6 12.5"), title, summary);
  el.classList.add("imagegen-widget", "imagegen-fold-head");
  el.append(make("h3", {}, button));
  keepKeys(el);

  function draw() {
    title.textContent = model.get("title");
    summary.textContent = model.get("summary");
    summary.title = model.get("summary");
    button.setAttribute("aria-expanded", String(model.get("unfolded")));
  }

  // The group is a widget of its own, which is there after this one.
  function nameGroup() {
    const group = el.parentElement?.querySelector(":scope > .imagegen-fold-body");
    if (!group) return;
    group.id ||= uniqueId("imagegen-fold");
    button.setAttribute("aria-controls", group.id);
  }

  button.addEventListener("click", () => setTrait(model, "unfolded", !model.get("unfolded")));
  const observer = new ResizeObserver(nameGroup);
  observer.observe(el);
  draw();
  const stopListening = listen(model, { "change:title": draw, "change:summary": draw, "change:unfolded": draw });
  return () => {
    observer.disconnect();
    stopListening();
  };
}

export default { render };
