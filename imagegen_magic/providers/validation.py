"""What a request means on one model: every option checked against the model's data, every default filled in."""

from __future__ import annotations

import difflib
import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePath
from typing import Any, NamedTuple

from imagegen_magic import readers
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.formats import EXTENSIONS, PNG
from imagegen_magic.providers import uploads, urls
from imagegen_magic.providers.model import Model, Pixels, distance
from imagegen_magic.request import ImageRequest, LocalPicture, Size, is_blank

MOST_PICTURES = 10_000  # in one request: a slip of the finger must cost neither the memory nor the account
MOST_CALLBACK = 2048  # characters
_GIVE_IT = "give an https address that anybody can open, or the picture itself (a file or a variable), which is then uploaded"
_PICTURE_ENDINGS = {*EXTENSIONS, "ico", "psd", "svg"}


def resolve(who: str, model: Model, request: ImageRequest, upload: uploads.UploadRule | None = None) -> ImageRequest:
    """Return the request with every default of this model filled in; raises UnsupportedOption where it cannot be honoured.

    `who` names gateway and model in the refusals; `upload` is what the gateway takes as a file. In place of a picture of this machine
    stands its placeholder, until it is uploaded.
    """
    return RequestValidator(who, model, request, upload).resolved()


class RequestValidator(NamedTuple):
    """One request held against one model: each method returns one option's resolved value or raises UnsupportedOption."""

    who: str
    model: Model
    request: ImageRequest
    upload: uploads.UploadRule | None = None

    def resolved(self) -> ImageRequest:
        """Return the request with every option checked and every default filled in."""
        model, size = self.model, self.size()
        checked = replace(
            self.request,
            model=model.name,
            prompt=self.prompt(),
            n=self.n(),
            size=str(size),
            resolution=self.resolution(size),
            quality=self.choice("quality", model.qualities, model.default_quality),
            background=self.choice("background", model.backgrounds),
            moderation=self.choice("moderation", model.moderations),
            output_format=self.choice("output_format", model.formats),
            references=self.references(),
            mask=self.mask(),
            callback_url=self.callback_url(),
        )
        self.transparency(checked)
        return replace(checked, output_compression=self.compression(checked))

    def refusal(self, what: str, option: str, value: object, **advice: Any) -> UnsupportedOption:
        """Return the refusal of one option's value."""
        return UnsupportedOption(f"{self.who} {what}", option=option, value=value, **advice)

    def prompt(self) -> str:
        """Check the prompt: there is one, it can be written as UTF-8, and it is not too long (in code points)."""
        prompt, most = self.request.prompt, self.model.max_prompt
        if not isinstance(prompt, str):
            step = "give it as text, and of several prompts each to a call of its own"
            raise self.refusal(f"needs a prompt in words, not {shown(prompt)}", "prompt", prompt, hint=step)
        if is_blank(prompt):
            found = f", and {shown(prompt)} has no word" if prompt.strip() else ""
            raise self.refusal(f"needs a prompt{found}", "prompt", prompt, hint="say what the picture shows")
        if not _encodable(prompt):
            raise self.refusal("cannot be sent half a character (a lone surrogate) in the prompt", "prompt", prompt, hint="remove it")
        if most is not None and len(prompt) > most:
            step = f"shorten the prompt to {most} characters"
            raise self.refusal(f"takes no prompt of {len(prompt)} characters", "prompt", prompt, hint=step)
        return prompt

    def n(self) -> int:
        """Check the number of pictures: a whole number from 1 on; above the gateway's limit it becomes several tasks."""
        asked = self.request.n
        count = 1 if asked is None else whole(asked)
        if count is None or not 1 <= count <= MOST_PICTURES:
            nearest = None if count is None else str(min(max(count, 1), MOST_PICTURES))
            what = f"takes n as a whole number from 1 to {MOST_PICTURES}, not {shown(asked)}"
            raise self.refusal(what, "n", asked, allowed=(f"1 to {MOST_PICTURES}",), nearest=nearest)
        return count

    def choice(self, option: str, allowed: tuple[str, ...], default: str | None = None) -> str | None:
        """Check an option with a list of values, in any case; the default is the given one, else the first."""
        asked = getattr(self.request, option)
        usual = default or (allowed[0] if allowed else None)
        if asked is None:
            return usual
        if not allowed:
            raise self.refusal(f"has no option {option}", option, asked, hint=f"leave {option} out")
        word = asked.strip().lower() if isinstance(asked, str) else ""
        if word in allowed:
            return word
        close = difflib.get_close_matches(word, allowed, 1)
        raise self.refusal(f"has no {option} {shown(asked)}", option, asked, allowed=allowed, nearest=close[0] if close else usual)

    def transparency(self, checked: ImageRequest) -> None:
        """Refuse a transparent background in a format that has no alpha."""
        if checked.background == "transparent" and checked.output_format == "jpeg":
            fitting = tuple(name for name in self.model.formats if name != "jpeg")
            what = "cannot write a transparent background as jpeg"
            raise self.refusal(what, "output_format", self.request.output_format, allowed=fitting, nearest=fitting[0] if fitting else None)

    def compression(self, checked: ImageRequest) -> int | None:
        """Check the compression: 0 to 100, and only in a format that has one."""
        asked, fitting = self.request.output_compression, self.model.compressible
        if asked is None:
            return None
        if not fitting:
            what = "has no option output_compression"
            raise self.refusal(what, "output_compression", asked, hint="leave output_compression out")
        level, written = whole(asked), checked.output_format
        legal = level is not None and 0 <= level <= 100
        if written not in fitting:
            fitting = tuple(name for name in fitting if name != "jpeg" or checked.background != "transparent")
            nearest = f"output_format {fitting[0]}" if fitting and legal else f"{written} without output_compression"
            allowed = tuple(f"output_format {name}" for name in fitting)
            raise self.refusal(f"cannot compress {written}", "output_compression", asked, allowed=allowed, nearest=nearest)
        if not legal:
            nearest_level = None if level is None else str(min(max(level, 0), 100))
            what = f"has no output_compression {shown(asked)}"
            raise self.refusal(what, "output_compression", asked, allowed=("0 to 100",), nearest=nearest_level)
        return level

    def size(self) -> Size:
        """Check the size: a ratio of the table, pixels within the rule, or `auto`; the model's default where none is asked."""
        asked = self.request.size
        if asked is None:
            return Size.parse(self.model.default_size)
        try:
            size = Size.parse(str(asked))
        except ValueError:
            raise self._no_size(asked) from None
        {"auto": self._check_auto, "ratio": self._check_ratio, "pixels": self._check_pixels}[size.kind](size)
        return size

    def _no_size(self, asked: object) -> UnsupportedOption:
        """Return the refusal of what is no size at all, with the size that it probably means."""
        text = str(asked).strip().lower()
        if text in self.model.resolutions:
            step = f"give a tier as resolution {text}, and the shape as size"
            return self.refusal(f"knows no size {shown(asked)}", "size", asked, allowed=self._sizes(), hint=step)
        numbers = _two_numbers(text) or _SHAPES.get(text)
        nearest = None if numbers is None else self._nearest_pixels(numbers) or self._nearest_size(numbers, shape_only=_is_ratio(numbers))
        return self.refusal(f"knows no size {shown(asked)}", "size", asked, allowed=self._sizes(), nearest=nearest)

    def _nearest_pixels(self, wanted: Pixels) -> str | None:
        """Return the nearest pixels within the rule; None where the model has none, for the terms of a ratio, and beside a resolution."""
        rule = self.model.pixel_rule
        if rule is None or _is_ratio(wanted) or self.request.resolution is not None:
            return None
        legal = [pair for pair in (rule.nearest(wanted), *self.model.extra_sizes) if pair]
        width, height = min(legal, key=lambda pair: distance(pair, wanted), default=(0, 0))
        return f"size {width}x{height}" if legal else None

    def _check_auto(self, size: Size) -> None:
        if not self.model.auto_size:
            usual = Size.parse(self.model.default_size)
            nearest = self._nearest_size((usual.width, usual.height), shape_only=True)
            raise self.refusal("has no size auto", "size", self.request.size, allowed=self._sizes(), nearest=nearest)

    def _check_ratio(self, size: Size) -> None:
        if str(size) not in self.model.sizes:
            pixels = size.width, size.height
            nearest = self._nearest_size(pixels, shape_only=True)
            step = None
            if (exact := self._nearest_pixels(pixels)) == f"size {size.width}x{size.height}":
                step, nearest = "write pixels with an x between them", exact
            raise self.refusal(f"has no ratio {size}", "size", self.request.size, allowed=self._sizes(), nearest=nearest, hint=step)

    def _check_pixels(self, size: Size) -> None:
        rule, pixels = self.model.pixel_rule, (size.width, size.height)
        if pixels in self.model.extra_sizes:
            return
        if rule is None:
            what, nearest = f"takes no pixels such as {size}, only ratios", self._nearest_size(pixels)
            raise self.refusal(what, "size", self.request.size, allowed=self._sizes(), nearest=nearest)
        if broken := rule.violations(pixels):
            near, step = self._nearest_pixels(pixels) or self._nearest_size(pixels), None
            if _is_ratio(pixels):
                ratio = f"{size.width}:{size.height}"
                near = self._nearest_size(pixels, shape_only=True)
                step = f"write a ratio with a colon, --size {ratio}" if ratio in self.model.sizes else "write a ratio with a colon"
            what = f"cannot make {size}: {', '.join(broken)}"
            raise self.refusal(what, "size", self.request.size, allowed=(str(rule),), nearest=near, hint=step)

    def resolution(self, size: Size) -> str | None:
        """Check the resolution tier against the size; None where no tier applies."""
        asked, tiers = self.request.resolution, self._tiers(size)
        if asked is None:
            return tiers[0] if tiers else None
        if not tiers:
            raise self._no_tier(size, asked)
        tier = asked.strip().lower() if isinstance(asked, str) else ""
        if tier not in tiers:
            tier = tier or shown(asked)
            near = _nearest_tier(tier, tiers)
            nearest = self._words(str(size), near, first="resolution") if size.kind == "ratio" else f"resolution {near} at {size}"
            what = f"has no resolution {shown(asked)} at {size}"
            raise self.refusal(what, "resolution", asked, allowed=tiers, nearest=nearest)
        return tier

    def _tiers(self, size: Size) -> tuple[str, ...]:
        model = self.model
        if size.kind == "ratio":
            return tuple(tier for tier in model.resolutions if tier in model.sizes[str(size)])
        return model.resolutions if size.kind == "auto" and model.auto_resolution else ()

    def _no_tier(self, size: Size, asked: object) -> UnsupportedOption:
        if not self.model.resolutions:
            step, nearest = "leave resolution out", f"size {size} without resolution"
            return self.refusal("has no option resolution", "resolution", asked, hint=step, nearest=nearest)
        what = f"has no resolution beside size {size}"
        nearest = f"size {size} without resolution"
        ratio, tier = next(iter(self.model.sizes)), str(asked).strip().lower()
        if self.request.size is None and tier in self.model.sizes[ratio]:
            nearest = self._words(ratio, tier)  # the tier was said, the size was not
        return self.refusal(what, "resolution", asked, nearest=nearest, hint="give a ratio with a resolution, or leave one of the two out")

    def _sizes(self) -> tuple[str, ...]:
        auto = ("auto",) if self.model.auto_size else ()
        pixels = (f"pixels like {self._example()}",) if self.model.pixel_rule else ()
        return (*auto, *self.model.sizes, *pixels)

    def _example(self) -> str:
        width, height = next(iter(next(iter(self.model.sizes.values())).values()))
        return f"{width}x{height}"

    def _nearest_size(self, wanted: Pixels | None, *, shape_only: bool = False) -> str | None:
        if wanted is None:
            return None
        tier = str(self.request.resolution or "").strip().lower()
        pairs = [(ratio, name, pixels) for ratio, tiers in self.model.sizes.items() for name, pixels in tiers.items()]
        if shape_only or tier:
            first = tier if tier in self.model.resolutions else next(iter(self.model.resolutions), "1k")
            pairs = [pair for pair in pairs if pair[1] == first] or pairs
        ratio, name, _ = min(pairs, key=lambda pair: _ratio_distance(pair[0], pair[2], wanted))
        return self._words(ratio, name)

    def _words(self, ratio: str, tier: str, first: str = "size") -> str:
        width, height = self.model.sizes[ratio][tier]
        pixels = f" ({width}x{height})" if self.model.pixels_documented else ""
        if not self.model.resolutions:
            return f"size {ratio}{pixels}"
        words = f"resolution {tier} at {ratio}" if first == "resolution" else f"size {ratio} at resolution {tier}"
        return words + pixels

    def references(self) -> tuple[str, ...]:
        """Check the reference pictures: not too many, each an address the gateway can fetch."""
        asked, most = self.request.references, self.model.max_references
        if len(asked) > most:
            what = f"takes at most {most} reference pictures, not {len(asked)}" if most else "takes no reference pictures"
            nearest = f"the first {most}" if most else None
            raise self.refusal(what, "references", asked, allowed=(f"0 to {most}",) if most else (), nearest=nearest)
        return tuple(self._picture("references", each) for each in asked)

    def mask(self) -> str | None:
        """Check the mask: beside at least one reference; one of this machine is a PNG with the pixels of the first reference."""
        asked = self.request.mask
        if asked is None:
            return None
        if not self.model.mask:
            raise self.refusal("takes no mask", "mask", asked, hint="leave the mask out")
        if not self.request.references:
            step = "give the picture to be changed as the first reference"
            raise self.refusal("takes a mask only beside a reference picture", "mask", asked, hint=step)
        if isinstance(asked, LocalPicture):
            self._check_mask(asked, self.request.references[0])
        return self._picture("mask", asked)

    def _check_mask(self, mask: LocalPicture, first: str | LocalPicture) -> None:
        if mask.mime_type != PNG.mime_type:
            step = "save it as a PNG with an alpha channel, transparent where to paint: mask_from(picture) makes one"
            raise self.refusal(f"takes a mask as PNG only, and {mask.name} is {mask.mime_type}", "mask", mask.name, hint=step)
        if isinstance(first, LocalPicture) and (mask.width, mask.height) != (first.width, first.height):
            one, other = f"{mask.name} has {mask.width}x{mask.height}", f"{first.name} has {first.width}x{first.height}"
            step = "make the mask from that very picture: %imagegen mask, or mask_box(picture, …)"
            raise self.refusal(f"takes a mask of the first reference's pixels: {one}, {other}", "mask", mask.name, hint=step)

    def _picture(self, option: str, said: object) -> str:
        """Return a picture's address, or its placeholder where it is on this machine and within the limits."""
        if not isinstance(said, LocalPicture):
            return self._picture_address(option, said)
        types, most = uploads.limits(self.model, self.upload)
        if said.mime_type not in types:
            named = [uploads.ENDINGS[kind] for kind in types]
            what = f"takes no {said.mime_type} such as {said.name}"
            raise self.refusal(what, option, said.name, allowed=named, nearest="png" if "png" in named else named[0])
        if most is not None and len(said.data) > most:
            what = f"takes pictures of at most {most / 1e6:.4g} MB, and {said.name} has {len(said.data) / 1e6:.4g} MB"
            raise self.refusal(what, option, said.name, hint="add --fit to have it scaled down, or give a smaller one")
        return said.placeholder

    def _picture_address(self, option: str, address: object) -> str:
        """Return an address that some gateway could fetch; whether this one is in the address's network, the engine knows."""
        parts = urls.split(address)
        if parts is None or parts.scheme not in ("http", "https"):
            raise self._no_address(option, address)
        if urls.has_user(address):
            what = f"is given no address with a user name or a password, as {shown(address)} is"
            step = "give the picture itself (a file or a variable), which is then uploaded, and change that password if others saw it"
            raise self.refusal(what, option, urls.without_user(str(address)), hint=step)
        host = parts.hostname or ""
        if urls.zone_of(host) is urls.Zone.REFUSED:
            what = f"cannot fetch {shown(address)}: {host} is a link-local, metadata or reserved address"
            raise self.refusal(what, option, address, hint=_GIVE_IT)
        types = self.model.reference_types
        if ending := wrong_kind(self.model, parts.path):
            raise self.refusal(
                f"takes no {ending} as a reference", option, address, allowed=types, nearest="png" if "png" in types else types[0]
            )
        return str(address)

    def _no_address(self, option: str, said: object) -> UnsupportedOption:
        text = said.strip().lower() if isinstance(said, str) else ""
        if text.startswith("file:"):
            what, step = f"cannot fetch {shown(said)}: that is a file of this machine", "give its path without file://, then it is uploaded"
        elif text.startswith("data:"):
            what, step = "is given no data: addresses", "give the picture itself (bytes, a file or a variable), which is then uploaded"
        else:
            what, step = f"cannot fetch {shown(said)}: it is no address", _GIVE_IT
        return self.refusal(what, option, said, hint=step)

    def callback_url(self) -> str | None:
        """Check the callback: a public https address of at most 2048 characters."""
        asked = self.request.callback_url
        if asked is None:
            return None
        if not self.model.callback:
            raise self.refusal("has no option callback_url", "callback_url", asked, hint="leave callback_url out")
        if urls.has_user(asked):
            what, step = f"cannot call back {shown(asked)}: it holds a user name or a password", "give an address without them"
            raise self.refusal(what, "callback_url", urls.without_user(asked), hint=step)
        parts = urls.split(asked)
        if parts is None or parts.scheme != "https" or not urls.is_public(parts.hostname or "") or len(asked) > MOST_CALLBACK:
            step = f"give a public https address of at most {MOST_CALLBACK} characters, not one in a private network"
            raise self.refusal(f"cannot call back {shown(asked)}", "callback_url", asked, hint=step)
        return asked


