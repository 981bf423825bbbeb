"""`%imagegen ballot` and `votes`: give out pages on which others vote, and take in their votes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from IPython.core.error import UsageError

from imagegen_magic.engine import api, loop
from imagegen_magic.engine.ledger.ballots import Added, BallotVote, StoredBallot, add_ballot_votes, add_ballots
from imagegen_magic.engine.ledger.deletion import deleted_among
from imagegen_magic.engine.ledger.sweeps import combinations_of
from imagegen_magic.humanize import pluralize
from imagegen_magic.notebook.arguments import image_selector
from imagegen_magic.notebook.output.tables import show_note
from imagegen_magic.notebook.output.thumbnails import thumbnail
from imagegen_magic.paths import path_of
from imagegen_magic.studies import ranking
from imagegen_magic.studies.ballots.page import page
from imagegen_magic.studies.ballots.plan import plan
from imagegen_magic.studies.ballots.results import MAX_BYTES, ForeignBallotError, read

if TYPE_CHECKING:
    from imagegen_magic.engine.settings import Settings
    from imagegen_magic.notebook.context import NotebookContext
    from imagegen_magic.result import GeneratedImage

_EDGE, _BYTES = 900, 100_000  # of a picture on a ballot: pixels, bytes
_MAX_RATERS, _MIN_PAIRS, _MAX_PAIRS = 50, 2, 400


def ballot(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Write a page for each rater: blind pairs of the pictures of a variable."""
    name, target = arguments
    raters = _number(flags, "--raters", 3, 1, _MAX_RATERS)
    pairs = _number(flags, "--pairs", 40, _MIN_PAIRS, _MAX_PAIRS)
    settings = context.settings()
    files = _files(settings.folder / path_of(target).expanduser(), raters)
    images, sweep = _images(context, name, settings)
    ledger = api.ledger(settings)
    number, combinations = loop.run(combinations_of(ledger, list(images), sweep))
    ballots = plan(list(images), combinations, number, raters, pairs)
    pages = [page(each, pictures) for pictures in [_pictures(images, ballots)] for each in ballots]
    loop.run(add_ballots(ledger, ballots))
    for file, text in zip(files, pages, strict=True):
        with file.open("x", encoding="utf-8", newline="") as opened:
            opened.write(text)
    names = files[0].name if raters == 1 else f"{files[0].name} to {files[-1].name}"
    show_note(
        f"{names}: {pluralize(len(ballots[0].pairs), 'pair')} each, for one rater each. They need no network and have no prompt.",
        "Each rater sends back a small file, or its text: %imagegen votes FILE … takes them in.",
    )


def _number(flags: dict[str, str], flag: str, default: int, low: int, high: int) -> int:
    text = flags.get(flag, str(default))
    if not text.isascii() or not text.isdigit() or not low <= int(text[:9]) <= high:
        raise UsageError(f"{flag} takes a number from {low} to {high}, not {text}.")
    return int(text)


def _files(target: Path, raters: int) -> list[Path]:
    """Return the file of each rater. Raises UsageError if one exists, or if the name does not end in .html."""
    if target.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"A ballot is an HTML file: write {target.name}.html.")
    files = [target] if raters == 1 else [target.with_stem(f"{target.stem}-{number}") for number in range(1, raters + 1)]
    if existing := [file.name for file in files if file.exists()]:
        raise UsageError(f"{existing[0]} exists already: give another name. Nothing was written.")
    if not target.parent.is_dir():
        raise UsageError(f"There is no folder {target.parent}.")
    return files


def _images(context: NotebookContext, name: str, settings: Settings) -> tuple[dict[int, GeneratedImage], int]:
    """Return the images of a variable that are not deleted, and the number of its sweep."""
    images, value = image_selector.variable_images(context, name)
    deleted = loop.run(deleted_among(api.ledger(settings), [image.id for image in images]))
    found = {image.id: image for image in images if image.id not in deleted}
    if not 2 <= len(found) <= ranking.MAX_IMAGES:
        raise UsageError(f"{name} holds {pluralize(len(found), 'picture')}: a ballot takes 2 to {ranking.MAX_IMAGES}.")
    return found, int(getattr(value, "study", 0) or 0)


def _pictures(images: dict[int, GeneratedImage], ballots: Sequence[StoredBallot]) -> dict[int, str]:
    """Return small copies without metadata, by id, of the images that the ballots show. Raises UsageError if one cannot be read."""
    needed = {number for each in ballots for number in each.tokens.values()}
    copies = {number: thumbnail(images[number], _EDGE, _BYTES) for number in images if number in needed}
    if unreadable := [number for number, copy in copies.items() if not copy]:
        raise UsageError(f"The file of picture {unreadable[0]} is missing or unreadable. Nothing was written.")
    return copies


def votes(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Take in the votes of ballots: all files, or none if one is refused. What is known already is not taken twice."""
    settings = context.settings()
    ledger = api.ledger(settings)
    found: list[tuple[StoredBallot, Sequence[BallotVote]]] = []
    for word in arguments:
        try:
            found.append(loop.run(read(ledger, _content(settings.folder / path_of(word).expanduser()))))
        except OSError as error:
            raise UsageError(f"{word} cannot be read: {error.strerror or error}. No vote was taken in.") from None
        except ForeignBallotError as error:
            raise UsageError(f"{word} is refused: {error}. No vote was taken in.") from None
    added = loop.run(add_ballot_votes(ledger, found))
    show_note(*(_summary(word, each[1], one) for word, each, one in zip(arguments, found, added, strict=True)))


def _content(path: Path) -> bytes:
    with path.open("rb") as opened:
        return opened.read(MAX_BYTES + 1)


def _summary(word: str, votes: Sequence[BallotVote], added: Added) -> str:
    rater = f" of {votes[0].vote.rater}" if votes else ""
    parts = [f"{word}: {pluralize(len(votes), 'vote')}{rater}, {added.new} new"]
    if added.other_choice:
        parts.append(f"{added.other_choice} differ from a vote that was taken in before, which stays")
    if added.deleted:
        parts.append(f"{added.deleted} on deleted pictures left out")
    return f"{', '.join(parts)}."
