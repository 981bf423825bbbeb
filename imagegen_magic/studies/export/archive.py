"""Pictures to give away: copies that say how they were made, a page that shows them anywhere, and a table."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from imagegen_magic.engine import credentials
from imagegen_magic.engine.storage import images as image_files
from imagegen_magic.errors import ImageGenError, ImageInvalid, SaveError, UnsupportedOption
from imagegen_magic.formats import BY_TYPE
from imagegen_magic.paths import path_of, text_of
from imagegen_magic.records import Record, hash_of_fields
from imagegen_magic.request import ImageRequest
from imagegen_magic.result import GeneratedImage, pictures_in
from imagegen_magic.studies.sweeps.result import SweepResult

Level = Literal["full", "minimal", "none"]
LEVELS: tuple[Level, ...] = ("full", "minimal", "none")

PICTURES, PAGE, TABLE = "pictures", "index.html", "pictures.csv"
_THUMBNAIL = 480  # px
_THUMBNAIL_BYTES, _ALL_THUMBNAILS = 24_000, 6_000_000  # bytes of one, and of all in the page
_LEAST_THUMBNAIL = 2_500


@dataclass(frozen=True, slots=True, repr=False)
class Copy(Record):
    """One picture of an export.

    `file` is its copy's path within the export, with slashes; empty where the original is gone. `prompt` and `options` are what may
    leave this machine of what was asked; `place` is its place in a sweep; `sha256` is the original's, `size` the copy's bytes;
    `thumbnail` a data address; `tells` whether the copy carries how it was made.
    """

    image: GeneratedImage
    file: str
    prompt: str
    options: Mapping[str, object] = field(default_factory=dict)
    place: Mapping[str, str] = field(default_factory=dict)
    sha256: str = ""
    size: int = 0
    thumbnail: str = ""
    tells: bool = False

    __hash__ = hash_of_fields


def export(
    images: GeneratedImage | Iterable[GeneratedImage], target: str | Path, *, metadata: str = "full", secrets: Iterable[str] = ()
) -> Path:
    """Write the pictures, `index.html` and `pictures.csv` into a new folder, or into a ZIP file where `target` ends so; returns which.

    `images` is a Generation, a sweep (its page shows the grid), one picture, or any list of those. The originals stay as they are. With
    `metadata` full the copies carry how they were made as XMP, with minimal that a model made them, with what and when, with none they
    are the very bytes; what a format here has no room for stands in a JSON file beside the copy. No path of this machine, no key (of
    this session, of the environment, or of `secrets`) and no query of an address is in any of it. It appears whole or not at all. Where
    an earlier export has that name, this one is called -2, -3 and so on. Pictures whose files are gone are shown as such.

    Raises UnsupportedOption where there is nothing to export, for what holds no pictures, for another level, and where the target is a
    folder that is no export; SaveError where the disk refuses.
    """
    if not isinstance(metadata, str) or metadata not in LEVELS:
        raise UnsupportedOption(f"there is no metadata level {metadata!r}", option="metadata", value=metadata, allowed=LEVELS)
    sweep = images if isinstance(images, SweepResult) else None
    chosen = pictures_in(images)
    hidden = _texts(secrets)
    if not any(image.path.is_file() for image in chosen):
        what = "None of the pictures' files is there any more" if chosen else "There is no picture to export"
        raise UnsupportedOption(what, option="selection", value=len(chosen), hint="%imagegen history lists what there is")
    place = _place(target)
    try:
        return _write(chosen, sweep, _free(place), LEVELS[LEVELS.index(metadata)], (*credentials.known(), *hidden))
    except OSError as error:
        if isinstance(error, ImageGenError):
            raise
        what = f"The export could not be written to {place}: {error.strerror or error}"
        raise SaveError(what, charge="no", hint="make room or choose another place; nothing was changed") from error


def _texts(secrets: object) -> tuple[str, ...]:
    """Return texts to be left out; one alone is one, not its letters."""
    listed = (secrets,) if isinstance(secrets, str) else tuple(secrets) if isinstance(secrets, Iterable) else (None,)
    if not all(isinstance(each, str) for each in listed):
        raise UnsupportedOption("The secrets to be left out are texts", option="secrets", value="[hidden]", hint="give a list of texts")
    return tuple(each for each in listed if isinstance(each, str))


def _place(target: object) -> Path:
    if isinstance(target, str | os.PathLike):
        with suppress(RuntimeError, TypeError):  # a user that does not exist, a path of bytes
            if "\0" not in str(place := path_of(target).expanduser()):
                return Path(os.path.abspath(place))
    what = f"An export cannot go to {target!r}" if isinstance(target, str) else f"An export cannot go to a {type(target).__name__}"
    raise UnsupportedOption(what, option="target", value=target, hint="give the path of a new folder, or of a .zip file")


def _free(place: Path) -> Path:
    """Return a target that may be made, or that an earlier export has; a folder of somebody's own is refused."""
    if place.is_dir() and not (place / TABLE).is_file():
        raise UnsupportedOption(
            f"The folder {place.name or place} is there already, and it is no export",
            option="target",
            value=str(place),
            hint=f"give a new name, like {place.name or ''}/foxes",
        )
    return place


