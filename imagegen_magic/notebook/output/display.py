"""Pictures as bounded static outputs: an ordinary image, and one quiet caption line beneath it."""

from __future__ import annotations

import contextvars
import os
import time
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from imagegen_magic.errors import ImageGenError, ImageInvalid
from imagegen_magic.notebook.context import current_settings, current_shell, has_kernel, notebook_folder
from imagegen_magic.paths import text_of
from imagegen_magic.result import GeneratedImage
from imagegen_magic.secret_patterns import without_queries

EDGE = 1024  # pixels of a preview's longer edge, unless told otherwise

_QUIET = (
    "font-family:var(--jp-ui-font-family,sans-serif);font-size:var(--jp-ui-font-size1,13px);line-height:1.5;"
    "margin-bottom:6px;overflow-wrap:anywhere;color:var(--jp-ui-font-color2,inherit)"
)
_STANDS_OUT = "color:var(--jp-ui-font-color1,inherit);border-left:3px solid var(--jp-warn-color1,#f57c00);padding-left:6px"


class Bundle(NamedTuple):
    """One output: its data by MIME type, and its metadata."""

    data: dict[str, Any]
    metadata: dict[str, Any]


class Caption(NamedTuple):
    """One line about a picture, as plain text and as HTML with everything escaped."""

    text: str
    html: str

    def bundle(self) -> Bundle:
        """Return the line as an output."""
        return Bundle({"text/plain": without_queries(self.text), "text/html": without_queries(self.html)}, {})


class Canvas:
    """Where one cell's outputs go: the publisher and the cell that were current when this was made.

    What is shown anew belongs to that cell; an update finds its output by the display's id alone, from any thread, and
    goes out under the message the kernel handled last, because nbclient drops updates of any other cell's.
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
        """Replace the output of that id."""
        try:
            contextvars.Context().run(self._publish, bundle, display_id, True)
        except LookupError:  # ipykernel 7.0 knows a message's parent in the cell's own context only
            self._cell.copy().run(self._publish, bundle, display_id, True)

    def _publish(self, bundle: Bundle, display_id: str, update: bool) -> None:
        self._publisher.publish(bundle.data, bundle.metadata, transient={"display_id": display_id}, update=update)


def bundle(image: GeneratedImage, *, edge: int = EDGE) -> Bundle:
    """Return a picture as an output: a preview of at most `edge` pixels and 150 kB; its name alone where the file is gone."""
    from imagegen_magic.imaging.preview import preview

    text = f"{text_of(image.path.name)}, {image.width}×{image.height}"
    small = image.preview
    if small is None or max(small.width, small.height) > edge:
        try:
            small = preview(image.data, edge=edge)
        except (OSError, ImageInvalid) as error:
            return line(f"{text} is no longer readable: {getattr(error, 'strerror', None) or error}", stands_out=True)
    width, height = on_page(small.width, small.height, edge)
    return Bundle({small.mime_type: small.base64, "text/plain": text}, {small.mime_type: {"width": width, "height": height}})


def on_page(width: int, height: int, edge: int = EDGE) -> tuple[int, int]:
    """Return how large a preview is drawn, in CSS pixels: within 640 by 480 for the usual edge, so that a dense screen shows it sharp."""
    scale = min(1.0, edge * 0.625 / width, edge * 0.46875 / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def caption(image: GeneratedImage, *, folder: Path | None = None) -> Caption:
    """Return the line about a picture; the path is told from `folder` (default: where the notebook is)."""
    gateway = f"{image.provider} {image.model}" + (" (sandbox)" if image.sandbox else "")
    facts = [f"{image.width}×{image.height}", gateway]
    if image.seconds is not None:
        facts.append(duration(image.seconds))
    facts += _money(image, time.time())
    path, address = _from(image.path, folder or notebook_folder())
    loud = (*image.differences, *_disobedience(image))
    text = " · ".join([*loud, *facts, path])
    return Caption(text, _caption_html(loud, facts, path, address))


def changed(share: float) -> str:
    """Return in words how much of what a mask protects was changed: a share of its pixels, 0 to 1."""
    if not share:
        return "nothing changed of what the mask protects"
    return f"the gateway changed {'under 1' if share < 0.01 else f'{share * 100:.0f}'} % of what the mask protects"


def _disobedience(image: GeneratedImage) -> tuple[str, ...]:
    """Return what to say of an edit that changed more of what its mask protects than the person puts up with."""
    if image.drift is None or image.drift[0] <= _drift_above():
        return ()
    return (changed(image.drift[0]) + (f" (%imagegen drift {image.id} shows where)" if image.id else ""),)


def _drift_above() -> float:
    """Return the share of protected pixels above which a change is told: the notebook's setting, else that of the environment."""
    from imagegen_magic.engine import settings

    try:
        found = current_settings()
    except ImageGenError:  # a setting that cannot be read is told by the next cell; a picture is shown all the same
        found = settings.Settings(notebook_folder())
    return float(found.sound.get("drift_above"))


