"""The caption of an image: one line of plain text, and the same as HTML with everything escaped."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from imagegen_magic.engine.settings import Settings
from imagegen_magic.errors import ImageGenError
from imagegen_magic.humanize import ago, duration, gateway_name, truncate
from imagegen_magic.notebook.context import current_settings, notebook_folder
from imagegen_magic.notebook.output.style import AS_TEXT, FONT, QUIET, TEXT
from imagegen_magic.paths import Location, StorePath, text_of
from imagegen_magic.result import GeneratedImage, total
from imagegen_magic.secret_patterns import without_queries

_LINE = f"{FONT};margin-bottom:6px;overflow-wrap:anywhere;{QUIET}"
_WRITTEN = 200  # characters of a service's own text that are shown
_EMPHASIS = f"{TEXT};border-left:3px solid var(--jp-warn-color1,#f57c00);padding-left:6px"


class Caption(NamedTuple):
    """One line, as plain text and as HTML with everything escaped."""

    text: str
    html: str


def caption(image: GeneratedImage, *, folder: Path | None = None) -> Caption:
    """Return the line below an image; its path is relative to `folder` (default: the notebook's)."""
    path, address = _relative(image.file, folder or notebook_folder())
    link = f'<a href="{escape(address)}">{escape(path)}</a>' if address else escape(path)
    facts = [*_made(image), *([] if image.seconds is None else [duration(image.seconds)]), *_extra(image), *_cost(image, time.time())]
    warnings = _warnings(image)
    return Caption(without_queries(" · ".join([*warnings, *facts, path])), _line_html(warnings, [*map(escape, facts), link]))


def gallery(images: Sequence[GeneratedImage], *, folder: Path | None = None) -> Caption:
    """Return the line below several images: what they share, what differs, and a link to each, numbered from 0 as Python does.

    Its text has the path of each image on a line of its own.
    """
    folder = folder or notebook_folder()
    now = time.time()
    facts = [*_shared([_made(image) for image in images]), *_took(images), *_shared([_extra(image) for image in images])]
    facts += _shared([_cost(image, now) if image.reused else _cost(image, now)[1:] for image in images])
    facts += _paid(images)
    paths = [_relative(image.file, folder) for image in images]
    links = " ".join(_numbered(number, *path) for number, path in enumerate(paths))
    folders = list(dict.fromkeys(os.path.dirname(path) for path, _ in paths))
    within = f" in {escape(folders[0])}/" if len(folders) == 1 and folders[0] else ""
    words = "".join(f"\n[{number}] {path}" for number, (path, _) in enumerate(paths))
    warnings = _shared([_warnings(image) for image in images])
    text = without_queries(" · ".join([*warnings, *facts]) + words)
    return Caption(text, _line_html(warnings, [f"{links}{within}", *map(escape, facts)]))


def _line_html(warnings: Iterable[str], parts: Iterable[str]) -> str:
    """Return warnings and further parts, which are HTML, as one line."""
    marked = [f'<strong style="{_EMPHASIS}">{escape(warning)}</strong>' for warning in warnings]
    return without_queries(f'<div class="{AS_TEXT}" style="{_LINE}">{" · ".join([*marked, *parts])}</div>')


def _numbered(number: int, path: str, address: str) -> str:
    """Return the number of an image as a link to its original, wide enough for a finger."""
    if not address:
        return str(number)
    style = "display:inline-block;min-width:24px;line-height:24px;text-align:center"
    return f'<a href="{escape(address)}" title="{escape(path)}" style="{style}">{number}</a>'


def _made(image: GeneratedImage) -> list[str]:
    seed = [] if image.seed is None else [f"seed {image.seed}"]
    return [f"{image.width}×{image.height}", made_by(image), *seed]


def _extra(image: GeneratedImage) -> list[str]:
    """Return what was not checked, and what the service wrote."""
    return [*image.unchecked, *([f"{image.provider} wrote: {truncate(_printable(image.text), _WRITTEN)}"] if image.text else [])]


def _warnings(image: GeneratedImage) -> list[str]:
    return [*image.differences, *_drift_warning(image)]


def _paid(images: Sequence[GeneratedImage]) -> list[str]:
    """Return what the images cost together, reused ones aside."""
    costs = [image.cost for image in images if not image.reused]
    known = [cost for cost in costs if cost.amount is not None]
    return [", ".join(map(str, total(costs))) + (" in all" if len(known) > 1 else "")] if costs else []


def _took(images: Sequence[GeneratedImage]) -> list[str]:
    """Return the duration of images, as a range if they differ."""
    seconds = sorted(image.seconds for image in images if image.seconds is not None)
    texts = dict.fromkeys(duration(each) for each in (*seconds[:1], *seconds[-1:]))
    return [" to ".join(texts)] if texts else []


def _shared(facts: Sequence[Sequence[str]]) -> list[str]:
    """Return the facts of several images, each once, with the numbers of its images if it is not of all."""
    numbers: dict[str, list[str]] = {}
    for number, own in enumerate(facts):
        for fact in dict.fromkeys(own):
            numbers.setdefault(fact, []).append(str(number))
    return [fact if len(some) == len(facts) else f"[{', '.join(some)}] {fact}" for fact, some in numbers.items()]


def note(text: str, *, stands_out: bool = False) -> Caption:
    """Return a line of text in the style of a caption."""
    style = f"{_LINE};{_EMPHASIS}" if stands_out else _LINE
    return Caption(without_queries(text), without_queries(f'<div class="{AS_TEXT}" style="{style}">{escape(text)}</div>'))


def made_by(image: GeneratedImage) -> str:
    """Return the gateway and the model of an image."""
    return gateway_name(f"{image.provider} {image.model}", image.sandbox)


def drift(share: float) -> str:
    """Return the text for the share (0 to 1) of a mask's protected pixels that was changed."""
    if not share:
        return "nothing changed of what the mask protects"
    return f"the service changed {'under 1' if share < 0.01 else f'{share * 100:.0f}'} % of what the mask protects"


def _drift_warning(image: GeneratedImage) -> tuple[str, ...]:
    """Return the warning about an edit whose drift exceeds `drift_above`."""
    if image.drift is None or image.drift[0] <= _drift_above():
        return ()
    return (drift(image.drift[0]) + (f" (%imagegen drift {image.id} shows where)" if image.id else ""),)


def _drift_above() -> float:
    try:
        settings = current_settings()
    except ImageGenError:  # the next cell reports settings that cannot be read; an image is shown all the same
        settings = Settings(notebook_folder())
    return float(settings.without_errors.get("drift_above"))


def _cost(image: GeneratedImage, now: float) -> list[str]:
    """Return the cost of an image, nothing for a reused one, and whether an identical request was made before."""
    if image.reused:
        return [f"reused, nothing spent, made {ago(now - image.created)}"]
    if image.earlier is None:
        return [str(image.cost)]
    number, made = image.earlier
    return [str(image.cost), f"the same request made picture {number} {ago(now - made)}; --reuse returns it without paying"]


def address_of(path: Location) -> str:
    """Return the address of a file relative to the notebook's folder; empty if it is elsewhere, or in a store."""
    return _relative(path, notebook_folder())[1]


def near(path: Location, folder: Path | None = None) -> str:
    """Return a path relative to a folder (default: the notebook's); absolute if it is elsewhere."""
    return _relative(path, folder or notebook_folder())[0]


def _relative(path: Location, folder: Path) -> tuple[str, str]:
    """Return a path as text and as a link; no link if it is not within the folder."""
    if isinstance(path, StorePath):
        return path.address, ""
    try:
        relative = path.resolve().relative_to(folder.resolve())
    except ValueError:
        return text_of(path), ""
    return text_of(relative), quote(os.fsencode(relative.as_posix()))


def _printable(text: str) -> str:
    """Return a service's text without control characters and halves of surrogate pairs, which terminals or notebooks cannot take."""
    return "".join(mark if mark.isprintable() else " " for mark in text)
