"""A request as the text of a `%%imagegen` cell that repeats it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any

from imagegen_magic.options import OPTIONS, PARAMETERS, Option
from imagegen_magic.request import ImageRequest


def cell(request: ImageRequest, provider: str, *, sandbox: bool = False) -> str:
    """Return a complete cell: every option that was given, quoted for the option line, and the prompt verbatim."""
    given = {"provider": provider, **_with_options(request)} | ({"sandbox": True} if sandbox else {})
    words = [word for option in OPTIONS if option.flags and option.name in given for word in _words(option, given[option.name])]
    end = "\n" if request.prompt.endswith("\n") else ""  # the front end adds a cell's last line break; it is not part of the prompt
    return f"%%imagegen {' '.join(words)}\n{request.prompt}{end}"


def _with_options(request: ImageRequest) -> dict[str, Any]:
    """Return what was requested by option: a parameter without an option of its own is given by --set."""
    asked = request.asked()
    parameters = asked.pop("parameters", {})
    further = {name: value for name, value in parameters.items() if name not in PARAMETERS} | asked.pop("extra", {})
    return asked | {name: value for name, value in parameters.items() if name in PARAMETERS} | ({"extra": further} if further else {})


def _words(option: Option, value: Any) -> Iterator[str]:
    if option.metavar is None:
        yield option.long
        return
    for each in _each(option, value):
        between = "=" if each.startswith("-") else " "  # a value that looks like an option is not one after the sign
        yield f"{option.long}{between}{shlex.quote(each)}"


def _each(option: Option, value: Any) -> Iterator[str]:
    if option.name == "extra":
        yield from (f"{key}={json.dumps(one, ensure_ascii=False)}" for key, one in value.items())
    elif option.repeat:
        yield from map(str, value)
    else:
        yield str(value)
