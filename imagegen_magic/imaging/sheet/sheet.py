"""A labelled sheet of pictures in three forms: a bounded preview, a full-resolution PNG, and a PDF for a paper."""

from __future__ import annotations

import io
import math
import os
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from imagegen_magic.errors import SaveError, UnsupportedOption
from imagegen_magic.imaging.preview import Preview, fitted
from imagegen_magic.imaging.sheet.layout import MAX_CANVAS, Band, Contents, Layout
from imagegen_magic.imaging.sheet.renderer import Loader, render
from imagegen_magic.imaging.text import missing_fonts
from imagegen_magic.paths import path_of

SUFFIXES = (".png", ".pdf")  # of the files that a sheet is written to
PREVIEW_WIDTH = 1600  # px
PREVIEW_BYTES = 300_000
_PREVIEW_HEIGHT = 2400  # px that a preview keeps to as long as its pictures stay recognisable
_ATTEMPTS = 6
_TALLEST = 6000  # px of a preview at all; what does not fit is not on it
_EDGES = (384, 340, 300, 264, 232, 204, 180, 160, 140, 124, 108, 96, 84, 72, 64, 56, 48, 42, 36)
_LEGIBLE = (16, 22)  # px, text on a preview: it is shown at down to half its size
_ONE_BAND = 96  # px: below that a wide grid is rather broken into bands
_ONE_BAND_OF_ONE_ROW = 200
_IN_A_ROW = 8  # pictures of a single row that are not broken into bands
_QUALITIES = ((90, 0), (85, 0), (80, 2), (70, 2), (60, 2))  # JPEG quality, chroma subsampling
_A4_INCHES = 210 / 25.4
_A4_RATIO = math.sqrt(2)
_PDF_WIDTH = 4960  # px: A4 at 600 dpi


@dataclass(frozen=True)
class Sheet:
    """Grids of pictures with their labels; nothing is decoded before one of its forms is requested. `alt` describes it."""

    contents: Contents
    alt: str = ""

    def preview(self, width: int = PREVIEW_WIDTH, limit: int = PREVIEW_BYTES) -> Preview:
        """Return the sheet at most `width` px wide and `limit` bytes large, as JPEG; as PNG if no image is on it."""
        loader, edge, tallest = Loader(), _EDGES[0], _TALLEST
        contents = self._drawn_contents()
        for _ in range(_ATTEMPTS):
            layout = _beginning(_previewed(contents, width, edge), tallest)
            loader.ahead(layout)
            canvas = render(layout, loader)
            if found := _encoded(canvas, width, limit, photographs=loader.pictures > 0):
                return found
            if layout.height > _PREVIEW_HEIGHT and layout.edge <= _EDGES[-1]:
                tallest = layout.height * 3 // 4  # rather fewer pictures than none that can be recognised
            else:
                edge = layout.edge * 4 // 5
        if canvas.width > width:
            canvas = canvas.resize((width, max(1, round(canvas.height * width / canvas.width))), Image.Resampling.LANCZOS)
        return fitted(canvas, limit)

    def png(self, edge: int | None = None) -> bytes:
        """Return the sheet as PNG, its pictures within `edge` px, or at their own pixels, never enlarged.

        Raises UnsupportedOption if that is more than `MAX_CANVAS` pixels, and names the edge that fits.
        """
        layout = self._whole(edge)
        if not layout.within_limits:
            raise _too_large(layout)
        file = io.BytesIO()
        render(layout, Loader()).save(file, "PNG")
        return file.getvalue()

    def pdf(self, edge: int | None = None) -> bytes:
        """Return the sheet as a PDF as wide as A4; of several pages if it is longer than one, at whole rows, each with its labels.

        Pictures within `edge` px, or at their own pixels and at most what 600 dpi can show. Raises UnsupportedOption if a page would
        have more than `MAX_CANVAS` pixels.
        """
        layout = self._whole(edge)
        if edge is None and layout.width > _PDF_WIDTH:
            layout = self._whole(int(layout.edge * _PDF_WIDTH / layout.width))
        pages = list(_pages(layout, round(layout.width * _A4_RATIO)))
        if worst := next((page for page in pages if not page.within_limits), None):
            raise _too_large(worst)
        file, loader = io.BytesIO(), Loader()
        for number, page in enumerate(pages):
            about: dict[str, Any] = {"append": True} if number else {"title": self.contents.title or self.alt}
            canvas = render(page, loader, round(layout.width * _A4_RATIO) if len(pages) > 1 else 0)
            canvas.save(file, "PDF", quality=92, subsampling=0, resolution=canvas.width / _A4_INCHES, **about)
        return file.getvalue()

    def missing_scripts(self) -> tuple[str, ...]:
        """Return the scripts of which no font here draws the characters: Chinese, emoji, Arabic; they are shown as escapes."""
        return missing_fonts.scripts(self.contents.texts())

    def _drawn_contents(self) -> Contents:
        """Return what is drawn: with a note if a font is missing."""
        note = " ".join(filter(None, [self.contents.note, missing_fonts.note(self.missing_scripts())]))
        return self.contents if note == self.contents.note else replace(self.contents, note=note)

    def _whole(self, edge: int | None) -> Layout:
        contents = self._drawn_contents()
        return Layout(contents, edge, _whole_bands(contents))


