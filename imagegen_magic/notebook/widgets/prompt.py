"""The prompt's field: it grows with the text, counts code points, and generates on Ctrl/Cmd+Enter or its button."""

from __future__ import annotations

import traitlets

from imagegen_magic.notebook.widgets.instrument import FOLDER, BaseWidget


class Prompt(BaseWidget):
    """A text and the button beneath it; pressing it sends {"event": "generate", "prompt": text}.

    The message carries the text itself, so that the last letters typed are in it whatever is still being synchronised.
    `limit` is the most code points (0: none); `ready` says whether pressing will do something, `why` what keeps it from that.
    """

    _esm = FOLDER / "prompt.js"
    _css = FOLDER / "prompt.css"

    value = traitlets.Unicode("").tag(sync=True)
    limit = traitlets.Int(0).tag(sync=True)
    ready = traitlets.Bool(False).tag(sync=True)
    why = traitlets.Unicode("").tag(sync=True)
