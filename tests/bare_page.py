"""A page that puts each output of a cell into a bare div, without any class of JupyterLab's, and draws the cell's widgets.

It stands for front ends with a page of their own: VS Code, Colab, nbclassic. Its widgets are drawn from their saved state: boxes,
HTML, and the scripts of this package's own widgets, which see a model without a kernel.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ipywidgets.embed import dependency_state
from ipywidgets.widgets import widget

VIEW = "application/vnd.jupyter.widget-view+json"
_PAGE = """<!doctype html><meta charset="utf-8"><title>outputs</title><body><script type="module">
const models = MODELS;
const outputs = OUTPUTS;

function bytes({ path, data }) {
  return [path[0], new DataView(Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0)).buffer)];
}

function modelOf({ state, buffers = [] }) {
  const values = { ...state, ...Object.fromEntries(buffers.map(bytes)) };
  const nothing = () => {};
  const set = (name, value) => { values[name] = value; };
  return { get: (name) => values[name], set, on: nothing, off: nothing, send: nothing, save_changes: nothing };
}

async function draw(id, el) {
  const { state, model_name: kind } = models[id];
  el.className = (state._dom_classes ?? []).join(" ");
  if (kind === "HTMLModel") el.innerHTML = state.value;
  if (kind === "AnyModel") {
    const style = document.createElement("style");
    style.textContent = state._css;
    document.head.append(style);
    const module = await import(URL.createObjectURL(new Blob([state._esm], { type: "text/javascript" })));
    const model = modelOf(models[id]);
    await module.default.initialize?.({ model });
    await module.default.render({ model, el });
  }
  for (const child of state.children ?? []) await draw(child.slice("IPY_MODEL_".length), el.appendChild(document.createElement("div")));
}

for (const output of outputs) {
  const el = document.body.appendChild(document.createElement("div"));
  const view = output["VIEW"];
  if (view) await draw(view.model_id, el);
  else el.innerHTML = output["text/html"] ?? `<pre>${output["text/plain"]}</pre>`;
}
document.title = "drawn";
</script></body>"""


def bare_page(outputs: Sequence[dict[str, Any]]) -> str:
    """Return the HTML of a page with these outputs, each as its data by MIME type; their widgets are those of this process."""
    roots = [widget._instances[each[VIEW]["model_id"]] for each in outputs if VIEW in each]
    models = {key: value for root in roots for key, value in dependency_state(root, drop_defaults=False).items()}
    return _PAGE.replace("VIEW", VIEW).replace("MODELS", _script(models), 1).replace("OUTPUTS", _script(list(outputs)), 1)


def _script(value: Any) -> str:
    return json.dumps(value).replace("</", "<\\/")
