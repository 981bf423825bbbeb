// A field for a key. It is emptied before anything is sent, and what was typed is in no model.

let fields = 0;

// the notebook would take arrows and letters for its own commands
function keepToOneself(event) {
  if (!event.ctrlKey && !event.metaKey && !event.altKey) {
    event.stopPropagation();
  }
}

function render({ model, el }) {
  const id = `imagegen-key-${fields++}-${Math.random().toString(36).slice(2, 8)}`;
  el.classList.add("imagegen-key");
  el.setAttribute("data-lm-suppress-shortcuts", "true");
  const form = document.createElement("form");
  const label = document.createElement("label");
  label.htmlFor = id;
  const input = document.createElement("input");
  input.id = id;
  input.type = "password";
  input.autocomplete = "off";
  input.spellcheck = false;
  const button = document.createElement("button");
  button.type = "submit";
  button.textContent = "Use this key";
  form.append(label, input, button);
  el.addEventListener("keydown", keepToOneself);
  el.append(form);

  function tell() {
    label.textContent = model.get("about");
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const key = input.value;
    input.value = "";
    if (key.trim()) {
      model.send({ event: "key", key });
    }
  });
  model.on("change:about", tell);
  tell();
  return () => {
    input.value = "";
    model.off("change:about", tell);
  };
}

export default { render };
