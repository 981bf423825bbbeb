"""From the pictures that people have to what a request can hold: addresses, and pictures of this machine made ready for the wire."""

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
from imagegen_magic.engine.settings import Settings
from imagegen_magic.errors import ImageInvalid, UnsupportedOption
from imagegen_magic.formats import PNG, WEB_TYPES
from imagegen_magic.paths import path_of, text_of
from imagegen_magic.providers.base import Provider
from imagegen_magic.providers.describe import shown
from imagegen_magic.request import ImageRequest, LocalPicture
from imagegen_magic.result import GeneratedImage, Generation
from imagegen_magic.secret_patterns import Address

MOST_BYTES = 50_000_000  # where no gateway is asked yet, and where it says nothing itself
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # two letters at least: C:\ is a disk
_NUMBER = re.compile(r"@(\d{1,18})")
_GLOB = re.compile(r"[*?\[]")
_LIFE = 86_400.0  # seconds that a result's address lives where its gateway did not say
_MASKS = (PNG.mime_type,)
_SHA256 = re.compile(r"[0-9a-f]{64}")

Known = dict[Any, "str | LocalPicture"]


def load_references(
    request: ImageRequest, provider: Provider, settings: Settings, *, fit: bool = False, known: Known | None = None
) -> ImageRequest:
    """Return a request whose references and mask are addresses or LocalPictures, fit for the gateway's model.

    They may be addresses, paths (from the notebook's folder, `~`, and globs for references), `@17` of the ledger, PIL images, arrays,
    bytes, IPython Images, matplotlib figures, GeneratedImages and Generations (the first). With `fit` what is too large becomes
    smaller. `known` remembers what was made ready, for the next request with the same pictures.

    Raises UnsupportedOption and ImageInvalid, before anything is sent.
    """
    if not request.references and request.mask is None:
        return request
    types, most = provider.picture_limits(provider.model(request.model))
    gathering = ReferenceLoader(settings, types, most or MOST_BYTES, fit=fit, known=known)
    references = [gathering.picture(each) for source in request.references for each in gathering.each(source)]
    return replace(request, references=tuple(references), mask=None if request.mask is None else gathering.mask(request.mask))


