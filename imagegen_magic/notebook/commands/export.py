"""`%imagegen export`: images to share, with a page and a table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from imagegen_magic.engine import api, loop
from imagegen_magic.engine.jobs.reuse import generated
from imagegen_magic.engine.storage.stores import sizes
from imagegen_magic.humanize import pluralize
from imagegen_magic.notebook.arguments import image_selector
from imagegen_magic.notebook.output.tables import show_note
from imagegen_magic.paths import path_of
from imagegen_magic.result import GeneratedImage, Generation

if TYPE_CHECKING:
    from imagegen_magic.engine.settings import Settings
    from imagegen_magic.notebook.context import NotebookContext

_IDS = re.compile(r"@?(\d{1,9})(?:-@?(\d{1,9}))?")
_MAX_RANGE, _BATCH = 10_000, 500  # images of one range, and of one query


def export(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Export the named images, else those of the last cell, and show where they are."""
    from imagegen_magic.imaging.metadata.embed import LEVELS
    from imagegen_magic.studies.export.archive import export as write

    level = flags.get("--metadata", "full")
    if level not in LEVELS:
        raise UsageError(f"--metadata takes {', '.join(LEVELS)}, not {level!r}.")
    settings, namespace = context.settings(), context.shell.user_ns
    target, words = _target(arguments, namespace), arguments[1:]
    if not words and not _images(namespace.get("_imagegen")):
        raise UsageError("No cell has made a picture yet; name the pictures: a variable, 17, or 12-20 of %imagegen history.")
    images = _selected(words or ["_imagegen"], namespace, settings)
    written = write(images, settings.folder / target, metadata=level, secrets=context.keys())
    show_note(_exported(written, images, settings.folder))


def _target(arguments: Sequence[str], namespace: Mapping[str, Any]) -> Path:
    """Return the target of an export; refuses a selection without a target."""
    first = arguments[0]
    if _IDS.fullmatch(first) or (len(arguments) == 1 and _images(namespace.get(first))):
        raise UsageError(f"The target comes first: write %imagegen export pictures.zip {' '.join(arguments)}.")
    return path_of(first).expanduser()


def _selected(words: Sequence[str], namespace: Mapping[str, Any], settings: Settings) -> Sequence[GeneratedImage]:
    """Return the images that words name, each once and in this order; a Generation as it is, because a sweep has a grid."""
    if len(words) == 1 and isinstance(value := namespace.get(words[0]), Generation):
        return value
    found = (image for word in words for image in _named(word, namespace, settings))
    return list({image.id or image.location: image for image in found}.values())


def _named(word: str, namespace: Mapping[str, Any], settings: Settings) -> list[GeneratedImage]:
    if ids := _IDS.fullmatch(word):
        return _of_history(int(ids[1]), int(ids[2] or ids[1]), settings)
    if word not in namespace:
        raise UsageError(f"{word} is neither a variable nor a picture's number (17, 12-20).")
    if not _images(namespace[word]):
        raise UsageError(f"{word} holds no generated pictures.")
    return _images(namespace[word])


def _of_history(first: int, last: int, settings: Settings) -> list[GeneratedImage]:
    if not first <= last < first + _MAX_RANGE:
        raise UsageError(f"{first}-{last} is not a range of pictures: the smaller number comes first, and at most {_MAX_RANGE:,} pictures.")
    ledger = api.ledger(settings)
    batches = [range(start, min(start + _BATCH, last + 1)) for start in range(first, last + 1, _BATCH)]
    rows = [row for ids in batches for row in reversed(loop.run(ledger.pictures(ids=ids, limit=None)))]
    if not rows:
        named = f"picture {first}" if first == last else f"picture from {first} to {last}"
        raise UsageError(f"There is no {named}: %imagegen history lists them.")
    return [generated(row) for row in rows]


def _images(value: Any) -> list[GeneratedImage]:
    return list(image_selector.images_in(value))


def _exported(written: Path, images: Sequence[GeneratedImage], folder: Path) -> str:
    existing = sizes(image.file for image in images)
    missing = sum(image.file not in existing for image in images)
    near = written.relative_to(folder) if written.is_relative_to(folder) else written
    start = "index.html shows them anywhere" if written.is_dir() else "Its index.html, once unpacked, shows them anywhere"
    note = f"; {missing} without a file" if missing else ""
    return f"{pluralize(len(images), 'picture')}{note}: {near}. {start}, pictures.csv is a table of them."
