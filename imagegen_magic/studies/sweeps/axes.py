"""The axes of a sweep: their values, also parsed from text, and how they fill the placeholders of a prompt."""

from __future__ import annotations

import difflib
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from pathlib import Path
from typing import Any

from imagegen_magic import readers
from imagegen_magic.engine.references import Named
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.options import PARAMETERS
from imagegen_magic.providers.describe import shown
from imagegen_magic.records import Record, frozen, hash_of_fields
from imagegen_magic.request import ImageRequest, LocalImage
from imagegen_magic.result import GeneratedImage

OPTIONS = ("provider", *(field.name for field in fields(ImageRequest) if field.name not in ("prompt", "unchecked", "parameters", "_")))
"""The options that can be an axis: the gateway, and every field of a request except the prompt, the check and the parameters.

A parameter of the model is an axis by its own name.
"""

_ALIASES = {"ref": "references"}
_INTEGERS = ("n", "output_compression")
_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
_QUOTED = re.compile(r"""\s*(?:"((?:\\.|[^"\\])*)"|'([^']*)')\s*""")


@dataclass(frozen=True, slots=True, repr=False)
class Axis(Record):
    """One axis: its `name`, its `values` as a request takes them, and their `labels`, which are all different."""

    name: str
    values: tuple[Any, ...]
    labels: tuple[str, ...]

    __hash__ = hash_of_fields  # values may be arrays or images

    @property
    def is_option(self) -> bool:
        """Whether it sets an option; the prompt may have a placeholder of the same name too."""
        return self.name in OPTIONS


def normalize_name(name: str) -> str:
    """Return the canonical name of an axis: `output-format` and `ref` are `output_format` and `references`."""
    plain = name.strip().lstrip("-").replace("-", "_")
    return _ALIASES.get(plain, plain)


def split(text: str) -> list[str]:
    """Return the values in a text, separated by `|`, or by `,` if it has no `|`; quotes protect a value."""
    separator = "|" if any(sign == "|" for sign, _ in _outside_quotes(text, "|,")) else ","
    values, start = [], 0
    for sign, at in _outside_quotes(text, separator):
        if sign == separator:
            values.append(text[start:at])
            start = at + 1
    return [_unquoted(value) for value in [*values, text[start:]]]


def _outside_quotes(text: str, separators: str) -> Iterator[tuple[str, int]]:
    """Yield each separator with its position; a value is quoted if it begins and ends with the same quote."""
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


def make_axis(name: str, values: Iterable[Any]) -> Axis:
    """Return an axis. Raises UnsupportedOption if it has no value, the same value twice, or one that its option cannot have."""
    name = normalize_name(name)
    if isinstance(values, str | bytes | Mapping | LocalImage) or not isinstance(values, Iterable):
        raise _refused(name, values, f"The values of the axis {name} are not a list", f"give several, as in {name}=[…]")
    parsed = tuple(_parse(name, value) for value in values)
    if not parsed or any(isinstance(value, str) and not value for value in parsed):
        step = "leave it out; there is a comma or | at the end, or twice" if parsed else "name its values"
        raise _refused(name, "", f"The axis {name} has {'an empty' if parsed else 'no'} value", step)
    labels, identities = tuple(label(value, number) for number, value in enumerate(parsed, 1)), [_identity(value) for value in parsed]
    if twice := next(_repeated(labels, identities), None):
        step = f"name each value once; for several pictures of each combination, {_REPEAT}"
        raise _refused(name, twice, f"The axis {name} has {twice} twice", step)
    return Axis(name, parsed, _distinct(labels))


def _repeated(labels: Iterable[str], identities: Iterable[Any]) -> Iterator[str]:
    known = set()
    for text, identity in zip(labels, identities, strict=True):
        if identity in known:
            yield text
        known.add(identity)


def parse_axes(axes: Any) -> tuple[Axis, ...]:
    """Return axes from a mapping of names to values, or from axes. Raises UnsupportedOption for anything else."""
    if isinstance(axes, Mapping) and all(isinstance(name, str) for name in axes):
        return tuple(make_axis(name, values) for name, values in axes.items())
    if isinstance(axes, Sequence) and all(isinstance(each, Axis) for each in axes):
        return tuple(axes)
    step = 'give the values of each axis by its name, as in {"quality": ["low", "high"]}'
    raise UnsupportedOption(f"The axes cannot be read from {shown(axes)}", option="sweep", value=axes, hint=step)


_REPEAT = "--repeat COUNT (repeat=… in Python)"


def _refused(name: str, value: Any, what: str, step: str) -> UnsupportedOption:
    return UnsupportedOption(what, option=name, value=value, hint=step)


def _parse(name: str, value: Any) -> Any:
    if name in _INTEGERS:
        try:
            return readers.whole(value)
        except ValueError:
            if not isinstance(value, str):
                return value  # of any type: the plan refuses it with a reason
            raise _refused(name, value, f"{name} = {value!r} is not a whole number", "give whole numbers") from None
    if name == "extra" and isinstance(value, str):
        try:
            return frozen(dict([readers.pair(value)]))
        except ValueError:
            step = "give KEY=VALUE, as in --sweep 'extra=seed=1|seed=2'"
            raise _refused("extra", value, f"{value!r} is not an extra field", step) from None
    if name not in OPTIONS and not isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return frozen(value)
    return tuple(value) if isinstance(value, list) else value