def _caption_html(differences: tuple[str, ...], facts: list[str], path: str, address: str) -> str:
    loud = [f'<strong style="{_STANDS_OUT}">{escape(words)}</strong>' for words in differences]
    link = f'<a href="{escape(address)}">{escape(path)}</a>' if address else escape(path)
    return f'<div style="{_QUIET}">{" · ".join([*loud, *map(escape, facts), link])}</div>'


def _money(image: GeneratedImage, now: float) -> list[str]:
    """Return what a picture cost now: nothing where it was there already; and whether the very same was asked for before."""
    if image.reused:
        return [f"reused, nothing spent, made {ago(now - image.created)}"]
    if image.earlier is None:
        return [str(image.cost)]
    number, made = image.earlier
    return [str(image.cost), f"an identical request exists: picture {number}, made {ago(now - made)}"]


def near(path: Path, folder: Path | None = None) -> str:
    """Return a path as it is told from a folder (default: where the notebook is)."""
    return _from(path, folder or notebook_folder())[0]


def _from(path: Path, folder: Path) -> tuple[str, str]:
    try:
        near = path.resolve().relative_to(folder.resolve())
    except ValueError:
        return text_of(path), ""
    return text_of(near), quote(os.fsencode(near.as_posix()))


def duration(seconds: float) -> str:
    """Return seconds as a person says them: `12 s`, `2 min 5 s`."""
    whole = max(0, round(seconds))
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60} s"


_AGES = ((86_400 * 365, "year"), (86_400 * 30, "month"), (86_400, "day"), (3600, "hour"), (60, "minute"))


def ago(seconds: float) -> str:
    """Return how long ago something was, as a person says it: `just now`, `3 days ago`."""
    for size, noun in _AGES:
        if seconds >= size:
            number = int(seconds // size)
            return f"{number} {noun}{'' if number == 1 else 's'} ago"
    return "just now"


def line(text: str, *, stands_out: bool = False) -> Bundle:
    """Return one line of words as an output."""
    style = f"{_QUIET};{_STANDS_OUT}" if stands_out else _QUIET
    return Caption(text, f'<div style="{style}">{escape(text)}</div>').bundle()


def joined(bundles: Iterable[Bundle]) -> Bundle:
    """Return several outputs' words as one output, where there is no room for each; of a picture, its name."""
    words = [(str(one.data["text/plain"]), str(one.data.get("text/html", ""))) for one in bundles]
    html = "".join(markup or f"<div>{escape(text)}</div>" for text, markup in words)
    return Bundle({"text/plain": "\n".join(text for text, _ in words), "text/html": html}, {})


def show(image: GeneratedImage, shell: Any = None, *, edge: int = EDGE) -> None:
    """Show a picture and its caption in the cell that runs now; in a terminal, the caption alone."""
    shell = shell or current_shell()
    said = caption(image)
    if not has_kernel(shell):
        print(said.text)
        return
    canvas = Canvas(shell)
    canvas.show(bundle(image, edge=edge))
    canvas.show(said.bundle())
