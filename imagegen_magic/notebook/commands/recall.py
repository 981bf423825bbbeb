"""`%imagegen recall` and `tree`: the cell that made an image, and which image was made from which."""

from __future__ import annotations

import os
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.display import display

from imagegen_magic.engine import api, loop
from imagegen_magic.engine.jobs.reuse import generated
from imagegen_magic.humanize import truncate
from imagegen_magic.notebook.arguments import cell_text, image_selector
from imagegen_magic.notebook.context import accepts_input, is_voila
from imagegen_magic.notebook.output.captions import made_by
from imagegen_magic.notebook.output.style import AS_TEXT, COMPACT, QUIET
from imagegen_magic.notebook.output.tables import show_note
from imagegen_magic.notebook.output.thumbnails import ALT_LENGTH, thumbnail
from imagegen_magic.paths import located
from imagegen_magic.secret_patterns import without_queries
from imagegen_magic.studies.history import lineage, provenance
from imagegen_magic.studies.history.lineage import Lineage, Node
from imagegen_magic.studies.history.provenance import Recollection

if TYPE_CHECKING:
    from imagegen_magic.engine.ledger.ledger import PictureRow
    from imagegen_magic.notebook.context import NotebookContext

_EDGE, _BYTES = 96, 6_000  # of a thumbnail: pixels, bytes
_MAX_THUMBNAILS = 40
_BRANCH = "list-style:none;margin:0 0 0 14px;padding:0 0 0 14px;border-left:1px solid var(--jp-border-color1,#8888)"


def recall(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Write the cell that made an image into the next cell; if the front end has none, print it."""
    found = _recollect(context, arguments[0])
    text = cell_text.cell(found.request, found.provider, sandbox=found.sandbox)
    if accepts_input(context.shell) and not is_voila():
        context.shell.set_next_input(text)
        show_note(" ".join([f"The cell below repeats the request of {found.source}.", *found.notes]))
    else:
        print("\n".join([text, *(f"({note})" for note in found.notes)]))


def _recollect(context: NotebookContext, word: str) -> Recollection:
    settings = context.settings()
    ledger, path = api.ledger(settings), located(os.path.expanduser(word))
    is_variable = not path.is_file() and word.partition("[")[0] in context.shell.user_ns
    try:
        if is_variable or image_selector.parse_id(word) is not None:
            return loop.run(provenance.of_picture(ledger, image_selector.find_row(context, word).id, settings.folder))
        return loop.run(provenance.of_file(ledger, path, settings.folder))
    except LookupError as error:
        raise UsageError(f"Nothing to recall: {error.args[0]}.") from None
    except OSError as error:
        takes = "%imagegen recall takes an ID, a variable or a picture's file"
        raise UsageError(f"{word} cannot be read: {error.strerror or error}. {takes}.") from None


def tree(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Show what an image was made from, and what was made from it."""
    number = image_selector.find_row(context, arguments[0]).id
    display(Tree(loop.run(lineage.lineage(api.ledger(context.settings()), number))))


class Tree:
    """A lineage as an output: boxes and lines in a terminal, thumbnails on a page."""

    def __init__(self, found: Lineage) -> None:
        self._found = found
        self._thumbnails = _MAX_THUMBNAILS

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self._html()}

    def __str__(self) -> str:
        return "\n".join([*(lines + self._line(what) for lines, what in lineage.draw_lines(self._found)), *self._remarks()])

    def _line(self, what: Node | str | None) -> str:
        if isinstance(what, str):
            return what
        if what is None:
            return f"@{self._found.picture.id} {_words(self._found.picture)}"
        about = f" {_words(what.picture)}" if what.picture else ""
        return f"{without_queries(what.name)}{about} ({what.role}{', see above' if what.again else ''})"

    def _remarks(self) -> Iterator[str]:
        found = self._found
        if not found.origins and not found.offspring:
            yield "Made without references, and nothing was made from it yet."
        if found.left_out:
            yield f"… and {found.left_out} more"

    def _html(self) -> str:
        self._thumbnails = _MAX_THUMBNAILS
        found = self._found
        root = f'<div style="border-left:3px solid var(--jp-brand-color1,#1976d2);padding-left:8px">{self._picture(found.picture)}</div>'
        parts = "".join(
            f'<div style="{QUIET};margin:6px 0 2px">{heading}</div>{self._branch(nodes)}'
            for heading, nodes in (("made from", found.origins), ("made into", found.offspring))
            if nodes
        )
        remarks = "".join(f'<p style="{QUIET};margin:6px 0">{escape(words)}</p>' for words in self._remarks())
        return f'<div class="imagegen-tree {AS_TEXT}" style="{COMPACT}">{root}{parts}{remarks}</div>'

    def _branch(self, nodes: tuple[Node, ...]) -> str:
        return f'<ul style="{_BRANCH}">{"".join(map(self._item, nodes))}</ul>' if nodes else ""

    def _item(self, node: Node) -> str:
        role = f"{node.role}, see above" if node.again else node.role
        if node.picture is None:
            name = escape(without_queries(node.name))
            about = f'<div style="padding:4px 0;overflow-wrap:anywhere">{name} <span style="{QUIET}">{role}</span></div>'
        else:
            about = self._picture(node.picture, role)
        return f'<li style="margin:0">{about}{self._branch(node.children)}</li>'

    def _picture(self, row: PictureRow, role: str = "") -> str:
        image, source = generated(row), ""
        if self._thumbnails > 0:
            self._thumbnails -= 1
            source = thumbnail(image, _EDGE, _BYTES)
        drawn = f'<img src="{source}" alt="{escape(truncate(image.request.prompt, ALT_LENGTH))}" style="{_SMALL}">' if source else ""
        facts = " · ".join(filter(None, [role, made_by(image), f"{image.width}×{image.height}"]))
        words = f'<div><b>@{image.id}</b> {escape(truncate(image.request.prompt))}</div><div style="{QUIET}">{escape(facts)}</div>'
        return f'<div style="display:flex;gap:10px;align-items:center;padding:4px 0">{drawn}<div>{words}</div></div>'


_SMALL = "width:48px;height:48px;object-fit:cover;border-radius:3px;flex:none;margin:0"


def _words(row: PictureRow) -> str:
    gateway = f"{row.provider} {row.model}"
    return f"{truncate(str(row.asked.get('prompt', '')))} · {gateway} · {row.width}×{row.height}"
