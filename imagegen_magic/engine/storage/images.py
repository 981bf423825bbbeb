"""Images on disk: readable names, complete or absent at any moment, never in place of another file."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import re
import shutil
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from imagegen_magic.engine.ledger import process_locks
from imagegen_magic.errors import SaveError
from imagegen_magic.notebook_folder import followed
from imagegen_magic.paths import carried, text_of

T = TypeVar("T")

_WORDS = 4
_WORDS_BYTES = 80
_NAME_BYTES = 120
_ID_BYTES = 16
_PROMPT_CHARACTERS = 2_000  # of a prompt that its name may come from
_DAY = 86_400.0
UNREADABLE = "unreadable"
_DOUBTS = 2  # unsettled files of one image that are kept, besides the latest
_MAX_FILES = 10  # files of one name that are read
_MAX_ATTEMPTS = 20  # to be in a folder that others remove while it is empty
_HEAD = 4096  # bytes that identify a file's format
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


class Kept(NamedTuple):
    """A file that came and is no picture; `settled`: it certainly is what the gateway delivers."""

    path: Path
    sha256: str
    size: int
    settled: bool


def filename_stem(prompt: str, short_id: str, name: str | None = None) -> str:
    """Return how a picture's file is called, without index and suffix: a few distinctive words of the prompt, or `name`, and the id.

    Only letters, digits, their accents and `-` (and `_` in `name`) are ever in it, whatever the prompt says, and only those that the
    file system's encoding can carry; at most 140 bytes in UTF-8.
    """
    words = (
        _shortened(_distinctive_words(prompt), _WORDS_BYTES) if name is None else _shortened("-".join(_runs(name, also="_")), _NAME_BYTES)
    )
    identity = _shortened("".join(_runs(short_id)), _ID_BYTES)
    called = "-".join(part for part in (words.strip("-_") or "picture", identity) if part)
    return f"picture-{called}" if _RESERVED.fullmatch(called) else called


class Part:
    """A picture as it arrives: in memory while it is small, then in a hidden file of the folder that it is for.

    `head` is its beginning, for distinctive what it is. What is written is written in a thread; `discard` may be called at any time.
    """

    def __init__(self, directory: Path, name: str = "picture") -> None:
        self._directory, self._name = directory, name
        self._held: list[bytes] = []
        self._file: tuple[Path, int] | None = None
        self._hash = hashlib.sha256()
        self._lock = threading.Lock()
        self._over = False
        self.size, self.head = 0, b""

    @property
    def _path(self) -> Path:
        return followed(self._directory) / self._name

    def _hidden(self) -> Path:
        """Return where the hidden file is, which goes with its folder where that is renamed."""
        assert self._file is not None
        return followed(self._file[0].parent) / self._file[0].name

    @classmethod
    def of(cls, data: bytes, directory: Path) -> Part:
        """Return a part that holds these bytes."""
        part = cls(directory)
        part.hold(data)
        return part

    def hold(self, data: bytes) -> None:
        """Take a few bytes into memory; they are written with the next ones, or when the picture gets its name."""
        self.size += len(data)
        self.head = self.head if len(self.head) >= _HEAD else self.head + data[: _HEAD - len(self.head)]
        self._held.append(data)

    def write(self, data: bytes) -> None:
        """Write bytes to the hidden file, after what is held. Raises SaveError if the disk refuses, or is nearly full."""
        self.hold(data)
        with self._lock, _as_save_error(self._path):
            if not self._over:
                self._flush(self._path)

    def make_room(self, size: int, spare: int = 0) -> None:
        """Raise SaveError unless so many bytes fit on the folder's disk, and as many again as are to `spare`."""
        folder = self._path.parent
        with _as_save_error(self._path):
            free = in_folder(folder, lambda: shutil.disk_usage(folder).free)
        if free < size + spare:
            raise SaveError(f"The picture has {size / 2**20:.0f} MiB, and the disk of {folder} has {free / 2**20:.0f} MiB free")

    @property
    def sha256(self) -> str:
        """The SHA-256 of all bytes so far, in hexadecimal."""
        known = self._hash.copy()
        for data in self._held:
            known.update(data)
        return known.hexdigest()

    def content(self) -> bytes:
        """Return all its bytes. Raises SaveError if they cannot be read."""
        if self._file is None:
            return b"".join(self._held)
        with self._lock, _as_save_error(self._path):
            self._flush(self._path)
            return self._hidden().read_bytes()

    def durable(self, path: Path) -> Path:
        """Return the hidden file with all its bytes, safe on the disk; made beside `path` where there is none yet. Raises OSError."""
        with self._lock:
            self._flush(path)
            assert self._file is not None
            part, descriptor = self._file
            if descriptor >= 0:
                os.fsync(descriptor)
                if sys.platform == "win32":  # pragma: no cover - an open file cannot be renamed there
                    os.close(descriptor)
                    self._file = part, -1
            return self._hidden()

    def is_in(self, path: Path) -> bool:
        """Say whether a file holds these very bytes."""
        return _holds(path, self.size, self.sha256)

    def discard(self) -> None:
        """Remove the hidden file, if there is one; nothing more is written."""
        with self._lock:
            self._over = True
            self._held = []
            if self._file is not None:
                hidden, descriptor = self._hidden(), self._file[1]
                self._file = None
                if descriptor >= 0:
                    os.close(descriptor)
                with suppress(OSError):
                    hidden.unlink()

    def _flush(self, path: Path) -> None:
        if self._file is None:
            self._file = in_folder(path.parent, lambda: _open_part(path))
        for data in self._held:
            self._hash.update(data)
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._file[1], rest) :]
        self._held = []


