"""`%imagegen export` and `%imagegen slim`: pictures to give away, and notebooks small enough to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.display import display

from imagegen_magic.engine import api, loop
from imagegen_magic.engine.jobs.reuse import generated
from imagegen_magic.notebook.output.tables import Note, Page
from imagegen_magic.paths import path_of
from imagegen_magic.result import GeneratedImage, Generation

if TYPE_CHECKING:
    from imagegen_magic.engine.settings import Settings
    from imagegen_magic.notebook.context import NotebookContext

_IDS = re.compile(r"@?(\d{1,9})(?:-@?(\d{1,9}))?")
_MOST, _AT_ONCE = 10_000, 500  # pictures of one range, and of one question to the ledger


def export(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Export the pictures that were named, else those of the last cell, and say where to."""
    from imagegen_magic.studies.export.archive import LEVELS
    from imagegen_magic.studies.export.archive import export as write

    level = flags.get("--metadata", "full")
    if level not in LEVELS:
        raise UsageError(f"--metadata takes {', '.join(LEVELS)}, not {level!r}.")
    settings, namespace = context.settings(), context.shell.user_ns
    target, words = _target(arguments, namespace), arguments[1:]
    images = _selected(words, namespace, settings) if words else _last(namespace)
    place = write(images, settings.folder / target, metadata=level, secrets=context.keys())
    display(Page(Note(_exported(place, images, settings.folder))))


def _target(arguments: Sequence[str], namespace: Mapping[str, Any]) -> Path:
    """Return where to export to; refuses what looks like a selection without a target before it."""
    usage = "%imagegen export DIR|ZIP [NAME|ID …]"
    if not arguments:
        raise UsageError(f"The subcommand is {usage}: where to, and which pictures (without any, those of the last cell).")
    first = arguments[0]
    if _IDS.fullmatch(first) or (len(arguments) == 1 and _pictures(namespace.get(first))):
        raise UsageError(f"Where to comes first: {usage}, so %imagegen export pictures.zip {' '.join(arguments)}.")
    return path_of(first).expanduser()


def _last(namespace: Mapping[str, Any]) -> Sequence[GeneratedImage]:
    if not _pictures(namespace.get("_imagegen")):
        raise UsageError("No cell has made a picture yet; name the pictures: a variable, 17, or 12-20 of %imagegen history.")
    return _whole(namespace["_imagegen"])


def _whole(value: Any) -> Sequence[GeneratedImage]:
    """Return a Generation as it is, for a sweep has a grid; of anything else its pictures."""
    return value if isinstance(value, Generation) else _pictures(value)


def _selected(words: Sequence[str], namespace: Mapping[str, Any], settings: Settings) -> Sequence[GeneratedImage]:
    """Return the pictures that words name, each once and in their order."""
    if len(words) == 1 and words[0] in namespace:
        return _whole(_of_variable(words[0], namespace))
    found = (image for word in words for image in _named(word, namespace, settings))
    return list({image.id or image.path: image for image in found}.values())


def _named(word: str, namespace: Mapping[str, Any], settings: Settings) -> list[GeneratedImage]:
    ids = _IDS.fullmatch(word)
    return _of_history(int(ids[1]), int(ids[2] or ids[1]), settings) if ids else _pictures(_of_variable(word, namespace))


def _of_history(first: int, last: int, settings: Settings) -> list[GeneratedImage]:
    if not first <= last < first + _MOST:
        raise UsageError(f"{first}-{last} is no range of pictures: the smaller number comes first, and {_MOST:,} are the most.")
    book = api.ledger(settings)
    some = [range(start, min(start + _AT_ONCE, last + 1)) for start in range(first, last + 1, _AT_ONCE)]
    rows = [row for ids in some for row in reversed(loop.run(book.pictures(ids=ids, limit=None)))]
    if not rows:
        named = f"picture {first}" if first == last else f"picture from {first} to {last}"
        raise UsageError(f"There is no {named}: %imagegen history lists them.")
    return [generated(row) for row in rows]


def _of_variable(word: str, namespace: Mapping[str, Any]) -> Any:
    if word not in namespace:
        raise UsageError(f"{word} is no variable and no picture's number (17, 12-20).")
    if not _pictures(namespace[word]):
        raise UsageError(f"{word} holds no pictures of ours.")
    return namespace[word]


def _pictures(value: Any) -> list[GeneratedImage]:
    return list(_walked(value))


def _walked(value: Any) -> Iterator[GeneratedImage]:
    if isinstance(value, GeneratedImage):
        yield value
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for each in value:
            yield from _walked(each)
    elif type(value).__module__.startswith("imagegen_magic.") and (made := getattr(value, "generation", None)) is not None:
        yield from made  # a job, which has its pictures so far


def _exported(place: Path, images: Sequence[GeneratedImage], folder: Path) -> str:
    gone = sum(not image.path.is_file() for image in images)
    near = place.relative_to(folder) if place.is_relative_to(folder) else place
    start = "index.html shows them anywhere" if place.is_dir() else "Its index.html, once unpacked, shows them anywhere"
    missing = f"; of {gone} the file is gone" if gone else ""
    return f"{len(images)} picture{'' if len(images) == 1 else 's'}{missing}: {near}. {start}, pictures.csv is a table of them."


def slim(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Make a notebook small, and say from what to what."""
    from imagegen_magic.notebook.commands.slim import slim as make_small

    if not arguments:
        raise UsageError("The subcommand is %imagegen slim NOTEBOOK.ipynb [--all].")
    path = context.settings().beside(arguments[0])
    done = make_small(path, everything="--all" in flags)
    left = _left(done.others)
    if done.before == done.after:
        display(Page(Note(f"{path.name} has nothing to make small: {_size(done.before)}, and it was not touched.{left}")))
        return
    what = [f"{done.pictures} pictures became previews" if done.pictures > 1 else "1 picture became a preview"] if done.pictures else []
    what += [f"{done.models} saved widgets that nothing shows went"] if done.models else []
    advice = "Where it is open, reload it from disk before saving."
    display(Page(Note(f"{path.name}: {_size(done.before)} → {_size(done.after)} ({', '.join(what)}). {advice}{left}")))


def _left(others: int) -> str:
    """Say which large pictures stayed as they are."""
    if not others:
        return ""
    one = others == 1
    words = "1 large picture is not ours and stays as it is" if one else f"{others} large pictures are not ours and stay as they are"
    return f" {words}: --all makes {'it a preview' if one else 'them previews'}, too, and nobody else may have the original."


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{max(1, round(size / 1000))} kB"
