"""`%imagegen slim` makes notebooks smaller: generated images in their outputs become previews, and unused widget state is removed."""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagegen_magic.errors import ImageInvalid, SaveError, UnsupportedOption
from imagegen_magic.formats import EXTENSIONS, JPEG, PNG
from imagegen_magic.humanize import file_size, pluralize
from imagegen_magic.notebook.output.tables import show_note
from imagegen_magic.providers.describe import shown

if TYPE_CHECKING:
    from imagegen_magic.notebook.context import NotebookContext

LIMIT = 300_000  # bytes of an image in a notebook: the limit of a grid; other previews are smaller
_RASTER = (PNG.mime_type, JPEG.mime_type)
_EMBEDDED = re.compile(r"data:(image/(?:png|jpeg));base64,([A-Za-z0-9+/=]{100,})")
_VIEW = "application/vnd.jupyter.widget-view+json"
_STATE = "application/vnd.jupyter.widget-state+json"
_MODEL = re.compile(r"IPY_MODEL_([0-9a-fA-F-]+)")
_INDENT = re.compile(r"\{\r?\n([ \t]+)\"")
_LONE = re.compile("[\ud800-\udfff]")  # lone surrogates: valid in JSON, but not in UTF-8
_OUR_CELL = re.compile(r"%imagegen\b|\bPanel\(")
_OUR_PICTURE = re.compile(rf".+\.(?:{'|'.join(EXTENSIONS)})(?:, \d+×\d+)?", re.IGNORECASE)  # its output's text
_OUR_CLASS = "imagegen-"


@dataclass(frozen=True, slots=True)
class Slimmed:
    """The result for a notebook: its bytes `before` and `after`, how many `pictures` became previews, how many `models` were removed.

    `others` is how many large images of other tools were left unchanged.
    """

    before: int
    after: int
    pictures: int
    models: int
    others: int = 0


