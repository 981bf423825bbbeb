"""Exports: copies of images that record how they were made, a page that shows them anywhere, and a table."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from imagegen_magic.engine import credentials, loop
from imagegen_magic.engine.context import ledger_of
from imagegen_magic.engine.settings import load
from imagegen_magic.engine.storage.filenames import filename_stem
from imagegen_magic.engine.storage.images import read_sidecar
from imagegen_magic.errors import ImageGenError, ImageInvalid, SaveError, UnsupportedOption
from imagegen_magic.formats import BY_TYPE
from imagegen_magic.humanize import iso_time
from imagegen_magic.imaging.metadata.embed import LEVELS, Level, Origin, embed, redact, shareable
from imagegen_magic.imaging.metadata.provenance import SANDBOX
from imagegen_magic.imaging.preview import preview
from imagegen_magic.paths import path_of, text_of
from imagegen_magic.result import GeneratedImage, pictures_in
from imagegen_magic.studies.export.item import ExportItem
from imagegen_magic.studies.export.page import page
from imagegen_magic.studies.export.table import table
from imagegen_magic.studies.scores.table import Scores, table_of
from imagegen_magic.studies.sweeps.result import SweepResult

PICTURES, PAGE, TABLE = "pictures", "index.html", "pictures.csv"
_THUMBNAIL = 480  # pixels
_THUMBNAIL_BYTES, _ALL_THUMBNAILS = 24_000, 6_000_000  # bytes of one, and of all in the page
_MIN_THUMBNAIL_BYTES = 2_500


def export(
    images: GeneratedImage | Iterable[GeneratedImage], target: str | Path, *, metadata: str = "full", secrets: Iterable[str] = ()
) -> Path:
    """Write copies of images, `index.html` and `pictures.csv` into a new folder, or a ZIP file if `target` ends in `.zip`; returns it.

    `images` is a Generation, a sweep (its page shows the grid), one image, or any list of those. The originals do not change. With
    `metadata` "full" the copies record how they were made as XMP; with "minimal" only that a model made them, with which tool and when;
    with "none" they are identical to the originals. If a format has no room for the record, it is in a JSON file beside the copy.

    The export holds no path of this machine, no key (of this session, of the environment, or of `secrets`) and no query of a URL. It
    appears complete or not at all. If an earlier export has the name, this one gets -2, -3 and so on. Missing files are marked.

    Raises UnsupportedOption if there is nothing to export, for an unknown level, and if the target is a folder that is not an export;
    SaveError if the disk fails.
    """
    if not isinstance(metadata, str) or metadata not in LEVELS:
        raise UnsupportedOption(f"There is no metadata level {metadata!r}", option="metadata", value=metadata, allowed=LEVELS)
    sweep = images if isinstance(images, SweepResult) else None
    chosen = pictures_in(images)
    hidden = _texts(secrets)
    if not any(image.file.is_file() for image in chosen):
        what = "None of the pictures' files exists" if chosen else "There is no picture to export"
        raise UnsupportedOption(what, option="selection", value=len(chosen), hint="%imagegen history lists the pictures")
    path = _absolute(target)
    try:
        return _write(chosen, sweep, _checked(path), LEVELS[LEVELS.index(metadata)], (*credentials.known(), *hidden))
    except OSError as error:
        if isinstance(error, ImageGenError):
            raise
        what = f"The export could not be written to {path}: {error.strerror or error}"
        raise SaveError(what, charge="no", hint="make room or choose another path; nothing was changed") from error


def _texts(secrets: object) -> tuple[str, ...]:
    """Return texts to leave out; a single text is one, not its letters."""
    listed = (secrets,) if isinstance(secrets, str) else tuple(secrets) if isinstance(secrets, Iterable) else (None,)
    if not all(isinstance(each, str) for each in listed):
        raise UnsupportedOption("The secrets to leave out must be texts", option="secrets", value="[hidden]", hint="give a list of texts")
    return tuple(each for each in listed if isinstance(each, str))


def _absolute(target: object) -> Path:
    if isinstance(target, str | os.PathLike):
        with suppress(RuntimeError, TypeError):  # an unknown user, a path of bytes
            if "\0" not in str(path := path_of(target).expanduser()):
                return Path(os.path.abspath(path))
    what = f"An export cannot go to {target!r}" if isinstance(target, str) else f"An export cannot go to a {type(target).__name__}"
    raise UnsupportedOption(what, option="target", value=target, hint="give the path of a new folder, or of a .zip file")


def _checked(target: Path) -> Path:
    """Return a target that is free or an earlier export. Raises UnsupportedOption for any other folder."""
    if target.is_dir() and not (target / TABLE).is_file():
        raise UnsupportedOption(
            f"The folder {target.name or target} exists already, and it is not an export",
            option="target",
            value=str(target),
            hint=f"give a new name, like {target.name or ''}/foxes",
        )
    return target


def _write(images: Sequence[GeneratedImage], sweep: SweepResult | None, target: Path, level: Level, secrets: tuple[str, ...]) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    with _hidden_folder(target) as folder:
        shown = len(images) * (2 if sweep and sweep.axes else 1)  # in the grid too
        limit = max(_MIN_THUMBNAIL_BYTES, min(_THUMBNAIL_BYTES, _ALL_THUMBNAILS // shown))
        scores = sweep.scores if sweep else loop.run(table_of(images, 0, ledger_of(load())))
        exporter = _Exporter(folder, level, limit, len(str(len(images))), secrets, scores)
        items = exporter.items(images, [sweep.places[image.task] if sweep else {} for image in images])
        _write_text(folder / PAGE, page(items, sweep, exporter.clean), "utf-8")
        _write_text(folder / TABLE, table(items), "utf-8-sig")  # spreadsheets need the mark to read UTF-8
        if target.suffix.lower() != ".zip":
            return _move(folder, target)
        packed = folder.with_suffix(".zip.part")
        try:
            _pack(folder, packed, target.stem)
            return _move(packed, target)
        finally:
            packed.unlink(missing_ok=True)


def _write_text(path: Path, text: str, encoding: str) -> None:
    path.write_text(text, encoding=encoding, errors="backslashreplace", newline="")  # a prompt may hold half of a surrogate pair


@contextmanager
def _hidden_folder(target: Path) -> Iterator[Path]:
    """A hidden folder beside the target, removed at the end."""
    folder = target.with_name(f".{target.name}.{os.urandom(4).hex()}.part")
    (folder / PICTURES).mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class _Exporter:
    """Writes the copies into `folder`; `limit` is the bytes of a thumbnail, `digits` the length of a copy's number."""

    folder: Path
    level: Level
    limit: int
    digits: int
    secrets: tuple[str, ...]
    scores: Scores

    def items(self, images: Sequence[GeneratedImage], combinations: Sequence[Mapping[str, str]]) -> list[ExportItem]:
        """Copy images and return their items."""
        pool = ThreadPoolExecutor(2, "imagegen export")  # as many images as are decoded at once
        try:
            return list(pool.map(self._item, range(1, len(images) + 1), images, combinations))
        finally:
            pool.shutdown(cancel_futures=True)

    def _item(self, number: int, image: GeneratedImage, combination: Mapping[str, str]) -> ExportItem:
        options = {name: value for name, value in image.request.asked().items() if name not in ("prompt", "callback_url")}
        options |= {**options.pop("parameters", {}), **({} if image.seed is None else {"seed": image.seed})}
        origin = redact(Origin(image.request.prompt, options), self.secrets)
        cleaned = {name: self.clean(name, value) for name, value in combination.items()}
        item = ExportItem(image, "", origin.prompt, origin.asked, cleaned, scores=self._scores(image))
        try:
            data = image.file.read_bytes()
        except OSError:
            return item
        image_format = BY_TYPE.get(image.mime_type)
        stem = filename_stem(image.request.prompt, "", text_of(image.file.stem))
        file = f"{PICTURES}/{number:0{self.digits}d}-{stem}{image_format.suffix if image_format else image.file.suffix.lower()}"
        size, has_metadata = self._copy(self.folder / file, data, image)
        return replace(
            item,
            file=file,
            sha256=sha256(data).hexdigest(),
            size=size,
            thumbnail=_thumbnail(image, data, self.limit),
            has_metadata=has_metadata,
        )

    def _scores(self, image: GeneratedImage) -> dict[str, object]:
        """Return the scores of an image, and their reasons only with full metadata: a judge may have written anything there."""
        reasons = self.scores.reasons(image) if self.level == "full" else {}
        return {**self.scores.of(image), **{name: self.clean("reason", text) for name, text in reasons.items()}}

    def clean(self, name: str, text: str) -> str:
        """Return a text, the value of `name`, without what must not leave this machine."""
        if name == "prompt":
            return redact(Origin(text), self.secrets).prompt
        return str(redact(Origin(asked={name: text}), self.secrets).asked.get(name, "[key]"))

    def _copy(self, path: Path, data: bytes, image: GeneratedImage) -> tuple[int, bool]:
        """Write the copy of an image; returns its size in bytes, and whether it or a sidecar records how it was made.

        A file whose format has no room for the record stays as it is, with a JSON file beside it.
        """
        origin = _origin(image, data)
        try:
            copy = embed(data, origin, self.level, secrets=self.secrets)
        except (ImageInvalid, UnsupportedOption):
            copy = data
        path.write_bytes(copy)
        if copy == data and self.level != "none":
            sidecar = shareable(origin, self.level, secrets=self.secrets).sidecar()
            _write_text(path.with_suffix(".json"), json.dumps(sidecar, ensure_ascii=False, indent=1), "utf-8")
        return len(copy), copy != data or self.level != "none"


