// One value out of a few: native radio buttons, so that arrows, labels and screen readers work by themselves.

let groups = 0;

// the notebook would take arrows and letters for its own commands
function keepToOneself(event) {
  if (!event.ctrlKey && !event.metaKey && !event.altKey) {
    event.stopPropagation();
  }
}

function render({ model, el }) {
  const name = `imagegen-choice-${groups++}-${Math.random().toString(36).slice(2, 8)}`;
  el.classList.add("imagegen-choice");
  el.setAttribute("data-lm-suppress-shortcuts", "true"); // arrows and letters are ours here
  const group = document.createElement("fieldset");
  const legend = document.createElement("legend");
  const bar = document.createElement("div");
  bar.className = "imagegen-choice-bar";
  const reasons = document.createElement("span");
  reasons.className = "imagegen-unseen";
  reasons.id = `${name}-reasons`;
  group.setAttribute("aria-describedby", reasons.id);
  group.append(legend, bar, reasons);
  el.addEventListener("keydown", keepToOneself);
  el.append(group);

  function draw() {
    legend.textContent = model.get("label");
    const options = model.get("options");
    const focused = bar.contains(document.activeElement) ? document.activeElement.value : null;
    bar.replaceChildren(...options.map(one));
    reasons.textContent = options.filter((option) => option.reason).map((option) => `${option.label}: ${option.reason}`).join(". ");
    mark();
    if (focused !== null) {
      [...bar.querySelectorAll("input")].find((input) => input.value === focused)?.focus();
    }
  }

  function one(option) {
    const label = document.createElement("label");
    const input = document.createElement("input");
    input.type = "radio";
    input.name = name;
    input.value = option.value;
    input.disabled = Boolean(option.disabled);
    input.addEventListener("change", () => {
      model.set("value", option.value);
      model.save_changes();
      mark();
    });
    const words = document.createElement("span");
    words.textContent = option.label;
    label.title = option.reason || "";
    label.append(input, words);
    return label;
  }

  function mark() {
    for (const input of bar.querySelectorAll("input")) {
      input.checked = input.value === model.get("value");
    }
  }

  model.on("change:options", draw);
  model.on("change:label", draw);
  model.on("change:value", mark);
  draw();
  return () => {
    model.off("change:options", draw);
    model.off("change:label", draw);
    model.off("change:value", mark);
  };
}

export default { render };
