"""Loads the references and the mask of a request: each becomes an address, or an image that is prepared for the upload."""

from __future__ import annotations

import glob
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from imagegen_magic.engine.clock import CLOCK
from imagegen_magic.engine.context import ledger_of
from imagegen_magic.engine.ledger import history
from imagegen_magic.engine.ledger.deletion import deleted_at
from imagegen_magic.engine.ledger.history import StoredImage
from imagegen_magic.engine.settings import Settings
from imagegen_magic.errors import ImageInvalid, UnsupportedOption
from imagegen_magic.formats import PNG, WEB_TYPES
from imagegen_magic.humanize import local_day
from imagegen_magic.paths import Location, StorePath, is_address, is_plain_address, located
from imagegen_magic.providers.base import Provider
from imagegen_magic.providers.describe import shown
from imagegen_magic.request import ImageRequest, LocalImage
from imagegen_magic.result import GeneratedImage, Generation
from imagegen_magic.secret_patterns import Address

MAX_BYTES = 50_000_000  # if no gateway is chosen yet, and if it names no limit
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # two letters at least: C:\ is a disk
_NO_STORE = re.compile(r"(?:https?|wss?|ftps?|upload|file|local)://", re.IGNORECASE)  # what a service can fetch, or each one refuses
_NUMBER = re.compile(r"@(\d{1,18})")
_GLOB = re.compile(r"[*?\[]")
_LIFE = 86_400.0  # seconds until a result's address expires, if its gateway gave no time
_MASK_TYPES = (PNG.mime_type,)
_SHA256 = re.compile(r"[0-9a-f]{64}")

Known = dict[Any, "tuple[str | LocalImage, Any]"]
"""Loaded images with what they were loaded from, which is referenced so that no other object gets its id."""


def load_references(
    request: ImageRequest, provider: Provider, settings: Settings, *, fit: bool = False, known: Known | None = None
) -> ImageRequest:
    """Return a request whose references and mask are addresses or LocalImages that the gateway's model accepts.

    They may be addresses, also of a picture in a store, paths (from the notebook's folder, `~`, and globs for references), `@17` of the
    ledger, PIL images, arrays, bytes, IPython Images, matplotlib figures, GeneratedImages and Generations (the first). `fit` scales down
    what is too large. `known` caches what was loaded, for the next request with the same images. Raises UnsupportedOption and ImageInvalid.
    """
    if not request.references and request.mask is None:
        return request
    types, max_bytes = provider.picture_limits(provider.model(request.model))
    loader = ReferenceLoader(settings, types, max_bytes or MAX_BYTES, fit=fit, known=known)
    references = [loader.picture(each) for source in request.references for each in loader.each(source)]
    return replace(request, references=tuple(references), mask=None if request.mask is None else loader.mask(request.mask))


