"""The axes of a sweep: which values each has, how they are read from text, and how they fill the slots of a prompt."""

from __future__ import annotations

import difflib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from pathlib import Path
from typing import Any

from imagegen_magic import readers
from imagegen_magic.engine.references import Named
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.providers.describe import shown
from imagegen_magic.records import Record, frozen, hash_of_fields
from imagegen_magic.request import ImageRequest, LocalPicture
from imagegen_magic.result import GeneratedImage

OPTIONS = ("provider", *(field.name for field in fields(ImageRequest) if field.name not in ("prompt", "_")))
"""The options that can be an axis: the gateway, and every field of a request but its prompt."""

_OTHER_NAMES = {"ref": "references"}
_WHOLE_NUMBERS = ("n", "output_compression")
_SLOT = re.compile(r"\{\{(\w+)\}\}")
_QUOTED = re.compile(r"""\s*(?:"((?:\\.|[^"\\])*)"|'([^']*)')\s*""")


@dataclass(frozen=True, slots=True, repr=False)
class Axis(Record):
    """One axis: its `name`, its `values` as a request takes them, and the `labels` by which they are told apart."""

    name: str
    values: tuple[Any, ...]
    labels: tuple[str, ...]

    __hash__ = hash_of_fields  # values may be arrays or images

    @property
    def is_option(self) -> bool:
        """Whether it sets an option, beside the slot of its name that the prompt may have."""
        return self.name in OPTIONS


def named(name: str) -> str:
    """Return the name of an axis as this module knows it: `output-format` and `ref` are `output_format` and `references`."""
    plain = name.strip().lstrip("-").replace("-", "_")
    return _OTHER_NAMES.get(plain, plain)


def split(text: str) -> list[str]:
    """Return the values that a text names: between `|`, or between `,` where no `|` is there; quotes keep a value whole."""
    separator = "|" if any(sign == "|" for sign, _ in _outside_quotes(text, "|,")) else ","
    values, start = [], 0
    for sign, at in _outside_quotes(text, separator):
        if sign == separator:
            values.append(text[start:at])
            start = at + 1
    return [_unquoted(value) for value in [*values, text[start:]]]


def _outside_quotes(text: str, separators: str) -> Iterator[tuple[str, int]]:
    """Yield each separator with its place; a value in quotes is one where it begins with the quote and ends with it."""
    at, begins = 0, True
    while at < len(text):
        quoted = _QUOTED.match(text, at) if begins else None
        if quoted and text[quoted.end() : quoted.end() + 1] in ("", *separators):
            at, begins = quoted.end(), False
            continue
        begins = text[at] in separators
        if begins:
            yield text[at], at
        at += 1


def _unquoted(value: str) -> str:
    if match := _QUOTED.fullmatch(value):
        return match[2] if match[1] is None else re.sub(r"\\(.)", r"\1", match[1])
    return value.strip()


def axis(name: str, values: Iterable[Any]) -> Axis:
    """Return an axis; raises UnsupportedOption where it has no value, the same one twice, or one that its option cannot have."""
    name = named(name)
    if isinstance(values, str | bytes | Mapping | LocalPicture) or not isinstance(values, Iterable):
        raise _refused(name, values, f"The values of the axis {name} are no list", f"give several, as in {name}=[…]")
    read = tuple(_read(name, value) for value in values)
    if not read or any(isinstance(value, str) and not value for value in read):
        step = "leave it out; a comma or | stands at the end, or twice" if read else "name its values"
        raise _refused(name, "", f"The axis {name} has {'an empty' if read else 'no'} value", step)
    labels, known = tuple(label(value, number) for number, value in enumerate(read, 1)), [_identity(value) for value in read]
    if twice := next((each for number, each in enumerate(labels) if known[number] in known[:number]), None):
        step = f"name each value once; for several pictures of each combination, {_REPEAT}"
        raise _refused(name, twice, f"The axis {name} has {twice} twice", step)
    return Axis(name, read, _told_apart(labels))


def all_of(axes: Any) -> tuple[Axis, ...]:
    """Return axes that are given as name -> values, or as axes; raises UnsupportedOption for anything else."""
    if isinstance(axes, Mapping) and all(isinstance(name, str) for name in axes):
        return tuple(axis(name, values) for name, values in axes.items())
    if isinstance(axes, Sequence) and all(isinstance(each, Axis) for each in axes):
        return tuple(axes)
    step = 'give the values of each axis by its name, as in {"quality": ["low", "high"]}'
    raise UnsupportedOption(f"The axes cannot be read from {shown(axes)}", option="sweep", value=axes, hint=step)


_REPEAT = "--repeat COUNT (repeat=… in Python)"


def _refused(name: str, value: Any, what: str, step: str) -> UnsupportedOption:
    return UnsupportedOption(what, option=name, value=value, hint=step)


