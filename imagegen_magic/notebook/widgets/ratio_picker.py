"""A picker for the size: outlines of aspect ratios, typed pixels, or auto."""

from __future__ import annotations

from traitlets import Bool, Dict, List, Unicode

from imagegen_magic.notebook.widgets.base import BaseWidget, front_end


class RatioPicker(BaseWidget):
    """The chosen size in `value`: a ratio such as `16:9`, pixels such as `1536x1024`, or `auto`.

    `options` holds a mapping for each choice: `value`, and the `reason` why it is not possible, or "".
    Typed pixels are in `value` as soon as they are valid; `error` is for pixels that the model does not have.
    """

    _esm, _css = front_end("ratio_picker")

    options = List(Dict()).tag(sync=True)
    allow_pixels = Bool(False).tag(sync=True)
    pixel_hint = Unicode("").tag(sync=True)
    value = Unicode("").tag(sync=True)
    error = Unicode("").tag(sync=True)
