// A field for a key. It is emptied before anything is sent, and the key is in no model.

function render({ model, el }) {
  const id = uniqueId("imagegen-key");
  const label = make("label", { for: id });
  const input = make("input", { id, class: "imagegen-input", type: "password", autocomplete: "off", spellcheck: "false" });
  const form = make("form", {}, label, input, make("button", { type: "submit", class: "imagegen-button" }, "Use this key"));
  el.classList.add("imagegen-widget", "imagegen-key");
  el.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab has commands for arrows and letters
  el.append(form);
  keepKeys(el);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const key = input.value;
    input.value = "";
    if (key.trim()) model.send({ event: "key", key });
  });

  const draw = () => (label.textContent = model.get("about"));
  draw();
  const stopListening = listen(model, { "change:about": draw });
  return () => {
    input.value = "";
    stopListening();
  };
}

export default { render };
