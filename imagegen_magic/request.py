"""A request for images, independent of any gateway."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, fields
from typing import Any, Literal

from imagegen_magic.deprecated import renamed_functions
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.options import PARAMETERS
from imagegen_magic.records import FrozenDict, Record, hash_of_fields

__getattr__ = renamed_functions(__name__, LocalPicture="LocalImage")  # of 0.1.0

_RATIO = re.compile(r"(\d{1,4}):(\d{1,4})")
_PIXELS = re.compile(r"(\d{1,6})[x×X](\d{1,6})")


_NOTHING = {"Cc", "Cf", "Mn", "Mc", "Me", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "Zl", "Zp", "Zs"}  # Unicode categories
_BLANK_LETTERS = "\u115f\u1160\u2800\u3164\uffa0"  # letters and symbols that show nothing


def is_blank(prompt: str) -> bool:
    """Return whether a prompt has nothing to draw: only spaces, invisible characters, punctuation and quotes."""
    return not any(_is_drawable(mark) for mark in prompt)


def _is_drawable(mark: str) -> bool:
    if mark.isascii():
        return mark.isalnum()
    import unicodedata  # loaded for other prompts only

    return unicodedata.category(mark) not in _NOTHING and mark not in _BLANK_LETTERS


@dataclass(frozen=True, slots=True)
class Size(Record):
    """A requested size: a ratio `16:9`, pixels `1536x1024`, or `auto`.

    `width` and `height` are the ratio's terms or the pixels, and 0 for `auto`.
    """

    kind: Literal["ratio", "pixels", "auto"]
    width: int = 0
    height: int = 0

    @classmethod
    def parse(cls, text: str) -> Size:
        """Return the size of a text. Raises ValueError if it has none of the three forms."""
        text = text.strip()
        if text.lower() == "auto":
            return cls("auto")
        for kind, pattern in (("ratio", _RATIO), ("pixels", _PIXELS)):
            if match := pattern.fullmatch(text):
                width, height = int(match[1]), int(match[2])
                if width and height:
                    return cls(kind, width, height)  # type: ignore[arg-type]  # mypy widens the literals in the tuple
        raise ValueError(f"{text!r} is not a size: give a ratio like 16:9, pixels like 1536x1024, or auto")

    def __str__(self) -> str:
        if self.kind == "auto":
            return "auto"
        return f"{self.width}{':' if self.kind == 'ratio' else 'x'}{self.height}"


@dataclass(frozen=True, slots=True, repr=False)
class LocalImage(Record):
    """An image on this machine, ready to upload: `data` are the bytes that a gateway receives.

    `name` is its name in the request (`photo.jpg`, `fox[1]`, `@17`), `notes` the changes to its bytes, `picture` the ledger's id of a
    generated image, else 0. `url` is an address that it has already, until `expires_at` (epoch seconds).

    `sha256` is that of `data`. `identity` is the SHA-256 of the image in requests and in the ledger. If something was left out of a file,
    it is that of the bytes that version 0.1.0 would have sent, so that the same file is the same request in every version.
    """

    data: bytes = field(repr=False)
    mime_type: str
    width: int
    height: int
    name: str
    notes: tuple[str, ...] = ()
    picture: int = 0
    url: str = ""
    expires_at: float | None = None
    identity: str = field(default="", repr=False)
    sha256: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        import hashlib  # loads OpenSSL; needed for images only

        object.__setattr__(self, "sha256", hashlib.sha256(self.data).hexdigest())
        object.__setattr__(self, "identity", self.identity or self.sha256)

    @property
    def placeholder(self) -> str:
        """The placeholder in a plan until the address is known."""
        return f"upload:{self.identity}"


@dataclass(frozen=True, slots=True, repr=False)
class ImageRequest(Record):
    """A request for images; `None` means the default, which the plan fills in explicitly.

    `size` is a ratio, pixels or `auto` as text; `resolution` a tier (`1k`); `n` the number of pictures;
    `output_compression` is 0-100. `references` and `mask` are addresses or images on this machine; in a call also files, PIL images,
    arrays and earlier results, which the engine converts. `unchecked` sends what the model's page refuses. `parameters` holds the
    model's further parameters by name (`seed`, `negative_prompt`, `steps`). `extra` holds further fields of the gateway's request.
    """

    prompt: str
    _: KW_ONLY
    model: str | None = None
    size: str | None = None
    resolution: str | None = None
    quality: str | None = None
    n: int | None = None
    background: str | None = None
    moderation: str | None = None
    output_format: str | None = None
    output_compression: int | None = None
    references: tuple[str | LocalImage, ...] = ()
    mask: str | LocalImage | None = None
    callback_url: str | None = None
    unchecked: bool = False
    parameters: Mapping[str, Any] = field(default_factory=FrozenDict)
    extra: Mapping[str, Any] = field(default_factory=FrozenDict)

    def __post_init__(self) -> None:
        given: Any = self.references
        references = () if given is None else tuple(given) if isinstance(given, list | tuple) else (given,)
        object.__setattr__(self, "references", references)
        object.__setattr__(self, "parameters", _by_name(self.parameters, "parameters"))
        object.__setattr__(self, "extra", _by_name(self.extra, "extra"))

    __hash__ = hash_of_fields  # references may be arrays or images before they are made ready

    def asked(self) -> dict[str, Any]:
        """Return the requested options as plain JSON values; an image on this machine by its name."""
        requested: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if value is None or value is False or value == () or (item.name in ("parameters", "extra") and not value):
                continue
            requested[item.name] = _plain(value)
        return requested


def with_parameters(given: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return fields of a request, in which options that only some models have (`seed`) stand in `parameters`, after those of `before`.

    No partial pictures are requested by leaving the parameter out. Raises UnsupportedOption if `parameters` are not given by name.
    """
    named = {name: given[name] for name in PARAMETERS if given.get(name) is not None}
    fields = {name: value for name, value in given.items() if name not in PARAMETERS}
    joined = {**(before or {}), **_by_name(given.get("parameters") or {}, "parameters"), **named}
    if joined.get("partials") in (0, "0"):
        del joined["partials"]
    return {**fields, "parameters": joined} if named or "parameters" in given else fields


def _by_name(given: Any, option: str) -> FrozenDict[str, Any]:
    """Return further fields by their names. Raises UnsupportedOption for a value without names."""
    try:
        return given if type(given) is FrozenDict else FrozenDict(given)
    except (TypeError, ValueError):
        step = f'give them by name, as in {option}={{"seed": 7}}'
        raise UnsupportedOption(f"Further fields cannot be read from {given!r:.60}", option=option, value=given, hint=step) from None


def _plain(value: Any) -> Any:
    if isinstance(value, LocalImage):
        return value.name
    if isinstance(value, Mapping):
        return dict(value)
    return [_plain(each) for each in value] if isinstance(value, tuple) else value