class ReferenceLoader:
    """Loads images: of these MIME types, of at most `max_bytes`; `fit` scales larger ones down."""

    def __init__(
        self,
        settings: Settings,
        types: Sequence[str] = WEB_TYPES,
        max_bytes: int = MAX_BYTES,
        *,
        fit: bool = False,
        known: Known | None = None,
    ) -> None:
        self._settings, self._types, self._max_bytes, self._fit = settings, tuple(types), max_bytes, fit
        self._known: Known = {} if known is None else known

    def each(self, source: Any) -> list[Any]:
        """Return the images that a source names: of a glob, its files in order."""
        if isinstance(source, str) and _GLOB.search(source) and not _ADDRESS.match(source) and not self._path(source).exists():
            folder = self._settings.folder  # never part of the pattern: its name may hold brackets
            found = next((files for form in _forms(source) if (files := _files(form, folder))), [])
            if not found:
                raise _no_such(source, folder)
            return [Named(folder / name, _relative(folder / name, folder)) for name in found]
        return [source]

    def mask(self, source: Any) -> str | LocalImage:
        """Return a mask, loaded as PNG, which keeps exactly what is transparent."""
        return self._loaded(source, "mask", _MASK_TYPES)

    def picture(self, source: Any) -> str | LocalImage:
        """Return a reference, loaded."""
        return self._loaded(source, "references", self._types)

    def _loaded(self, source: Any, option: str, types: tuple[str, ...]) -> str | LocalImage:
        thing, name = self._found(source, option)
        if isinstance(thing, str):
            return thing
        key = (_identity(thing), types, self._max_bytes, self._fit)
        if key not in self._known:
            self._known[key] = self._prepared(thing, name, option, types), thing
        return self._known[key][0]

    def _found(self, source: Any, option: str) -> tuple[Any, str]:
        """Return the thing that a source names, and its name in messages."""
        if isinstance(source, Named):
            return self._found(source.thing, option)[0], source.name
        if isinstance(source, LocalImage):
            return source, source.name
        if isinstance(source, str) and _ADDRESS.match(source):
            return (_in_store(source, option) if is_address(source) and not _NO_STORE.match(source) else source), source
        if isinstance(source, StorePath):
            return source, source.address
        if isinstance(source, str) and (match := _NUMBER.fullmatch(source)):
            return self._of_ledger(int(match[1])), source
        if isinstance(source, str | os.PathLike):
            path = self._path(source)
            if not path.is_file():
                raise _no_such(str(source), self._settings.folder, option)
            return path, str(source)
        if isinstance(source, Generation):
            if not len(source):
                raise UnsupportedOption("That result holds no picture", option=option, value="an empty result")
            source = source[0]
        if isinstance(source, GeneratedImage):
            return source, f"@{source.id}" if source.id else source.file.name
        plain = source is None or isinstance(source, int | float | tuple | list | Mapping)
        return source, "the mask" if option == "mask" else shown(source) if plain else f"the {type(source).__name__}"

    def _path(self, source: Any) -> Path:
        return _as_stored(self._settings.beside(source))

    def _of_ledger(self, number: int) -> StoredImage:
        found = history.find_image(ledger_of(self._settings), number)
        if found is None or found.saved_at is None:
            self._refuse_deleted(number)
            raise UnsupportedOption(
                f"The history has no picture @{number}", option="references", value=f"@{number}", hint="%imagegen history lists them"
            )
        return found._replace(url=Address(found.url), expires_at=found.expires_at or found.saved_at + _LIFE)

    def _refuse_deleted(self, number: int) -> None:
        if moment := deleted_at(ledger_of(self._settings), number):
            what, hint = f"Picture @{number} was deleted on {local_day(moment)}", "give another picture: %imagegen history lists them"
            raise UnsupportedOption(what, option="references", value=f"@{number}", hint=hint)

    def _prepared(self, thing: Any, name: str, option: str, types: tuple[str, ...]) -> str | LocalImage:
        if isinstance(thing, LocalImage):
            if thing.mime_type in types and len(thing.data) <= self._max_bytes:
                return thing
            again = self._prepare(thing.data, thing.name, types)
            identity = thing.identity if again.data == thing.data else again.identity
            return replace(again, notes=(*thing.notes, *again.notes), picture=thing.picture, identity=identity)
        if isinstance(thing, GeneratedImage):
            thing = self._stored(thing)
        if isinstance(thing, StoredImage):
            return self._prepared_result(thing, name, types)
        source = _read(thing, name, option) if isinstance(thing, Path | StorePath) else thing
        prepared = self._prepare(source, name, types, option)
        return replace(prepared, identity=thing.stem) if self._is_copy(thing) and prepared.data == source else prepared

    def _prepare(self, source: Any, name: str, types: tuple[str, ...], option: str = "references") -> LocalImage:
        from imagegen_magic.imaging.reference import prepare

        return prepare(source, name=name, types=types, max_bytes=self._max_bytes, fit=self._fit, option=option)

    def _is_copy(self, thing: Any) -> bool:
        """Return whether a file is the copy of an earlier reference, which has the identity in its name."""
        return isinstance(thing, Path) and thing.parent == self._settings.home / "sources" and bool(_SHA256.fullmatch(thing.stem))

    def _stored(self, image: GeneratedImage) -> StoredImage:
        found = history.find_image(ledger_of(self._settings), image.id, wait=False) if image.id else None
        if found and found.saved_at is None:
            self._refuse_deleted(found.id)
        sha256, expires_at, saved_at = (found.sha256, found.expires_at, found.saved_at) if found else ("", None, None)
        expires_at = expires_at or (saved_at or image.created) + _LIFE
        return StoredImage(image.id, image.location, Address(image.url), sha256, expires_at, saved_at)

    def _prepared_result(self, row: StoredImage, name: str, types: tuple[str, ...]) -> str | LocalImage:
        """Return a result: its file's bytes, with its address if they are sent unchanged; the address alone if the file is missing."""
        try:
            data = located(row.path or "").read_bytes()
        except OSError as error:
            if row.url and (row.expires_at or 0) > CLOCK.time():
                return row.url
            problem = "is missing" if isinstance(error, FileNotFoundError) else "cannot be read"
            raise ImageInvalid(
                f"The file of {name} {problem} ({row.path}), and its address at the service has expired",
                blame="you",
                charge="no",
                hint="give another picture, or put the file back",
            ) from error
        prepared = self._prepare(data, name, types)
        same = prepared.identity == row.sha256  # as the gateway has it; a file that was painted over is another picture
        return replace(prepared, picture=row.id, url=row.url if same else "", expires_at=row.expires_at if same else None)


