"""A panel in a real kernel, driven with the messages of a front end."""

from __future__ import annotations

from typing import Any

LOAD = "%load_ext imagegen_magic\nfrom imagegen_magic import Panel"


class PanelDriver:
    """The one open panel of a kernel; `subshell` as JupyterLab sends comm messages, None as older front ends do."""

    def __init__(self, kernel: Any, subshell: str | None = None) -> None:
        self.kernel = kernel
        self.subshell = subshell

    def widget(self, name: str, **traits: Any) -> str:
        """Return the id of the only widget of that class with these values."""
        return self._one(lambda state: str(state.get("_anywidget_id", "")).endswith(f".{name}"), traits)

    def field(self, description: str) -> str:
        """Return the id of the only ipywidget with that label or caption."""
        return self._one(lambda state: str(state.get("description", "")).startswith(description), {})

    def _one(self, fits: Any, traits: dict[str, Any]) -> str:
        def found() -> list[str]:
            models = self.kernel.models.items()
            return [key for key, state in models if fits(state) and all(state.get(name) == value for name, value in traits.items())]

        self.kernel.until(found, "the widget")
        assert len(found()) == 1, found()
        return found()[0]

    def state(self, model: str) -> dict[str, Any]:
        """Return the state of a widget in the front end."""
        return dict(self.kernel.models[model])

    def set(self, model: str, **state: Any) -> None:
        """Change a widget's values, as its page does."""
        self.kernel.set_state(model, subshell=self.subshell, **state)

    def choose(self, label: str, value: str) -> None:
        """Choose a value in the bar with that label."""
        self.set(self.widget("Choice", label=label), value=value)

    def send(self, model: str, **message: Any) -> None:
        """Send a message of a widget's page."""
        content = {"comm_id": model, "data": {"method": "custom", "content": message}}
        self.kernel._send("comm_msg", content, subshell=self.subshell)

    def generate(self, prompt: str) -> None:
        """Press Generate with this prompt."""
        self.send(self.widget("Prompt"), event="generate", prompt=prompt)

    def act(self, action: str, picture: Any) -> None:
        """Send an action on a picture of the gallery."""
        self.send(self.widget("Gallery"), action=action, id=picture, view="page")

    def click(self, caption: str) -> None:
        """Click the one button with that caption."""
        self.kernel.click(self.field(caption), subshell=self.subshell)

    @property
    def tiles(self) -> list[dict[str, Any]]:
        """The gallery's page."""
        return list(self.state(self.widget("Gallery"))["pictures"])

    def shows(self, text: str) -> bool:
        """Return whether some markup of the panel holds this text."""
        return any(text in str(state.get("value", "")) for state in self.kernel.models.values() if state.get("_model_name") == "HTMLModel")
