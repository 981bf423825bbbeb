"""How a picture was made, as a record that may leave this machine: without paths, keys and the queries of signed addresses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from imagegen_magic.records import Record, hash_of_fields
from imagegen_magic.secret_patterns import is_secret_name, redact_keys, redact_opaque

TOOL = "imagegen_magic"
SANDBOX = " (sandbox)"  # after a gateway's name if the sandbox answered for it
_MAX_STRING = 4_000  # characters of one option: a picture as a data address is not repeated

_ADDRESS = re.compile(r"https?://[^\s\"'<>]+", re.IGNORECASE)
_DATA_ADDRESS = re.compile(r"data:[\w/+.-]*[;,]", re.IGNORECASE)
_PATH_START = re.compile(r"(?:file:|~|/|\\|\.{1,2}[/\\]|[A-Za-z]:[\\/])")
_PATH_INSIDE = re.compile(r"(?:file:/+|(?<![\w:.~/\\])(?:~|\.{1,2})?[/\\]|\b[A-Za-z]:[\\/])(?:[^\s\"'<>|,;/\\]+[/\\])*(?=[^\s/\\])")
_FILES = ("reference", "mask", "image", "file", "path", "dir", "folder")


@dataclass(frozen=True, slots=True, repr=False)
class Origin(Record):
    """How a picture was made: what was asked and sent (plain JSON values), of whom, when (`created`, ISO 8601), and by which tool.

    `sha256` is the original's, in hexadecimal. `shortened` names the fields that did not fit and were cut or left out.
    """

    prompt: str = ""
    asked: Mapping[str, Any] = field(default_factory=dict)
    sent: Mapping[str, Any] = field(default_factory=dict)
    gateway: str = ""
    model: str = ""
    task_id: str = ""
    created: str = ""
    tool: str = TOOL
    sha256: str = ""
    shortened: tuple[str, ...] = ()

    __hash__ = hash_of_fields

    @classmethod
    def of_sidecar(cls, sidecar: Mapping[str, Any]) -> Origin:
        """Return the record that the JSON beside a saved picture holds."""

        def text(*names: str) -> str:
            return next((str(sidecar[name]) for name in names if sidecar.get(name)), "")

        return cls(
            prompt=text("prompt"),
            asked=dict(sidecar.get("asked") or {}),
            sent=dict(sidecar.get("sent") or {}),
            gateway=text("gateway") + (SANDBOX if sidecar.get("sandbox") else ""),
            model=text("model"),
            task_id=text("task_id"),
            created=text("submitted", "saved"),
            tool=text("made_with") or TOOL,
            sha256=text("sha256"),
        )

    def sidecar(self) -> dict[str, Any]:
        """Return it as the JSON beside a picture, which `of_sidecar` reads; without what is not known."""
        values = {
            "prompt": self.prompt,
            "asked": dict(self.asked),
            "sent": dict(self.sent),
            "gateway": self.gateway.removesuffix(SANDBOX),
            "sandbox": self.gateway.endswith(SANDBOX),
            "model": self.model,
            "task_id": self.task_id,
            "submitted": self.created,
            "made_with": self.tool,
            "sha256": self.sha256,
        }
        return {name: value for name, value in values.items() if value}


def redact(origin: Origin, secrets: Iterable[str] = ()) -> Origin:
    """Return the same without paths, keys, callback addresses and the queries of addresses; of a file only its name is left."""
    known = [secret for secret in secrets if secret]
    names = ("gateway", "model", "task_id", "created", "tool", "sha256")
    plain: dict[str, Any] = {name: _without(getattr(origin, name), known) for name in names}
    return replace(
        origin,
        prompt=redact_keys(origin.prompt, known),
        asked=_options(origin.asked, origin.prompt, known),
        sent=_options(origin.sent, origin.prompt, known),
        **plain,
    )


def _options(options: Mapping[str, Any], prompt: str, secrets: Iterable[str]) -> dict[str, Any]:
    shown = _redact_value(options, "", secrets)
    if prompt and options.get("prompt") == prompt:
        shown["prompt"] = redact_keys(prompt, secrets)
    return dict(shown)


def _redact_value(value: Any, name: str, secrets: Iterable[str]) -> Any:
    if isinstance(value, Mapping):
        named = {str(key): each for key, each in value.items() if not is_secret_name(str(key))}
        return {redact_keys(key, secrets): _redact_value(each, key, secrets) for key, each in named.items()}
    if isinstance(value, list | tuple):
        return [_redact_value(each, name, secrets) for each in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return _redact_text(str(value), name, secrets)


def _redact_text(text: str, name: str, secrets: Iterable[str]) -> str:
    if _DATA_ADDRESS.match(text):
        return text[: text.index(",") + 1 if "," in text[:100] else 30] + "…"
    if _ADDRESS.fullmatch(text):
        return redact_keys(_bare(text), secrets)
    if _PATH_START.match(text) or any(word in name.lower() for word in _FILES):
        text = re.split(r"[/\\]", text.rstrip("/\\"))[-1]
    parts = _ADDRESS.split(text)
    cleaned = [redact_opaque(_PATH_INSIDE.sub("", redact_keys(part, secrets))) for part in parts]
    addresses = [redact_keys(_bare(found), secrets) for found in _ADDRESS.findall(text)] + [""]
    whole = "".join(part + address for part, address in zip(cleaned, addresses, strict=True))
    return whole if len(whole) <= _MAX_STRING else whole[:_MAX_STRING] + "…"


def _bare(address: str) -> str:
    """Return an address without name, password, query and fragment: signed addresses open what they name."""
    try:
        parts = urlsplit(address)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    except ValueError:
        return ""


def _without(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "[key]")
    return text
