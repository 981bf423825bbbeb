"""Tables and plans as outputs: HTML in the front end's own colours, everything escaped, and a plain text twin."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from imagegen_magic.secret_patterns import without_queries

if TYPE_CHECKING:
    from imagegen_magic.providers.base import Plan

_FONT = "font-family:var(--jp-ui-font-family,sans-serif);font-size:var(--jp-ui-font-size1,13px);line-height:1.5"
_RULE = "1px solid var(--jp-border-color2,#8884)"
_CELL = f"text-align:left;vertical-align:top;padding:3px 12px 3px 0;border:0;border-bottom:{_RULE}"
_HEAD = f"{_CELL};font-weight:600;color:var(--jp-ui-font-color2,inherit)"
_SHORT = 22  # signs of a cell that are not broken into lines
_QUIET = "color:var(--jp-ui-font-color2,inherit);margin:4px 0"
_CODE = (
    "font-family:var(--jp-code-font-family,monospace);font-size:var(--jp-code-font-size,13px);"
    "white-space:pre-wrap;overflow-wrap:anywhere;margin:4px 0"
)


class Cell(NamedTuple):
    """A cell of a table: its `text`, a link's `address`, or the `picture` (a data: address) that stands before it.

    `alt` says in words what the picture shows; where nothing is said, the text stands for it.
    """

    text: str
    address: str = ""
    picture: str = ""
    alt: str = ""

    def html(self) -> str:
        """Return the cell's HTML, escaped; only http and https addresses become links."""
        words = escape(self.text).replace("\n", "<br>")
        if self.address.startswith(("https://", "http://")):
            words = f'<a href="{escape(self.address)}" target="_blank" rel="noopener">{words}</a>'
        if self.picture.startswith("data:image/"):
            alt = escape(shortened(self.alt or self.text, 300))
            words = f'<img src="{escape(self.picture)}" alt="{alt}" style="max-width:96px;max-height:72px;display:block"> {words}'
        return words


class Piece(Protocol):
    """A part of a page."""

    def html(self) -> str:
        """Return it as HTML, escaped."""

    def text(self) -> str:
        """Return it as plain text."""


class Page:
    """What a subcommand shows: pieces that have an HTML and a text of their own, one beneath the other.

    Addresses are shown without their queries.
    """

    def __init__(self, *pieces: Piece) -> None:
        self.pieces = pieces

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        html = without_queries("".join(piece.html() for piece in self.pieces))
        return {"text/html": f'<div style="{_FONT};overflow-x:auto">{html}</div>', "text/plain": str(self)}

    def __str__(self) -> str:
        return without_queries("\n\n".join(piece.text() for piece in self.pieces))


class Note(NamedTuple):
    """A line of words."""

    words: str

    def html(self) -> str:
        """Return the words, escaped."""
        return f'<p style="{_QUIET}">{escape(self.words)}</p>'

    def text(self) -> str:
        """Return the words."""
        return self.words


class Code(NamedTuple):
    """Text to be read letter by letter."""

    words: str

    def html(self) -> str:
        """Return the text, escaped, in the code font."""
        return f'<pre style="{_CODE}">{escape(self.words)}</pre>'

    def text(self) -> str:
        """Return the text."""
        return self.words


class Table(NamedTuple):
    """Rows beneath heads (there may be none); a cell is text or a `Cell`."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    title: str = ""

    def html(self) -> str:
        """Return the table, escaped."""
        head = "".join(f'<th style="{_HEAD}">{escape(words)}</th>' for words in self.heads)
        head = f"<thead><tr>{head}</tr></thead>" if self.heads else ""
        body = "".join(f"<tr>{_row_html(row)}</tr>" for row in self.rows)
        title = f'<div style="font-weight:600;margin:8px 0 2px">{escape(self.title)}</div>' if self.title else ""
        return f'{title}<table style="border-collapse:collapse;margin:0 0 8px">{head}<tbody>{body}</tbody></table>'

    def text(self) -> str:
        """Return the table in columns."""
        rows = [list(self.heads)] if self.heads else []
        rows += ([_cell(one).text.replace("\n", ", ") for one in row] for row in self.rows)
        widths = [max(map(_columns, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(_padded(words, width) for words, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        if self.heads:
            lines.insert(1, "-" * min(_columns(lines[0]), 100))
        return "\n".join([self.title, *lines] if self.title else lines)


def _row_html(row: Sequence[str | Cell]) -> str:
    cells = [_cell(one) for one in row]
    style = _CELL.replace("top", "middle") if any(cell.picture for cell in cells) else _CELL
    return "".join(f'<td style="{style};{_width(cell.text)}">{cell.html()}</td>' for cell in cells)


def _width(text: str) -> str:
    """Return how narrow a cell may get: what is short stays in one line, what is long keeps some words in each."""
    return "white-space:nowrap" if len(text) <= _SHORT else "min-width:12em"


def _cell(one: str | Cell) -> Cell:
    return one if isinstance(one, Cell) else Cell(one)


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _columns(text))


def shortened(text: str, most: int = 60) -> str:
    """Return a text in one line of at most `most` signs."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def pixels(sizes: Iterable[tuple[int, int]]) -> str:
    """Return sizes as a person reads them, with their megapixels."""
    return " or ".join(f"{width}×{height} ({width * height / 1e6:.2f} MP)" for width, height in sizes)


def plan_page(plan: Plan, uploads: Sequence[str] = (), *, sandbox: bool = False, wrong: Sequence[str] = ()) -> Page:
    """Return what would be sent, and what is known of it before: pixels, price, warnings.

    `uploads` says what becomes of pictures, `wrong` why it would be refused as things are.
    """
    tasks = len(plan.calls)
    facts = [
        ("gateway", plan.provider + (" (sandbox)" if sandbox else "")),
        ("model", plan.model.name),
        ("pictures", f"{plan.count} in {tasks} task{'s' if tasks > 1 else ''}"),
        ("pixels", pixels(plan.pixels) or "the gateway decides"),
        ("format", plan.mime_type or "the gateway decides"),
        ("price", price(plan)),
        *(("picture", words) for words in uploads),
        *(("note", warning) for warning in plan.warnings),
    ]
    return Page(
        Note("The plan; nothing was sent and nothing is charged."), *map(Note, map(refused, wrong)), Table((), facts), *_calls(plan)
    )


def refused(why: str) -> str:
    """Return what a plan says of something that keeps its request from being sent."""
    return f"As it stands, this request would be refused: {why}"


def price(plan: Plan) -> str:
    """Return the plan's price with its source and date, or that it is unknown."""
    cost = plan.price
    if cost.amount is None:
        return "unknown"
    source = ", ".join(part for part in (cost.source, cost.checked) if part)
    return f"{cost}" + (f" ({source})" if source else "")


def _calls(plan: Plan) -> Iterable[Code]:
    """Yield each different call once, with how often it is made."""
    texts = [f"{call.method} {call.path}\n{json.dumps(dict(call.json or {}), indent=2, ensure_ascii=False)}" for call in plan.calls]
    for text in dict.fromkeys(texts):
        times = texts.count(text)
        yield Code(text if times == 1 else f"{times} times: {text}")
