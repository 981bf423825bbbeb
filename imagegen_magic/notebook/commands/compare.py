"""`%imagegen compare`: two pictures over and beside one another, and what differs in prompt, settings and numbers.

The numbers are pixels, format and bytes. There is no perceptual distance: the libraries that are well kept (LPIPS, DISTS) bring a deep
learning framework with them, and what a small one could say (a difference of hashes) says less than a look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from IPython.core.error import UsageError

from imagegen_magic.errors import ImageInvalid
from imagegen_magic.notebook.arguments import image_selector
from imagegen_magic.notebook.arguments.image_selector import Picked
from imagegen_magic.notebook.context import has_kernel
from imagegen_magic.notebook.output.display import Bundle, Canvas, line, on_page
from imagegen_magic.notebook.output.tables import Table
from imagegen_magic.studies import comparison
from imagegen_magic.studies.comparison import Change

if TYPE_CHECKING:
    from imagegen_magic.imaging.preview import Preview
    from imagegen_magic.imaging.verify import ImageInfo
    from imagegen_magic.notebook.context import NotebookContext

_SLIDER_BYTES, _BESIDE_BYTES = 100_000, 150_000
_ALIKE = 0.02  # of a shape, within which two pictures can lie over one another
_FONT = "font-family:var(--jp-ui-font-family,sans-serif);font-size:var(--jp-ui-font-size1,13px);line-height:1.5"
_PROMPT = "margin:2px 0 10px;max-width:80ch;white-space:pre-wrap;overflow-wrap:anywhere"
_HEADING = "font-weight:600;margin:8px 0 2px"
# half-transparent, so that the page's own text stands out on it in a light theme and in a dark one
_GONE = "background-color:rgba(229,57,53,0.28);text-decoration:line-through;border-radius:2px;padding:0 1px;color:inherit"
_NEW = "background-color:rgba(67,160,71,0.32);text-decoration:underline;border-radius:2px;padding:0 1px;color:inherit"


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: what was picked, what it is by its bytes, and its preview."""

    picked: Picked
    facts: ImageInfo
    preview: Preview