def _too_large(layout: Layout) -> UnsupportedOption:
    """Return the refusal of a canvas that is too large, with the edge at which it is not."""
    smaller = layout
    while not smaller.within_limits and smaller.edge > 1:
        edge = int(smaller.edge * min(0.98, math.sqrt(MAX_CANVAS / (smaller.width * smaller.height))))
        smaller = Layout(layout.contents, max(1, edge), layout.bands)
    pixels = f"{layout.width} × {layout.height} px"
    return UnsupportedOption(
        f"such a sheet would have {pixels}, more than the {MAX_CANVAS / 1e6:.0f} megapixels that are drawn at once",
        option="cell edge",
        value=layout.asked_edge,
        fix={"edge": smaller.edge},
        hint="ask for smaller cells",
    )


def _balanced(count: int, most: int) -> int:
    """Return the length of equal runs, none above `most`, into which `count` things are broken."""
    return math.ceil(count / math.ceil(count / max(1, most)))


def _bands(contents: Contents, columns: int) -> tuple[Band, ...]:
    """Break each block into bands of at most so many columns."""
    return tuple(
        Band(number, tuple(range(len(block.rows))), tuple(range(first, min(first + columns, len(block.columns)))))
        for number, block in enumerate(contents.blocks)
        for first in range(0, len(block.columns), columns)
    )


def _whole_bands(contents: Contents) -> tuple[Band, ...]:
    """Return each grid in one piece; a long single row as several of equal length."""
    return _bands(contents, _balanced(contents.columns, _IN_A_ROW) if contents.one_row else contents.columns)


def _previewed(contents: Contents, width: int, most_edge: int) -> Layout:
    """Return the layout with the largest pictures that fits a preview: whole rows while they stay recognisable, else in bands."""

    @cache
    def at(edge: int, whole: bool) -> Layout:
        bands = _bands(contents, contents.columns if whole else _fitting(contents, width, edge))
        return _in_columns(Layout(contents, edge, bands, text=_LEGIBLE), width)

    least = _ONE_BAND_OF_ONE_ROW if contents.one_row else _ONE_BAND
    edges = [edge for edge in _EDGES if edge <= most_edge] or [max(8, most_edge)]
    whole = [(edge, True) for edge in edges if edge >= least]
    broken = [(edge, False) for edge in edges if contents.one_row or edge <= least]
    for sizes in (whole, broken or [(edges[-1], False)]):
        place = bisect_left(sizes, True, key=lambda size: at(*size).width <= width and at(*size).height <= _PREVIEW_HEIGHT)
        if place < len(sizes):
            return at(*sizes[place])
    return at(*sizes[-1])


def _beginning(layout: Layout, tallest: int) -> Layout:
    """Return a layout as it is, or, if it is too tall, the rows that fit, and a note that there are more."""
    if layout.height <= tallest:
        return layout
    bands = next(_pages(layout, tallest - 4 * layout.text)).bands
    shown, whole = (sum(tile.source is not None for tile in each.shown()) for each in (_of(layout, bands), layout))
    more = f"The beginning: {shown:,} of {whole:,} pictures."
    contents = replace(layout.contents, note=f"{more} {layout.contents.note}".strip())
    return Layout(contents, layout.asked_edge, bands, text=layout.text_bounds)


def _in_columns(layout: Layout, width: int) -> Layout:
    """Return the same with its grids, or the rows of its only one, side by side, if it is too tall and there is room."""
    room = (width - 2 * layout.margin + layout.spread) // (layout.band_width + layout.spread)
    bands, blocks = layout.bands, len(layout.contents.blocks)
    if layout.height <= _PREVIEW_HEIGHT or room < 2:
        return layout
    if len(bands) == blocks > 1:
        return _of(layout, bands, _balanced(blocks, room))
    if len(bands) == 1 and layout.labels:
        rows = bands[0].rows
        run = math.ceil(len(rows) / room)
        parts = [Band(0, rows[first : first + run], bands[0].columns) for first in range(0, len(rows), run)]
        return _of(layout, parts, len(parts))
    return layout


