"""Images and lines of text as outputs of a cell: ordinary, bounded, and still there when a saved notebook is opened."""

from __future__ import annotations

import contextvars
import os
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from imagegen_magic.errors import ImageInvalid
from imagegen_magic.notebook.context import current_shell, has_kernel
from imagegen_magic.notebook.output import captions
from imagegen_magic.paths import text_of
from imagegen_magic.result import GeneratedImage

if TYPE_CHECKING:
    from imagegen_magic.imaging.preview import Preview

EDGE = 1024  # pixels of a preview's longer edge, by default
_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class Bundle(NamedTuple):
    """One output: its data by MIME type, and its metadata."""

    data: dict[str, Any]
    metadata: dict[str, Any]


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
        if not any(mime_type.startswith("image/") for mime_type in each.data):
            print(each.data["text/plain"], flush=True)


def bundle(image: GeneratedImage, *, edge: int = EDGE) -> Bundle:
    """Return an image as an output: a preview of at most `edge` pixels and 150 kB; only its name if the file is missing."""
    from imagegen_magic.imaging.preview import preview

    text = f"{text_of(image.path.name)}, {image.width}×{image.height}"
    small = image.preview
    if small is None or max(small.width, small.height) > edge:
        try:
            small = preview(image.data, edge=edge)
        except (OSError, ImageInvalid) as error:
            return line(f"{text} is no longer readable: {getattr(error, 'strerror', None) or error}", stands_out=True)
    return preview_bundle(small, text, on_page(small.width, small.height, edge))


def preview_bundle(preview: Preview, text: str, size: tuple[int, int] | None = None) -> Bundle:
    """Return a preview as an output with its `text`; `size` in CSS pixels."""
    width, height = size or on_page(preview.width, preview.height)
    data = {preview.mime_type: preview.base64, "text/plain": text}
    return Bundle(data, {preview.mime_type: {"width": width, "height": height}})


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
    """Return the text of several outputs as one output."""
    texts = [(str(each.data["text/plain"]), str(each.data.get("text/html", ""))) for each in bundles]
    html = "".join(markup or f"<div>{escape(text)}</div>" for text, markup in texts)
    return text_bundle("\n".join(text for text, _ in texts), html)


def show(image: GeneratedImage, shell: Any = None, *, edge: int = EDGE) -> None:
    """Show an image and its caption in the running cell; in a terminal, only the caption."""
    shell = shell or current_shell()
    outputs = [bundle(image, edge=edge)] if has_kernel(shell) else []
    show_all(shell, [*outputs, caption(image)])
