"""What looks like a key, so that it is neither run, shown nor kept."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imagegen_magic.engine.keys import Key

_PREFIXED = re.compile(r"\b(?:sk|pk|rk|gsk)[-_][\w-]{12,}|\b(?:key|api|token)[-_](?=[\w-]*\d)[\w-]{16,}|\beyJ[\w-]{8,}\.[\w.-]{8,}")
_BEARER = re.compile(r"\b(bearer|authorization:|x-api-key:)\s*\S{8,}", re.IGNORECASE)
_OPAQUE = re.compile(r"(?<![\w/.%-])(?=\w*\d)(?=\w*[A-Za-z])[A-Za-z0-9]{32,}(?![\w/-]|\.\w)")
_ADDRESS = re.compile(r"\bhttps?://\S+")  # signed addresses are long and opaque too
_KEY_OPTION = re.compile(
    r"(?:^|\s)--?(?:\w+[-_])*(?:key|token|secret|password)\b|--set[\s=]+['\"]?[\w-]*(?:key|token|secret|authorization)=", re.IGNORECASE
)
_SHORTEST = 8


def _of_environment() -> Iterator[str]:
    return (value.strip() for name, value in os.environ.items() if name.endswith("_API_KEY") and len(value.strip()) >= _SHORTEST)


def holds_known_key(text: str, keys: Iterable[Key] = ()) -> bool:
    """Say whether a key of this session or environment stands in the text."""
    return any(secret in text for secret in _of_environment()) or any(key.redact(text) != text for key in keys)


def looks_like_key(line: str) -> bool:
    """Say whether an option line holds something like a key, or an option that would take one."""
    if _PREFIXED.search(line) or _BEARER.search(line) or _KEY_OPTION.search(line):
        return True
    return bool(_OPAQUE.search(_ADDRESS.sub(" ", line)))


def redacted(text: str, keys: Iterable[Key] = ()) -> str:
    """Return the text with everything that is or looks like a key blotted out."""
    for secret in _of_environment():
        text = text.replace(secret, "[key]")
    for key in keys:
        text = key.redact(text)
    for pattern in (_PREFIXED, _BEARER, _OPAQUE):
        text = pattern.sub("[key]", text)
    return text