class ReferenceLoader:
    """Makes pictures ready: of these MIME types, of at most so many bytes, scaled down to them where `fit` is said."""

    def __init__(
        self,
        settings: Settings,
        types: Sequence[str] = WEB_TYPES,
        max_bytes: int = MOST_BYTES,
        *,
        fit: bool = False,
        known: Known | None = None,
    ) -> None:
        self._settings, self._types, self._most, self._fit = settings, tuple(types), max_bytes, fit
        self._known = {} if known is None else known

    def each(self, source: Any) -> list[Any]:
        """Return what a source stands for: of a glob, its files in order."""
        if isinstance(source, str) and _GLOB.search(source) and not _ADDRESS.match(source) and not self._path(source).exists():
            folder = self._settings.folder  # never part of the pattern: its name may hold brackets
            found = next((files for form in _forms(source) if (files := _files(form, folder))), [])
            if not found:
                raise _no_such(source, folder)
            return [Named(folder / one, _near(folder / one, folder)) for one in found]
        return [source]

    def mask(self, source: Any) -> str | LocalPicture:
        """Return a mask, ready; always PNG, for nothing else carries what is transparent exactly."""
        return self._ready(source, "mask", _MASKS)

    def picture(self, source: Any) -> str | LocalPicture:
        """Return a reference, ready."""
        return self._ready(source, "references", self._types)

    def _ready(self, source: Any, option: str, types: tuple[str, ...]) -> str | LocalPicture:
        named = self._named(source, option)
        if isinstance(named.thing, str):
            return named.thing
        key = (_identity(named.thing), types, self._most, self._fit)
        if key not in self._known:
            self._known[key] = self._prepared(named, option, types)
            self._known[(key, "kept")] = named.thing  # so that no other object gets its id
        return self._known[key]

    def _named(self, source: Any, option: str) -> Named:
        if not isinstance(source, Named):
            return Named(*self._found(source, option))
        return Named(self._found(source.thing, option)[0], source.name)

    def _found(self, source: Any, option: str) -> tuple[Any, str]:
        """Return the thing that a source names, with what a person calls it."""
        if isinstance(source, LocalPicture):
            return source, source.name
        if isinstance(source, str) and _ADDRESS.match(source):
            return source, source
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
            return source, f"@{source.id}" if source.id else source.path.name
        plain = source is None or isinstance(source, int | float | tuple | list | Mapping)
        return source, "the mask" if option == "mask" else shown(source) if plain else f"the {type(source).__name__}"

    def _path(self, source: Any) -> Path:
        return _as_stored(self._settings.beside(source))

    def _of_ledger(self, number: int) -> _Row:
        found = history.find_image(ledger_of(self._settings), number)
        if found is None or found.saved_at is None:
            raise UnsupportedOption(
                f"The history has no picture @{number}", option="references", value=f"@{number}", hint="%imagegen history lists them"
            )
        return _Row(found.id, found.path, found.url, found.sha256, found.expires_at or found.saved_at + _LIFE)

    def _prepared(self, named: Named, option: str, types: tuple[str, ...]) -> str | LocalPicture:
        from imagegen_magic.imaging.reference import prepare

        thing = named.thing
        if isinstance(thing, LocalPicture):
            if thing.mime_type in types and len(thing.data) <= self._most:
                return thing
            again = prepare(thing.data, name=thing.name, types=types, max_bytes=self._most, fit=self._fit)
            same = again.data == thing.data
            identity = thing.identity if same else again.identity
            return replace(again, notes=(*thing.notes, *again.notes), picture=thing.picture, identity=identity)
        if isinstance(thing, GeneratedImage):
            thing = self._row(thing)
        if isinstance(thing, _Row):
            return self._of_ours(thing, named.name, types)
        source = _read(thing, named.name, option) if isinstance(thing, Path) else thing
        ready = prepare(source, name=named.name, types=types, max_bytes=self._most, fit=self._fit, option=option)
        return replace(ready, identity=thing.stem) if self._is_kept(thing) and ready.data == source else ready

    def _is_kept(self, thing: Any) -> bool:
        """Return whether a file is a copy that was kept of an earlier reference, which has the identity that its name says."""
        return isinstance(thing, Path) and thing.parent == self._settings.home / "sources" and bool(_SHA256.fullmatch(thing.stem))

    def _row(self, image: GeneratedImage) -> _Row:
        found = history.find_image(ledger_of(self._settings), image.id, wait=False) if image.id else None
        content, expires, saved = (found.sha256, found.expires_at, found.saved_at) if found else ("", None, None)
        return _Row(image.id, text_of(image.path), image.url, content, expires or (saved or image.created) + _LIFE)

    def _of_ours(self, row: _Row, name: str, types: tuple[str, ...]) -> str | LocalPicture:
        """Return a picture of the ledger: its file's bytes, with the address where they live where they are sent as they are."""
        from imagegen_magic.imaging.reference import prepare

        try:
            data = path_of(row.path).read_bytes()
        except OSError as error:
            if row.url and row.ends > CLOCK.time():
                return row.url
            raise ImageInvalid(
                f"The file of {name} is gone ({row.path}), and so is its address at the gateway",
                blame="you",
                charge="no",
                hint="give another picture, or put the file back",
            ) from error
        ready = prepare(data, name=name, types=types, max_bytes=self._most, fit=self._fit)
        same = ready.identity == row.sha256  # as the gateway has it; a file that was painted over is another picture
        return replace(ready, picture=row.id, url=row.url if same else "", expires_at=row.ends if same else None)


def _files(pattern: str, folder: Path) -> list[str]:
    return sorted(glob.glob(os.path.expanduser(pattern), root_dir=folder, recursive=True), key=_natural)


def _forms(text: str) -> tuple[str, ...]:
    """Return a name as it is given, and then in Unicode's composed and decomposed forms, of which a file system may have the other."""
    return text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)


def _as_stored(path: Path) -> Path:
    """Return a path whose file or folders are there in the other Unicode form of their names alone; the exact name wins."""
    if path.exists():
        return path
    found = Path(path.anchor)
    for part in path.relative_to(found).parts:
        there = next((form for form in _forms(part) if (found / form).exists()), None)
        if there is None:
            return path
        found /= there
    return found


class Named:
    """A thing and what a person calls it: a file, or the value of a variable."""

    def __init__(self, thing: Any, name: str) -> None:
        self.thing, self.name = thing, name


class _Row:
    """A picture of the ledger: its id, file, address and content, and until when (epoch seconds) the address lives."""

    def __init__(self, number: int, path: str | None, url: str, sha256: str | None, ends: float) -> None:
        self.id, self.path, self.url, self.sha256, self.ends = number, path or "", Address(url), sha256, ends


def _identity(thing: Any) -> Any:
    if isinstance(thing, Path):
        status = thing.stat()
        return str(thing), status.st_mtime_ns, status.st_size
    if isinstance(thing, _Row):
        return "row", thing.id, thing.path
    return id(thing)


def _read(path: Path, name: str, option: str) -> bytes:
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


def _near(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


def _natural(path: str) -> list[Any]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path)]
