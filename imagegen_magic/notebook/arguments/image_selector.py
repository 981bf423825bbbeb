"""The image that a word names: a number of the history (`17`, `@17`), a variable (`fox`, `foxes[2]`), a file, or an address."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from imagegen_magic.engine import api, loop
from imagegen_magic.engine.jobs.reuse import generated
from imagegen_magic.engine.ledger.deletion import deleted_at
from imagegen_magic.engine.ledger.history import find_by_content
from imagegen_magic.engine.references import Named, ReferenceLoader
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.humanize import gateway_name, local_day
from imagegen_magic.paths import located, path_of
from imagegen_magic.result import GeneratedImage
from imagegen_magic.studies import comparison
from imagegen_magic.studies.history import provenance

if TYPE_CHECKING:
    from imagegen_magic.engine.ledger.ledger import PictureRow
    from imagegen_magic.engine.settings import Settings
    from imagegen_magic.notebook.context import NotebookContext
    from imagegen_magic.request import LocalImage

_ID = re.compile(r"@?([0-9]{1,18})")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_VARIABLE = re.compile(r"([^\W\d]\w*)(?:\[(-?\d{1,9})\])?")


@dataclass(frozen=True, slots=True)
class SelectedImage:
    """An image: its name, its bytes, and its prompt and settings; None if these are unknown."""

    name: str
    data: bytes
    prompt: str | None = None
    settings: Mapping[str, str] | None = None


def parse_id(word: str) -> int | None:
    """Return the number of the history that a word is, `17` or `@17`; None for any other word."""
    found = _ID.fullmatch(word)
    return int(found[1]) if found else None


def find_row(context: NotebookContext, word: str) -> PictureRow:
    """Return the saved image of the ledger that a word names: `17`, `@17`, or that of a variable (`fox`, `foxes[2]`).

    Raises UsageError if the word names none.
    """
    if (number := parse_id(word)) is None:
        name, index = _variable(word)
        number = _element(variable_images(context, name)[0], name, index).id
    rows = loop.run(api.ledger(context.settings()).pictures(ids=[number]))
    if not rows:
        raise UsageError(_no_picture(context, number))
    return rows[0]


def _variable(word: str) -> tuple[str, str | None]:
    """Return the name and the index of a variable, `foxes[2]`. Raises UsageError if the word is none."""
    found = _VARIABLE.fullmatch(word)
    if not found:
        raise UsageError(f"{word} is neither a picture's number (%imagegen history lists them) nor a variable.")
    return found[1], found[2]


def named_images(context: NotebookContext, word: str) -> Sequence[GeneratedImage]:
    """Return the images in the ledger of a variable, or the one of `foxes[2]`. Raises UsageError if it has none."""
    name, index = _variable(word)
    images = variable_images(context, name)[0]
    return images if index is None else [_element(images, name, index)]


def _no_picture(context: NotebookContext, number: int) -> str:
    if moment := deleted_at(api.ledger(context.settings()), number):
        return f"Picture {number} was deleted on {local_day(moment)}: %imagegen history lists those that are kept."
    return f"There is no picture {number}: %imagegen history lists them."


def variable_images(context: NotebookContext, name: str) -> tuple[tuple[GeneratedImage, ...], Any]:
    """Return the images of a variable that are in the ledger, each once, and its value; raises UsageError if it has none."""
    if name not in context.shell.user_ns:
        raise UsageError("No cell has made a picture yet." if name == "_imagegen" else f"There is no variable {name}.")
    value = context.shell.user_ns[name]
    found = tuple({image.id: image for image in images_in(value) if image.id}.values())
    if not found:
        raise UsageError(f"{name} holds no pictures: give the variable of a sweep or a generation.")
    return found, value


def images_in(value: Any) -> Iterator[GeneratedImage]:
    """Yield the images of a value: an image, a sequence of them, a job with its images so far."""
    if isinstance(value, GeneratedImage):
        yield value
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for each in value:
            yield from images_in(each)
    elif type(value).__module__.startswith("imagegen_magic.") and (finished := getattr(value, "generation", None)) is not None:
        yield from finished


def _element(values: Sequence[Any], name: str, index: str | None) -> Any:
    if index is None and len(values) != 1:
        raise UsageError(f"{name} holds {len(values)} pictures: give one of them, as {name}[0].")
    try:
        return values[int(index or 0)]
    except IndexError:
        raise UsageError(f"{name} holds {len(values)} pictures: the last is {name}[{len(values) - 1}].") from None


# --- an image with what is known of it


def select(context: NotebookContext, word: str) -> SelectedImage:
    """Return the image that a word names: an id, a variable, else a file. Raises UsageError."""
    settings = context.settings()
    if parse_id(word) is not None:
        return _of_image(generated(find_row(context, word)), f"@{parse_id(word)}")
    found = _VARIABLE.fullmatch(word)
    if found is None or found[1] not in context.shell.user_ns:
        return _of_file(settings, word)
    if path_of(word).is_file():
        raise UsageError(f"{word} is a file and a variable at once: write ./{word} for the file.")
    value = context.shell.user_ns[found[1]]
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        value = _element(value, found[1], found[2])
    if isinstance(value, GeneratedImage):
        return _of_image(value, word)
    local = resolve(word, context.shell.user_ns, settings.folder, settings)
    if isinstance(local, str):
        raise UsageError(f"{word} is an address: download the picture first, or give a file, a variable or an ID.")
    return SelectedImage(word, local.data)


def _of_image(image: GeneratedImage, name: str) -> SelectedImage:
    try:
        data = image.data
    except OSError:
        raise UsageError(f"The file of {name} no longer exists: {image.location}.") from None
    return SelectedImage(name, data, image.request.prompt, comparison.settings(image))


def _of_file(settings: Settings, word: str) -> SelectedImage:
    path = located(os.path.expanduser(word))
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"{word} is neither a picture's number, nor a variable, nor a readable file ({why}).") from None
    ledger = api.ledger(settings)
    if row := loop.run(find_by_content(ledger, hashlib.sha256(data).hexdigest())):
        image = generated(row)
        return SelectedImage(path.name, data, image.request.prompt, comparison.settings(image))
    try:
        found = loop.run(provenance.of_file(ledger, path, settings.folder))
    except LookupError:
        return SelectedImage(path.name, data)
    requested = {name: value for name, value in found.request.asked().items() if name != "prompt"}
    known = {"service": gateway_name(found.provider, found.sandbox), **comparison.as_texts(requested)}
    return SelectedImage(path.name, data, found.request.prompt, known)


# --- a reference or a mask of a request


def reference(text: str, namespace: Mapping[str, Any], folder: Path, *, option: str = "references") -> Any:
    """Return the value of the variable that a word names (`name[2]`: one element), else the word, which the engine reads.

    Raises UnsupportedOption for a name that is a file and a variable at once, and for an element that does not exist.
    """
    match = _VARIABLE.fullmatch(text)
    if _ADDRESS.match(text) or match is None or match[1] not in namespace:
        return text
    if (folder / path_of(os.path.expanduser(text))).is_file():
        step = f"write ./{text} for the file, or give the variable another name"
        raise UnsupportedOption(f"{text} is a file and a variable at once", option=option, value=text, hint=step)
    value, index = namespace[match[1]], match[2]
    if index is None:
        return Named(value, text)
    try:
        return Named(value[int(index)], text)
    except (TypeError, LookupError):
        raise _no_element(value, match[1], index, option) from None


def _no_element(value: Any, name: str, index: str, option: str) -> UnsupportedOption:
    length = len(value) if hasattr(value, "__len__") else 0
    count = f"{name} has {length} elements" if length else f"{name} is of type {type(value).__name__}, without elements"
    step = f"the last is {name}[{length - 1}]" if length else f"write {name} alone if it is a picture, else give a list of pictures"
    return UnsupportedOption(f"There is no {name}[{index}]: {count}", option=option, value=f"{name}[{index}]", hint=step)


def resolve(text: str, namespace: Mapping[str, Any], folder: Path, settings: Settings, *, option: str = "references") -> str | LocalImage:
    """Return the one image that a word names: an address unchanged, everything else loaded. Raises UnsupportedOption, ImageInvalid."""
    loader = ReferenceLoader(settings)
    source = reference(text, namespace, folder, option=option)
    return loader.mask(source) if option == "mask" else loader.picture(source)
