"""A comparison of two images: one over the other with a slider, or side by side, and how their requests differ."""

from __future__ import annotations

from traitlets import Bool, Dict, Float, List, Tuple, Unicode

from imagegen_magic.notebook.widgets.base import BaseWidget, front_end


class Compare(BaseWidget):
    """Two pictures, `left` and `right`: mappings with `url` (a data URL), `caption` and `alt`.

    `differences` holds a mapping for each setting that differs: `name`, `left`, `right`. A prompt is a list of pieces
    `(text, changed)`. `position` is the slider's, from 0 (all of the right picture) to 1 (all of the left one).
    """

    _esm, _css = front_end("compare")

    left = Dict().tag(sync=True)
    right = Dict().tag(sync=True)
    differences = List(Dict()).tag(sync=True)
    prompt_left = List(Tuple(Unicode(), Bool())).tag(sync=True)
    prompt_right = List(Tuple(Unicode(), Bool())).tag(sync=True)
    position = Float(0.5).tag(sync=True)
    side_by_side = Bool(False).tag(sync=True)
