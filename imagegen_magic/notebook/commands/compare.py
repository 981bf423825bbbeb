"""`%imagegen compare`: a slider between two images, both side by side, and how prompts, settings and numbers differ.

The numbers are pixels, format and bytes. There is no perceptual distance: the maintained libraries (LPIPS, DISTS) need a deep learning
framework, and a difference of hashes says less than a look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from IPython.core.error import UsageError

from imagegen_magic.errors import ImageInvalid
from imagegen_magic.notebook.arguments import image_selector
from imagegen_magic.notebook.arguments.image_selector import SelectedImage
from imagegen_magic.notebook.context import has_kernel
from imagegen_magic.notebook.output import slider
from imagegen_magic.notebook.output.display import Bundle, line, on_page, preview_bundle, show_all, text_bundle
from imagegen_magic.notebook.output.style import FONT, HEADING
from imagegen_magic.notebook.output.tables import Table
from imagegen_magic.studies import comparison
from imagegen_magic.studies.comparison import Change

if TYPE_CHECKING:
    from imagegen_magic.imaging.preview import Preview
    from imagegen_magic.imaging.verify import ImageInfo
    from imagegen_magic.notebook.context import NotebookContext

_SLIDER_BYTES, _SHEET_BYTES = 100_000, 150_000
_SAME_SHAPE = 0.02  # largest difference of two aspect ratios for a slider
_PROMPT = "margin:2px 0 10px;max-width:80ch;white-space:pre-wrap;overflow-wrap:anywhere"
# half-transparent: the page's own text is legible on it in a light and in a dark theme
_REMOVED = "background-color:rgba(229,57,53,0.28);text-decoration:line-through;border-radius:2px;padding:0 1px;color:inherit"
_ADDED = "background-color:rgba(67,160,71,0.32);text-decoration:underline;border-radius:2px;padding:0 1px;color:inherit"


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
        print(text(left, right))
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
    return [*slider, *_side_by_side(left, right), text_bundle(text(left, right), html(left, right))]


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


def text(left: Side, right: Side) -> str:
    """Return what differs as plain text; in the prompt `[-…-]` is in A only and `{+…+}` in B only."""
    heading, changes = _prompts(left, right)
    pieces = [" and ".join(_names(left, right)), f"{heading}\n{comparison.as_text(changes)}" if changes else heading]
    return "\n\n".join([*pieces, *(table.text() if table.rows else table.title for table in _tables(left, right))])


def html(left: Side, right: Side) -> str:
    """Return what differs as HTML: tables, and the prompt with words of A only struck out and words of B only underlined."""
    heading, changes = _prompts(left, right)
    prompt = f'<p style="{_PROMPT}">{"".join(map(_change, changes))}</p>' if changes else ""
    tables = "".join(table.html() if table.rows else _heading(table.title) for table in _tables(left, right))
    return f'<div class="imagegen-compared" style="{FONT}">{_heading(heading)}{prompt}{tables}</div>'


def _heading(text: str) -> str:
    return f'<div style="{HEADING}">{escape(text)}</div>'


def _change(change: Change) -> str:
    text = escape(change.text)
    if change.kind == "same":
        return text
    return f'<del style="{_REMOVED}">{text}</del>' if change.kind == "gone" else f'<ins style="{_ADDED}">{text}</ins>'


def _prompts(left: Side, right: Side) -> tuple[str, Sequence[Change]]:
    prompts = [left.selected.prompt, right.selected.prompt]
    if prompts[0] is None or prompts[1] is None:
        unknown = [name for name, prompt in zip(_names(left, right), prompts, strict=True) if prompt is None]
        return f"The prompt of {' and of '.join(unknown)} is unknown", ()
    changes = comparison.changes(prompts[0], prompts[1])
    same = all(change.kind == "same" for change in changes)
    return ("Prompt, the same for both" if same else "Prompt: struck out in A only, underlined in B only"), changes


def _tables(left: Side, right: Side) -> list[Table]:
    numbers = [(name, of(left), of(right)) for name, of in _NUMBERS.items()]
    found = [Table(("", "A", "B"), numbers, title="Numbers")]
    if left.selected.settings is not None and right.selected.settings is not None:
        differing = comparison.setting_diff(left.selected.settings, right.selected.settings)
        rows = [row for row in differing if row[0] != "pixels"]
        found.insert(0, Table(("", "A", "B"), rows, title="Settings that differ" if rows else "No setting differs"))
    return found


_NUMBERS = {
    "pixels": lambda side: f"{side.facts.width}×{side.facts.height} ({side.facts.width * side.facts.height / 1e6:.2f} MP)",
    "format": lambda side: side.facts.mime_type,
    "bytes": lambda side: f"{len(side.selected.data):,}",
}
