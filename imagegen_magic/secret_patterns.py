"""What looks like a key or a signed address, and how it is removed from texts and JSON values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

_REDACTED = "[key]"
_REMOVED_QUERY = "?…"
_END = r"\s\"'<>`，。；、）】」》"
_ADDRESS = re.compile(
    rf"\b((?:https?|wss?|ftps?|socks[45][ah]?|s3|gs):(?:\\?/){{2}})([^{_END}?#/\\]*@)?([^{_END}?]*)(\?[^{_END}]*)?", re.IGNORECASE
)
_HTTP_ADDRESS = re.compile(r"\bhttps?://\S+")  # signed addresses are long and opaque, too
_HEX = "[0-9a-fA-F]"
_PREFIXED = re.compile(  # the last lines: ids of Amazon's keys; keys of Replicate, of Google in both forms, and of fal: an id and a secret
    r"\b(?:sk|pk|rk|gsk)[-_][\w-]{12,}|\b(?:key|api|token)[-_](?=[\w-]*\d)[\w-]{16,}|\beyJ[\w-]{8,}\.[\w.-]{8,}"
    r"|\bA[KS]IA[0-9A-Z]{16}\b"
    rf"|\br8_\w{{20,}}|\bAIza[\w-]{{30,}}|\bAQ\.[\w-]{{30,}}|\b{_HEX}{{8}}(?:-{_HEX}{{4}}){{3}}-{_HEX}{{12}}:{_HEX}{{16,}}"
)
_BEARER = re.compile(
    r"\b(?:bearer|authorization:(?:\s*(?:bearer|key|basic|token)\b)?|(?:x-goog-|x-)?api-key:|x-key:)\s*\S{8,}", re.IGNORECASE
)
_OPAQUE = re.compile(r"(?<![\w/.%-])(?<!upload:)(?=\w*\d)(?=\w*[A-Za-z])[A-Za-z0-9]{32,}(?![\w/-]|\.\w)")
_KEY_OPTION = re.compile(
    r"(?:^|\s)--?(?:\w+[-_])*(?:key|token|secret|password)\b|--set[\s=]+['\"]?[\w-]*(?:key|token|secret|authorization)=", re.IGNORECASE
)
_SECRET_NAME = re.compile(
    r"(?:^|[_-])(?:api[_-]?key|key|token|secret|password|passwd|authorization|callback[_-]?url|webhook\w*)$|(?-i:[a-z](?:Key|Token|Secret)$)",
    re.IGNORECASE,
)


def contains_any(text: str, secrets: Iterable[str]) -> bool:
    """Return whether one of the known secrets is in the text."""
    return any(secret in text for secret in secrets)


def looks_like_key(line: str) -> bool:
    """Return whether an option line has something like a key, or an option that would take one."""
    if _PREFIXED.search(line) or _BEARER.search(line) or _KEY_OPTION.search(line):
        return True
    return bool(_OPAQUE.search(_HTTP_ADDRESS.sub(" ", line)))


def is_secret_name(name: str) -> bool:
    """Return whether a parameter of that name holds a secret: `api_key`, `X-Auth-Token`, `callback_url`."""
    return bool(_SECRET_NAME.search(name))


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return the text without the `secrets`, anything that looks like a key, and the queries of addresses."""
    return redact_opaque(without_queries(redact_keys(text, secrets)))


def redact_keys(text: str, secrets: Iterable[str] = ()) -> str:
    """Return the text without the `secrets` and what is written like a key; a prompt keeps all else."""
    for secret in secrets:
        text = text.replace(secret, _REDACTED)
    return _BEARER.sub(_REDACTED, _PREFIXED.sub(_REDACTED, text))


def redact_opaque(text: str) -> str:
    """Return the text without long runs of letters and digits."""
    return _OPAQUE.sub(_REDACTED, text)


def without_queries(text: str) -> str:
    """Return a text whose addresses have no user, password or query: `https://host/fox.png?…`.

    The query of a signed address is enough to fetch the file. A text without such parts is returned as it is.
    """
    return _ADDRESS.sub(_shown, text) if "://" in text or ":\\/\\/" in text else text


def _shown(found: re.Match[str]) -> str:
    scheme, _, place, query = found.groups()
    return f"{scheme}{place}{_REMOVED_QUERY if query and query != '?' else query or ''}"


def without_queries_in(value: Any) -> Any:
    """Return JSON values in which each text that is an address has no user, password or query."""
    return _change_addresses(value, without_queries)


def mark_addresses(value: Any) -> Any:
    """Return JSON values in which each text that is an address is an `Address`."""
    return _change_addresses(value, Address)


def _change_addresses(value: Any, change: Callable[[str], str]) -> Any:
    match value:
        case str():
            return change(value) if _ADDRESS.fullmatch(value) else value
        case list() | tuple():
            return [_change_addresses(item, change) for item in value]
        case dict():
            return {name: _change_addresses(item, change) for name, item in value.items()}
    return value


class Address(str):
    """An address from a gateway: a text whose repr, and the repr of what holds it, has no query, as tracebacks show reprs of locals."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(self._shown())

    def __rich_repr__(self) -> Iterator[Any]:
        yield self._shown()

    def _shown(self) -> str:
        return f"{self[:40]}…" if self.startswith("data:") else without_queries(str(self))

    def __reduce__(self) -> tuple[type[Address], tuple[str]]:
        return type(self), (str(self),)
