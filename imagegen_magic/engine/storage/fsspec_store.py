"""Pictures in an object store, through fsspec: created exclusively, read back, the picture first and its sidecar second.

Credentials are those that the backend finds for itself. The only module that imports fsspec. `docs/stores.md` names what a store needs.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import itertools
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from imagegen_magic._version import install_extra
from imagegen_magic.engine.storage.images import MAX_FILES, UNREADABLE, Saved, checked_name, names_of, pretty, read_sidecar
from imagegen_magic.engine.storage.parts import Part
from imagegen_magic.engine.storage.unreadable import suffix_of
from imagegen_magic.errors import SaveError
from imagegen_magic.paths import StorePath
from imagegen_magic.secret_patterns import redact

SINGLE_PUT = 48 * 2**20  # bytes that every known backend sends in one request; what is larger is created under a name of its own
PROBE = ".imagegen-magic"
_PROBE_TEXT = b"imagegen_magic created this object once, to check that this store never replaces an object.\n"
_FEW = 3  # sizes that are asked for one by one; for more the folder is listed
_MAX_WORDS = 200  # characters of a backend's message
_ANOTHER = "choose another folder with --save-dir (save_dir=… in Python)"
_LATER = "once the store takes it, %imagegen resume saves it without paying again; %imagegen resume DIR saves it in another folder"
_NOT_EXCLUSIVE = "it cannot create an object only if there is none of that name, so a picture could be overwritten"


class FsspecStore:
    """The pictures in one folder of a store. Every method waits for the network: call it from a thread."""

    def __init__(self, location: StorePath) -> None:
        self.location = location
        self._has_unreadable: bool | None = None  # None: not asked yet

    def check(self) -> None:
        """Raise SaveError if images cannot be saved here, as far as can be checked without the network."""
        with self._as_refusal():
            if not _creates_exclusively(self._files):
                raise _Explained(errno.ENOTSUP, _NOT_EXCLUSIVE)

    def make_ready(self) -> None:
        """Raise SaveError, before anything is sent, unless an object can be created here exclusively and read back.

        The small object `PROBE` remains, so that later checks are two requests.
        """
        self.check()
        with self._as_refusal():
            if not self._probe():
                raise _Explained(errno.ENOTSUP, _NOT_EXCLUSIVE)

    def save(self, data: bytes | Part, filename_stem: str, index: int, suffix: str, sidecar: Mapping[str, Any]) -> Saved:
        """Create a picture and then, under the same name with `.json`, its sidecar; both are read back. Raises as `images.save`.

        Called again with the same bytes and name it returns the same location; if another object has that name, `-2` and so on is added.
        """
        base, suffix = checked_name(filename_stem, index, suffix)
        content, sha256 = (data, hashlib.sha256(data).hexdigest()) if isinstance(data, bytes) else (data.content(), data.sha256)
        if len(content) > SINGLE_PUT:
            base = f"{base}-{secrets.token_hex(8)}"
        with self._as_save_error(base + suffix):
            for name in names_of(base):
                described = pretty({**sidecar, "file": name + suffix, "sha256": sha256})
                if self._takes(name + suffix, content) and self._describes(f"{name}.json", described, sha256):
                    break
        return Saved(self.location / (name + suffix), sha256, len(content), self.location / f"{name}.json")

    def keep_partial(self, data: bytes, filename_stem: str, index: int) -> StorePath:
        """Save a first view of a picture that did not come, beside the pictures. Raises SaveError."""
        base, suffix = checked_name(filename_stem, index, suffix_of(data[:64], ""))
        with self._as_save_error(base + suffix):
            name = next(name for name in names_of(f"{base}-first-view") if self._takes(name + suffix, data))
        return self.location / (name + suffix)

    def keep_unreadable(
        self, part: Part, filename_stem: str, index: int, suffix: str, sidecar: Mapping[str, Any], *, certain: bool, answer: bool
    ) -> tuple[StorePath, bool]:
        """Save a file that is no readable image below `unreadable`; returns where, and whether it is settled, as `images` has it.

        Unlike on a disk, earlier unsettled files stay until the picture itself is saved.
        """
        base, _ = checked_name(filename_stem, index, suffix)
        folder = FsspecStore(self.location / UNREADABLE)
        with self._as_save_error(base + suffix):
            earlier = list(folder._notes(base, sidecar["task_id"], index))
            known = next((notes for _, notes in earlier if notes.get("sha256") == part.sha256), None)
            settled = not answer and (certain or known is not None)
            notes = {**sidecar, "number": index, "answer": answer, "settled": settled}
            self._has_unreadable = True
            if known is None:
                saved = folder.save(part, filename_stem, index, suffix, notes)
                return self.location / UNREADABLE / saved.path.name, settled
            path = folder.location / str(known["file"])
            folder._replace(path.with_suffix(".json").name, pretty({**notes, "file": path.name, "sha256": part.sha256}))
        return path, settled

    def remove_unsettled(self, filename_stem: str, index: int, task_id: str) -> None:
        """Remove the unsettled files of a picture, once the picture itself is saved. It lists their folder once a process."""
        folder = FsspecStore(self.location / UNREADABLE)
        with suppress(OSError, ValueError):
            if self._has_unreadable is None:
                self._has_unreadable = bool(folder._list())
            for name, notes in folder._notes(f"{filename_stem}-{index}", task_id, index) if self._has_unreadable else ():
                if notes.get("settled") is False:
                    for each in (str(notes["file"]), f"{name}.json"):
                        folder._remove(each)

    def saved_before(self, filename_stem: str, index: int, task_id: str) -> StorePath | None:
        """Return a picture that was saved, although the ledger does not know: its bytes are those that its sidecar notes."""
        with suppress(OSError, ValueError):
            for _, notes in self._notes(f"{filename_stem}-{index}", task_id, index):
                path = self.location / str(notes["file"])
                if hashlib.sha256(path.read_bytes()).hexdigest() == notes.get("sha256"):
                    return path
        return None

    def saved_without_sidecar(self, filename_stem: str, index: int) -> StorePath | None:
        """Return the only picture of that name if it has no sidecar, as a kill between the two leaves it. Raises OSError."""
        base = f"{filename_stem}-{index}"
        found = [name for name in self._list() if name == base or name.startswith((f"{base}.", f"{base}-"))]
        return self.location / found[0] if len(found) == 1 and found[0].startswith(f"{base}.") and found[0] != f"{base}.json" else None

    def remove(self, name: str, sha256: str | None) -> int | None:
        """Remove a picture with its sidecar; returns the freed bytes, None if it is another picture now, as `images.remove`."""
        path = self.location / name
        note = path.with_suffix(".json")
        noted = read_sidecar(note).get("sha256")
        found = self.sizes([name, note.name])
        if name in found and hashlib.sha256(self.read(name)).hexdigest() != (sha256 or noted):
            return None
        removed = [each for each in found if each == name or noted == (sha256 or noted)]
        for each in removed:
            self._remove(each)
        return sum(found[each] for each in removed)

    def read(self, name: str) -> bytes:
        """Return the bytes of an object. Raises OSError."""
        with as_os_error(self.location / name):
            return bytes(self._files.cat_file(self._key(name)))

    def size(self, name: str) -> int:
        """Return the size of an object in bytes, as the store has it now. Raises OSError."""
        with as_os_error(self.location / name):
            return int(self._info(name)["size"])

    def sizes(self, names: Sequence[str]) -> dict[str, int]:
        """Return the sizes of those objects that exist; the folder is listed once if they are several. Raises OSError."""
        if len(names) > _FEW:
            known = self._list()
            return {name: known[name] for name in names if name in known}
        found = {}
        for name in names:
            with suppress(FileNotFoundError):
                found[name] = self.size(name)
        return found

    # one object

    @property
    def _files(self) -> Any:
        scheme, _, rest = self.location.address.partition("://")
        return _filesystem(f"{scheme}://{rest.split('/')[0]}")

    def _key(self, name: str) -> str:
        return str(self._files._strip_protocol((self.location / name).address))

    def _info(self, name: str) -> dict[str, Any]:
        """Return what the store knows of an object: the store is asked, not a listing that may be old."""
        found = dict(self._files.info(self._key(name)))
        if found.get("type") == "directory":
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return found

    def _list(self) -> dict[str, int]:
        """Return the sizes of all objects of the folder by name, in one listing; empty if there is no such folder."""
        with as_os_error(self.location), suppress(FileNotFoundError):
            found = self._files.ls(self._key("").rstrip("/"), detail=True)
            return {each["name"].rstrip("/").rpartition("/")[2]: int(each["size"] or 0) for each in found if each["type"] == "file"}
        return {}

    def _create(self, name: str, content: bytes) -> None:
        """Create an object in one step. Raises FileExistsError if there is one of that name, and nothing changes."""
        with as_os_error(self.location / name):
            self._files.pipe_file(self._key(name), content, mode="create")

    def _replace(self, name: str, content: bytes) -> None:
        with as_os_error(self.location / name):
            self._files.pipe_file(self._key(name), content)

    def _remove(self, name: str) -> None:
        with as_os_error(self.location / name), suppress(FileNotFoundError):
            self._files.rm_file(self._key(name))

    def _probe(self) -> bool:
        """Return whether a second creation of the same name is refused."""
        try:
            self._create(PROBE, _PROBE_TEXT)
            self._create(PROBE, _PROBE_TEXT)
        except FileExistsError:
            return bool(self._info(PROBE)["size"])
        with suppress(OSError):
            self._remove(PROBE)
        return False

    def _takes(self, name: str, content: bytes) -> bool:
        """Give the bytes this name; False if another object has it, True also if these bytes have it already. Raises OSError."""
        try:
            self._create(name, content)
        except FileExistsError:
            return self._holds(name, content)
        except OSError:  # the answer to a creation may be lost, or come from a conflict with the same bytes
            with suppress(OSError):
                if self._holds(name, content):
                    return True
            raise
        if not self._holds(name, content):
            raise OSError(errno.EIO, "the store has other bytes than were sent")
        return True

    def _describes(self, name: str, described: bytes, sha256: str) -> bool:
        """Create a sidecar; False if it is another picture's, True also if it is this one's already. Raises OSError."""
        return self._takes(name, described) or json.loads(self.read(name)).get("sha256") == sha256

    def _holds(self, name: str, content: bytes) -> bool:
        """Return whether an object has these bytes: by size and the MD5 that is S3's ETag of one upload, else they are read back."""
        with as_os_error(self.location / name):
            known = self._info(name)
            if int(known["size"]) != len(content):
                return False
            if str(known.get("ETag", "")).strip('"') == hashlib.md5(content, usedforsecurity=False).hexdigest():
                return True
        return self.read(name) == content

    def _notes(self, base: str, task_id: str, number: int) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the names and sidecars of a task's picture, oldest first, up to the first name without one."""
        for name in itertools.islice(names_of(base), MAX_FILES):
            if not (notes := read_sidecar(self.location / f"{name}.json")):
                return
            if notes.get("task_id") == task_id and notes.get("number", number) == number and "file" in notes:
                yield name, notes

    @contextmanager
    def _as_refusal(self) -> Iterator[None]:
        try:
            with as_os_error(self.location):
                yield
        except OSError as error:
            raise SaveError(f"Pictures cannot be saved in {self.location}: {_reason(error)}", charge="no", hint=_ANOTHER) from None

    @contextmanager
    def _as_save_error(self, name: str) -> Iterator[None]:
        try:
            yield
        except SaveError:
            raise
        except OSError as error:
            raise SaveError(f"The picture could not be written to {self.location / name}: {_reason(error)}", hint=_LATER) from None