def wrong_kind(model: Model, path: str) -> str:
    """Return the ending by which an address is a picture that this model does not take as a reference, "" where it may take it."""
    ending, types = path.rpartition(".")[2].lower(), model.reference_types
    return ending if types and ending in _PICTURE_ENDINGS and ending not in types else ""


def check_extra(who: str, extra: Iterable[tuple[object, Any]], taken: Mapping[str, str]) -> None:
    """Refuse a further field that is no JSON, or that stands for an option: `taken` maps such fields to their options."""
    for key, value in extra:
        if not isinstance(key, str) or not key or not _encodable(key):
            raise UnsupportedOption(f"{who} cannot be sent a field named {shown(key)}", option="extra", value=key, hint="give it a name")
        if key in taken:
            step = f"use the option {taken[key]}"
            raise UnsupportedOption(f"{who} has its own field {key}", option="extra", value=key, hint=step)
        if not is_json(value):
            step = "give text, numbers, true, false, null, lists or objects"
            raise UnsupportedOption(f"{who} cannot be sent {key}={shown(value)}", option="extra", value=key, hint=step)
        if any(map(urls.has_user, _texts(value))):
            step = "give an address without them"
            what = f"{who} is sent no address with a user name or a password, as {key} holds"
            raise UnsupportedOption(what, option="extra", value=key, hint=step)


