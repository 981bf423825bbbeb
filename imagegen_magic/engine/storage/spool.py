"""Answers that carry pictures, as raw bytes on the disk: written as they arrive, flushed, and only then read.

An answer is `NAME.part` while it arrives and `NAME.json` or `NAME.events` once its last byte is on the disk; `NAME.headers`
holds those of its headers that report a cost. Its pictures have addresses
`spool:NAME#/data/0/b64_json`: a JSON Pointer (RFC 6901) into the answer, for events into the list of their data.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from imagegen_magic.engine.storage.disk_errors import as_save_error
from imagegen_magic.engine.storage.parts import sync
from imagegen_magic.errors import ImageInvalid, SaveError

SCHEME = "spool:"
JSON, EVENTS = ".json", ".events"
_PART = ".part"
_HEADERS = ".headers"
_ROOM = 64 * 2**20  # bytes that must be free before a request is sent
_LIFE = 30 * 86_400.0  # seconds since an answer was written
_URL_SAFE = str.maketrans("-_", "+/")
_PIECE = 2**20  # bytes of a stream that are read at once
_LINE_END = re.compile(rb"\r\n|\r|\n")  # text has further line ends, which are content here
_NAME = re.compile(r"[\w-]{1,80}")


class Event(NamedTuple):
    """One server-sent event: its name, and its data as decoded JSON, or as text if it is not JSON."""

    name: str
    data: Any


class EventParser:
    """Splits a stream of server-sent events (WHATWG HTML, section 9.2) into events, as its bytes arrive; each byte is searched once."""

    def __init__(self) -> None:
        self._line = bytearray()  # the one that is not complete
        self._name = ""
        self._data: list[str] = []
        self._ended_in_cr = False  # whether a newline that comes next belongs to it

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that are complete with these bytes."""
        start = 1 if self._ended_in_cr and chunk.startswith(b"\n") else 0
        found, view = [], memoryview(chunk)
        for end in _LINE_END.finditer(chunk, start):
            self._line += view[start : end.start()]
            found += self._take_line()
            start = end.end()
        self._line += view[start:]
        self._ended_in_cr = chunk.endswith(b"\r") or (self._ended_in_cr and not chunk)
        return found

    def end(self) -> list[Event]:
        """Return the event that lacks only the empty line after it, if there is one, at the end of the stream: its JSON is whole."""
        return [event for event in self.feed(b"\n\n") if not isinstance(event.data, str)]

    def _take_line(self) -> list[Event]:
        line, self._line = self._line, bytearray()
        if not line:
            return self._dispatched()
        del line[: 3 * line.startswith(codecs.BOM_UTF8)]
        name = next((name for name in (b"event:", b"data:") if line.startswith(name)), b"")
        del line[: len(name)]
        del line[: line.startswith(b" ")]
        if name == b"event:":
            self._name = line.decode("utf-8", "replace").strip()
        elif name == b"data:":
            self._data.append(line.decode("utf-8", "replace"))
        return []

    def _dispatched(self) -> list[Event]:
        name, text = self._name, "\n".join(self._data)
        self._name, self._data = "", []
        if not text or text == "[DONE]":
            return []
        try:
            return [Event(name, json.loads(text))]
        except (ValueError, RecursionError):
            return [Event(name, text)]