def _origin(image: GeneratedImage, data: bytes) -> Origin:
    """Return how an image was made: from its sidecar if that is about these very bytes, else as far as it is known."""
    content = sha256(data).hexdigest()
    sidecar = read_sidecar(image.file.with_suffix(".json"))
    with suppress(ValueError, TypeError):  # it has a list where an object should be
        if sidecar.get("sha256") == content:
            return Origin.of_sidecar(sidecar)
    return Origin(
        prompt=image.request.prompt,
        asked=image.request.asked(),
        gateway=image.provider + (SANDBOX if image.sandbox else ""),
        model=image.model,
        task_id=image.task_id,
        created=iso_time(image.created),
        sha256=content,
    )


def _thumbnail(image: GeneratedImage, data: bytes, limit: int) -> str:
    try:
        return preview(image.preview.data if image.preview else data, _THUMBNAIL, limit).data_url
    except ImageInvalid:
        return ""


def _pack(folder: Path, packed: Path, name: str) -> None:
    """Put a folder into a ZIP file, under the folder `name`; images are compressed already."""
    with zipfile.ZipFile(packed, "x") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                inside = path.relative_to(folder)
                method = zipfile.ZIP_STORED if inside.parts[0] == PICTURES else zipfile.ZIP_DEFLATED
                archive.write(path, Path(name, inside).as_posix(), method)


def _move(made: Path, target: Path) -> Path:
    """Move the finished export to the first free name, which an empty folder or file reserves for a moment."""
    stem, suffix = (target.name, "") if made.is_dir() else (target.stem, target.suffix)
    number, free = 1, target
    while True:
        with suppress(FileExistsError):
            _take(made, free)
            return free
        number += 1
        free = target.with_name(f"{stem}-{number}{suffix}")


def _take(made: Path, free: Path) -> None:
    is_folder = made.is_dir()
    if is_folder:
        free.mkdir()
    else:
        free.open("xb").close()
    try:
        if is_folder and os.name == "nt":  # pragma: no cover - Windows does not replace even an empty folder
            free.rmdir()
        os.replace(made, free)
    except BaseException:
        free.rmdir() if is_folder else free.unlink()
        raise
