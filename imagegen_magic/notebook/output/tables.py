"""Tables, notes and plans as outputs: HTML in the front end's own colours with everything escaped, and the same as plain text."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from IPython.display import display

from imagegen_magic.humanize import truncate
from imagegen_magic.notebook.output.style import AS_TEXT, CODE, FONT, HEADING, QUIET, RULE
from imagegen_magic.notebook.output.thumbnails import ALT_LENGTH
from imagegen_magic.secret_patterns import without_queries

if TYPE_CHECKING:
    from imagegen_magic.providers.base import Plan

_CELL = f"text-align:left;vertical-align:top;padding:3px 12px 3px 0;border:0;border-bottom:{RULE}"
_HEAD = f"{_CELL};font-weight:600;{QUIET}"
BLUE, ORANGE = "#1976d2", "#c26401"  # 3 to 1 at least on white and on a dark page
_SHORT = 22  # characters of a cell that are not broken into lines


class Cell(NamedTuple):
    """A cell of a table: its `text`, a link's `address`, or the `picture` (a data: address) that is shown before it.

    `alt` describes the picture; default: the text. `interval` (middle, low, high, each 0..1) is drawn above the text, and so is `bar`,
    a share 0..1 that the text names, in `colour`.
    """

    text: str
    address: str = ""
    picture: str = ""
    alt: str = ""
    interval: tuple[float, float, float] | None = None
    bar: float | None = None
    colour: str = BLUE

    def html(self) -> str:
        """Return the cell's HTML, escaped; only http and https addresses become links."""
        words = escape(self.text).replace("\n", "<br>")
        if self.address.startswith(("https://", "http://")):
            words = f'<a href="{escape(self.address)}" target="_blank" rel="noopener">{words}</a>'
        if self.picture.startswith("data:image/"):
            alt = escape(truncate(self.alt or self.text, ALT_LENGTH))
            words = f'<img src="{escape(self.picture)}" alt="{alt}" style="max-width:96px;max-height:72px;display:block"> {words}'
        drawn = _band(*self.interval) if self.interval else "" if self.bar is None else _bar(self.bar, self.colour)
        return drawn + words


def _band(*interval: float) -> str:
    """Return an interval as a band from 0 to 100 %, with a mark at its middle; the faint line is 50 %."""
    middle, low, high = (round(100 * value, 1) for value in interval)
    band = f'<div style="margin-left:{low}%;width:{max(0.5, round(high - low, 1))}%;height:12px;background:#1976d255"></div>'
    mark = f'<div style="margin:-14px 0 0 {max(0.0, middle - 1)}%;width:4px;height:16px;background:#1976d2"></div>'
    half = '<div style="margin-top:-14px;height:12px;width:50%;border-right:1px dashed #888"></div>'
    return f'<div style="width:200px;height:12px;padding:2px 0;background:#8882;overflow:hidden">{band}{mark}{half}</div>'


def _bar(share: float, colour: str) -> str:
    """Return a share as a bar from 0 to 100 % of the cell; whatever is above 0 is visible."""
    width = max(1.0, round(100 * share, 1)) if share else 0
    full = f'<div style="width:{width:g}%;height:6px;background:{colour}"></div>'
    return f'<div style="min-width:44px;height:6px;margin:5px 0 2px;background:#8884">{full}</div>'


class Piece(Protocol):
    """A part of a page."""

    def html(self) -> str:
        """Return it as HTML, escaped."""

    def text(self) -> str:
        """Return it as plain text."""


class Page:
    """The output of a subcommand: pieces with HTML and text, one below the other. Addresses are shown without their queries."""

    def __init__(self, *pieces: Piece) -> None:
        self.pieces = pieces

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": str(self)}

    def html(self, name: str = "imagegen-page") -> str:
        """Return the pieces as HTML, escaped; `name` is a CSS class."""
        html = without_queries("".join(piece.html() for piece in self.pieces))
        return f'<div class="{name} {AS_TEXT}" style="{FONT};overflow-x:auto">{html}</div>'

    def __str__(self) -> str:
        return without_queries("\n\n".join(piece.text() for piece in self.pieces))


class Note(NamedTuple):
    """A line of text."""

    words: str

    def html(self) -> str:
        """Return the text, escaped."""
        return f'<p style="{QUIET};margin:4px 0">{escape(self.words)}</p>'

    def text(self) -> str:
        """Return the text."""
        return self.words


