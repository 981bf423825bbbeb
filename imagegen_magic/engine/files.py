"""Pictures on disk: a name a person understands, whole or not there at all, never in another file's place."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import sys
import time
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from imagegen_magic.engine import owners
from imagegen_magic.errors import SaveError
from imagegen_magic.paths import carried, text_of

_WORDS = 4
_WORDS_BYTES = 80
_NAME_BYTES = 120
_ID_BYTES = 16
_LOOKED_AT = 2_000  # characters of a prompt: whoever writes more has said by then what it is about
_DAY = 86_400.0
_PART = re.compile(r"\..+\.[0-9a-f]{8}\.part")
_RESERVED = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])", re.IGNORECASE)
_COMMON = """
    a about above across after against all also among an ancient and another any are around as at background be beautiful been before
    behind being below beneath beside between beyond big but by can create depict depicting down draw during each for from generate had
    has have he her here his i if illustration image in inside into is it its large like little make me my near new no not of off old on
    onto or our out outside over paint photo photograph picture please render she should show showing small so some style such than that
    the their them then there these they this those through tiny to toward under until up upon us very was we were what when where which
    while who will with within without would you your
"""
_STOP_WORDS = frozenset(_COMMON.split())


class Saved(NamedTuple):
    """A picture that is on the disk: its SHA-256 in hexadecimal, its size in bytes, and where its sidecar is."""

    path: Path
    sha256: str
    size: int
    sidecar: Path


def stem(prompt: str, short_id: str, name: str | None = None) -> str:
    """Return how a picture's file is called, without index and suffix: a few telling words of the prompt, or `name`, and the id.

    Only letters, digits, their accents and `-` (and `_` in `name`) are ever in it, whatever the prompt says, and only those that the
    file system's encoding can carry; at most 140 bytes in UTF-8.
    """
    words = _shortened(_telling(prompt), _WORDS_BYTES) if name is None else _shortened("-".join(_runs(name, also="_")), _NAME_BYTES)
    identity = _shortened("".join(_runs(short_id)), _ID_BYTES)
    called = "-".join(part for part in (words.strip("-_") or "picture", identity) if part)
    return f"picture-{called}" if _RESERVED.fullmatch(called) else called


def save(data: bytes, directory: Path, filename_stem: str, index: int, suffix: str, sidecar: Mapping[str, Any]) -> Saved:
    """Write a picture and, under the same name with `.json`, its sidecar, durably; a kill at any moment leaves whole files or none.

    The sidecar gets the picture's `sha256`.

    Called again with the same bytes and name it returns the same path; where that name is taken by another file, `-2` and so on is added.
    Raises SaveError where the disk refuses, TypeError where the sidecar is no JSON, ValueError where the name would leave the folder.
    """
    sha256 = hashlib.sha256(data).hexdigest()
    described = _pretty({**sidecar, "sha256": sha256})
    base, suffix = f"{filename_stem}-{index}", "." + suffix.lstrip(".")
    if Path(base + suffix).name != base + suffix or "\\" in base + suffix or "\0" in base + suffix:
        raise ValueError(f"{base + suffix!r} is not a file name")
    try:
        make(directory)
        path = _place(data, directory, base, suffix)
        _publish(described, path.with_suffix(".json"))
        _sync(directory)
    except OSError as error:
        raise _refused(error, directory / (base + suffix)) from error
    return Saved(path, sha256, len(data), path.with_suffix(".json"))


FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


def _refused(error: OSError, path: Path) -> SaveError:
    """Return what a person is told: room is to be made where there is none, and else another folder helps."""
    why = error.strerror or str(error)
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        why = f"{error.filename or path.parent} is there and is no folder"
    step = None if error.errno in FULL else "%imagegen resume DIR saves it in another folder; it fetches without paying again"
    return SaveError(f"The picture could not be written to {shown(path)}: {why}", next_step=step)


def sweep(directory: Path) -> None:
    """Remove the half-written files that dead processes left in a folder; those of living ones stay."""
    with suppress(OSError):
        for path in directory.iterdir():
            if _PART.fullmatch(path.name) and _is_left(path):
                with suppress(OSError):
                    path.unlink()


def _telling(prompt: str) -> str:
    runs = _runs(prompt.lower())
    telling = [run for run in runs if run not in _STOP_WORDS and not (len(run) == 1 and run.isascii() and run.isalpha())]
    return "-".join((telling or runs)[:_WORDS])


def _runs(text: str, also: str = "") -> list[str]:
    """Return the runs of letters, digits and their accents in a text, in Unicode's composed form."""
    kept = [" "]
    for each in carried(unicodedata.normalize("NFC", text[:_LOOKED_AT])).replace("'", "").replace("’", ""):
        fits = _is_letter(each) or each in also or (_is_accent(each) and kept[-1] != " ")
        kept.append(each if fits else " ")
    return [run for run in "".join(kept).split() if any(map(_is_letter, run))]


def _is_letter(each: str) -> bool:
    return unicodedata.category(each)[0] in "LN"


