"""A choice of one value, side by side; values that are not possible are disabled, with the reason."""

from __future__ import annotations

import traitlets

from imagegen_magic.notebook.widgets.base import FOLDER, BaseWidget


class Choice(BaseWidget):
    """Radio buttons drawn as one bar; `options` are {"value", "label", "disabled", "reason"}, `value` the chosen one's value."""

    _esm = FOLDER / "choice.js"
    _css = FOLDER / "choice.css"

    label = traitlets.Unicode("").tag(sync=True)
    options = traitlets.List(traitlets.Dict()).tag(sync=True)
    value = traitlets.Unicode("").tag(sync=True)
