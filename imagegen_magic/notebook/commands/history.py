"""`%imagegen history`, `show`, `star`, `tag` and `note`: find earlier images, show them, and annotate them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.display import display

from imagegen_magic.engine import api, loop
from imagegen_magic.engine.jobs.reuse import generated
from imagegen_magic.engine.ledger.annotations import MAX_STARS, Annotation, add_tags, annotations_of, remove_tags, set_note, set_stars
from imagegen_magic.errors import ImageGenError
from imagegen_magic.humanize import local_minute, pluralize, truncate
from imagegen_magic.notebook.arguments import image_selector
from imagegen_magic.notebook.output import gallery
from imagegen_magic.notebook.output.captions import made_by, near
from imagegen_magic.notebook.output.charts import MIN_DAYS, DayChart, by_day
from imagegen_magic.notebook.output.tables import Cell, Note, Page, Table
from imagegen_magic.notebook.output.thumbnails import thumbnail
from imagegen_magic.studies.history import search
from imagegen_magic.studies.history.search import HistoryEntry

if TYPE_CHECKING:
    from imagegen_magic.engine.ledger.ledger import Ledger
    from imagegen_magic.notebook.context import NotebookContext

_LIMIT = 20  # images in the table
_THUMBNAIL, _THUMBNAIL_BYTES = 96, 6_000  # pixels, bytes


def history(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Show the latest images that match, as a table with thumbnails."""
    words = " ".join(f'"{each}"' if " " in each else each for each in arguments)
    filters: dict[str, Any] = {name: flags.get(f"--{name}") for name in ("model", "since", "tag")}
    stars = _stars(flags["--stars"]) if "--stars" in flags else None
    with _one_line():
        entries = loop.run(search.search(_ledger(context), words, stars=stars, limit=_LIMIT, **filters))
    if entries:
        days = loop.run(search.per_day(_ledger(context), words, stars=stars, **filters))
        display(_page(entries, days))
    else:
        prompt = f" For a picture of these words: %imagegen -- history {' '.join(arguments)}" if arguments else ""
        print(f"No picture matches.{prompt}" if arguments or flags else "No picture yet.")


def _page(entries: Sequence[HistoryEntry], days: Mapping[str, int]) -> Page:
    annotated = any(entry.annotation != Annotation() for entry in entries)
    heads = ("id", "made", "prompt", *(["marks"] if annotated else []), "service and model", "pixels", "cost", "file")
    more = f"The latest {_LIMIT}; words, --model, --since, --stars and --tag find others. " if len(entries) == _LIMIT else ""
    hint = "%imagegen show ID shows one again, %imagegen recall ID its cell; %imagegen star ID N, tag and note mark it."
    table = Table(heads, [_row(entry, annotated) for entry in entries])
    return Page(*_chart(days), table, Note(more + hint))


def _chart(days: Mapping[str, int]) -> Iterator[DayChart]:
    """Yield the chart of the pictures of each day, unless words say it as well."""
    if len(days) >= MIN_DAYS:
        values = by_day((day, Decimal(count)) for day, count in days.items())
        cut = "The latest " if sum(days.values()) == search.MAX_COUNTED else ""
        yield DayChart("Pictures", values, str, lambda count: cut + pluralize(int(count), "picture"))


def _row(entry: HistoryEntry, annotated: bool) -> list[str | Cell]:
    image = generated(entry.picture)
    return [
        Cell(str(image.id), picture=thumbnail(image, _THUMBNAIL, _THUMBNAIL_BYTES), alt=image.request.prompt),
        local_minute(image.created),
        truncate(image.request.prompt),
        *(["\n".join([*_marks(entry.annotation), truncate(entry.annotation.note)]).strip()] if annotated else []),
        made_by(image) + (", not checked" if image.unchecked else ""),
        f"{image.width}×{image.height}",
        str(image.cost),
        near(image.file),
    ]


def _marks(annotation: Annotation) -> list[str]:
    """Return the stars and the #tags of an annotation, as far as it has them."""
    stars = "★" * annotation.stars + "☆" * (MAX_STARS - annotation.stars) if annotation.stars else ""
    return list(filter(None, [stars, " ".join(f"#{tag}" for tag in annotation.tags)]))


def show(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Show an image again: that of an id, else the latest."""
    if not arguments:
        rows = loop.run(_ledger(context).pictures(limit=1))
        if not rows:
            raise UsageError("There is no picture to show yet; %imagegen history lists pictures once there are any.")
    elif image_selector.parse_id(arguments[0]) is None:
        usage = "The subcommand is %imagegen show [ID], with a number of %imagegen history; for a prompt, %imagegen -- show …"
        raise UsageError(usage)
    else:
        rows = [image_selector.find_row(context, arguments[0])]
    gallery.show(generated(rows[0]), context.shell)


def star(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Give an image its stars; without a number, show its annotation."""
    ledger, number = _ledger(context), image_selector.find_row(context, arguments[0]).id
    if len(arguments) > 1:
        loop.run(set_stars(ledger, number, _stars(arguments[1])))
    _show_annotation(ledger, number)


def tag(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Tag an image, remove the tags with a minus before them, and show its annotation."""
    ledger, number = _ledger(context), image_selector.find_row(context, arguments[0]).id
    with _one_line():
        loop.run(add_tags(ledger, number, *(tag for tag in arguments[1:] if not tag.startswith("-"))))
        loop.run(remove_tags(ledger, number, *(tag[1:] for tag in arguments[1:] if tag.startswith("-"))))
    _show_annotation(ledger, number)


def note(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Write a note to an image, remove it if it is empty (""), and show its annotation."""
    ledger, number = _ledger(context), image_selector.find_row(context, arguments[0]).id
    if len(arguments) > 1:
        with _one_line():
            loop.run(set_note(ledger, number, " ".join(arguments[1:])))
    _show_annotation(ledger, number)


def _ledger(context: NotebookContext) -> Ledger:
    return api.ledger(context.settings())


def _stars(word: str) -> int:
    stars = word.count("★") if word and not word.strip("★☆") else int(word) if word.isascii() and word.isdigit() else -1
    if not 0 <= stars <= MAX_STARS:
        raise UsageError(f"A picture has 0 to {MAX_STARS} stars, not {word!r}.")
    return stars


@contextmanager
def _one_line() -> Iterator[None]:
    """Show a refused value as one line."""
    try:
        yield
    except ImageGenError:
        raise
    except ValueError as error:
        raise UsageError(f"{error}.") from None


def _show_annotation(ledger: Ledger, number: int) -> None:
    found = loop.run(annotations_of(ledger, [number])).get(number, Annotation())
    print(f"Picture {number}: {' · '.join([*_marks(found), *filter(None, [found.note])]) or 'no stars, no tags, no note'}")
