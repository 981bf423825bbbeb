"""The head of a group of controls that can be folded."""

from __future__ import annotations

from traitlets import Bool, Unicode

from imagegen_magic.notebook.widgets.base import BaseWidget, front_end


class Fold(BaseWidget):
    """A button with the group's `title`, and a `summary` of what is set in it; `unfolded` is whether the group is visible.

    It is the first child of a box of the class `imagegen-fold`, whose other child, of the class `imagegen-fold-body`, it shows and hides
    in the front end, so that it works while the kernel is busy.
    """

    _esm, _css = front_end("fold")

    title = Unicode("").tag(sync=True)
    summary = Unicode("").tag(sync=True)
    unfolded = Bool(False).tag(sync=True)
