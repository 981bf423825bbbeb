"""What is not to be shown in a text: the parts of an address that open what it names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

_MARK = "?…"
_END = r"\s\"'<>`，。；、）】」》"
_SCHEMES = "https?|wss?|ftps?|socks[45][ah]?|s3|gs"
_ADDRESS = re.compile(
    rf"\b((?:https?|wss?|ftps?|socks[45][ah]?|s3|gs):(?:\\?/){{2}})([^{_END}?#/\\]*@)?([^{_END}?]*)(\?[^{_END}]*)?", re.IGNORECASE
)


def without_queries(text: str) -> str:
    """Return a text whose addresses have no user, password or query left: `https://host/fox.png?…`.

    Whoever has the query of a signed address can fetch what it names. A text without such parts is returned as it is.
    """
    return _ADDRESS.sub(_shown, text) if "://" in text or ":\\/\\/" in text else text


def _shown(found: re.Match[str]) -> str:
    scheme, _, place, query = found.groups()
    return f"{scheme}{place}{_MARK if query and query != '?' else query or ''}"


def bare(value: Any) -> Any:
    """Return JSON values in which each text that is an address has no user, password or query left."""
    return _addresses_in(value, without_queries)


def marked(value: Any) -> Any:
    """Return JSON values in which each text that is an address is an `Address`."""
    return _addresses_in(value, Address)


def _addresses_in(value: Any, change: Callable[[str], str]) -> Any:
    match value:
        case str():
            return change(value) if _ADDRESS.fullmatch(value) else value
        case list() | tuple():
            return [_addresses_in(each, change) for each in value]
        case dict():
            return {name: _addresses_in(each, change) for name, each in value.items()}
    return value


class Address(str):
    """An address that a gateway gave: the text itself, whose repr, and so that of all that holds it, has no query.

    A traceback that shows local values shows their reprs.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(without_queries(str(self)))

    def __rich_repr__(self) -> Iterator[Any]:
        yield without_queries(str(self))

    def __reduce__(self) -> tuple[type[Address], tuple[str]]:
        return type(self), (str(self),)