def save(data: bytes | Part, directory: Path, filename_stem: str, index: int, suffix: str, sidecar: Mapping[str, Any]) -> Saved:
    """Write a picture and, under the same name with `.json`, its sidecar, durably; a kill at any moment leaves whole files or none.

    The sidecar gets the picture's `sha256`, and is written first, so that each image on disk has one.

    Called again with the same bytes and name it returns the same path; if another file has that name, `-2` and so on is added.
    Raises SaveError if the disk refuses, TypeError if the sidecar is not JSON, ValueError if the name would leave the folder.
    """
    base, suffix = _checked(filename_stem, index, suffix)
    part = data if isinstance(data, Part) else Part.of(data, directory)
    try:
        described = _pretty({**sidecar, "sha256": part.sha256})
        with _as_save_error(directory / (base + suffix)):
            in_folder(directory, lambda: None)
            path = _place(part, directory, base, suffix, described)
            _sync(directory)
        return Saved(path, part.sha256, part.size, path.with_suffix(".json"))
    finally:
        if part is not data:
            part.discard()


def keep_unreadable(
    part: Part, directory: Path, filename_stem: str, index: int, suffix: str, sidecar: Mapping[str, Any], *, certain: bool, answer: bool
) -> Kept:
    """Keep a file that is no readable image, durably, in the folder `unreadable` beside the images.

    What is `certain` to be what the gateway delivers is settled at once, else as soon as the same bytes came twice. An `answer`, as a page
    that says no, is never settled; the latest one is kept. The sidecar says `settled`. Raises SaveError.
    """
    folder, whose = directory / UNREADABLE, (sidecar["task_id"], index)
    base, _ = _checked(filename_stem, index, suffix)
    with _as_save_error(folder / base):
        earlier = list(_ours(folder, base, *whose))
        known = next((path for path, _ in earlier if part.is_in(path)), None)
        settled = not answer and (certain or known is not None)
        notes = {**sidecar, "number": index, "answer": answer, "settled": settled}
        if known is None:
            known = save(part, folder, filename_stem, index, suffix, notes).path
        else:
            _replace(_pretty({**notes, "sha256": part.sha256}), known.with_suffix(".json"))
        unsettled = [(path, was) for path, was in earlier if path != known and not was.get("settled")]
        spent = [path for path, was in unsettled if settled or bool(was.get("answer")) == answer]
        for path in spent if settled or answer else spent[: max(0, len(spent) - _DOUBTS)]:
            _remove(path)
        _sync(folder)
    return Kept(known, part.sha256, part.size, settled)