def _texts(value: Any) -> Iterator[str]:
    """Yield all texts within JSON values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(each)


def shown(value: object) -> str:
    """Return a value as a message shows it: one line of at most 80 characters, an address without its user name and password."""
    text = f"'{urls.without_user(value)[:81]}'" if isinstance(value, str) else _plain(value)
    text = "".join(mark if mark.isprintable() else "\N{REPLACEMENT CHARACTER}" for mark in text)
    return text if len(text) <= 80 else f"{text[:78]}…"


_MOST_DIGITS = 20  # of a number that is shown in full
_MOST_ELEMENTS = 8  # of a list that are shown


def _plain(value: object) -> str:
    if value is None or isinstance(value, bool | float | PurePath):
        return str(value)
    if isinstance(value, Decimal | Fraction):
        return repr(value)
    if (number := whole(value)) is not None:
        return str(number) if abs(number) < 10**_MOST_DIGITS else f"a number of {math.ceil(number.bit_length() * 0.30103)} digits"
    if isinstance(value, bytes | bytearray):
        return f"{len(value)} bytes"
    if isinstance(value, list | tuple | Mapping):
        brackets = ("[", "]") if isinstance(value, list) else ("(", ")") if isinstance(value, tuple) else ("{", "}")
        more = ", …" if len(value) > _MOST_ELEMENTS else "," if isinstance(value, tuple) and len(value) == 1 else ""
        return brackets[0] + ", ".join(_elements(value)) + more + brackets[1]
    return f"an object of type {type(value).__name__}"


def _elements(value: list[Any] | tuple[Any, ...] | Mapping[Any, Any]) -> Iterator[str]:
    """Yield the first elements of a list; what is in a list within it is left out."""
    for each in itertools.islice(value, _MOST_ELEMENTS):
        yield f"{_element(each)}: {_element(value[each])}" if isinstance(value, Mapping) else _element(each)


def _element(value: object) -> str:
    return "…" if isinstance(value, list | tuple | Mapping) else f"'{value[:40]}'" if isinstance(value, str) else _plain(value)


def whole(value: object) -> int | None:
    """Return a whole number (numpy's too, and 2.0), or None where it is none; text, True and False are none."""
    try:
        return None if isinstance(value, str) else readers.whole(value)
    except ValueError:
        return None


def _encodable(text: str) -> bool:
    return not any("\ud800" <= mark <= "\udfff" for mark in text)


def is_json(value: Any) -> bool:
    """Say whether a value can be written as UTF-8 JSON: no half a character, no number that is none."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError):
        return False
    return True


_MOST_TERM = 64  # of a ratio: an edge in pixels is longer
_SHAPES: dict[str, Pixels] = {"square": (1, 1), "landscape": (3, 2), "portrait": (2, 3), "wide": (16, 9), "tall": (9, 16)}


def _is_ratio(pixels: Pixels) -> bool:
    """Return whether two numbers are terms of a ratio rather than pixels."""
    return max(pixels) <= _MOST_TERM


def _two_numbers(text: str) -> Pixels | None:
    """Return the two numbers that a text names, 191 and 100 for 1.91:1, and a lone edge twice; None where there are no such numbers."""
    found = re.findall(r"[0-9]{1,6}(?:\.[0-9]{1,2})?", text)
    if len(found) == 1 and float(found[0]) > _MOST_TERM:
        found *= 2
    if len(found) != 2 or not all(map(float, found)):
        return None
    scale = 100 if "." in "".join(found) else 1
    return round(float(found[0]) * scale), round(float(found[1]) * scale)


def _ratio_distance(ratio: str, pixels: Pixels, wanted: Pixels) -> tuple[float, float]:
    across, down = (int(term) for term in ratio.split(":"))
    return distance((across, down), wanted)[0], distance(pixels, wanted)[1]


def _nearest_tier(tier: str, tiers: Sequence[str]) -> str:
    return min(tiers, key=lambda each: abs(_number(each) - _number(tier)))


def _number(text: str) -> float:
    """Return the tier that a text names: 2 of `2k`, and of 2048 pixels."""
    found = re.search(r"\d{1,6}(\.\d{1,6})?", text)
    number = float(found[0]) if found else 0.0
    return number if number < 256 else number / 1024
