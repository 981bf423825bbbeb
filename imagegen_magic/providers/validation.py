"""A request on one model: every option checked against the model's data, every default filled in."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.formats import EXTENSIONS, PNG
from imagegen_magic.providers import uploads, urls
from imagegen_magic.providers.describe import is_encodable, is_json, shown, texts_in, whole
from imagegen_magic.providers.model import VALUE_LISTS, Model
from imagegen_magic.providers.sizes import SizeValidator
from imagegen_magic.request import ImageRequest, LocalImage, is_blank

MAX_PICTURES = 10_000  # of one request: a typing error must cost neither the memory nor the account
MAX_CALLBACK = 2048  # characters
SENT_OPTIONS = ("resolution", "quality", "background", "moderation", "output_format", "output_compression", "mask", "callback_url")
"""The options of which a service may have no field, although they are sent unchecked."""
_GIVE_PICTURE = "give a public https address, or the picture itself (a file or a variable), which is then uploaded"
_SUFFIXES = {*EXTENSIONS, "ico", "psd", "svg"}


class RequestValidator(NamedTuple):
    """One request checked against one model: each method returns the resolved value of an option or raises UnsupportedOption.

    `who` names gateway and model in the refusals; `upload` is what the gateway takes as a file.
    """

    who: str
    model: Model
    request: ImageRequest
    upload: uploads.UploadRule | None = None

    def resolved(self) -> ImageRequest:
        """Return the request with every option checked and every default filled in.

        An image of this machine is replaced by its placeholder, until it is uploaded.
        """
        model, sizes = self.model, SizeValidator(self.who, self.model, self.request)
        size = sizes.size()
        checked = replace(
            self.request,
            model=model.name,
            prompt=self.prompt(),
            n=self.n(),
            size=str(size),
            resolution=sizes.resolution(size),
            **{option: self.choice(option) for option in VALUE_LISTS if option not in ("size", "resolution")},  # type: ignore[arg-type]
            references=self.references(),
            mask=self.mask(),
            callback_url=self.callback_url(),
        )
        self.transparency(checked)
        return replace(checked, output_compression=self.compression(checked))

    def refusal(self, what: str, option: str, value: object, **advice: Any) -> UnsupportedOption:
        """Return the refusal of an option's value."""
        return UnsupportedOption(f"{self.who} {what}", option=option, value=value, **advice)

    def missing(self, option: str) -> UnsupportedOption:
        """Return the refusal of an option that the model does not have."""
        value = getattr(self.request, option)
        return self.refusal(f"has no option {option}", option, value, hint=f"leave {option} out", fix={option: None})

    def prompt(self) -> str:
        """Check that the prompt is text with content, can be encoded, and is not too long (in code points)."""
        prompt, limit = self.request.prompt, self.model.max_prompt
        if not isinstance(prompt, str):
            hint = "give it as text, and each of several prompts to a call of its own"
            raise self.refusal(f"needs a prompt in words, not {shown(prompt)}", "prompt", prompt, hint=hint)
        if is_blank(prompt):
            found = f", and {shown(prompt)} has no word" if prompt.strip() else ""
            raise self.refusal(f"needs a prompt{found}", "prompt", prompt, hint="describe the picture")
        if not is_encodable(prompt):
            raise self.refusal("cannot be sent half a character (a lone surrogate) in the prompt", "prompt", prompt, hint="remove it")
        if limit is not None and len(prompt) > limit:
            hint = f"shorten the prompt to {limit} characters"
            raise self.refusal(f"takes no prompt of {len(prompt)} characters", "prompt", prompt, hint=hint)
        return prompt

    def n(self) -> int:
        """Check that the number of pictures is whole and at least 1; above the gateway's limit it becomes several tasks."""
        requested = self.request.n
        count = 1 if requested is None else whole(requested)
        if count is None or not 1 <= count <= MAX_PICTURES:
            what = f"takes n as a whole number from 1 to {MAX_PICTURES}, not {shown(requested)}"
            raise self.refusal(what, "n", requested, allowed=(f"1 to {MAX_PICTURES}",), **_nearest("n", count, 1, MAX_PICTURES))
        return count

    def choice(self, option: str) -> str | None:
        """Check an option with a list of values, ignoring case; the default is the model's own, else the first value."""
        requested, allowed = getattr(self.request, option), getattr(self.model, VALUE_LISTS[option])
        usual = getattr(self.model, f"default_{option}", None) or next(iter(allowed), None)
        if requested is None:
            return None if option in self.model.unsent else usual
        if not allowed:
            raise self.missing(option)
        value = requested.strip().lower() if isinstance(requested, str) else ""
        if value in allowed:
            return value
        nearest = next(iter(difflib.get_close_matches(value, allowed, 1)), usual)
        what = f"has no {option} {shown(requested)}"
        raise self.refusal(what, option, requested, allowed=allowed, fix={option: nearest})

    def transparency(self, checked: ImageRequest) -> None:
        """Refuse a transparent background in a format without alpha."""
        if checked.background == "transparent" and checked.output_format == "jpeg":
            fitting = tuple(name for name in self.model.formats if name != "jpeg")
            advice = {"fix": {"output_format": fitting[0]}} if fitting else {}
            what, requested = "cannot write a transparent background as jpeg", self.request.output_format
            raise self.refusal(what, "output_format", requested, allowed=fitting, **advice)

    def compression(self, checked: ImageRequest) -> int | None:
        """Check that the compression is 0 to 100 and the format has one."""
        requested, fitting = self.request.output_compression, self.model.compressible
        if requested is None:
            return None
        if not fitting:
            raise self.missing("output_compression")
        level = whole(requested)
        legal = level is not None and 0 <= level <= 100
        if checked.output_format not in fitting:
            formats = [name for name in fitting if name != "jpeg" or checked.background != "transparent"]
            fix = {"output_format": formats[0]} if formats and legal else {"output_compression": None}
            what, allowed = f"cannot compress {checked.output_format}", [f"output_format {name}" for name in formats]
            raise self.refusal(what, "output_compression", requested, allowed=allowed, fix=fix)
        if not legal:
            what = f"has no output_compression {shown(requested)}"
            advice = _nearest("output_compression", level, 0, 100)
            raise self.refusal(what, "output_compression", requested, allowed=("0 to 100",), **advice)
        return level

    def references(self) -> tuple[str, ...]:
        """Check that there are not too many references, and that each is an address or a picture that the gateway takes."""
        requested, limit = self.request.references, self.model.max_references
        if len(requested) > limit:
            what = f"takes at most {limit} reference pictures, not {len(requested)}" if limit else "takes no reference pictures"
            allowed = (f"0 to {limit}",) if limit else ()
            fitting = tuple(each for each in requested if self._takes_addresses or isinstance(each, LocalImage))
            raise self.refusal(what, "references", requested, allowed=allowed, fix={"references": fitting[:limit]})
        return tuple(self._picture("references", each) for each in requested)

    def mask(self) -> str | None:
        """Check that a mask has a reference; one of this machine is a PNG of the first reference's width and height."""
        requested = self.request.mask
        if requested is None:
            return None
        if not self.model.mask:
            raise self.refusal("takes no mask", "mask", requested, hint="leave the mask out", fix={"mask": None})
        if not self.request.references:
            hint = "give the picture to be changed as the first reference"
            raise self.refusal("takes a mask only with a reference picture", "mask", requested, hint=hint)
        if isinstance(requested, LocalImage):
            self._check_mask(requested, self.request.references[0])
        return self._picture("mask", requested)

    def _check_mask(self, mask: LocalImage, first: str | LocalImage) -> None:
        if mask.mime_type != PNG.mime_type:
            hint = "save it as a PNG with an alpha channel that is transparent in the area to change: mask_from(picture) makes one"
            raise self.refusal(f"takes a mask as PNG only, and {mask.name} is {mask.mime_type}", "mask", mask.name, hint=hint)
        limit = self.model.mask_bytes
        if limit is not None and len(mask.data) > limit:
            what = f"takes a mask of at most {limit / 1e6:.4g} MB, and {mask.name} has {len(mask.data) / 1e6:.4g} MB"
            raise self.refusal(what, "mask", mask.name, hint="save it with fewer colours: only its alpha channel counts")
        if isinstance(first, LocalImage) and (mask.width, mask.height) != (first.width, first.height):
            pixels = " and ".join(f"{each.name} has {each.width}x{each.height}" for each in (mask, first))
            hint = "make the mask from that very picture: %imagegen mask, or mask_box(picture, …)"
            raise self.refusal(f"takes a mask of the first reference's pixels: {pixels}", "mask", mask.name, hint=hint)

    @property
    def _takes_addresses(self) -> bool:
        return self.model.references_as not in ("base64", "part")

    def _picture(self, option: str, picture: object) -> str:
        """Return a picture's address, or the placeholder of one on this machine that is within the limits."""
        if not isinstance(picture, LocalImage):
            address = self._address(option, picture)
            if not self._takes_addresses:
                hint = "give the picture itself (a file or a variable), which is then sent within the request"
                raise self.refusal(f"cannot fetch {shown(picture)}: it takes no addresses", option, picture, hint=hint)
            return address
        types, limit = uploads.limits(self.model, self.upload)
        if picture.mime_type not in types:
            named = [uploads.ENDINGS[mime_type] for mime_type in types]
            what = f"takes no {picture.mime_type} such as {picture.name}"
            raise self.refusal(what, option, picture.name, allowed=named)
        if limit is not None and len(picture.data) > limit:
            what = f"takes pictures of at most {limit / 1e6:.4g} MB, and {picture.name} has {len(picture.data) / 1e6:.4g} MB"
            raise self.refusal(what, option, picture.name, hint="add --fit to have it scaled down, or give a smaller one")
        return picture.placeholder

    def _address(self, option: str, address: object) -> str:
        """Return an address that a gateway could fetch; the engine checks whether it is in the network of this one."""
        parts = urls.split(address)
        if parts is None or parts.scheme not in ("http", "https"):
            raise self._no_address(option, address)
        if urls.has_user(address):
            what = f"is given no address with a user name or a password, as {shown(address)} is"
            hint = "give the picture itself (a file or a variable), which is then uploaded, and change that password if others saw it"
            raise self.refusal(what, option, urls.without_user(str(address)), hint=hint)
        host = parts.hostname or ""
        if urls.zone_of(host) is urls.Zone.REFUSED:
            what = f"cannot fetch {shown(address)}: {host} is a link-local, metadata or reserved address"
            raise self.refusal(what, option, address, hint=_GIVE_PICTURE)
        if suffix := wrong_kind(self.model, parts.path):
            types = self.model.reference_types
            raise self.refusal(f"takes no {suffix} as a reference", option, address, allowed=types)
        return str(address)

    def _no_address(self, option: str, value: object) -> UnsupportedOption:
        text = value.strip().lower() if isinstance(value, str) else ""
        what, hint = f"cannot fetch {shown(value)}: it is no address", _GIVE_PICTURE
        if text.startswith("file:"):
            what = f"cannot fetch {shown(value)}: that is a file of this machine"
            hint = "give its path without file://, then it is uploaded"
        elif text.startswith("data:"):
            what, hint = "is given no data: addresses", "give the picture itself (bytes, a file or a variable), which is then uploaded"
        return self.refusal(what, option, value, hint=hint)

    def callback_url(self) -> str | None:
        """Check that the callback is a public https address of at most 2048 characters."""
        requested = self.request.callback_url
        if requested is None:
            return None
        if not self.model.callback:
            raise self.missing("callback_url")
        if urls.has_user(requested):
            what, hint = f"cannot call back {shown(requested)}: it holds a user name or a password", "give an address without them"
            raise self.refusal(what, "callback_url", urls.without_user(requested), hint=hint)
        parts = urls.split(requested)
        if parts is None or parts.scheme != "https" or not urls.is_public(parts.hostname or "") or len(requested) > MAX_CALLBACK:
            hint = f"give a public https address of at most {MAX_CALLBACK} characters, not one in a private network"
            raise self.refusal(f"cannot call back {shown(requested)}", "callback_url", requested, hint=hint)
        return requested