@contextmanager
def as_os_error(path: StorePath) -> Iterator[None]:
    """Raise what a backend raises as an OSError with a short reason: each has errors of its own, and their texts may hold an address."""
    try:
        yield
    except (FileNotFoundError, FileExistsError) as error:
        code = errno.ENOENT if isinstance(error, FileNotFoundError) else errno.EEXIST
        raise type(error)(code, os.strerror(code), path.address) from None
    except _Explained:
        raise
    except Exception as error:  # s3fs, gcsfs and adlfs raise those of botocore, aiohttp and azure as they are
        raise _Explained(getattr(error, "errno", None) or errno.EIO, _words(error), path.address) from None


class _Explained(OSError):
    """An error whose reason is one of our own, or was made short."""


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _words(error: Exception) -> str:
    if isinstance(error, ImportError):
        return f"this needs further packages: {install_extra('store')}, or the fsspec backend of that address"
    lines = (getattr(error, "strerror", None) or str(error)).strip().splitlines()
    text = redact(lines[0])[:_MAX_WORDS] if lines else ""
    return text if isinstance(error, OSError) and text else f"{type(error).__name__}{': ' if text else ''}{text}"


@functools.lru_cache(maxsize=64)
def _filesystem(root: str) -> Any:
    """Return the file system of a bucket, without a cache of listings, which another process would make old.

    Raises ImportError, OSError for an unknown scheme, or what its backend raises.
    """
    import fsspec  # type: ignore[import-untyped,import-not-found,unused-ignore]  # optional

    scheme = root.partition("://")[0]
    try:
        fsspec.get_filesystem_class(scheme)
    except ValueError:  # it is in no list of backends
        raise _Explained(errno.EPROTONOSUPPORT, f"fsspec knows no {scheme}://, as it knows s3://, gs:// and abfs://") from None
    return fsspec.core.url_to_fs(root, use_listings_cache=False)[0]


def _creates_exclusively(files: Any) -> bool:
    """Return whether a backend has a creation of its own; fsspec's default looks first and writes then, in two steps."""
    from fsspec.asyn import AsyncFileSystem  # type: ignore[import-untyped,import-not-found,unused-ignore]  # optional
    from fsspec.spec import AbstractFileSystem  # type: ignore[import-untyped,import-not-found,unused-ignore]  # optional

    kind = type(files)
    if isinstance(files, AsyncFileSystem):
        return kind._pipe_file is not AsyncFileSystem._pipe_file
    return kind.pipe_file is not AbstractFileSystem.pipe_file


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_filesystem.cache_clear)