def _is_accent(each: str) -> bool:
    return unicodedata.category(each) in ("Mn", "Mc") and not unicodedata.name(each, "").startswith("VARIATION SELECTOR")


def _shortened(text: str, most: int) -> str:
    """Return the beginning of a text that fits into so many bytes, not cut within a letter and its accents."""
    raw = text.encode()
    if len(raw) <= most:
        return text
    short = raw[:most].decode("utf-8", "ignore")
    while short and _is_accent(text[len(short)]):
        short = short[:-1]
    return short


def _pretty(sidecar: Mapping[str, Any]) -> bytes:
    try:
        return (json.dumps(sidecar, ensure_ascii=False, indent=2) + "\n").encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which a prompt can hold and UTF-8 cannot
        return (json.dumps(sidecar, indent=2) + "\n").encode()


def make(directory: Path, made: list[Path] | None = None) -> None:
    """Create a folder with its parents, durably, and add those that were created to `made`. Raises OSError, and ValueError for a NUL."""
    if directory.is_dir():
        return
    make(directory.parent, made)
    try:
        directory.mkdir()
    except FileExistsError:  # by another process, between the two lines, or by what is no folder
        if not directory.is_dir():
            raise
        return
    if made is not None:
        made.append(directory)
    _sync(directory.parent)


def write_a_byte(directory: Path, filename_stem: str) -> None:
    """Write one byte to a hidden file, as `save` would for a picture, and remove it. Raises OSError where the byte cannot be written."""
    part, descriptor = _open_part(directory / f"{filename_stem}-100.jpeg")
    try:
        if sys.platform != "win32":  # an open file keeps its name there
            _unlink(part)  # before the byte is written, so that a kill leaves nothing behind
        os.write(descriptor, b"\0")
        os.fsync(descriptor)  # a network disk says only now that it is full
    finally:
        os.close(descriptor)
        _unlink(part)


def _unlink(part: Path) -> None:
    with suppress(OSError):
        part.unlink()


def shown(path: Path) -> str:
    """Return a path as a message shows it, in one line."""
    return "".join(mark if mark.isprintable() else "\N{REPLACEMENT CHARACTER}" for mark in text_of(path))


def _place(data: bytes, directory: Path, base: str, suffix: str) -> Path:
    """Write the picture under the first name that is free or already holds these very bytes."""
    number, path = 1, directory / (base + suffix)
    while not (_holds(path, data) or _takes(path, data)):
        number += 1
        path = directory / f"{base}-{number}{suffix}"
    return path


def _takes(path: Path, data: bytes) -> bool:
    # a sidecar without its picture belongs to another picture of that name: ours is written after the picture
    taken = os.path.lexists(path) or os.path.lexists(path.with_suffix(".json"))
    return not taken and (_publish(data, path) or _holds(path, data))


def _holds(path: Path, data: bytes) -> bool:
    with suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return path.stat().st_size == len(data) and path.read_bytes() == data
    return False


def _publish(data: bytes, path: Path) -> bool:
    """Let a file appear whole under a name that is free; False where the name is taken, and nothing changes.

    Its bytes are durable then; its name is once the folder has been synchronised.
    """
    with _part(data, path) as part:
        try:
            _name(part, path)
        except FileExistsError:
            return False
        return True


@contextmanager
def _part(data: bytes, path: Path) -> Iterator[Path]:
    """A hidden file beside `path` with these bytes, durable, locked for as long as we live, gone at the end."""
    part, descriptor = _open_part(path)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
        if sys.platform == "win32":  # pragma: no cover - an open file cannot be renamed there
            os.close(descriptor)
            descriptor = -1
        yield part
    finally:
        if descriptor >= 0:
            os.close(descriptor)
        _unlink(part)


def _open_part(path: Path) -> tuple[Path, int]:
    while True:
        part = path.with_name(f".{path.name}.{os.urandom(4).hex()}.part")
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        with suppress(OSError):  # a file system without locks: `sweep` then goes by age
            owners.lock(descriptor)
        if os.fstat(descriptor).st_nlink:
            return part, descriptor
        os.close(descriptor)  # swept away between the two lines, for a dead process's


def _name(part: Path, path: Path) -> None:
    """Give a finished file its name; raises FileExistsError where that is taken."""
    if sys.platform == "win32":  # pragma: no cover - there a rename never overwrites
        os.rename(part, path)
        return
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _rename(part, path)


_NO_LINKS = {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EINVAL}


def _rename(part: Path, path: Path) -> None:
    # FAT and some network folders have no links. A rename would replace what is there, so look first, one of us at a time: the folder's
    # own lock, unlike an empty file in the picture's place, leaves nothing behind when its holder is killed.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with suppress(OSError):
            owners.lock(folder)
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        os.rename(part, path)
    finally:
        os.close(folder)


def _sync(directory: Path) -> None:
    """Make the names in a folder durable, where the system knows how."""
    if sys.platform == "win32":  # pragma: no cover - a folder cannot be opened there
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(descriptor)


def _is_left(part: Path) -> bool:
    try:
        return not owners.held(part)
    except OSError:
        return time.time() - part.stat().st_mtime > _DAY