def drop_doubts(directory: Path, filename_stem: str, index: int, task_id: str) -> None:
    """Remove what was kept of a picture unsettled, once the picture itself is there."""
    folder = directory / UNREADABLE
    with suppress(OSError, ValueError):
        for path, notes in list(_ours(folder, f"{filename_stem}-{index}", task_id, index)) if folder.is_dir() else ():
            if notes.get("settled") is False:
                _remove(path)


def saved_before(directory: Path, filename_stem: str, index: int, task_id: str) -> Path | None:
    """Return the file of a picture that was saved already, though the ledger does not know: its bytes are those that its sidecar notes."""
    with suppress(OSError, ValueError):
        for path, notes in _ours(directory, f"{filename_stem}-{index}", task_id, index):
            if _holds(path, path.stat().st_size, str(notes.get("sha256"))):
                return path
    return None


def _ours(folder: Path, base: str, task_id: str, number: int) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the files of a task's picture in a folder, oldest first, with the content of their sidecars."""
    for place in range(1, _MAX_FILES):
        note = folder / f"{base}{'' if place == 1 else f'-{place}'}.json"
        notes = read_sidecar(note) if note.exists() else {}
        if notes.get("task_id") == task_id and notes.get("number", number) == number:
            yield from ((path, notes) for path in folder.glob(f"{glob.escape(note.stem)}.*") if path != note)


def _remove(path: Path) -> None:
    for each in (path, path.with_suffix(".json")):
        each.unlink(missing_ok=True)


def _checked(filename_stem: str, index: int, suffix: str) -> tuple[str, str]:
    base, suffix = f"{filename_stem}-{index}", "." + suffix.lstrip(".")
    if Path(base + suffix).name != base + suffix or "\\" in base + suffix or "\0" in base + suffix:
        raise ValueError(f"{base + suffix!r} is not a file name")
    return base, suffix


FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


@contextmanager
def _as_save_error(path: Path) -> Iterator[None]:
    """Turn the errors of a file that cannot be written, or of a name that no file can have, into SaveError."""
    try:
        yield
    except SaveError:
        raise
    except OSError as error:
        raise _refused(error, path) from error
    except ValueError as error:  # a NUL, or half of a surrogate pair
        raise _refused(OSError(errno.EINVAL, f"no file can be there ({error})"), path) from error


def _refused(error: OSError, path: Path) -> SaveError:
    """Return the SaveError of an OSError; its hint names another folder unless the disk is full."""
    why = error.strerror or str(error)
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        why = f"{error.filename or path.parent} is there and is no folder"
    step = None if error.errno in FULL else "%imagegen resume DIR saves it in another folder; it fetches without paying again"
    return SaveError(f"The picture could not be written to {shown(path)}: {why}", hint=step)


def remove_stale_parts(directory: Path) -> None:
    """Remove the half-written files that dead processes left in a folder; those of living ones stay."""
    with suppress(OSError, ValueError):  # a path that no folder can have holds nothing to remove
        for path in directory.iterdir():
            if _PART.fullmatch(path.name) and _is_left(path):
                with suppress(OSError):
                    path.unlink()


def _distinctive_words(prompt: str) -> str:
    runs = _runs(prompt.lower())
    distinctive = [run for run in runs if run not in _STOP_WORDS and not (len(run) == 1 and run.isascii() and run.isalpha())]
    return "-".join((distinctive or runs)[:_WORDS])


def _runs(text: str, also: str = "") -> list[str]:
    """Return the runs of letters, digits and their accents in a text, in Unicode's composed form."""
    kept = [" "]
    for each in carried(unicodedata.normalize("NFC", text[:_PROMPT_CHARACTERS])).replace("'", "").replace("’", ""):
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
    if made is not None and directory not in made:
        made.append(directory)
    _sync(directory.parent)


