"""Images and lines of text as outputs of a cell: ordinary, bounded, and still there when a saved notebook is opened."""

from __future__ import annotations

import contextvars
import os
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from imagegen_magic.notebook.context import has_kernel
from imagegen_magic.notebook.output import captions
from imagegen_magic.result import GeneratedImage

if TYPE_CHECKING:
    from imagegen_magic.imaging.preview import Preview

EDGE = 1024  # pixels of a preview's longer edge, by default
_STATIC_EDGE, _STATIC_BYTES = 800, 28_000  # of the image beside the same in HTML
_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class Bundle(NamedTuple):
    """One output: its data by MIME type, and its metadata."""

    data: dict[str, Any]
    metadata: dict[str, Any]


REMOVED = Bundle(
    {
        "text/plain": " ",
        "text/html": '<span class="imagegen-ended"></span>'
        "<style>.jp-OutputArea-child:has(>.jp-OutputArea-output>.imagegen-ended){display:none}</style>",
    },
    {},
)
"""What an output becomes that is no longer needed: none can be removed, but JupyterLab then hides it."""


class Canvas:
    """The outputs of one cell: the publisher and the cell that were current when this was created.

    New outputs belong to that cell. An update finds its output by the display id alone, from any thread. It is sent as a reply to
    the message that the kernel handled last, because nbclient drops updates of any other cell.
    """

    def __init__(self, shell: Any) -> None:
        self._publisher = shell.display_pub
        self._cell = contextvars.copy_context()

    def show(self, bundle: Bundle) -> str:
        """Add an output and return its display id."""
        display_id = os.urandom(16).hex()
        self._cell.copy().run(self._publish, bundle, display_id, False)
        return display_id

    def update(self, display_id: str, bundle: Bundle) -> None:
        """Replace the output with that id."""
        try:
            contextvars.Context().run(self._publish, bundle, display_id, True)
        except LookupError:  # ipykernel 7.0 knows a message's parent in the cell's own context only
            self._cell.copy().run(self._publish, bundle, display_id, True)

    def _publish(self, bundle: Bundle, display_id: str, update: bool) -> None:
        self._publisher.publish(bundle.data, bundle.metadata, transient={"display_id": display_id}, update=update)


def show_all(shell: Any, bundles: Iterable[Bundle]) -> None:
    """Show outputs in the running cell; in a terminal, print the text of those that are not images."""
    if has_kernel(shell):
        canvas = Canvas(shell)
        for each in bundles:
            canvas.show(each)
        return
    for each in bundles:
        if not is_picture(each):
            print(each.data["text/plain"], flush=True)


def is_picture(bundle: Bundle) -> bool:
    """Whether an output has a picture."""
    return any(mime_type.startswith("image/") for mime_type in bundle.data)


def preview_bundle(preview: Preview, text: str, size: tuple[int, int] | None = None, html: str = "") -> Bundle:
    """Return a preview as an output with its `text`, also as its alternative text; `size` in CSS pixels, `html` stands below it."""
    from imagegen_magic.imaging.preview import preview as smaller

    width, height = size or on_page(preview.width, preview.height)
    box = f'width="{width}" height="{height}" style="max-width:100%;height:auto"'
    image = f'<img src="{preview.data_url}" alt="{escape(text)}" {box}>'
    static = preview
    if len(preview.data) > _STATIC_BYTES or max(preview.width, preview.height) > _STATIC_EDGE:
        static = smaller(preview.data, _STATIC_EDGE, _STATIC_BYTES)
    return with_image(f'<div class="imagegen-picture">{image}{html}</div>', text, static, text, (width, height))


def with_image(html: str, text: str, image: Preview, alt: str, size: tuple[int, int] | None = None) -> Bundle:
    """Return HTML with pictures as an output, and `image` for front ends without HTML; `size` in CSS pixels."""
    width, height = size or on_page(image.width, image.height)
    data = {"text/html": html, image.mime_type: image.base64, "text/plain": text}
    return Bundle(data, {image.mime_type: {"width": width, "height": height, "alt": alt}})


def on_page(width: int, height: int, edge: int = EDGE) -> tuple[int, int]:
    """Return the size of a preview in CSS pixels: within 640 by 480 for the default edge, so that it is sharp on a dense screen."""
    scale = min(1.0, edge * 0.625 / width, edge * 0.46875 / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def widget_bundle(widget: Any, text: str) -> Bundle:
    """Return a living widget as an output; `text` is shown without it."""
    view = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    return Bundle({_WIDGET_VIEW: view, "text/plain": text}, {})


def text_bundle(text: str, html: str) -> Bundle:
    """Return text as an output, with its HTML."""
    return Bundle({"text/plain": text, "text/html": html}, {})


def caption(image: GeneratedImage) -> Bundle:
    """Return the caption of an image as an output."""
    return text_bundle(*captions.caption(image))


def line(text: str, *, stands_out: bool = False) -> Bundle:
    """Return one line of text as an output."""
    return text_bundle(*captions.note(text, stands_out=stands_out))


def joined(bundles: Iterable[Bundle]) -> Bundle:
    """Return several outputs as one: their text and HTML, and the first image."""
    listed = list(bundles)
    texts = [(str(each.data["text/plain"]), str(each.data.get("text/html", ""))) for each in listed]
    html = "".join(markup or f"<div>{escape(text)}</div>" for text, markup in texts)
    first = next(filter(is_picture, listed), Bundle({}, {}))
    data = {**first.data, "text/plain": "\n".join(text for text, _ in texts), "text/html": html}
    return Bundle(data, first.metadata)
