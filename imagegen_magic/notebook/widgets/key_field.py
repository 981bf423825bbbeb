"""A field for a gateway's key: the input leaves the page as a message, and is never in a widget's state."""

from __future__ import annotations

import traitlets

from imagegen_magic.notebook.widgets.base import FOLDER, BaseWidget


class KeyField(BaseWidget):
    """A password field with its button; pressing it empties the field and sends {"event": "key", "key": text}.

    No trait ever holds the key, so no widget state, echo or saved notebook can. `about` names the gateway.
    """

    _esm = FOLDER / "key_field.js"
    _css = FOLDER / "key_field.css"

    about = traitlets.Unicode("").tag(sync=True)