def compare(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Show two pictures (ids, variables or files) against one another, as outputs that survive saving."""
    if len(arguments) != 2:
        raise UsageError("The subcommand is %imagegen compare A B, each an ID, a variable or a file.")
    left, right = (_side(context, word) for word in arguments)
    if not has_kernel(context.shell):
        print(text(left, right))
        return
    canvas = Canvas(context.shell)
    for bundle in bundles(left, right):
        canvas.show(bundle)


def _side(context: NotebookContext, word: str) -> Side:
    from imagegen_magic.imaging.containers import identify
    from imagegen_magic.imaging.preview import preview
    from imagegen_magic.imaging.verify import verify

    picked = image_selector.pick(context, word)
    try:
        identify(picked.data)  # a file of this machine is not quoted, as what a gateway sent would be
        facts, _ = verify(picked.data)
        return Side(picked, facts, preview(picked.data, limit=_SLIDER_BYTES))
    except ImageInvalid as error:
        raise UsageError(f"{word} cannot be shown: {error.what[:1].lower()}{error.what[1:]}.") from None


def bundles(left: Side, right: Side) -> list[Bundle]:
    """Return the outputs: the slider where both have one shape, the two side by side, and what differs."""
    slider = [_slider(left, right)] if _same_shape(left, right) else []
    return [*slider, *_beside(left, right), Bundle({"text/plain": text(left, right), "text/html": html(left, right)}, {})]


def _same_shape(left: Side, right: Side) -> bool:
    shapes = [side.preview.width / side.preview.height for side in (left, right)]
    return abs(shapes[0] / shapes[1] - 1) <= _ALIKE


def _slider(left: Side, right: Side) -> Bundle:
    from imagegen_magic.notebook.output import slider

    addresses = [f"data:{side.preview.mime_type};base64,{side.preview.base64}" for side in (left, right)]
    width, height = on_page(left.preview.width, left.preview.height)
    names = _names(left, right)
    markup = slider.html(*addresses, width=width, height=height, before_words=names[0], after_words=names[1])
    return Bundle({"text/plain": f"{names[0]} over {names[1]}, with a line to drag", "text/html": markup}, {})


def _beside(left: Side, right: Side) -> list[Bundle]:
    """Return the two side by side, and a line where no font of this machine draws their names."""
    from imagegen_magic.imaging.sheet.grid import contact_sheet
    from imagegen_magic.imaging.text import missing_fonts

    names = _names(left, right)
    sheet = contact_sheet([left.preview.data, right.preview.data], names, columns=2)
    small = sheet.preview(limit=_BESIDE_BYTES)
    data = {small.mime_type: small.base64, "text/plain": f"{names[0]} beside {names[1]}"}
    width, height = on_page(small.width, small.height)
    beside = Bundle(data, {small.mime_type: {"width": width, "height": height}})
    lacking = missing_fonts.words(sheet.missing_scripts())
    return [beside, line(lacking, stands_out=True)] if lacking else [beside]


def _names(left: Side, right: Side) -> list[str]:
    return [f"A: {left.picked.name}", f"B: {right.picked.name}"]


def text(left: Side, right: Side) -> str:
    """Return what differs as plain text; in the prompt `[-gone-]` stands in A alone and `{+new+}` in B alone."""
    heading, changes = _prompts(left, right)
    pieces = [" and ".join(_names(left, right)), f"{heading}\n{comparison.marked(changes)}" if changes else heading]
    return "\n\n".join([*pieces, *(table.text() if table.rows else table.title for table in _tables(left, right))])


def html(left: Side, right: Side) -> str:
    """Return what differs as HTML: the prompt with what A alone says struck out and what B alone says underlined, and tables."""
    heading, changes = _prompts(left, right)
    prompt = f'<p style="{_PROMPT}">{"".join(map(_change, changes))}</p>' if changes else ""
    tables = "".join(table.html() if table.rows else _heading(table.title) for table in _tables(left, right))
    return f'<div class="imagegen-compared" style="{_FONT}">{_heading(heading)}{prompt}{tables}</div>'


def _heading(words: str) -> str:
    return f'<div style="{_HEADING}">{escape(words)}</div>'


def _change(change: Change) -> str:
    words = escape(change.text)
    if change.kind == "same":
        return words
    return f'<del style="{_GONE}">{words}</del>' if change.kind == "gone" else f'<ins style="{_NEW}">{words}</ins>'


def _prompts(left: Side, right: Side) -> tuple[str, Sequence[Change]]:
    prompts = [left.picked.prompt, right.picked.prompt]
    if prompts[0] is None or prompts[1] is None:
        unknown = [name for name, prompt in zip(_names(left, right), prompts, strict=True) if prompt is None]
        return f"The prompt of {' and of '.join(unknown)} is not known", ()
    changes = comparison.changes(prompts[0], prompts[1])
    same = all(change.kind == "same" for change in changes)
    return ("Prompt, the same for both" if same else "Prompt: struck out in A alone, underlined in B alone"), changes


def _tables(left: Side, right: Side) -> list[Table]:
    numbers = [(name, of(left), of(right)) for name, of in _NUMBERS.items()]
    found = [Table(("", "A", "B"), numbers, title="Numbers")]
    if left.picked.settings is not None and right.picked.settings is not None:
        unlike = comparison.differing(left.picked.settings, right.picked.settings)
        rows = [row for row in unlike if row[0] != "pixels"]
        found.insert(0, Table(("", "A", "B"), rows, title="Settings that differ" if rows else "No setting differs"))
    return found


_NUMBERS = {
    "pixels": lambda side: f"{side.facts.width}×{side.facts.height} ({side.facts.width * side.facts.height / 1e6:.2f} MP)",
    "format": lambda side: side.facts.mime_type,
    "bytes": lambda side: f"{len(side.picked.data):,}",
}