def in_folder(directory: Path, work: Callable[[], T], made: list[Path] | None = None) -> T:
    """Return the result of `work` in a folder, which is created first, and again if another job removes it, empty, in between."""
    for left in reversed(range(_MAX_ATTEMPTS)):
        try:
            make(directory, made)
            return work()
        except FileNotFoundError:
            if not left:
                raise
    raise AssertionError


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


def _place(part: Part, directory: Path, base: str, suffix: str, described: bytes) -> Path:
    """Let the image appear under the first name that is free or already holds these bytes, with its sidecar beside it."""
    number, path = 1, directory / (base + suffix)
    while not _takes(path, part, described):
        number += 1
        path = directory / f"{base}-{number}{suffix}"
    return path


def _takes(path: Path, part: Part, described: bytes) -> bool:
    """Give the image this name, its sidecar first; False if another file has it."""
    note = path.with_suffix(".json")
    if not os.path.lexists(path):
        hidden = part.durable(path)
        if not (_publish(described, note) or _takes_over(note, described)):
            return False
        try:
            _name(hidden, path)
        except BaseException as error:
            note.unlink()
            if not isinstance(error, FileExistsError):
                raise
        else:
            return True
    if not part.is_in(path):
        return False
    _publish(described, note)
    return True


def _takes_over(note: Path, described: bytes) -> bool:
    """Replace a sidecar of this very picture that was left without it by a process that was killed between the two."""
    ours, theirs = json.loads(described), read_sidecar(note)
    whose = [(one.get("task_id"), one.get("number")) for one in (ours, theirs)]
    alone = not any(other != note for other in note.parent.glob(f"{glob.escape(note.stem)}.*"))
    if not (whose[0][0] and whose[0] == whose[1] and alone):
        return False
    _replace(described, note)
    return True


def read_sidecar(path: Path) -> dict[str, Any]:
    """Return the content of a sidecar, empty if it cannot be read."""
    try:
        notes = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return notes if isinstance(notes, dict) else {}


def _holds(path: Path, size: int, sha256: str) -> bool:
    """Say whether a file is there with these bytes."""
    with suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError):
        if path.stat().st_size == size:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    return False


def _publish(data: bytes, path: Path) -> bool:
    """Let a file appear whole under a name that is free; False if the name is taken, and nothing changes.

    Its bytes are durable then; its name is once the folder has been synchronised.
    """
    if os.path.lexists(path):
        return False
    with closing(_Brief(data, path)) as part:
        try:
            _name(part.durable(path), path)
        except FileExistsError:
            return False
        return True


def _replace(data: bytes, path: Path) -> None:
    """Let a file hold other bytes, the old ones or the new ones at any moment."""
    with closing(_Brief(data, path)) as part:
        os.replace(part.durable(path), path)


class _Brief(Part):
    """A part that is there only until its file has its name."""

    def __init__(self, data: bytes, path: Path) -> None:
        super().__init__(path.parent, path.name)
        self.hold(data)
        self.close = self.discard


def _open_part(path: Path) -> tuple[Path, int]:
    while True:
        part = path.with_name(f".{path.name}.{os.urandom(4).hex()}.part")
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        with suppress(OSError):  # a file system without locks: `remove_stale_parts` then goes by age
            process_locks.lock(descriptor)
        if os.fstat(descriptor).st_nlink:
            return part, descriptor
        os.close(descriptor)  # swept away between the two lines, for a dead process's


def _name(part: Path, path: Path) -> None:
    """Give a finished file its name; raises FileExistsError if that is taken."""
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
            process_locks.lock(folder)
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        os.rename(part, path)
    finally:
        os.close(folder)


def _sync(directory: Path) -> None:
    """Make the names in a folder durable, if the system supports it."""
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
        return not process_locks.is_locked(part)
    except OSError:
        return time.time() - part.stat().st_mtime > _DAY