class SpoolFile:
    """One answer while it arrives. Methods block; they raise SaveError if the disk does not take the bytes."""

    def __init__(self, home: Path, name: str) -> None:
        self.name, self._folder = name, spool_folder(home)
        self._path = self._folder / (name + _PART)
        self._descriptor = -1
        self.size = 0

    def write(self, content: bytes) -> None:
        """Append bytes."""
        with as_save_error(self._path):
            if self._descriptor < 0:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            self.size += len(content)
            while content:
                content = content[os.write(self._descriptor, content) :]

    def keep_headers(self, headers: Mapping[str, str]) -> None:
        """Write headers into a file beside the answer, which is on the disk before the answer has its final name."""
        beside = self._path.with_suffix(_HEADERS)
        with as_save_error(beside):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                json.dump(dict(headers), file)
                file.flush()
                os.fsync(descriptor)

    def finish(self, suffix: str) -> Path:
        """Flush the complete answer to the disk under its final name, and return its path."""
        complete = self._path.with_suffix(suffix)
        self.write(b"")
        with as_save_error(complete):
            os.fsync(self._descriptor)
            self.close()
            os.replace(self._path, complete)
            sync(self._folder)
        return complete

    def close(self) -> None:
        """Close the file; what came stays."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def discard(self) -> None:
        """Remove what came."""
        self.close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def check_room(home: Path) -> None:
    """Raise SaveError, with nothing charged, unless the disk of the ledger takes an answer of usual size."""
    folder = spool_folder(home)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        with tempfile.TemporaryFile(dir=folder) as trial:
            trial.write(b"\0" * 4096)
    except OSError as error:
        why = error.strerror or str(error)
    else:
        if free >= _ROOM:
            return
        why = f"it has {free / 2**20:.0f} MiB free, and a response with pictures can need {_ROOM / 2**20:.0f} MiB"
    what = f"The response would be written to {folder} first, and that disk cannot take it: {why}"
    raise SaveError(what, charge="no", hint="make room or make the folder writable", retry=True)


def old_names(home: Path) -> set[str]:
    """Return the names of the answers that nothing has touched for a month."""
    found = set()
    for path in spool_folder(home).glob("*"):
        with suppress(OSError):
            if path.suffix in (JSON, EVENTS, _PART, _HEADERS) and time.time() - path.stat().st_mtime > _LIFE:
                found.add(path.stem)
    return found


def spool_folder(home: Path) -> Path:
    """Return the folder of the answers."""
    return home / "spool"


def find(home: Path, name: str) -> Path | None:
    """Return the file of an answer, complete or in part; None if there is none."""
    if not _NAME.fullmatch(name):
        return None
    paths = (spool_folder(home) / (name + suffix) for suffix in (JSON, EVENTS, _PART))
    return next((path for path in paths if path.exists()), None)


def remove(home: Path, name: str) -> None:
    """Remove the files of an answer, if there are any."""
    if _NAME.fullmatch(name):
        with suppress(OSError):
            (spool_folder(home) / (name + _HEADERS)).unlink(missing_ok=True)
    while (path := find(home, name)) is not None:
        try:
            path.unlink()
        except OSError:
            return


def read(path: Path) -> Any:
    """Return an answer: decoded JSON, or a list of `Event`. Raises ImageInvalid if it is neither, OSError if it cannot be read."""
    if path.suffix != EVENTS:
        with suppress(ValueError, RecursionError):
            return json.loads(text_of(path))  # so that no more than two copies are in memory
    if path.suffix != JSON and (events := _events_of(path)):
        return events
    raise ImageInvalid("The answer is not complete")


def headers(home: Path, name: str) -> dict[str, str]:
    """Return the headers that were kept of an answer; none if they cannot be read."""
    try:
        found = json.loads((spool_folder(home) / (name + _HEADERS)).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return {key: value for key, value in found.items() if isinstance(value, str)} if isinstance(found, dict) else {}


def text_of(path: Path) -> str:
    """Return an answer as text, without the byte order mark that some servers send; what is no UTF-8 is replaced."""
    return path.read_bytes().decode("utf-8-sig", "replace")


def _events_of(path: Path) -> list[Event]:
    parser, found = EventParser(), list[Event]()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            found += parser.feed(piece)
    return found + parser.end()


def picture(home: Path, address: str) -> bytes:
    """Return the picture that an address names. Raises ImageInvalid if there is none, OSError if the answer cannot be read."""
    name, _, pointer = address.removeprefix(SCHEME).partition("#")
    path = find(home, name)
    if path is None:
        raise FileNotFoundError(f"{name} is not in {spool_folder(home)}")
    answer = read(path)
    root: Any = [event.data for event in answer] if is_events(answer) else answer
    text = text_at(root, pointer)
    del answer, root  # the decoded answer is as large as the picture
    return decoded(text)


def decoded(text: str) -> bytes:
    """Return the bytes of base64 text or of a data: address. Raises ImageInvalid."""
    text = text.partition(",")[2] if text.startswith("data:") else text
    with suppress(binascii.Error, ValueError):
        return base64.b64decode(text, validate=True)
    try:  # in lines, in the alphabet for addresses, or without padding
        text = "".join(text.split()).translate(_URL_SAFE).rstrip("=")
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ImageInvalid("The answer holds no base64 where its picture should be") from None


def is_events(answer: Any) -> bool:
    """Return whether an answer is a list of events."""
    return isinstance(answer, list) and bool(answer) and isinstance(answer[0], Event)


def text_at(root: Any, pointer: str) -> str:
    """Return the text at a JSON Pointer, with or without its leading `#`. Raises ImageInvalid if there is none."""
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        try:
            root = root[int(key)] if isinstance(root, Sequence) else root[key]
        except (LookupError, TypeError, ValueError):
            raise ImageInvalid("The answer holds no picture where it should be") from None
    if not isinstance(root, str):
        raise ImageInvalid("The answer holds no picture where it should be")
    return root
