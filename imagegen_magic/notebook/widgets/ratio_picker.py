"""A picker for the size: outlines of aspect ratios, typed pixels, or auto."""

from __future__ import annotations

from traitlets import Bool, Dict, List, Unicode

from imagegen_magic.notebook.widgets.base import FOLDER, BaseWidget, style


class RatioPicker(BaseWidget):
    """The chosen size in `value`: a ratio such as `16:9`, pixels such as `1536x1024`, or `auto`.

    `options` holds a mapping for each ratio: `value`, `label`, `width` and `height` (the shape to draw), `disabled`, and the
    `reason` for that. Typed pixels are in `value` as soon as they are valid; `error` is for pixels that the model does not have.
    """

    _esm = FOLDER / "ratio_picker.js"
    _css = style("ratio_picker.css")

    options = List(Dict()).tag(sync=True)
    allow_pixels = Bool(False).tag(sync=True)
    allow_auto = Bool(False).tag(sync=True)
    pixel_hint = Unicode("").tag(sync=True)
    value = Unicode("").tag(sync=True)
    error = Unicode("").tag(sync=True)