def _read(name: str, value: Any) -> Any:
    if name in _WHOLE_NUMBERS:
        try:
            return readers.whole(value)
        except ValueError:
            if not isinstance(value, str):
                return value  # of any kind: the plan says why it cannot be
            raise _refused(name, value, f"{name} = {value!r} is no whole number", "give numbers") from None
    if name == "extra" and isinstance(value, str):
        return frozen(_further(value))
    if name not in OPTIONS and not isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return frozen(value)
    return tuple(value) if isinstance(value, list) else value


def _further(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise _refused("extra", text, f"{text!r} is no further field", "give KEY=VALUE, as in --sweep 'extra=seed=1|seed=2'")
    try:
        return {key.strip(): json.loads(value)}
    except ValueError:
        return {key.strip(): value}


def _identity(value: Any) -> Any:
    """Return what is equal for equal values: the bytes of a picture, the text of a plain value, the thing itself."""
    if isinstance(value, LocalPicture):
        return value.placeholder
    if isinstance(value, tuple):
        return tuple(map(_identity, value))
    return label(value) if isinstance(value, _PLAIN) else id(getattr(value, "thing", value))


_PLAIN = (str, int, float, Decimal, Path, Mapping, type(None))


def label(value: Any, number: int = 1) -> str:
    """Return what a value is called on the side of a grid; a thing without a name of its own by its number."""
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={each}" for key, each in value.items())
    if isinstance(value, tuple):
        return " + ".join(label(each, place) for place, each in enumerate(value, 1))
    if isinstance(value, GeneratedImage):
        return f"@{value.id}" if value.id else value.path.name
    if isinstance(value, LocalPicture | Named):
        return value.name
    return str(value) if isinstance(value, _PLAIN) else f"picture {number}"


def _told_apart(labels: Sequence[str]) -> tuple[str, ...]:
    """Number the labels of pictures that have the same name and are not the same, past those that are another's name."""
    used, told = set(labels), []
    for each in labels:
        if labels.count(each) > 1:
            each = next(name for name in (f"{each} ({number})" for number in itertools.count(1)) if name not in used)
            used.add(each)
        told.append(each)
    return tuple(told)


@dataclass(frozen=True, slots=True)
class Template(Record):
    """A prompt with slots: its `parts` are text and, at every second place, the name of a slot."""

    parts: tuple[str, ...]

    @classmethod
    def read(cls, prompt: str, axes: Sequence[Axis], variables: Callable[[str], str] | None = None) -> Template:
        """Return a prompt with the axes' slots; what `variables` gives for every other one is text, whatever it may look like.

        Raises UnsupportedOption for a slot that nothing fills, unless there is no axis at all: then the prompt is taken as it stands.
        """
        names, parts, empty = {axis.name for axis in axes}, [""], []
        for number, part in enumerate(_SLOT.split(prompt)):
            if number % 2 and part in names:
                parts += [part, ""]
            elif number % 2 and part.isidentifier() and variables:
                parts[-1] += variables(part)
            else:
                parts[-1] += f"{{{{{part}}}}}" if number % 2 else part
                empty += [part] if number % 2 and part.isidentifier() else []
        if axes and empty:
            raise _nothing_fills(empty, axes)
        return cls(tuple(parts))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its slots, each once."""
        return tuple(dict.fromkeys(self.parts[1::2]))

    @property
    def text(self) -> str:
        """The prompt with its slots as they are written."""
        return self.filled({name: f"{{{{{name}}}}}" for name in self.names})

    def filled(self, place: Mapping[str, str]) -> str:
        """Return the prompt with the slots' values, which are not looked at any further."""
        return "".join(place[part] if number % 2 else part for number, part in enumerate(self.parts))


def _nothing_fills(names: Sequence[str], axes: Sequence[Axis]) -> UnsupportedOption:
    what = f"Nothing fills {', '.join(f'{{{{{name}}}}}' for name in dict.fromkeys(names))} in the prompt"
    near = difflib.get_close_matches(names[0], [axis.name for axis in axes if not axis.is_option], n=1)
    step = f"give its values with --sweep {names[0]}=…" + (f" (the axis is called {near[0]})" if near else "")
    step += ", or take a variable of that name with --vars"
    return UnsupportedOption(what, option="sweep", value=names[0], hint=step)


def check(axes: Sequence[Axis], template: Template) -> None:
    """Raise UnsupportedOption for an axis that is neither an option nor a slot of the prompt, or that is there twice."""
    names = [each.name for each in axes]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise _refused(twice, "", f"The axis {twice} is given twice", "put all its values into one")
    for each in axes:
        if not each.is_option and each.name not in template.names:
            near = difflib.get_close_matches(each.name, OPTIONS, n=1)
            what = f"{each.name} is no axis: it is no option that can vary, and the prompt has no {{{{{each.name}}}}}"
            step = f"write {{{{{each.name}}}}} where its value goes, or name one of the options"
            raise UnsupportedOption(
                what, option=each.name, value="", allowed=OPTIONS, fix={near[0]: each.labels} if near else None, hint=step
            )