def no_option(who: str, option: str, value: object) -> UnsupportedOption:
    """Return the refusal of an option by a service that has no field for it, even of a model that is known in part."""
    what = f"{who} has no option {option}"
    return UnsupportedOption(what, option=option, value=value, hint=f"leave {option} out", fix={option: None})


def _nearest(option: str, number: int | None, lowest: int, highest: int) -> dict[str, Any]:
    """Return the advice to take the nearest number in a range; none if there is no number."""
    if number is None:
        return {}
    return {"fix": {option: min(max(number, lowest), highest)}}


def wrong_kind(model: Model, path: str) -> str:
    """Return the suffix of an address's path if it is that of an image format which the model does not take, else ""."""
    suffix, types = path.rpartition(".")[2].lower(), model.reference_types
    return suffix if types and suffix in _SUFFIXES and suffix not in types else ""


def check_extra(who: str, extra: Iterable[tuple[object, Any]], reserved: Mapping[str, str]) -> None:
    """Refuse an extra field that is no JSON or that belongs to an option; `reserved` maps such fields to their options."""

    def refusal(what: str, hint: str) -> UnsupportedOption:
        return UnsupportedOption(f"{who} {what}", option="extra", value=key, hint=hint)

    for key, value in extra:
        if not isinstance(key, str) or not key or not is_encodable(key):
            raise refusal(f"cannot be sent a field named {shown(key)}", "give it a name")
        if key in reserved:
            raise refusal(f"has its own field {key}", f"use the option {reserved[key]}")
        if not is_json(value):
            raise refusal(f"cannot be sent {key}={shown(value)}", "give text, numbers, true, false, null, lists or objects")
        if any(map(urls.has_user, texts_in(value))):
            what = f"is sent no address with a user name or a password, as {key} holds"
            raise refusal(what, "give an address without them")
