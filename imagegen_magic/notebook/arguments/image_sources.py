"""What a word after --ref or --mask names: an address, a file, a picture of the history, or a variable of the notebook."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.paths import path_of

if TYPE_CHECKING:
    from imagegen_magic.engine.settings import Settings
    from imagegen_magic.request import LocalPicture

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_VARIABLE = re.compile(r"([^\W\d]\w*)(?:\[(-?\d+)\])?")


def named(text: str, namespace: Mapping[str, Any], folder: Path, *, option: str = "references") -> Any:
    """Return what a word names: a variable's value (`name[2]`: one of its pictures), else the word, which the engine reads.

    Raises UnsupportedOption for a name that is a file and a variable at once, for one that is neither, and for what holds no picture.
    """
    match = _VARIABLE.fullmatch(text)
    if _ADDRESS.match(text) or match is None or match[1] not in namespace:
        return text
    if (folder / path_of(os.path.expanduser(text))).is_file():
        raise UnsupportedOption(
            f"{text} is a file and a variable at once",
            option=option,
            value=text,
            hint=f"write ./{text} for the file, or give the variable another name",
        )
    from imagegen_magic.engine.references import Named

    return Named(_chosen(namespace[match[1]], match[1], match[2], option), text)


def _chosen(value: Any, name: str, index: str | None, option: str) -> Any:
    if index is None:
        return value
    try:
        return value[int(index)]
    except (TypeError, LookupError):
        long = len(value) if hasattr(value, "__len__") else 0
        count = f"{name} has {long} elements" if long else f"{name} is of type {type(value).__name__}, and has none"
        step = f"the last is {name}[{long - 1}]" if long else f"write {name} alone if it is a picture, else give a list of pictures"
        what = f"There is no {name}[{index}]: {count}"
        raise UnsupportedOption(what, option=option, value=f"{name}[{index}]", hint=step) from None


def resolve(
    text: str, namespace: Mapping[str, Any], folder: Path, settings: Settings | None = None, *, option: str = "references"
) -> str | LocalPicture:
    """Return the one picture that a word names: an address as it is, everything else ready for the wire.

    Raises UnsupportedOption and ImageInvalid.
    """
    from imagegen_magic.engine import settings as configuration
    from imagegen_magic.engine.references import ReferenceLoader

    gathering = ReferenceLoader(settings or configuration.load(folder))
    source = named(text, namespace, folder, option=option)
    return gathering.mask(source) if option == "mask" else gathering.picture(source)
