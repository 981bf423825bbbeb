"""`%imagegen drift`: how an edit changed what its mask protects: a heat map, figures, and a slider between before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imagegen_magic.engine import api, loop
from imagegen_magic.engine.storage.source_copies import find_copy
from imagegen_magic.errors import ImageGenError
from imagegen_magic.notebook.arguments import image_selector
from imagegen_magic.notebook.context import current_shell, has_kernel
from imagegen_magic.notebook.output import captions, slider
from imagegen_magic.notebook.output.display import Bundle, line, on_page, preview_bundle, show_all, text_bundle
from imagegen_magic.notebook.output.style import QUIET, UI_FONT
from imagegen_magic.paths import located

if TYPE_CHECKING:
    from imagegen_magic.engine.ledger.ledger import NewSource, PictureRow
    from imagegen_magic.engine.settings import Settings
    from imagegen_magic.imaging.mask_drift import Drift
    from imagegen_magic.notebook.context import NotebookContext

_SIDE_BYTES = 100_000  # of each image of the slider; its data URL is a third longer
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


def run(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Show the drift of the edit that an id or a variable names."""
    row, settings = image_selector.find_row(context, arguments[0]), context.settings()
    before, mask = sources(settings, row)
    threshold = float(settings.without_errors.get("drift_above"))
    measured = show(before, _read(row), mask, context.shell, name=f"picture {row.id}", threshold=threshold)
    if row.share is None:  # the session ended after saving the image and before measuring it
        loop.run(api.ledger(settings).record_drift(row.id, measured.share, measured.mean))


def sources(settings: Settings, row: PictureRow) -> tuple[bytes, bytes]:
    """Return the bytes of an edit's first reference and of its mask, by the ledger.

    Raises ImageGenError for an image without a mask, and if the files are missing.
    """
    first = {source.role: source for source in reversed(loop.run(api.ledger(settings).sources(row.job)))}
    if "reference" not in first or "mask" not in first:
        raise _refused(
            f"Picture {row.id} was made without a mask, so nothing of it was protected",
            "drift shows what an edit with --ref and --mask changed outside the mask",
        )
    return _source(settings, first["reference"], row), _source(settings, first["mask"], row)


def _source(settings: Settings, source: NewSource, row: PictureRow) -> bytes:
    """Return the bytes of a reference or a mask: its copy, else the generated image that was used."""
    if source.sha256 is None:
        raise _refused(
            f"The {source.role} {source.name} of picture {row.id} is an address, and was never on this machine",
            "give the picture itself next time (a file, a variable, @17)",
        )
    path = find_copy(settings.home, source.sha256)
    if path is not None:
        return path.read_bytes()
    rows = loop.run(api.ledger(settings).pictures(ids=[source.picture])) if source.picture else []
    if rows:
        return _read(rows[0])
    raise _refused(
        f"The {source.role} {source.name} of picture {row.id} is no longer on this machine",
        "copies are kept for 30 days",
    )


def _read(row: PictureRow) -> bytes:
    try:
        return located(row.path or "").read_bytes()
    except OSError as error:
        raise _refused(f"The file of picture {row.id} cannot be read ({error.strerror})", f"restore {row.path}") from None


def _refused(what: str, step: str) -> ImageGenError:
    return ImageGenError(what, blame="you", charge="no", hint=step)


def show(before: bytes, after: bytes, mask: bytes, shell: Any = None, *, name: str = "the edit", threshold: float = 0.0) -> Drift:
    """Show the heat map, the figures, and a slider between before and after; in a terminal, only the figures.

    Returns the figures; a share above `threshold` (0 to 1) is emphasized. Raises ImageInvalid if one of the three is not a complete
    image.
    """
    from imagegen_magic.imaging.mask_drift import drift

    shell = shell or current_shell()
    found = drift(before, after, mask)
    text = summary(name, found)
    if not has_kernel(shell):
        print(text)
        return found
    show_all(shell, [_heat(before, after, mask, text), _caption(text, stands_out=found.share > threshold), _slider(before, after)])
    return found


def summary(name: str, found: Drift) -> str:
    """Return a drift in words and figures."""
    difference = f"mean absolute difference there {found.mean:.3f} (0 to 1)"
    return " · ".join(filter(None, [f"{name}: {captions.drift(found.share)}", difference, _ALIGNED[found.alignment]]))


def _caption(text: str, *, stands_out: bool) -> Bundle:
    from imagegen_magic.imaging.mask_drift import COLOURS

    swatch = "display:inline-block;width:11px;height:11px;margin:0 5px 0 0;border-radius:2px;vertical-align:-1px"
    legend = "".join(
        f'<span style="margin-right:16px;white-space:nowrap"><span style="{swatch};background-color:{COLOURS[kind]}"></span>{label}</span>'
        for kind, label in _LEGEND
    )
    markup = line(text, stands_out=stands_out).data["text/html"] + f'<div style="{UI_FONT};{QUIET};margin-bottom:10px">{legend}</div>'
    return text_bundle(text, markup)


def _heat(before: bytes, after: bytes, mask: bytes, text: str) -> Bundle:
    from imagegen_magic.imaging.mask_drift import heatmap
    from imagegen_magic.imaging.preview import fitted

    return preview_bundle(fitted(heatmap(before, after, mask)), f"heat map of {text}")


def _slider(before: bytes, after: bytes) -> Bundle:
    from imagegen_magic.imaging.preview import preview

    left, right = (preview(data, limit=_SIDE_BYTES) for data in (before, after))
    width, height = on_page(right.width, right.height)
    return text_bundle("before and after", slider.html(left.data_url, right.data_url, width=width, height=height))