def _fitting(contents: Contents, width: int, edge: int) -> int:
    """Return how many columns there are in a band that is not wider than that."""
    whole = Layout(contents, edge, _bands(contents, contents.columns), text=_LEGIBLE)
    room = width - 2 * whole.margin - whole.labels + whole.gap
    widest = max(whole.cells[column] for column in range(contents.columns)) + whole.gap
    return _balanced(contents.columns, max(1, room // widest))


def _pages(layout: Layout, longest: int) -> Iterator[Layout]:
    """Break a layout into pages of at most so many pixels' height, between rows; a row that is higher has a page of its own."""
    if layout.height <= longest:
        yield layout
        return
    page: list[Band] = []
    height = layout.frame
    for number, band in enumerate(layout.bands):
        for row in band.rows:
            longer = _joined(page, Band(band.block, (row,), band.columns))
            begins = len(longer) > len(page)
            high = layout.row_height(band.block, row) + layout.gap
            above = layout.head_height(band) + layout.heading_height(number)
            if page and height + high + (above + layout.between(number) if begins else 0) > longest:
                yield _of(layout, page)
                height, begins = layout.frame, True
                longer = [Band(band.block, (row,), band.columns)]
            height += high + (above + layout.between(number) if begins else 0)
            page = longer
    yield _of(layout, page)


def _of(layout: Layout, bands: Sequence[Band], columns_of_bands: int = 1) -> Layout:
    return Layout(layout.contents, layout.asked_edge, bands, text=layout.text_bounds, columns_of_bands=columns_of_bands)


def _joined(page: list[Band], row: Band) -> list[Band]:
    if page and page[-1].block == row.block and page[-1].columns == row.columns:
        return [*page[:-1], Band(row.block, page[-1].rows + row.rows, row.columns)]
    return [*page, row]


def _encoded(canvas: Image.Image, width: int, limit: int, *, photographs: bool) -> Preview | None:
    """Return the drawing at the best quality that fits; None if none does, or it is too wide."""
    if canvas.width > width:
        return None
    kinds: list[tuple[str, dict[str, Any]]] = [("PNG", {})]
    if photographs:
        kinds = [("JPEG", {"quality": quality, "subsampling": subsampling}) for quality, subsampling in _QUALITIES]
    for kind, options in kinds:
        file = io.BytesIO()
        canvas.save(file, kind, **options)
        if file.tell() <= limit:
            return Preview(file.getvalue(), f"image/{kind.lower()}", *canvas.size)
    return None


def to_image(sheet: Sheet, edge: int | None = None) -> Image.Image:
    """Return a sheet as a picture; raises UnsupportedOption if it would be too large, with the edge that fits."""
    _check_edge(edge)
    drawn = Image.open(io.BytesIO(sheet.png(edge)), formats=("PNG",))
    drawn.load()
    return drawn


def write(sheet: Sheet, path: str | Path, edge: int | None = None) -> Path:
    """Write a sheet in the format of the suffix, replacing a file, and return its path.

    Raises UnsupportedOption for another suffix and if the sheet would be too large, SaveError if it cannot be written.
    """
    _check_edge(edge)
    target = _target(path)
    suffix = target.suffix.lower()
    if suffix not in SUFFIXES:
        what = f"A sheet is written as {' or '.join(SUFFIXES)}, not as {suffix or 'a file without a suffix'}"
        raise UnsupportedOption(what, option="path", value=str(path), fix={"path": f"{target.stem}.png"}, allowed=SUFFIXES)
    content = sheet.pdf(edge) if suffix == ".pdf" else sheet.png(edge)
    try:
        target.write_bytes(content)
    except (OSError, ValueError) as error:  # a name with NUL is a ValueError
        what = f"The sheet could not be written to {str(target)!r}: {getattr(error, 'strerror', None) or error}"
        step = "make room, or give a path in a folder that is there and may be written to"
        raise SaveError(what, charge="no", hint=step) from error
    return target


def _target(path: object) -> Path:
    if not isinstance(path, str | os.PathLike):
        what = f"A sheet is written to a path, not to a value of type {type(path).__name__}"
        raise UnsupportedOption(what, option="path", value=path, hint="give it like sheet.png or sheet.pdf")
    try:
        return path_of(path).expanduser()
    except RuntimeError as error:  # a user that does not exist
        raise UnsupportedOption(f"{path} is no path here: {error}", option="path", value=str(path)) from None


def _check_edge(edge: object) -> None:
    if edge is not None and (isinstance(edge, bool) or not isinstance(edge, int) or edge < 1):
        raise UnsupportedOption(f"edge = {edge!r} is no length of pictures", option="edge", value=edge, allowed=("pixels, 1 or more",))
