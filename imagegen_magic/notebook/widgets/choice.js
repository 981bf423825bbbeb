// One value out of a few: native radio buttons, so that arrows, labels and screen readers work by themselves.

function render({ model, el }) {
  const name = uniqueId("imagegen-choice");
  const legend = make("legend");
  const bar = make("div", { class: "imagegen-choice-bar" });
  const reasons = make("span", { class: "imagegen-unseen", id: `${name}-reasons` });
  el.classList.add("imagegen-widget", "imagegen-choice");
  el.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab has commands for arrows and letters
  el.append(make("fieldset", { "aria-describedby": reasons.id }, legend, bar, reasons));
  keepKeys(el);

  function draw() {
    legend.textContent = model.get("label");
    const options = model.get("options");
    const focused = bar.contains(document.activeElement) ? document.activeElement.value : null;
    bar.replaceChildren(...options.map(radio));
    reasons.textContent = options.filter((option) => option.reason).map(({ value, reason }) => `${value}: ${reason}`).join(". ");
    check();
    if (focused !== null) [...bar.querySelectorAll("input")].find((input) => input.value === focused)?.focus();
  }

  function radio({ value, reason, label = value }) {
    const input = make("input", { type: "radio", name, value });
    input.disabled = Boolean(reason);
    input.addEventListener("change", () => {
      setTrait(model, "value", value);
      check();
    });
    return make("label", { title: reason }, input, make("span", {}, label));
  }

  function check() {
    for (const input of bar.querySelectorAll("input")) input.checked = input.value === model.get("value");
  }

  draw();
  return listen(model, { "change:options": draw, "change:label": draw, "change:value": check });
}

export default { render };