def _identity(value: Any) -> Any:
    """Return what is equal for equal values: an image by its bytes, a plain value by its text, any other by its identity."""
    if isinstance(value, LocalImage):
        return value.placeholder
    if isinstance(value, tuple):
        return tuple(map(_identity, value))
    return label(value) if isinstance(value, _PLAIN) else id(getattr(value, "thing", value))


_PLAIN = (str, int, float, Decimal, Path, Mapping, type(None))


def label(value: Any, number: int = 1) -> str:
    """Return the label of a value in a grid; a value without a name is labelled by its number."""
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={each}" for key, each in value.items())
    if isinstance(value, tuple):
        return " + ".join(label(each, position) for position, each in enumerate(value, 1))
    if isinstance(value, GeneratedImage):
        return f"@{value.id}" if value.id else value.file.name
    if isinstance(value, LocalImage | Named):
        return value.name
    return str(value) if isinstance(value, _PLAIN) else f"picture {number}"


def _distinct(labels: Sequence[str]) -> tuple[str, ...]:
    """Number equal labels of different images, without creating the label of another one."""
    counts, used, distinct = Counter(labels), set(labels), []
    numbers: dict[str, Iterator[int]] = {}
    for text in labels:
        if counts[text] > 1:
            following = numbers.setdefault(text, itertools.count(1))
            text = next(name for name in (f"{text} ({number})" for number in following) if name not in used)
            used.add(text)
        distinct.append(text)
    return tuple(distinct)


def placeholders(prompt: str) -> tuple[str, ...]:
    """Return the names that stand in a prompt as `{{name}}`, each once."""
    return tuple(dict.fromkeys(name for name in _PLACEHOLDER.findall(prompt) if name.isidentifier()))


@dataclass(frozen=True, slots=True)
class Template(Record):
    """A prompt with placeholders: its `parts` are text and, at odd positions, the name of a placeholder."""

    parts: tuple[str, ...]

    @classmethod
    def parse(cls, prompt: str, axes: Sequence[Axis], variables: Callable[[str], str] | None = None) -> Template:
        """Return a prompt with the axes' placeholders; `variables` returns the text of any other one, which is taken literally.

        Raises UnsupportedOption for a placeholder without a value, unless there is no axis: then the prompt is taken literally.
        """
        names, parts, unfilled = {axis.name for axis in axes}, [""], []
        for number, part in enumerate(_PLACEHOLDER.split(prompt)):
            if number % 2 and part in names:
                parts += [part, ""]
            elif number % 2 and part.isidentifier() and variables:
                parts[-1] += variables(part)
            else:
                parts[-1] += f"{{{{{part}}}}}" if number % 2 else part
                unfilled += [part] if number % 2 and part.isidentifier() else []
        if axes and unfilled:
            raise _unfilled(unfilled, axes)
        return cls(tuple(parts))

    @property
    def placeholders(self) -> tuple[str, ...]:
        """The names of its placeholders, each once."""
        return tuple(dict.fromkeys(self.parts[1::2]))

    @property
    def text(self) -> str:
        """The prompt with its placeholders as written."""
        return self.render({name: f"{{{{{name}}}}}" for name in self.placeholders})

    def render(self, values: Mapping[str, str]) -> str:
        """Return the prompt with a value for each placeholder, taken literally."""
        return "".join(values[part] if number % 2 else part for number, part in enumerate(self.parts))


def _unfilled(names: Sequence[str], axes: Sequence[Axis]) -> UnsupportedOption:
    what = f"There is no value for {', '.join(f'{{{{{name}}}}}' for name in dict.fromkeys(names))} in the prompt"
    near = difflib.get_close_matches(names[0], [axis.name for axis in axes if not axis.is_option], n=1)
    step = f"give its values with --sweep {names[0]}=…" + (f" (the axis is {near[0]})" if near else "")
    step += ", or use a variable of that name with --vars"
    return UnsupportedOption(what, option="sweep", value=names[0], hint=step)


def check(axes: Sequence[Axis], template: Template, is_parameter: Callable[[str], bool] = lambda name: False) -> None:
    """Raise UnsupportedOption for an axis that is neither an option nor a placeholder of the prompt, or is given twice.

    `is_parameter` returns whether a model has a parameter of that name.
    """
    names = [axis.name for axis in axes]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise _refused(twice, "", f"The axis {twice} is given twice", "put all its values into one")
    for axis in axes:
        if not axis.is_option and axis.name not in template.placeholders and not is_parameter(axis.name):
            near = difflib.get_close_matches(axis.name, (*OPTIONS, *PARAMETERS), n=1)
            what = f"{axis.name} cannot be an axis: it is not an option that can vary, and the prompt has no {{{{{axis.name}}}}}"
            step = f"write {{{{{axis.name}}}}} where its value goes, or name one of the options"
            raise UnsupportedOption(
                what, option=axis.name, value="", allowed=OPTIONS, fix={near[0]: axis.labels} if near else None, hint=step
            )
