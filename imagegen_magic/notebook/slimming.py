"""Notebooks made small again: large pictures in their outputs become previews, and the state of widgets that nothing shows goes."""

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
from typing import Any

from imagegen_magic.errors import ImageInvalid, SaveError, UnsupportedOption

LIMIT = 150_000  # bytes of a picture in a notebook
_RASTER = ("image/png", "image/jpeg")
_EMBEDDED = re.compile(r"data:(image/(?:png|jpeg));base64,([A-Za-z0-9+/=]{100,})")
_VIEW = "application/vnd.jupyter.widget-view+json"
_STATE = "application/vnd.jupyter.widget-state+json"
_MODEL = re.compile(r"IPY_MODEL_([0-9a-fA-F-]+)")
_INDENT = re.compile(r"\{\r?\n([ \t]+)\"")


@dataclass(frozen=True, slots=True)
class Slimmed:
    """What was done to a notebook: its bytes `before` and `after`, how many `pictures` became previews, how many widget `models` went."""

    before: int
    after: int
    pictures: int
    models: int


def slim(path: Path) -> Slimmed:
    """Make a notebook's outputs small, in its own file, at once and whole; nothing is written where nothing is too large.

    Pictures of more than `LIMIT` bytes (PNG and JPEG, also within HTML) become previews of at most 1024 pixels; of saved widgets only
    those stay that an output still shows. Everything else, and how the file is written, stays as it is. Raises UnsupportedOption where
    it is no notebook, SaveError where the disk refuses.
    """
    raw = _read(path)
    text = _decoded(raw, path)
    notebook = _notebook(text, path)
    slimmer = _Slimmer()
    for outputs in _outputs(notebook):
        outputs[:] = [slimmer.output(output) for output in outputs]
    models = _drop_models(notebook)
    if not slimmer.pictures and not models:
        return Slimmed(len(raw), len(raw), 0, 0)
    small = _written(notebook, text).encode("utf-8", "surrogatepass")
    _replace(path, small)
    return Slimmed(len(raw), len(small), slimmer.pictures, models)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _refusal(path, f"cannot be read ({error.strerror or error})") from None


def _decoded(raw: bytes, path: Path) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _refusal(path, "is no notebook: it is no text") from None


def _refusal(path: Path, why: str) -> UnsupportedOption:
    return UnsupportedOption(f"{path.name} {why}", option="notebook", value=path.name, next_step="give the path of an .ipynb file")


def _notebook(text: str, path: Path) -> dict[str, Any]:
    try:
        notebook = json.loads(text)
    except (ValueError, RecursionError):
        raise _refusal(path, "is no notebook: it is no JSON") from None
    if not isinstance(notebook, dict) or "nbformat" not in notebook:
        raise _refusal(path, "is no notebook")
    if not isinstance(notebook.get("cells"), list):
        raise _refusal(path, f"is a notebook of the old format {notebook['nbformat']}: open and save it in JupyterLab first")
    return notebook


def _outputs(notebook: Mapping[str, Any]) -> Iterator[list[Any]]:
    for cell in notebook["cells"]:
        if isinstance(cell, dict) and isinstance(cell.get("outputs"), list):
            yield cell["outputs"]


class _Slimmer:
    """Makes outputs small and counts what it made small."""

    def __init__(self) -> None:
        self.pictures = 0

    def output(self, output: Any) -> Any:
        """Return an output with previews in the place of its large pictures."""
        if not isinstance(output, dict) or not isinstance(output.get("data"), dict):
            return output
        data: dict[str, Any] = {}
        metadata = dict(output["metadata"]) if isinstance(output.get("metadata"), dict) else {}
        for mime_type, content in output["data"].items():
            kind, small = self._content(mime_type, content)
            data[kind] = small
            if kind != mime_type and mime_type in metadata:
                metadata = {kind if name == mime_type else name: value for name, value in metadata.items()}
        return {**output, "data": data, **({"metadata": metadata} if "metadata" in output else {})}

    def _content(self, mime_type: str, content: Any) -> tuple[str, Any]:
        text = "".join(content) if isinstance(content, list) and all(isinstance(line, str) for line in content) else content
        if not isinstance(text, str):
            return mime_type, content
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
        """Return a picture's type and base64, smaller where it is too large; as it is where it is no picture that can be read."""
        from imagegen_magic.pictures.preview import preview

        if len(text) * 3 // 4 <= LIMIT:
            return mime_type, text
        with suppress(ImageInvalid, binascii.Error, ValueError):
            data = base64.b64decode(text)
            if len(data) > LIMIT:
                small = preview(data)
                self.pictures += 1
                return small.mime_type, small.base64
        return mime_type, text


def _drop_models(notebook: dict[str, Any]) -> int:
    """Take away the saved models of widgets that no output shows, directly or within another; return how many."""
    metadata = notebook.get("metadata")
    widgets = metadata.get("widgets") if isinstance(metadata, dict) else None
    saved = widgets.get(_STATE) if isinstance(widgets, dict) else None
    state = saved.get("state") if isinstance(saved, dict) else None
    if not isinstance(metadata, dict) or not isinstance(widgets, dict) or not isinstance(saved, dict) or not isinstance(state, dict):
        return 0
    shown = _shown(notebook, state)
    gone = len(state) - len(shown)
    saved["state"] = {model: content for model, content in state.items() if model in shown}
    if not shown and gone:
        del widgets[_STATE]
        if not widgets:
            del metadata["widgets"]
    return gone


def _shown(notebook: Mapping[str, Any], state: Mapping[str, Any]) -> set[str]:
    views = (output["data"].get(_VIEW) for outputs in _outputs(notebook) for output in outputs if isinstance(output.get("data"), dict))
    waiting = [str(view.get("model_id")) for view in views if isinstance(view, dict)]
    shown: set[str] = set()
    while waiting:
        model = waiting.pop()
        if model in state and model not in shown:
            shown.add(model)
            waiting += _MODEL.findall(json.dumps(state[model]))
    return shown


def _written(notebook: Mapping[str, Any], text: str) -> str:
    """Return a notebook as JSON written as `text` is: its indent, its way with other scripts than Latin, its end."""
    found = _INDENT.match(text.lstrip("\ufeff \t\r\n"))
    separators = None if found or '": ' in text[:1000] else (",", ":")
    written = json.dumps(notebook, indent=found[1] if found else None, ensure_ascii=text.isascii(), separators=separators)
    end = text[len(text.rstrip()) :]
    return written.replace("\n", "\r\n") + end if "\r\n" in text[:1000] else written + end


def _replace(path: Path, content: bytes) -> None:
    """Put new content in a file's place, durably and at once, with the same permissions; a link stays a link."""
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
        raise SaveError(what, charged="no", next_step="make room, or look at its permissions; it is as it was") from error
    finally:
        part.unlink(missing_ok=True)
