"""The static contact sheet below the panel: hidden while the panel is alive, shown by a saved notebook and a page without widgets."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from imagegen_magic.humanize import pluralize, truncate
from imagegen_magic.notebook.output.captions import caption, made_by
from imagegen_magic.notebook.output.display import Bundle, text_bundle
from imagegen_magic.notebook.output.style import AS_TEXT, COMPACT, QUIET, TEXT, hidden, hide_broken
from imagegen_magic.result import GeneratedImage

MAX_PICTURES = 24  # pictures; at 20 kB each the notebook stays small
PANEL_CLASS = "imagegen-panel"
_WORKS_IN = "JupyterLab, Notebook, VS Code, Colab and Voilà"
# the panel hides the sheet below it; the sheet hides a panel whose widget no longer exists
HIDE_SHEET = f"<style>.jp-OutputArea-child:has(.{PANEL_CLASS})+.jp-OutputArea-child:has(.imagegen-sheet){{display:none}}</style>"
_HIDE_BROKEN = hide_broken(PANEL_CLASS, "imagegen-sheet")
_TEXT = f"{TEXT};overflow-wrap:anywhere"
_QUIET = f"{QUIET};overflow-wrap:anywhere"


def where_it_works(*, shown: bool) -> str:
    """Return when or where the panel can be used: it is `shown` with its widgets, or not."""
    return "It works while its kernel runs." if shown else f"It works in {_WORKS_IN}: this page shows no widgets."


def hide(panel: str) -> str:
    """Return the style sheet with which a living panel hides its own sheets; `panel` is the id of its widget."""
    return hidden(f"imagegen-sheet-{panel}")


def bundle(pictures: Sequence[tuple[GeneratedImage, str]], total: int, panel: str = "") -> Bundle:
    """Return the sheet of (image, thumbnail's data URL), newest first, of `total` images; `panel` is the id of the open panel's widget."""
    text = "\n".join(f"{truncate(image.request.prompt, 90)}: {caption(image).text}" for image, _ in pictures)
    head = f"{_head(len(pictures), total)} {where_it_works(shown=bool(panel))}"
    figures = "".join(_figure(image, address) for image, address in pictures)
    grid = f'<div style="display:flex;flex-wrap:wrap;gap:12px">{figures}</div>'
    body = f'<p style="{_QUIET};margin:0 0 8px">{escape(head)}</p>{grid}'
    html = f'{_HIDE_BROKEN}<div class="imagegen-sheet imagegen-sheet-{panel} {AS_TEXT}" style="{COMPACT}">{body}</div>'
    return text_bundle(f"{head}\n{text}".strip(), html)


def _head(shown: int, total: int) -> str:
    if not total:
        return "imagegen panel: no picture yet."
    pictures = f"the latest {shown} of {total} pictures" if shown < total else pluralize(total, "picture")
    return f"imagegen panel: {pictures}."


def _figure(image: GeneratedImage, address: str) -> str:
    picture = f'<img src="{escape(address)}" alt="{escape(image.request.prompt)}" style="height:150px;max-width:100%;border-radius:3px">'
    facts = (f"{image.width}×{image.height} · {made_by(image)}", image.file.name)
    lines = "".join(f'<div style="{_QUIET}">{escape(fact)}</div>' for fact in facts)
    prompt = f'<div style="{_TEXT}">{escape(truncate(image.request.prompt, 90))}</div>'
    return f'<figure style="margin:0;max-width:240px">{picture}<figcaption>{prompt}{lines}</figcaption></figure>'
