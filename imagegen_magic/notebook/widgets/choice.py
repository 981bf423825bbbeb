"""A choice of one value, side by side; values that are not possible are disabled, with the reason."""

from __future__ import annotations

from traitlets import Dict, List, Unicode

from imagegen_magic.notebook.widgets.base import BaseWidget, front_end


class Choice(BaseWidget):
    """Radio buttons drawn as one bar; `value` is the chosen one's.

    `options` holds a mapping for each: `value`, the `reason` why it is not possible, or "", and a `label` if it differs from the value.
    """

    _esm, _css = front_end("choice")

    label = Unicode("").tag(sync=True)
    options = List(Dict()).tag(sync=True)
    value = Unicode("").tag(sync=True)
