"""A sheet of pictures drawn: labels, pictures, and quiet boxes for missing ones, on one canvas, one picture in memory at a time."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from PIL import Image, ImageDraw

from imagegen_magic.imaging.preview import within
from imagegen_magic.imaging.sheet.layout import Band, Layout
from imagegen_magic.imaging.sheet.tiles import Tile, load
from imagegen_magic.imaging.text import fonts

Colour = tuple[int, int, int]


PAPER, INK, QUIET, LINE = (255, 255, 255), (26, 26, 26), (96, 96, 96), (222, 222, 222)
BOX = (244, 244, 244)  # of an image that is missing
CHECKS = (PAPER, (235, 235, 235))  # under transparent images


class Loader:
    """Fetches the pixels of tiles, one at a time as they are drawn; or ahead, two at a time, and then keeps them."""

    def __init__(self) -> None:
        self._kept: dict[int, Image.Image | str] = {}
        self.pictures = 0

    def ahead(self, layout: Layout) -> None:
        """Decode all the pictures that a layout shows, on two threads."""
        wanted = [(tile, max(size)) for tile in layout.shown() if id(tile) not in self._kept and (size := layout.scaled(tile))]
        with ThreadPoolExecutor(2) as pool:
            fetched = pool.map(lambda each: load(*each), wanted)
            self._kept.update({id(tile): found for (tile, _), found in zip(wanted, fetched, strict=True)})

    def load(self, tile: Tile, edge: int) -> Image.Image | str:
        """Return a picture within `edge` px, or the word that stands for it."""
        found = self._kept.get(id(tile))
        if found is None:
            found = load(tile, edge)
        if isinstance(found, str):
            return found
        self.pictures += 1
        size = within(found.size, edge)
        return found if size == found.size else found.resize(size, Image.Resampling.LANCZOS)


def render(layout: Layout, loader: Loader, height: int = 0) -> Image.Image:
    """Draw a layout on paper of its size, or of a greater height in pixels."""
    canvas = Image.new("RGB", (layout.width, max(layout.height, height)), PAPER)
    _Renderer(layout, loader, canvas).draw()
    return canvas


class _Renderer:
    """Draws one layout on one canvas, from top to bottom."""

    def __init__(self, layout: Layout, loader: Loader, canvas: Image.Image) -> None:
        self.layout, self.loader, self.canvas = layout, loader, canvas
        self.contents = layout.contents

    def draw(self) -> None:
        """Draw all of it."""
        layout = self.layout
        y = self._lines(layout.title, layout.margin, layout.margin, layout.big, INK, bold=True)
        y += layout.text if layout.title else 0
        for line in layout.lines:
            y += layout.between(line[0])
            step = layout.band_width + layout.spread
            y = max(self._band(number, layout.margin + place * step, y) for place, number in enumerate(line))
        if layout.note:
            self._lines(layout.note, layout.margin, y + layout.text, layout.small, QUIET)

    def _lines(self, lines: Sequence[str], x: int, y: int, size: int, colour: Colour, *, bold: bool = False) -> int:
        for line in lines:
            fonts.draw(self.canvas, (x, y), line, size, colour, bold=bold)
            y += fonts.height(size)
        return y

    def _band(self, number: int, x: int, y: int) -> int:
        layout, band = self.layout, self.layout.bands[number]
        self._heading(number, x, y)
        y = self._head(band, x, y + layout.heading_height(number))
        for row in band.rows:
            self._row(band, row, x, y)
            y += layout.row_height(band.block, row) + layout.gap
        return y - layout.gap

    def _heading(self, number: int, x: int, y: int) -> None:
        layout, text = self.layout, self.layout.heading(number)
        if not text:
            return
        name = f"{self.contents.heading_name}  " if self.contents.heading_name else ""
        indent = fonts.width(name, layout.text)
        fonts.draw(self.canvas, (x, y), name, layout.text, QUIET)
        for line in fonts.wrap(text, layout.text, max(layout.text * 4, layout.band_width - indent), 1, bold=True):
            fonts.draw(self.canvas, (x + indent, y), line, layout.text, INK, bold=True)
        rule = y + fonts.height(layout.text) + layout.hair
        self._box((x, rule, x + layout.band_width, rule + layout.hair), LINE)

    def _head(self, band: Band, x: int, y: int) -> int:
        layout = self.layout
        labels, bottom = layout.column_labels(band), y + layout.head_height(band)
        if bottom == y:
            return y
        left, foot = x + layout.labels, bottom - layout.under
        if self.contents.column_name and any(labels):
            self._name(f"{self.contents.column_name} →", left, y, layout.band_width - layout.labels)
        if self.contents.row_name and layout.labels:
            self._name(f"{self.contents.row_name} ↓", x, foot - fonts.height(layout.small), layout.labels - layout.aside)
        for column, lines in zip(band.columns, labels, strict=True):
            self._lines(lines, left, foot - len(lines) * fonts.height(layout.text), layout.text, INK)
            left += layout.cells[column] + layout.gap
        return bottom

    def _name(self, text: str, x: int, y: int, width: int) -> None:
        self._lines(fonts.wrap(text, self.layout.small, width, 1), x, y, self.layout.small, QUIET)

    def _row(self, band: Band, row: int, x: int, y: int) -> None:
        layout = self.layout
        level = y - round(layout.text * 0.22)  # the tops of capitals stand where the pictures begin
        self._lines(layout.row_label(band.block, row), x, level, layout.text, INK)
        x += layout.labels
        for column in band.columns:
            self._cell(self.contents.blocks[band.block].cells[row][column], band.block, row, column, x, y)
            x += layout.cells[column] + layout.gap

    def _cell(self, tiles: Sequence[Tile], block: int, row: int, column: int, x: int, y: int) -> None:
        layout = self.layout
        wide, high, under = layout.slots[column], layout.slot_height(block, row), layout.caption_height(block, row)
        if len(tiles) == 1 and layout.scaled(tiles[0]) is None:
            wide = wide * layout.across + layout.inner * (layout.across - 1)
        for number, tile in enumerate(tiles):
            left = x + number % layout.across * (wide + layout.inner)
            top = y + number // layout.across * (high + under + layout.inner)
            self._tile(tile, left, top, wide, high, shelved=under > 0)
            self._lines(layout.caption(tile, column), left, top + high + layout.inner, layout.small, QUIET)

    def _tile(self, tile: Tile, x: int, y: int, wide: int, high: int, *, shelved: bool) -> None:
        """Draw a picture at the upper left of its place, or at the lower left if captions are under it."""
        layout = self.layout
        size = layout.scaled(tile)
        if size and shelved:
            y += high - size[1]
        found = self.contents.sizes[id(tile)] if size is None else self.loader.load(tile, max(size))
        if isinstance(found, Image.Image) and size is not None:
            self._box((x - layout.hair, y - layout.hair, x + size[0] + layout.hair, y + size[1] + layout.hair), LINE)
            self._paste(found if found.size == size else found.resize(size, Image.Resampling.LANCZOS), x, y)
        else:
            self._word(str(found), x, y, wide, high)

    def _paste(self, picture: Image.Image, x: int, y: int) -> None:
        if picture.mode == "RGBA":
            self.canvas.paste(self._checks(picture.size), (x, y))
            self.canvas.paste(picture, (x, y), picture)
        else:
            self.canvas.paste(picture, (x, y))

    def _checks(self, size: tuple[int, int]) -> Image.Image:
        """Return the checks on which transparent pictures lie."""
        edge = max(4, round(self.layout.text * 0.5))
        checks = Image.new("RGB", (-(-size[0] // edge), -(-size[1] // edge)))
        checks.putdata([CHECKS[(number // checks.width + number % checks.width) % 2] for number in range(checks.width * checks.height)])
        return checks.resize((checks.width * edge, checks.height * edge), Image.Resampling.NEAREST).crop((0, 0, *size))

    def _word(self, word: str, x: int, y: int, wide: int, high: int) -> None:
        """Draw the quiet box of a missing image."""
        layout = self.layout
        self._box((x, y, x + wide, y + high), BOX)
        lines = fonts.wrap(word, layout.small, wide - layout.inner * 2, max(1, high // fonts.height(layout.small)))
        top = y + (high - len(lines) * fonts.height(layout.small)) // 2
        for line in lines:
            left = x + (wide - fonts.width(line, layout.small)) / 2
            top = self._lines([line], round(left), top, layout.small, QUIET)

    def _box(self, corners: tuple[int, int, int, int], colour: Colour) -> None:
        left, top, right, bottom = corners
        ImageDraw.Draw(self.canvas).rectangle((left, top, right - 1, bottom - 1), colour)