def run(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Make a notebook small, and show its sizes before and after."""
    path = context.settings().beside(arguments[0])
    done = slim(path, everything="--all" in flags)
    others = _others(done.others)
    if done.before == done.after:
        show_note(f"{path.name} has nothing to make smaller: {file_size(done.before)}, unchanged.{others}")
        return
    what = [f"{pluralize(done.pictures, 'picture')} reduced"] if done.pictures else []
    what += [f"{pluralize(done.models, 'unused saved widget')} removed"] if done.models else []
    advice = "If it is open, reload it from disk before saving."
    show_note(f"{path.name}: {file_size(done.before)} → {file_size(done.after)} ({', '.join(what)}). {advice}{others}")


def _others(others: int) -> str:
    """Return the note on large images of other tools, which are unchanged."""
    if not others:
        return ""
    which = f"{pluralize(others, 'large picture')} of other tools {'is' if others == 1 else 'are'} unchanged"
    return f" {which}: --all reduces them too, but the notebook may hold the only original."


def slim(path: Path, *, everything: bool = False) -> Slimmed:
    """Make a notebook's outputs smaller, in its own file, atomically; the file is unchanged if nothing is too large.

    Generated images above `LIMIT` bytes (PNG and JPEG, also within HTML), whose originals are on disk, become previews of at most
    1024 pixels; with `everything` also images of other tools, which may have no other copy. Saved widgets are kept if an output
    shows them, directly or through a link. All else, and the format of the file, is unchanged. Raises UnsupportedOption if it
    is not a notebook, SaveError if it cannot be written.
    """
    raw, text, notebook = _load(path)
    slimmer = _Slimmer(everything)
    for cell in _cells(notebook):
        cell["outputs"][:] = [slimmer.output(output, _is_ours(cell, output)) for output in cell["outputs"]]
    models = _drop_models(notebook)
    if not slimmer.pictures and not models:
        return Slimmed(len(raw), len(raw), 0, 0, slimmer.others)
    small = _encoded(_written(notebook, text), notebook, path)
    _replace(path, small)
    return Slimmed(len(raw), len(small), slimmer.pictures, models, slimmer.others)


def _load(path: Path) -> tuple[bytes, str, dict[str, Any]]:
    """Return a notebook as bytes, as text and parsed. Raises UnsupportedOption."""
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8-sig")
        notebook = json.loads(text)
    except OSError as error:
        raise _refusal(path, f"cannot be read ({error.strerror or error})") from None
    except (ValueError, RecursionError):
        raise _refusal(path, "is not a notebook: it is not JSON") from None
    if not isinstance(notebook, dict) or "nbformat" not in notebook:
        raise _refusal(path, "is not a notebook")
    if not isinstance(notebook.get("cells"), list):
        step = "open it in JupyterLab and save it, which converts it to format 4, then run this again"
        raise _refusal(path, f"is a notebook of format {shown(notebook['nbformat'])}, and only format 4 is supported", step)
    return raw, text, notebook


def _refusal(path: Path, why: str, step: str = "give the path of an .ipynb file") -> UnsupportedOption:
    return UnsupportedOption(f"{path.name} {why}", option="notebook", value=path.name, hint=step)


def _object(value: Any, name: str) -> dict[str, Any]:
    """Return the JSON object that a value has under a name; an empty one if it has none."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def _cells(notebook: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the cells that have outputs."""
    return (cell for cell in notebook["cells"] if isinstance(cell, dict) and isinstance(cell.get("outputs"), list))


def _is_ours(cell: Mapping[str, Any], output: Any) -> bool:
    """Return whether an output is of this package: by its cell, by its CSS classes, or by the file name in its text."""
    if _OUR_CELL.search(_text(cell.get("source"))):
        return True
    data = _object(output, "data")
    return _OUR_CLASS in _text(data.get("text/html")) or bool(_OUR_PICTURE.fullmatch(_text(data.get("text/plain"))))


def _text(content: Any) -> str:
    """Return a text of a notebook, which may be a list of lines; empty if it is not text."""
    if isinstance(content, list) and all(isinstance(line, str) for line in content):
        return "".join(content)
    return content if isinstance(content, str) else ""


class _Slimmer:
    """Makes outputs smaller, and counts the previews and the unchanged images of other tools."""

    def __init__(self, everything: bool) -> None:
        self._everything, self._ours = everything, False
        self.pictures = self.others = 0

    def output(self, output: Any, ours: bool) -> Any:
        """Return an output with previews instead of its large images."""
        self._ours = ours
        if not _object(output, "data"):
            return output
        data, metadata = {}, _object(output, "metadata")
        for mime_type, content in output["data"].items():
            kind, small = self._content(mime_type, content)
            data[kind] = small
            if kind != mime_type and mime_type in metadata:
                metadata = {kind if name == mime_type else name: value for name, value in metadata.items()}
        return {**output, "data": data, **({"metadata": metadata} if "metadata" in output else {})}

    def _content(self, mime_type: str, content: Any) -> tuple[str, Any]:
        text = _text(content)
        if mime_type in _RASTER:
            kind, small = self._preview(mime_type, text)
            return (kind, small) if small != text else (mime_type, content)
        if mime_type == "text/html":
            small = _EMBEDDED.sub(self._embedded, text)
            return mime_type, content if small == text else small.splitlines(keepends=True) if isinstance(content, list) else small
        return mime_type, content

    def _embedded(self, found: re.Match[str]) -> str:
        kind, small = self._preview(found[1], found[2])
        return f"data:{kind};base64,{small}"

    def _preview(self, mime_type: str, text: str) -> tuple[str, str]:
        """Return the type and base64 of an image, smaller if it is too large; unchanged if it cannot be read."""
        from imagegen_magic.imaging.preview import preview

        if len(text) * 3 // 4 <= LIMIT:
            return mime_type, text
        with suppress(ImageInvalid, binascii.Error, ValueError):
            data = base64.b64decode(text)
            if len(data) > LIMIT and not (self._ours or self._everything):
                self.others += 1
            elif len(data) > LIMIT:
                small = preview(data)
                self.pictures += 1
                return small.mime_type, small.base64
        return mime_type, text


def _drop_models(notebook: dict[str, Any]) -> int:
    """Remove the saved widget models that no output shows, directly, within another or through a link; return how many."""
    metadata = _object(notebook, "metadata")
    widgets = _object(metadata, "widgets")
    saved = _object(widgets, _STATE)
    state = _object(saved, "state")
    shown = _shown(notebook, state)
    removed = len(state) - len(shown)
    if removed:
        saved["state"] = {model: content for model, content in state.items() if model in shown}
    if removed and not shown:
        del widgets[_STATE]
        if not widgets:
            del metadata["widgets"]
    return removed


def _shown(notebook: Mapping[str, Any], state: Mapping[str, Any]) -> set[str]:
    """Return the models that outputs show, the models in them, and the models that refer to them, such as a link between two sliders."""
    views = [_object(_object(output, "data"), _VIEW) for cell in _cells(notebook) for output in cell["outputs"]]
    waiting = [str(view.get("model_id")) for view in views]
    linked: dict[str, set[str]] = {model: set() for model in state}
    for model, content in state.items():
        for other in linked.keys() & set(_MODEL.findall(json.dumps(content))):
            linked[model].add(other)
            linked[other].add(model)
    shown: set[str] = set()
    while waiting:
        model = waiting.pop()
        if model in state and model not in shown:
            shown.add(model)
            waiting += linked[model]
    return shown


def _written(notebook: Mapping[str, Any], text: str) -> str:
    """Return a notebook as JSON in the format of `text`: its indent, its escapes, its line ends."""
    found = _INDENT.match(text.lstrip("\ufeff \t\r\n"))
    separators = None if found or '": ' in text[:1000] else (",", ":")
    written = json.dumps(notebook, indent=found[1] if found else None, ensure_ascii=text.isascii(), separators=separators)
    end = text[len(text.rstrip()) :]
    return written.replace("\n", "\r\n") + end if "\r\n" in text[:1000] else written + end


def _encoded(written: str, notebook: Mapping[str, Any], path: Path) -> bytes:
    """Return a notebook's JSON as UTF-8, with lone surrogates escaped; raises SaveError if it would not read as the same."""
    content = _LONE.sub(lambda half: f"\\u{ord(half[0]):04x}", written).encode("utf-8")
    if json.dumps(json.loads(content)) != json.dumps(notebook):
        step = "the file is unchanged: please report what is special in it"
        raise SaveError(f"{path.name} would not read as before", charge="no", hint=step)
    return content


def _replace(path: Path, content: bytes) -> None:
    """Replace a file's content, durably and atomically, with the same permissions; a link stays a link."""
    real = path.resolve()
    part = real.with_name(f".{real.name}.{os.urandom(4).hex()}.part")
    try:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.chmod(real.stat().st_mode & 0o777)
        os.replace(part, real)
    except OSError as error:
        what = f"{path.name} could not be written: {error.strerror or error}"
        raise SaveError(what, charge="no", hint="make room, or check its permissions; the file is unchanged") from error
    finally:
        part.unlink(missing_ok=True)
