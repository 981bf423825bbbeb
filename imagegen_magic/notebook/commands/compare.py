"""`%imagegen compare`: a slider between two images, both side by side, and how prompts, settings and numbers differ.

The numbers are pixels, format and bytes. There is no perceptual distance: the maintained libraries (LPIPS, DISTS) need a deep learning
framework, and a difference of hashes says less than a look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from IPython.core.error import UsageError

from imagegen_magic.errors import ImageInvalid
from imagegen_magic.notebook.arguments import image_selector
from imagegen_magic.notebook.arguments.image_selector import SelectedImage
from imagegen_magic.notebook.context import has_kernel
from imagegen_magic.notebook.output import slider
from imagegen_magic.notebook.output.display import Bundle, line, on_page, preview_bundle, show_all, text_bundle
from imagegen_magic.notebook.output.style import HEADING
from imagegen_magic.notebook.output.tables import Note, Page, Piece, Table
from imagegen_magic.studies import comparison
from imagegen_magic.studies.comparison import Change

if TYPE_CHECKING:
    from imagegen_magic.imaging.preview import Preview
    from imagegen_magic.imaging.verify import ImageInfo
    from imagegen_magic.notebook.context import NotebookContext

_SLIDER_BYTES, _SHEET_BYTES = 75_000, 75_000
_SAME_SHAPE = 0.02  # largest difference of two aspect ratios for a slider
_PROMPT = "margin:2px 0 10px;max-width:80ch;white-space:pre-wrap;overflow-wrap:anywhere"
# half-transparent: the page's own text is legible on it in a light and in a dark theme
_REMOVED = "background-color:rgba(229,57,53,0.28);text-decoration:line-through;border-radius:2px;padding:0 1px;color:inherit"
_ADDED = "background-color:rgba(67,160,71,0.32);text-decoration:underline;border-radius:2px;padding:0 1px;color:inherit"
_CHANGE = {"same": "{}", "removed": f'<del style="{_REMOVED}">{{}}</del>', "added": f'<ins style="{_ADDED}">{{}}</ins>'}


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two images: its source, its facts by its bytes, and its preview."""

    selected: SelectedImage
    facts: ImageInfo
    preview: Preview


def compare(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Compare two images (ids, variables or files), as outputs that stay in the saved notebook."""
    left, right = (_side(context, word) for word in arguments)
    if not has_kernel(context.shell):
        print(page(left, right))
        return
    show_all(context.shell, bundles(left, right))


def _side(context: NotebookContext, word: str) -> Side:
    from imagegen_magic.imaging.containers import identify
    from imagegen_magic.imaging.preview import preview
    from imagegen_magic.imaging.verify import verify

    selected = image_selector.select(context, word)
    try:
        identify(selected.data)  # raises with less detail than for the bytes of a gateway
        facts, _ = verify(selected.data)
        return Side(selected, facts, preview(selected.data, limit=_SLIDER_BYTES))
    except ImageInvalid as error:
        raise UsageError(f"{word} cannot be shown: {error.what[:1].lower()}{error.what[1:]}.") from None


def bundles(left: Side, right: Side) -> list[Bundle]:
    """Return the outputs: a slider if both have the same shape, both side by side, and what differs."""
    slider = [_slider(left, right)] if _same_shape(left, right) else []
    differences = page(left, right)
    return [*slider, *_side_by_side(left, right), text_bundle(str(differences), differences.html("imagegen-compared"))]


def _same_shape(left: Side, right: Side) -> bool:
    shapes = [side.preview.width / side.preview.height for side in (left, right)]
    return abs(shapes[0] / shapes[1] - 1) <= _SAME_SHAPE


def _slider(left: Side, right: Side) -> Bundle:
    addresses = [side.preview.data_url for side in (left, right)]
    width, height = on_page(left.preview.width, left.preview.height)
    names = _names(left, right)
    markup = slider.html(*addresses, width=width, height=height, before_words=names[0], after_words=names[1])
    return text_bundle(f"{names[0]} over {names[1]}, with a line to drag", markup)


def _side_by_side(left: Side, right: Side) -> list[Bundle]:
    """Return both side by side, and a line if this machine has no font for their names."""
    from imagegen_magic.imaging.sheet.grid import contact_sheet
    from imagegen_magic.imaging.text import missing_fonts

    names = _names(left, right)
    sheet = contact_sheet([left.preview.data, right.preview.data], names, columns=2)
    small = sheet.preview(limit=_SHEET_BYTES)
    both = preview_bundle(small, f"{names[0]} beside {names[1]}")
    warning = missing_fonts.words(sheet.missing_scripts())
    return [both, line(warning, stands_out=True)] if warning else [both]


def _names(left: Side, right: Side) -> list[str]:
    return [f"A: {left.selected.name}", f"B: {right.selected.name}"]


def page(left: Side, right: Side) -> Page:
    """Return how prompts, settings and numbers differ."""
    pieces: list[Piece] = [Note(" and ".join(_names(left, right))), _prompts(left, right)]
    if left.selected.settings is not None and right.selected.settings is not None:
        differing = comparison.setting_diff(left.selected.settings, right.selected.settings)
        rows = [row for row in differing if row[0] != "pixels"]
        pieces.append(Table(("", "A", "B"), rows, title="Settings that differ") if rows else Note("No setting differs"))
    numbers = [(name, of(left), of(right)) for name, of in _NUMBERS.items()]
    return Page(*pieces, Table(("", "A", "B"), numbers, title="Numbers"))


def _prompts(left: Side, right: Side) -> Piece:
    prompts = [left.selected.prompt, right.selected.prompt]
    if prompts[0] is None or prompts[1] is None:
        unknown = [name for name, prompt in zip(_names(left, right), prompts, strict=True) if prompt is None]
        return Note(f"The prompt of {' and of '.join(unknown)} is unknown")
    return _PromptDiff(comparison.changes(prompts[0], prompts[1]))


class _PromptDiff(NamedTuple):
    """A word diff of two prompts; in its text `[-…-]` is in A only and `{+…+}` in B only."""

    changes: Sequence[Change]

    @property
    def _heading(self) -> str:
        same = all(change.kind == "same" for change in self.changes)
        return "Prompt, the same for both" if same else "Prompt: struck out in A only, underlined in B only"

    def text(self) -> str:
        return f"{self._heading}\n{comparison.as_text(self.changes)}"

    def html(self) -> str:
        words = "".join(_CHANGE[change.kind].format(escape(change.text)) for change in self.changes)
        return f'<div style="{HEADING}">{self._heading}</div><p style="{_PROMPT}">{words}</p>'


_NUMBERS = {
    "pixels": lambda side: f"{side.facts.width}×{side.facts.height} ({side.facts.width * side.facts.height / 1e6:.2f} MP)",
    "format": lambda side: side.facts.mime_type,
    "bytes": lambda side: f"{len(side.selected.data):,}",
}
