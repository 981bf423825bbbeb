"""The field of the prompt: it grows with the text, counts code points, and generates on Ctrl/Cmd+Enter or its button."""

from __future__ import annotations

import traitlets

from imagegen_magic.notebook.widgets.base import FOLDER, BaseWidget


class Prompt(BaseWidget):
    """A text and the button below it; pressing it sends {"event": "generate", "prompt": text}.

    The message carries the text itself, so that it has the last letters even if the trait is not synchronised yet.
    `limit` is the maximum of code points (0: none); `ready` is whether the button works, `why` the reason if not.
    """

    _esm = FOLDER / "prompt.js"
    _css = FOLDER / "prompt.css"

    value = traitlets.Unicode("").tag(sync=True)
    limit = traitlets.Int(0).tag(sync=True)
    ready = traitlets.Bool(False).tag(sync=True)
    why = traitlets.Unicode("").tag(sync=True)
