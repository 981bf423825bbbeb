"""Which picture a word means: a number of the history, a variable, a file."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from imagegen_magic.engine import api, loop
from imagegen_magic.engine.jobs.reuse import generated
from imagegen_magic.engine.ledger.history import find_by_content
from imagegen_magic.notebook.commands.history import is_id, no_picture
from imagegen_magic.paths import path_of
from imagegen_magic.result import GeneratedImage
from imagegen_magic.studies import comparison
from imagegen_magic.studies.history import provenance

if TYPE_CHECKING:
    from imagegen_magic.engine.settings import Settings
    from imagegen_magic.notebook.context import NotebookContext

_VARIABLE = re.compile(r"([^\W\d]\w*)(?:\[(-?\d{1,9})\])?")


@dataclass(frozen=True, slots=True)
class Picked:
    """A picture that was picked: what it is called, its bytes, and what is known of how it was made (no prompt: None)."""

    name: str
    data: bytes
    prompt: str | None = None
    settings: Mapping[str, str] | None = None


def pick(context: NotebookContext, word: str) -> Picked:
    """Return the picture that a word means: `17` or `@17`, a variable (`fox`, `foxes[2]`), else a file. Raises UsageError."""
    settings = context.settings()
    if is_id(word):
        return _of_image(image_of(settings, int(word.removeprefix("@"))), "")
    found = _VARIABLE.fullmatch(word)
    if found and found[1] in context.shell.user_ns:
        if path_of(word).is_file():
            raise UsageError(f"{word} is a file and a variable at once: write ./{word} for the file.")
        return _of_variable(context, word, found[1], found[2])
    return _of_file(settings, word)


def number(context: NotebookContext, word: str, usage: str) -> int:
    """Return the id that a word means: `17`, `@17`, or a variable's picture (`fox`, `foxes[2]`).

    Raises UsageError, with `usage` where the word is none of these.
    """
    if is_id(word):
        return int(word.removeprefix("@"))
    found = _VARIABLE.fullmatch(word)
    if not found:
        raise UsageError(usage)
    several = images(context, found[1])[1]
    if found[2] is None and len(several) > 1:
        raise UsageError(f"{found[1]} holds {len(several)} pictures: give one of them, as {found[1]}[0].")
    try:
        return several[int(found[2] or 0)].id
    except IndexError:
        raise UsageError(f"{found[1]} holds {len(several)} pictures: the last is {found[1]}[{len(several) - 1}].") from None


def image_of(settings: Settings, number: int) -> GeneratedImage:
    """Return the picture of that id; raises UsageError where the ledger has none on disk."""
    rows = loop.run(api.ledger(settings).pictures(ids=[number]))
    if not rows:
        raise no_picture(number)
    return generated(rows[0])


def _of_image(image: GeneratedImage, name: str) -> Picked:
    called = name or f"@{image.id}"
    try:
        data = image.data
    except OSError:
        raise UsageError(f"The file of {called} is not there any more: {image.path}.") from None
    return Picked(called, data, image.request.prompt, comparison.settings(image))


def _of_variable(context: NotebookContext, word: str, name: str, index: str | None) -> Picked:
    value = context.shell.user_ns[name]
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        value = _one(value, name, index)
    if isinstance(value, GeneratedImage):
        return _of_image(value, word)
    from imagegen_magic.notebook.arguments import image_sources

    settings = context.settings()
    local = image_sources.resolve(word, context.shell.user_ns, settings.folder, settings)
    if isinstance(local, str):
        raise UsageError(f"{word} is an address: fetch the picture first, or give a file, a variable or an ID.")
    return Picked(word, local.data)


def _one(values: Sequence[Any], name: str, index: str | None) -> Any:
    if index is None and len(values) != 1:
        raise UsageError(f"{name} holds {len(values)} pictures: give one of them, as {name}[0].")
    try:
        return values[int(index or 0)]
    except IndexError:
        raise UsageError(f"{name} holds {len(values)} pictures: the last is {name}[{len(values) - 1}].") from None


def _of_file(settings: Settings, word: str) -> Picked:
    path = path_of(os.path.expanduser(word))
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"{word} is no picture's number, no variable, and no file that can be read ({why}).") from None
    book = api.ledger(settings)
    if row := loop.run(find_by_content(book, hashlib.sha256(data).hexdigest())):
        image = generated(row)
        return Picked(path.name, data, image.request.prompt, comparison.settings(image))
    try:
        told = loop.run(provenance.of_file(book, path, settings.folder))
    except LookupError:
        return Picked(path.name, data)
    said = {name: value for name, value in told.request.asked().items() if name != "prompt"}
    gateway = told.provider + (" (sandbox)" if told.sandbox else "")
    return Picked(path.name, data, told.request.prompt, {"gateway": gateway, **comparison.in_words(said)})


def images(context: NotebookContext, name: str) -> tuple[str, tuple[GeneratedImage, ...], Any]:
    """Return a variable's name, its pictures that are in the ledger, each once, and its value; raises UsageError where it has none."""
    if name not in context.shell.user_ns:
        raise UsageError(f"There is no variable {name}." + ("" if name != "_imagegen" else " Make some pictures first."))
    value = context.shell.user_ns[name]
    found = tuple({image.id: image for image in _images(value) if image.id}.values())
    if not found:
        raise UsageError(f"{name} holds no pictures: give the variable of a sweep or a generation.")
    return name, found, value


def _images(value: Any) -> Iterator[GeneratedImage]:
    if isinstance(value, GeneratedImage):
        yield value
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for each in value:
            yield from _images(each)
