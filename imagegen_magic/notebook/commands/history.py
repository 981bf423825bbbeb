"""`%imagegen history`, `show`, `star`, `tag` and `note`: find earlier images, show them, and annotate them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.display import display

from imagegen_magic.engine import api, loop
from imagegen_magic.engine.jobs.reuse import generated
from imagegen_magic.errors import ImageGenError
from imagegen_magic.humanize import local_minute, truncate
from imagegen_magic.notebook.arguments import image_selector
from imagegen_magic.notebook.output import display as outputs
from imagegen_magic.notebook.output.captions import made_by, near
from imagegen_magic.notebook.output.tables import Cell, Note, Page, Table
from imagegen_magic.notebook.output.thumbnails import thumbnail
from imagegen_magic.studies.history import search
from imagegen_magic.studies.history.annotations import MAX_STARS, Annotation, add_tags, annotations_of, remove_tags, set_note, set_stars
from imagegen_magic.studies.history.search import HistoryEntry

if TYPE_CHECKING:
    from imagegen_magic.engine.ledger.ledger import Ledger
    from imagegen_magic.notebook.context import NotebookContext

_LIMIT = 20  # images in the table
_THUMBNAIL, _THUMBNAIL_BYTES = 96, 6_000  # pixels, bytes


def history(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Show the latest images that match, as a table with thumbnails."""
    words = " ".join(f'"{each}"' if " " in each else each for each in arguments)
    stars = _stars(flags["--stars"]) if "--stars" in flags else None
    try:
        query = search.search(
            _ledger(context),
            words,
            model=flags.get("--model"),
            since=flags.get("--since"),
            stars=stars,
            tag=flags.get("--tag"),
            limit=_LIMIT,
        )
        entries = loop.run(query)
    except ImageGenError:
        raise
    except ValueError as error:
        raise UsageError(f"{error}.") from None
    if entries:
        display(_page(entries))
    else:
        prompt = f" For a picture of these words: %imagegen -- history {' '.join(arguments)}" if arguments else ""
        print(f"No picture matches.{prompt}" if arguments or flags else "No picture yet.")


def _page(entries: Sequence[HistoryEntry]) -> Page:
    annotated = any(entry.annotation != Annotation() for entry in entries)
    heads = ("id", "made", "prompt", *(["marks"] if annotated else []), "gateway and model", "pixels", "cost", "file")
    more = f"The latest {_LIMIT}; words, --model, --since, --stars and --tag find others. " if len(entries) == _LIMIT else ""
    hint = "%imagegen show ID shows one again, %imagegen recall ID its cell; %imagegen star ID N, tag and note mark it."
    return Page(Table(heads, [_row(entry, annotated) for entry in entries]), Note(more + hint))


def _row(entry: HistoryEntry, annotated: bool) -> list[str | Cell]:
    image = generated(entry.picture)
    made = local_minute(image.created)
    return [
        Cell(str(image.id), picture=thumbnail(image, _THUMBNAIL, _THUMBNAIL_BYTES), alt=image.request.prompt),
        made,
        truncate(image.request.prompt),
        *([_annotation_text(entry.annotation)] if annotated else []),
        made_by(image),
        f"{image.width}×{image.height}",
        str(image.cost),
        near(image.path),
    ]


def _annotation_text(annotation: Annotation) -> str:
    """Return an annotation as text: stars, #tags and the note, one below the other."""
    stars = "★" * annotation.stars + "☆" * (MAX_STARS - annotation.stars) if annotation.stars else ""
    return "\n".join(filter(None, [stars, " ".join(f"#{tag}" for tag in annotation.tags), truncate(annotation.note)]))


def show(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Show an image again: that of an id, else the latest."""
    settings = context.settings()
    if arguments:
        number = image_selector.parse_id(arguments[0])
        if number is None:
            usage = "The subcommand is %imagegen show [ID], with a number of %imagegen history; for a prompt, %imagegen -- show …"
            raise UsageError(usage)
        image = image_selector.find_image(settings, number)
    else:
        rows = loop.run(api.ledger(settings).pictures(limit=1))
        if not rows:
            raise UsageError("There is no picture to show yet; %imagegen history lists pictures once there are any.")
        image = generated(rows[0])
    outputs.show(image, context.shell)


def star(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Give an image its stars; without a number, show its annotation."""
    number = _id(context, "star ID|NAME N", arguments)
    if len(arguments) > 1:
        _annotate(set_stars(_ledger(context), number, _stars(arguments[1])), number)
    _show_annotation(context, number)


def tag(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Tag an image, remove the tags with a minus before them, and show its annotation."""
    number, ledger = _id(context, "tag ID|NAME [TAG …]", arguments), _ledger(context)
    added = [each for each in arguments[1:] if not each.startswith("-")]
    removed = [each[1:] for each in arguments[1:] if each.startswith("-")]
    if added:
        _annotate(add_tags(ledger, number, *added), number)
    if removed:
        _annotate(remove_tags(ledger, number, *removed), number)
    _show_annotation(context, number)


def note(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Write a note to an image, remove it if it is empty (""), and show its annotation."""
    number = _id(context, "note ID|NAME [WORDS]", arguments)
    if len(arguments) > 1:
        _annotate(set_note(_ledger(context), number, " ".join(arguments[1:])), number)
    _show_annotation(context, number)


def _ledger(context: NotebookContext) -> Ledger:
    return api.ledger(context.settings())


def _id(context: NotebookContext, usage: str, arguments: list[str]) -> int:
    usage = f"The subcommand is %imagegen {usage}, with a number of %imagegen history or a variable that holds a picture."
    if not arguments:
        raise UsageError(usage)
    return image_selector.find_id(context, arguments[0], usage)


def _stars(word: str) -> int:
    stars = word.count("★") if word and not word.strip("★☆") else int(word) if word.isascii() and word.isdigit() else -1
    if not 0 <= stars <= MAX_STARS:
        raise UsageError(f"A picture has 0 to {MAX_STARS} stars, not {word!r}.")
    return stars


def _annotate(work: Any, number: int) -> None:
    try:
        loop.run(work)
    except LookupError:
        raise image_selector.not_found(number) from None
    except ValueError as error:
        raise UsageError(f"{error}.") from None


def _show_annotation(context: NotebookContext, number: int) -> None:
    ledger = _ledger(context)
    if not loop.run(ledger.pictures(ids=[number])):
        raise image_selector.not_found(number)
    found = loop.run(annotations_of(ledger, [number])).get(number, Annotation())
    stars, tags = (
        _annotation_text(Annotation(found.stars)),
        _annotation_text(Annotation(tags=found.tags)),
    )
    print(f"Picture {number}: {' · '.join(filter(None, [stars, tags, found.note])) or 'no stars, no tags, no note'}")
