"""`%imagegen history`, `star`, `tag` and `note`: finding pictures again, and saying what one thinks of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.display import display

from imagegen_magic.engine import api, loop
from imagegen_magic.engine.jobs.reuse import generated
from imagegen_magic.errors import ImageGenError
from imagegen_magic.notebook.output.display import near
from imagegen_magic.notebook.output.tables import Cell, Note, Page, Table, shortened
from imagegen_magic.studies.history import search as past
from imagegen_magic.studies.history.annotations import MAX_STARS, Annotation, add_tags, annotations_of, remove_tags, set_note, set_stars
from imagegen_magic.studies.history.search import HistoryEntry

if TYPE_CHECKING:
    from imagegen_magic.engine.ledger.ledger import Ledger
    from imagegen_magic.notebook.context import NotebookContext
    from imagegen_magic.result import GeneratedImage

_MOST = 20  # pictures in the table
_THUMBNAIL, _THUMBNAIL_BYTES = 96, 6_000  # pixels, bytes


def history(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Show the latest pictures that fit, as a table with thumbnails."""
    words = " ".join(f'"{each}"' if " " in each else each for each in arguments)
    stars = _stars(flags["--stars"]) if "--stars" in flags else None
    try:
        search = past.search(
            _ledger(context),
            words,
            model=flags.get("--model"),
            since=flags.get("--since"),
            stars=stars,
            tag=flags.get("--tag"),
            limit=_MOST,
        )
        entries = loop.run(search)
    except ImageGenError:
        raise
    except ValueError as error:
        raise UsageError(f"{error}.") from None
    if entries:
        display(_page(entries))
    else:
        drawn = f" To draw these words: %imagegen -- history {' '.join(arguments)}" if arguments else ""
        print(f"No picture fits.{drawn}" if arguments or flags else "No picture yet.")


def _page(entries: Sequence[HistoryEntry]) -> Page:
    marked = any(entry.annotation != Annotation() for entry in entries)
    heads = ("id", "made", "prompt", *(["marks"] if marked else []), "gateway and model", "pixels", "cost", "file")
    more = f"The latest {_MOST}; words, --model, --since, --stars and --tag find others. " if len(entries) == _MOST else ""
    hint = "%imagegen show ID shows one again, %imagegen recall ID its cell; %imagegen star ID N, tag and note mark it."
    return Page(Table(heads, [_row(entry, marked) for entry in entries]), Note(more + hint))


def _row(entry: HistoryEntry, marked: bool) -> list[str | Cell]:
    image = generated(entry.picture)
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(image.created))
    return [
        Cell(str(image.id), picture=thumbnail(image), alt=image.request.prompt),
        made,
        shortened(image.request.prompt),
        *([words_of(entry.annotation)] if marked else []),
        f"{image.provider} {image.model}" + (" (sandbox)" if image.sandbox else ""),
        f"{image.width}×{image.height}",
        str(image.cost),
        near(image.path),
    ]


def words_of(mark: Annotation) -> str:
    """Return a mark as a person reads it: stars, #tags and the note, one below the other."""
    stars = "★" * mark.stars + "☆" * (MAX_STARS - mark.stars) if mark.stars else ""
    return "\n".join(filter(None, [stars, " ".join(f"#{tag}" for tag in mark.tags), shortened(mark.note)]))


def thumbnail(image: GeneratedImage, edge: int = _THUMBNAIL, limit: int = _THUMBNAIL_BYTES) -> str:
    """Return a small picture's data address; empty where the file was moved or changed since."""
    from imagegen_magic.imaging.preview import preview

    try:
        small = preview(image.data, edge, limit)
    except (OSError, ImageGenError):
        return ""
    return f"data:{small.mime_type};base64,{small.base64}"


def star(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Give a picture its stars; without a number, show its annotations."""
    number = _id(context, "star ID|NAME N", arguments)
    if len(arguments) > 1:
        _mark(set_stars(_ledger(context), number, _stars(arguments[1])), number)
    _tell(context, number)


def tag(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Tag a picture, take away what is named with a minus before it, and show its annotations."""
    number, book = _id(context, "tag ID|NAME [TAG …]", arguments), _ledger(context)
    given = [each for each in arguments[1:] if not each.startswith("-")]
    taken = [each[1:] for each in arguments[1:] if each.startswith("-")]
    if given:
        _mark(add_tags(book, number, *given), number)
    if taken:
        _mark(remove_tags(book, number, *taken), number)
    _tell(context, number)


def note(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Write a note to a picture, take it away where it is empty (""), and show its annotations."""
    number = _id(context, "note ID|NAME [WORDS]", arguments)
    if len(arguments) > 1:
        _mark(set_note(_ledger(context), number, " ".join(arguments[1:])), number)
    _tell(context, number)


def _ledger(context: NotebookContext) -> Ledger:
    return api.ledger(context.settings())


def _id(context: NotebookContext, usage: str, arguments: list[str]) -> int:
    from imagegen_magic.notebook.arguments import image_selector

    words = f"The subcommand is %imagegen {usage}, with a number of %imagegen history or a variable that holds a picture."
    if not arguments:
        raise UsageError(words)
    return image_selector.number(context, arguments[0], words)


def is_id(word: str) -> bool:
    """Whether a word names a picture of the history: `17` or `@17`."""
    digits = word.removeprefix("@")
    return digits.isascii() and digits.isdigit() and len(digits) < 19


def _stars(word: str) -> int:
    stars = word.count("★") if word and not word.strip("★☆") else int(word) if word.isascii() and word.isdigit() else -1
    if not 0 <= stars <= MAX_STARS:
        raise UsageError(f"A picture has 0 to {MAX_STARS} stars, not {word!r}.")
    return stars


def _mark(work: Any, number: int) -> None:
    try:
        loop.run(work)
    except LookupError:
        raise no_picture(number) from None
    except ValueError as error:
        raise UsageError(f"{error}.") from None


def no_picture(number: int) -> UsageError:
    """Return what to raise where there is no picture of that id."""
    return UsageError(f"There is no picture {number}: %imagegen history lists them.")


def _tell(context: NotebookContext, number: int) -> None:
    book = _ledger(context)
    if not loop.run(book.pictures(ids=[number])):
        raise no_picture(number)
    mark = loop.run(annotations_of(book, [number])).get(number, Annotation())
    stars, tags, words = words_of(Annotation(mark.stars)), words_of(Annotation(tags=mark.tags)), mark.note
    print(f"Picture {number}: {' · '.join(filter(None, [stars, tags, words])) or 'no stars, no tags, no note'}")