def _write(images: Sequence[GeneratedImage], sweep: SweepResult | None, place: Path, level: Level, secrets: Sequence[str]) -> Path:
    from imagegen_magic.studies.export import page, table

    place.parent.mkdir(parents=True, exist_ok=True)
    zipped = place.suffix.lower() == ".zip"
    with _scaffold(place) as folder:
        shown = len(images) * (2 if sweep and sweep.axes else 1)  # in the grid too
        limit = max(_LEAST_THUMBNAIL, min(_THUMBNAIL_BYTES, _ALL_THUMBNAILS // shown))
        copyist = _Copyist(folder, level, limit, len(str(len(images))), tuple(secrets))
        copies = _copies(images, sweep, copyist)
        _put(folder / PAGE, page.page(copies, sweep, copyist.clean), "utf-8")
        _put(folder / TABLE, table.table(copies), "utf-8-sig")  # the mark tells spreadsheets that it is UTF-8
        if not zipped:
            return _claim(folder, place, _take_folder)
        packed = folder.with_suffix(".zip.part")
        try:
            _pack(folder, packed, place.stem)
            return _claim(packed, place, _take_file)
        finally:
            packed.unlink(missing_ok=True)


def _put(path: Path, text: str, encoding: str) -> None:
    path.write_text(text, encoding=encoding, errors="backslashreplace", newline="")  # a prompt can hold half of a surrogate pair


@contextmanager
def _scaffold(place: Path) -> Iterator[Path]:
    """A hidden folder beside the target, gone at the end."""
    folder = place.with_name(f".{place.name}.{os.urandom(4).hex()}.part")
    (folder / PICTURES).mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _copies(images: Sequence[GeneratedImage], sweep: SweepResult | None, copyist: _Copyist) -> list[Copy]:
    places = [sweep.place(image) if sweep else {} for image in images]
    pool = ThreadPoolExecutor(2, "imagegen export")  # as many pictures as are decoded at once
    try:
        return list(pool.map(copyist.copy, range(1, len(images) + 1), images, places))
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True, slots=True)
class _Copyist:
    """Makes the copies; `digits` is how long their numbers are."""

    folder: Path
    level: Level
    limit: int
    digits: int
    secrets: tuple[str, ...]

    def copy(self, number: int, image: GeneratedImage, place: Mapping[str, str]) -> Copy:
        """Copy one picture and return what there is to tell of it."""
        from imagegen_magic.imaging.metadata.embed import Origin, scrubbed

        told = scrubbed(Origin(image.request.prompt, _options(image.request)), self.secrets)
        facts = Copy(image, "", told.prompt, told.asked, {name: self.clean(name, value) for name, value in place.items()})
        try:
            data = image.path.read_bytes()
        except OSError:
            return facts
        content, tells = self._told(data, image)
        name = f"{number:0{self.digits}d}-{_stem(image)}{_suffix(image)}"
        (self.folder / PICTURES / name).write_bytes(content)
        if not tells and self.level != "none":
            tells = self._tell_beside(self.folder / PICTURES / name, data, image)
        thumbnail = _thumbnail(image, data, self.limit)
        return Copy(
            image, f"{PICTURES}/{name}", facts.prompt, facts.options, facts.place, sha256(data).hexdigest(), len(content), thumbnail, tells
        )

    def clean(self, name: str, text: str) -> str:
        """Return what of a text, which is the value of `name`, may leave this machine."""
        from imagegen_magic.imaging.metadata.embed import Origin, scrubbed

        if name == "prompt":
            return scrubbed(Origin(text), self.secrets).prompt
        return str(scrubbed(Origin(asked={name: text}), self.secrets).asked.get(name, "[key]"))

    def _told(self, data: bytes, image: GeneratedImage) -> tuple[bytes, bool]:
        """Return the bytes of the copy, and whether they hold how it was made; a file that cannot hold it stays as it is."""
        from imagegen_magic.imaging.metadata.embed import embed

        try:
            copy = embed(data, _origin(image, data), self.level, secrets=self.secrets)
        except (ImageInvalid, UnsupportedOption):
            return data, False
        return copy, copy != data

    def _tell_beside(self, path: Path, data: bytes, image: GeneratedImage) -> bool:
        """Write how a picture was made into a JSON file beside its copy, whose format has no room for it here."""
        from imagegen_magic.imaging.metadata.embed import shareable

        sidecar = shareable(_origin(image, data), self.level, secrets=self.secrets).sidecar()
        _put(path.with_suffix(".json"), json.dumps(sidecar, ensure_ascii=False, indent=1), "utf-8")
        return True


def _origin(image: GeneratedImage, data: bytes) -> Any:
    """Return how a picture was made: from the file beside it where that speaks of these very bytes, else as far as it is known."""
    from imagegen_magic.imaging.metadata.provenance import SANDBOX, Origin

    with suppress(OSError, ValueError, TypeError, AttributeError):
        beside = json.loads(image.path.with_suffix(".json").read_text(encoding="utf-8"))
        if beside["sha256"] == sha256(data).hexdigest():
            return Origin.of_sidecar(beside)
    return Origin(
        prompt=image.request.prompt,
        asked=image.request.asked(),
        gateway=image.provider + (SANDBOX if image.sandbox else ""),
        model=image.model,
        task_id=image.task_id,
        created=datetime.fromtimestamp(image.created, UTC).isoformat(timespec="seconds"),
        sha256=sha256(data).hexdigest(),
    )


def _options(request: ImageRequest) -> dict[str, object]:
    return {name: value for name, value in request.asked().items() if name not in ("prompt", "callback_url")}


def _stem(image: GeneratedImage) -> str:
    return image_files.stem(image.request.prompt, "", text_of(image.path.stem))


def _suffix(image: GeneratedImage) -> str:
    kind = BY_TYPE.get(image.mime_type)
    return kind.suffix if kind else image.path.suffix.lower()


def _thumbnail(image: GeneratedImage, data: bytes, limit: int) -> str:
    from imagegen_magic.imaging.preview import preview

    try:
        return preview(image.preview.data if image.preview else data, _THUMBNAIL, limit).data_url
    except ImageInvalid:
        return ""


def _pack(folder: Path, packed: Path, name: str) -> None:
    """Put a folder into a ZIP file, under a name of its own; pictures are packed already."""
    with zipfile.ZipFile(packed, "x") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                inside = path.relative_to(folder)
                how = zipfile.ZIP_STORED if inside.parts[0] == PICTURES else zipfile.ZIP_DEFLATED
                archive.write(path, Path(name, inside).as_posix(), how)


def _claim(made: Path, place: Path, take: Callable[[Path, Path], None]) -> Path:
    """Give what was made the first name that is free: an empty thing of ours holds it for the moment in which that takes place."""
    number, free = 1, place
    while True:
        with suppress(FileExistsError):
            take(made, free)
            return free
        number += 1
        free = place.with_name(f"{place.stem}-{number}{place.suffix}" if take is _take_file else f"{place.name}-{number}")


def _take_folder(made: Path, free: Path) -> None:
    free.mkdir()
    if os.name == "nt":  # pragma: no cover - there a rename replaces not even an empty folder
        free.rmdir()
    try:
        os.rename(made, free)
    except BaseException:
        free.rmdir()
        raise


def _take_file(made: Path, free: Path) -> None:
    with free.open("xb"):
        pass
    try:
        os.replace(made, free)
    except BaseException:
        free.unlink()
        raise
