"""Options with typographic dashes: web pages and word processors turn `--quality` into `—quality`, and `-n` into `−n`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator

from IPython.core.error import UsageError

from imagegen_magic.notebook.arguments import other_tools
from imagegen_magic.options import OPTIONS, option_for

DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212\u02d7\u2e3a\u2e3b\ufe58\ufe63\uff0d"
"""Hyphens, dashes and minus signs other than ASCII's."""

_INVISIBLE = "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"  # copied from web pages; zero-width, so invisible
_START = re.compile(rf"(?<=\s)(?=[{_INVISIBLE}]*[-{DASHES}])")
_WORD = re.compile(rf"([{_INVISIBLE}]*[-{DASHES}][-{DASHES}{_INVISIBLE}]*)([A-Za-z][\w{_INVISIBLE}]*(?:[-{DASHES}]+[A-Za-z]\w*)*)")
_TO_ASCII = str.maketrans(dict.fromkeys(DASHES, "-") | dict.fromkeys(_INVISIBLE, ""))
_ATTACHED = re.compile(r"([nsr])(\d.*)|(q)(auto|low|medium|high)")  # a short flag with its value: -n2, -s16:9, -r2k, -qlow
_NAMES = sorted({flag.removeprefix("--") for option in OPTIONS for flag in option.flags if flag.startswith("--")})
_NEAR = 0.8  # similarity to the name of an option above which a word is refused


class UnknownOption(UsageError):
    """A word that is, or looks like, an unknown option."""


def starts(line: str, at: int) -> Iterator[int]:
    """Yield the positions of words that begin with a dash, from a position on."""
    return (found.start() for found in _START.finditer(line, at))


def plain(text: str) -> str:
    """Return a text with ASCII dashes and without zero-width characters."""
    return text.translate(_TO_ASCII)


def option_at(line: str, at: int) -> tuple[str, str] | None:
    """Return the option with other dashes at a position, as (what is written, its flag); None if there is none.

    Raises UnknownOption for a typographic dash before a misspelt option, or an option of another tool: a picture of it would cost money.
    """
    found = _WORD.match(line, at)
    if found is None:
        return None
    run, name, after = found[1], plain(found[2]), line[found.end() : found.end() + 1]
    ends = not after.strip() or after == "="
    flag = f"--{name}" if len(name) > 1 else f"-{name}"
    if option_for(found[0]):
        return None
    if ends and option_for(flag):
        return found[0], flag
    if run.isascii():
        return None  # the parser reads or refuses it
    if attached := _ATTACHED.match(name):
        short = attached[1] or attached[3]
        return line[at : found.start(2) + 1], f"-{short}"
    if ends:
        _refuse_near(found[0], name, line[found.end() :])
    return None


def _refuse_near(written: str, name: str, rest: str) -> None:
    value = next(iter(rest.removeprefix("=").split()), "")
    foreign = other_tools.replacement(f"--{name}", value) if other_tools.has_a_number(name, value) else ""
    near = difflib.get_close_matches(name.lower(), _NAMES, n=1, cutoff=_NEAR) if len(name) > 2 else []
    near = [f"-{name.lower()}"] if len(name) == 1 and option_for(f"-{name.lower()}") else [f"--{one}" for one in near]
    if foreign or near:
        hint = foreign or f"did you mean {near[0]}?"
        raise UnknownOption(f"There is no option {written}: {hint}")


def flag_of(word: str, flags: Collection[str]) -> str:
    """Return a word of a subcommand with plain dashes if it is one of its flags, also with `=value`; else unchanged."""
    found = _WORD.match(word)
    if found is None or found[0] in flags:
        return word
    rest = word[found.end() :]
    name = plain(found[2])
    flag = next((one for one in (f"--{name}", f"-{name}") if one in flags), "")
    return flag + rest if flag and rest[:1] in ("", "=") else word
