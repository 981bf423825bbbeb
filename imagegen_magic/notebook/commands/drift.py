"""`%imagegen drift`: what an edit changed of what its mask protects, as a heat map, in figures, and as before and after."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from IPython.core.error import UsageError

from imagegen_magic.errors import ImageGenError
from imagegen_magic.notebook.context import current_shell, has_kernel
from imagegen_magic.notebook.output import slider
from imagegen_magic.notebook.output.display import Bundle, Canvas, Caption, changed, line, on_page

if TYPE_CHECKING:
    from imagegen_magic.engine.ledger.ledger import NewSource, PictureRow
    from imagegen_magic.engine.settings import Settings
    from imagegen_magic.imaging.mask_drift import Drift
    from imagegen_magic.notebook.context import NotebookContext

_USAGE = "The subcommand is %imagegen drift ID|NAME, with a number of %imagegen history or a variable."
_SIDE_BYTES = 100_000  # of each picture of the slider, whose addresses are a third longer
_LEGEND = (
    ("allowed", "free to be repainted"),
    ("slight", "protected, slightly changed"),
    ("strong", "protected, strongly changed"),
)
_ALIGNED = {
    "same": "",
    "scaled": "compared at half the smaller one's size, because they have different sizes",
    "stretched": "stretched over each other, because they have different shapes",
}


class Originals(NamedTuple):
    """What an edit started from: the first reference's bytes, and the mask's."""

    before: bytes
    mask: bytes


Find = Callable[["Settings", "PictureRow"], Originals]


def run(context: NotebookContext, arguments: list[str], flags: dict[str, str], *, originals: Find | None = None) -> None:
    """Show what became of the picture with that id of the history, or of a variable's; `originals` finds what it was made from."""
    from imagegen_magic.engine import api, loop
    from imagegen_magic.notebook.arguments import image_selector

    number, settings = image_selector.number(context, arguments[0] if arguments else "", _USAGE), context.settings()
    rows = loop.run(api.ledger(settings).pictures(ids=[number]))
    if not rows or not rows[0].path:
        raise UsageError(f"There is no picture {number}: %imagegen history lists them.")
    found = (originals or recorded)(settings, rows[0])
    threshold = float(settings.sound.get("drift_above"))
    seen = show(found.before, _read(rows[0]), found.mask, context.shell, name=f"picture {number}", threshold=threshold)
    if rows[0].share is None:  # the session ended between saving the picture and looking at it
        loop.run(api.ledger(settings).record_drift(number, seen.share, seen.mean))


def recorded(settings: Settings, row: PictureRow) -> Originals:
    """Return what a picture was made from, as the ledger knows it; raises ImageGenError where there was no mask, or the files are gone."""
    from imagegen_magic.engine import api, loop

    sources = loop.run(api.ledger(settings).sources(row.job))
    first = next((one for one in sources if one.role == "reference"), None)
    mask = next((one for one in sources if one.role == "mask"), None)
    if first is None or mask is None:
        raise _refused(
            f"Picture {row.id} was made without a mask, so nothing of it was protected",
            "drift tells what an edit with --ref and --mask changed outside the mask",
        )
    return Originals(_source(settings, first, row), _source(settings, mask, row))


def _source(settings: Settings, source: NewSource, row: PictureRow) -> bytes:
    """Return the bytes of a reference or a mask: from the copy that was kept of it, else from the picture of ours that it is."""
    from imagegen_magic.engine import api, loop
    from imagegen_magic.engine.storage.source_copies import kept

    if source.sha256 is None:
        raise _refused(
            f"The {source.role} {source.name}, which picture {row.id} was made with, is an address, and was never on this machine",
            "give the picture itself next time (a file, a variable, @17), so that it can be compared",
        )
    path = kept(settings.home, source.sha256)
    if path is not None:
        return path.read_bytes()
    rows = loop.run(api.ledger(settings).pictures(ids=[source.picture])) if source.picture else []
    if rows:
        return _read(rows[0])
    raise _refused(
        f"The {source.role} {source.name}, which picture {row.id} was made with, is no longer on this machine",
        "copies are kept for 30 days",
    )


def _read(row: PictureRow) -> bytes:
    from imagegen_magic.paths import path_of

    try:
        return path_of(row.path or "").read_bytes()
    except OSError as error:
        raise _refused(f"The file of picture {row.id} cannot be read ({error.strerror})", f"put it back to {row.path}") from None


def _refused(what: str, step: str) -> ImageGenError:
    return ImageGenError(what, blame="you", charge="no", hint=step)


def show(before: bytes, after: bytes, mask: bytes, shell: Any = None, *, name: str = "the edit", threshold: float = 0.0) -> Drift:
    """Show the heat map, what it says in words and figures, and before and after as a slider; in a terminal, the words alone.

    Returns the figures; more than `threshold` (0 to 1) of what the mask protects stands out. Raises ImageInvalid where one of the three
    is no whole picture.
    """
    from imagegen_magic.imaging.mask_drift import drift

    shell = shell or current_shell()
    found = drift(before, after, mask)
    words = said(name, found)
    if not has_kernel(shell):
        print(words)
        return found
    canvas = Canvas(shell)
    canvas.show(_heat(before, after, mask, words))
    canvas.show(_caption(words, stands_out=found.share > threshold).bundle())
    canvas.show(_slider(before, after))
    return found


def said(name: str, found: Drift) -> str:
    """Return a drift in words and figures."""
    return " · ".join(filter(None, [f"{name}: {changed(found.share)}", _difference(found), _ALIGNED[found.alignment]]))


def _difference(found: Drift) -> str:
    return f"mean absolute difference there {found.mean:.3f} (0 to 1)"


def _caption(words: str, *, stands_out: bool) -> Caption:
    from imagegen_magic.imaging.mask_drift import COLOURS

    swatch = "display:inline-block;width:11px;height:11px;margin:0 5px 0 0;border-radius:2px;vertical-align:-1px"
    legend = "".join(
        f'<span style="margin-right:16px;white-space:nowrap"><span style="{swatch};background-color:{COLOURS[kind]}"></span>{text}</span>'
        for kind, text in _LEGEND
    )
    quiet = "font-family:var(--jp-ui-font-family,sans-serif);font-size:var(--jp-ui-font-size1,13px);color:var(--jp-ui-font-color2,inherit)"
    markup = line(words, stands_out=stands_out).data["text/html"] + f'<div style="{quiet};margin-bottom:10px">{legend}</div>'
    return Caption(words, markup)


def _heat(before: bytes, after: bytes, mask: bytes, words: str) -> Bundle:
    from imagegen_magic.imaging.mask_drift import heatmap
    from imagegen_magic.imaging.preview import fitted

    small = fitted(heatmap(before, after, mask))
    width, height = on_page(small.width, small.height)
    data = {small.mime_type: small.base64, "text/plain": f"heat map of {words}"}
    return Bundle(data, {small.mime_type: {"width": width, "height": height}})


def _slider(before: bytes, after: bytes) -> Bundle:
    from imagegen_magic.imaging.preview import preview

    left, right = (preview(data, limit=_SIDE_BYTES) for data in (before, after))
    width, height = on_page(right.width, right.height)
    addresses = (f"data:{one.mime_type};base64,{one.base64}" for one in (left, right))
    return Bundle({"text/plain": "before and after", "text/html": slider.html(*addresses, width=width, height=height)}, {})