def _files(pattern: str, folder: Path) -> list[str]:
    return sorted(glob.glob(os.path.expanduser(pattern), root_dir=folder, recursive=True), key=_natural)


def _forms(text: str) -> tuple[str, ...]:
    """Return a name unchanged, and in Unicode's composed and decomposed forms: the file system may have another one."""
    return text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)


def _as_stored(path: Path) -> Path:
    """Return a path in the Unicode form in which its file and folders exist; the exact name wins."""
    if path.exists():
        return path
    found = Path(path.anchor)
    for part in path.relative_to(found).parts:
        stored = next((form for form in _forms(part) if (found / form).exists()), None)
        if stored is None:
            return path
        found /= stored
    return found


class Named:
    """A thing and its name in messages: a file, or the value of a variable."""

    def __init__(self, thing: Any, name: str) -> None:
        self.thing, self.name = thing, name


def _identity(thing: Any) -> Any:
    if isinstance(thing, Path):
        status = thing.stat()
        return str(thing), status.st_mtime_ns, status.st_size
    if isinstance(thing, StoredImage):
        return "row", thing.id, thing.path
    return thing if isinstance(thing, StorePath) else id(thing)


def _in_store(address: str, option: str) -> Location:
    """Return the picture at an address in a store. Raises UnsupportedOption for an address with credentials."""
    if not is_plain_address(address):
        hint = "give an address without user, password and query; the store's own library finds credentials"
        raise UnsupportedOption("An address of a store holds more than its name", option=option, value="[hidden]", hint=hint)
    return located(address)


def _read(path: Location, name: str, option: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnsupportedOption(f"{name} cannot be read: {error.strerror or error}", option=option, value=name) from error


def _no_such(text: str, folder: Path, option: str = "references") -> UnsupportedOption:
    what = f"There is no file {shown(text)} in {folder}"
    step = "give a path from there, an https:// address, the name of a variable, or @ID of %imagegen history"
    if text.isdecimal():
        step = f"for the picture of that number in %imagegen history write @{text}"
    elif (folder / Path(text).expanduser()).is_dir():
        what, step = f"{shown(text)} is a folder", f"give a picture in it, or all of them: {text.rstrip('/')}/*.png"
    return UnsupportedOption(what, option=option, value=text, hint=step)


def _relative(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def _natural(path: str) -> list[Any]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path)]
