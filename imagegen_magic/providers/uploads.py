"""Uploads: what a gateway takes, what would be sent, and where the uploaded picture is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from imagegen_magic.deprecated import renamed_fields
from imagegen_magic.formats import GIF, JPEG, PNG, WEBP
from imagegen_magic.providers import responses, urls
from imagegen_magic.providers.model import Model
from imagegen_magic.records import FrozenDict, Record, frozen
from imagegen_magic.request import LocalImage
from imagegen_magic.secret_patterns import Address

ENDINGS = {image_format.mime_type: image_format.extension for image_format in (JPEG, PNG, WEBP, GIF)}
_USUAL = (JPEG.mime_type, PNG.mime_type, WEBP.mime_type)
_ADDRESS_KEYS = ("file_url", "url", "image_url", "download_url", "src")
_INNER_KEYS = ("data", "file", "files", "image", "images", "result")
_MAX_DEPTH = 4


@renamed_fields(where="host", most_bytes="max_bytes")
@dataclass(frozen=True, slots=True)
class UploadRule(Record):
    """What a gateway takes for an upload, as dated data.

    `address` is a path, joined to the base URL, or an https address on one of the gateway's `key_hosts`; `host` is the host shown
    in messages; `types` are MIME types; `lifetime` is how many seconds the address lives; `checked` the ISO date on which
    `document` was read.
    """

    address: str
    host: str
    types: tuple[str, ...]
    max_bytes: int
    lifetime: float
    checked: str
    document: str


@dataclass(frozen=True, slots=True, repr=False)
class UploadCall(Record):
    """One multipart upload to make: the picture goes into the form's field `field_name` as a file, `form` holds the fields beside it."""

    method: str
    address: str
    field_name: str
    file_name: str
    content_type: str
    form: Mapping[str, str] = field(default_factory=FrozenDict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "form", frozen(self.form))


class Uploaded(NamedTuple):
    """The address of an uploaded picture, and when it expires (epoch seconds; None: unknown)."""

    url: str
    expires_at: float | None = None


def file_name(picture: LocalImage) -> str:
    """Return the name that an upload carries: neutral, because the name of a file may be private."""
    return f"picture-{picture.sha256[:16]}.{ENDINGS.get(picture.mime_type, 'bin')}"


def limits(model: Model, rule: UploadRule | None) -> tuple[tuple[str, ...], int | None]:
    """Return the MIME types that a reference of this model may have, and its maximum in bytes (None: not documented)."""
    named = tuple(mime for mime, ending in ENDINGS.items() if {ending, mime.rpartition("/")[2]} & set(model.reference_types))
    types = named or (rule.types if rule else _USUAL)
    limits = [limit for limit in (model.reference_bytes, rule.max_bytes if rule else None) if limit is not None]
    return tuple(mime for mime in types if rule is None or mime in rule.types), min(limits, default=None)


def unique(pictures: Iterable[Any]) -> tuple[LocalImage, ...]:
    """Return the pictures of this machine among references and mask, each once, in order."""
    return tuple({each.identity: each for each in reversed(list(pictures)) if isinstance(each, LocalImage)}.values())[::-1]


def read(answer: Any) -> Uploaded | None:
    """Return the address of the file in an answer; None if it names no address."""
    url = next(_urls(answer), "")
    return Uploaded(Address(url), _expiry(answer)) if url else None


def _urls(value: Any, depth: int = 0) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, list):
        for each in value:
            yield from _urls(each, depth + 1)
    if isinstance(value, Mapping):
        texts = (value[key].strip() for key in _ADDRESS_KEYS if isinstance(value.get(key), str))
        yield from (text for text in texts if (parts := urls.split(text)) and parts.scheme in ("http", "https"))
        for key in _INNER_KEYS:
            yield from _urls(value.get(key), depth + 1)


def _expiry(answer: Any) -> float | None:
    for level in (responses.task_object(answer), answer):
        value = level.get("expires_at", level.get("expiresAt")) if isinstance(level, Mapping) else None
        if (time := responses.epoch_seconds(value) or _epoch_of(value)) is not None:
            return time
    return None


def _epoch_of(text: Any) -> float | None:
    """Return a written date and time as epoch seconds, in UTC if it has no zone."""
    if not isinstance(text, str) or not re.match(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d", text):
        return None
    try:
        value = datetime.fromisoformat(text.strip())
        return responses.epoch_seconds((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        return None