class Code(NamedTuple):
    """Text in the code font."""

    words: str

    def html(self) -> str:
        """Return the text, escaped."""
        return f'<pre style="{CODE}">{escape(self.words)}</pre>'

    def text(self) -> str:
        """Return the text."""
        return self.words


def show_note(*lines: str) -> None:
    """Show lines of quiet text in the cell; an empty line is left out."""
    if texts := [text for text in lines if text]:
        display(Page(*map(Note, texts)))


class Table(NamedTuple):
    """Rows below optional heads; a cell is text or a `Cell`."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    title: str = ""

    def html(self) -> str:
        """Return the table, escaped."""
        head = "".join(map(_head_html, self.heads))
        head = f"<thead><tr>{head}</tr></thead>" if self.heads else ""
        body = "".join(f"<tr>{_row_html(row)}</tr>" for row in self.rows)
        title = f'<div style="{HEADING}">{escape(self.title)}</div>' if self.title else ""
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


def _head_html(words: str) -> str:
    """Return a head; an empty one is an ordinary cell, because a screen reader would announce a header without a name."""
    return f'<th style="{_HEAD}">{escape(words)}</th>' if words else f'<td style="{_HEAD}"></td>'


def _row_html(row: Sequence[str | Cell]) -> str:
    cells = [_cell(one) for one in row]
    style = _CELL.replace("top", "middle") if any(cell.picture for cell in cells) else _CELL
    return "".join(f'<td style="{style};{_width(cell.text)}">{cell.html()}</td>' for cell in cells)


def _width(text: str) -> str:
    """Return how narrow a cell may get: short text stays on one line."""
    return "white-space:nowrap" if len(text) <= _SHORT else "min-width:12em"


def _cell(one: str | Cell) -> Cell:
    return one if isinstance(one, Cell) else Cell(one)


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _columns(text))


def pixels(sizes: Iterable[tuple[int, int]]) -> str:
    """Return sizes with their megapixels."""
    return " or ".join(f"{width}×{height} ({width * height / 1e6:.2f} MP)" for width, height in sizes)


def plan_page(plan: Plan, uploads: Sequence[str] = (), *, sandbox: bool = False, wrong: Sequence[str] = ()) -> Page:
    """Return what would be sent, with its pixels, price and warnings.

    `uploads` are the destinations of local pictures, `wrong` the reasons why the request would be refused.
    """
    tasks = len(plan.calls)
    facts = [
        ("service", plan.provider + (" (sandbox)" if sandbox else "")),
        ("model", plan.model.name),
        ("pictures", f"{plan.count} in {tasks} task{'s' if tasks > 1 else ''}"),
        ("pixels", pixels(plan.pixels) or "the service decides"),
        ("format", plan.mime_type or "the service decides"),
        ("price", price(plan)),
        *(("seed", seeds) for seeds in _seeds(plan)),
        *(("picture", words) for words in uploads),
        *(("note", warning) for warning in plan.warnings),
    ]
    return Page(Note("Dry run: nothing was sent, nothing is charged."), *map(Note, map(refused, wrong)), Table((), facts), *_calls(plan))


def _seeds(plan: Plan) -> Iterator[str]:
    """Yield the seeds of a plan, in one line, if it has one: `7, 8, 9, 10`."""
    if plan.seeds:
        yield ", ".join(dict.fromkeys(map(str, plan.seeds)))


def refused(why: str) -> str:
    """Return why the request of a plan would be refused."""
    return f"This request would be refused: {why}"


def price(plan: Plan) -> str:
    """Return the price of a plan with its source and date; `unknown` without one."""
    cost = plan.price
    if cost.amount is None:
        return "unknown"
    source = ", ".join(part for part in (cost.source, cost.checked) if part)
    return f"{cost}" + (f" ({source})" if source else "")


def _calls(plan: Plan) -> Iterable[Code]:
    """Yield each distinct call once, with how often it is made."""
    texts = [f"{call.method} {call.path}\n{json.dumps(dict(call.json or {}), indent=2, ensure_ascii=False)}" for call in plan.calls]
    for text in dict.fromkeys(texts):
        times = texts.count(text)
        yield Code(text if times == 1 else f"{times} times: {text}")
