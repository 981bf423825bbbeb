"""What looks like a key, so that it is neither run, shown nor kept."""

from __future__ import annotations

import re
from collections.abc import Iterable

from imagegen_magic.secret_patterns import without_queries

_PREFIXED = re.compile(r"\b(?:sk|pk|rk|gsk)[-_][\w-]{12,}|\b(?:key|api|token)[-_](?=[\w-]*\d)[\w-]{16,}|\beyJ[\w-]{8,}\.[\w.-]{8,}")
_BEARER = re.compile(r"\b(bearer|authorization:|x-api-key:)\s*\S{8,}", re.IGNORECASE)
_OPAQUE = re.compile(r"(?<![\w/.%-])(?=\w*\d)(?=\w*[A-Za-z])[A-Za-z0-9]{32,}(?![\w/-]|\.\w)")
_ADDRESS = re.compile(r"\bhttps?://\S+")  # signed addresses are long and opaque too
_KEY_OPTION = re.compile(
    r"(?:^|\s)--?(?:\w+[-_])*(?:key|token|secret|password)\b|--set[\s=]+['\"]?[\w-]*(?:key|token|secret|authorization)=", re.IGNORECASE
)


def holds_known_key(text: str, keys: Iterable[str]) -> bool:
    """Say whether one of the known keys stands in the text."""
    return any(secret in text for secret in keys)


def looks_like_key(line: str) -> bool:
    """Say whether an option line holds something like a key, or an option that would take one."""
    if _PREFIXED.search(line) or _BEARER.search(line) or _KEY_OPTION.search(line):
        return True
    return bool(_OPAQUE.search(_ADDRESS.sub(" ", line)))


def redacted(text: str, keys: Iterable[str]) -> str:
    """Return the text with everything that is (one of `keys`) or looks like a key blotted out, and addresses without their queries."""
    for secret in keys:
        text = text.replace(secret, "[key]")
    text = without_queries(text)
    for pattern in (_PREFIXED, _BEARER, _OPAQUE):
        text = pattern.sub("[key]", text)
    return text
