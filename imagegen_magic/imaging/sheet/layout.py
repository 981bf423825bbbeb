"""Where everything of a sheet of pictures stands, in numbers, before a pixel is decoded or drawn."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from imagegen_magic.imaging.preview import within
from imagegen_magic.imaging.sheet.tiles import Tile, size_of
from imagegen_magic.imaging.text import fonts

MAX_CANVAS = 60_000_000  # px drawn at once: 240 MB in memory
_MAX_SIDE = 60_000  # px: JPEG ends at 65,535


@dataclass(frozen=True, slots=True)
class Block:
    """One grid of a sheet: `cells` by row and column, each with one picture or several; labels may be empty."""

    heading: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[tuple[Tile, ...], ...], ...]


class Band(NamedTuple):
    """The part of a block that stands together: the numbers of its rows and columns."""

    block: int
    rows: tuple[int, ...]
    columns: tuple[int, ...]


@dataclass(frozen=True)
class Contents:
    """What stands on a sheet: its grids, a title above, a note below, and what rows, columns and headings are values of."""

    blocks: tuple[Block, ...]
    title: str = ""
    note: str = ""
    row_name: str = ""
    column_name: str = ""
    heading_name: str = ""

    @cached_property
    def sizes(self) -> dict[int, tuple[int, int] | str]:
        """Width and height of every picture, by the identity of its tile; or the word that stands for it."""
        return {id(tile): size_of(tile) for tile in self.tiles()}

    @cached_property
    def usual(self) -> tuple[int, int]:
        """The size that most pictures have; a square if none can be read."""
        sizes = Counter(size for size in self.sizes.values() if not isinstance(size, str))
        return sizes.most_common(1)[0][0] if sizes else (1024, 1024)

    @property
    def columns(self) -> int:
        """How many columns the widest grid has."""
        return max(len(block.columns) for block in self.blocks)

    @property
    def one_row(self) -> bool:
        """Whether no grid has a second row."""
        return all(len(block.rows) == 1 for block in self.blocks)

    def tiles(self) -> Iterator[Tile]:
        """Yield every tile."""
        return (tile for block in self.blocks for row in block.cells for cell in row for tile in cell)

    def texts(self) -> Iterator[str]:
        """Yield every text that is drawn."""
        yield from (self.title, self.note, self.row_name, self.column_name, self.heading_name)
        for block in self.blocks:
            yield from (block.heading, *block.rows, *block.columns)
        for tile in self.tiles():
            yield from (tile.caption, tile.word if tile.source is None else "")


class Layout:
    """Where everything of a sheet stands, in pixels, with pictures within `edge` px (None: at their own pixels).

    `slots` and `cells` are the widths of each column, of one image and of a cell. `text`: the smallest and the largest size of its
    labels. `columns_of_bands`: how many bands are side by side.
    """

    def __init__(
        self,
        contents: Contents,
        edge: int | None,
        bands: Sequence[Band],
        *,
        text: tuple[int, int] = (11, 4000),
        columns_of_bands: int = 1,
    ) -> None:
        self.contents, self.asked_edge, self.bands, self.columns_of_bands = contents, edge, tuple(bands), columns_of_bands
        self.edge, self.text_bounds = edge or max(contents.usual), text
        self.across = _across(max(len(tiles) for block in contents.blocks for row in block.cells for tiles in row))
        self.slots = [self._slot_width(column) for column in range(contents.columns)]
        rough = max(sum(self.slots[column] * self.across for column in band.columns) for band in self.bands)
        self.text = round(min(text[1], max(text[0], self.edge * 0.05, min(rough / 72, self.edge * 0.13))))
        self.small = max(10, round(self.text * 0.86))
        self.big = round(self.text * 1.3)
        self.gap = max(3, round(min(self.text * 0.75, self.edge * 0.14)))  # between cells
        self.under = round(self.text * 0.38)  # between the labels of the columns and the first row
        self.aside = round(self.text * 1.1)  # between the labels of the rows and the first column
        self.hair = max(1, round(self.text / 18))
        self.inner = max(2 * self.hair + 1, round(self.text * 0.22))  # between the pictures of a cell
        self.margin = round(self.text * 1.6)
        self.spread = round(self.text * 2.2)  # between bands side by side
        self.cells = [self._cell_width(column) for column in range(len(self.slots))]
        self._label_lines: dict[tuple[int, int], tuple[str, ...]] = {}
        self.labels = self._label_width()
        tiles = max(sum(self.cells[column] + self.gap for column in band.columns) - self.gap for band in self.bands)
        self.band_width = self.labels + tiles
        bands_width = columns_of_bands * (self.band_width + self.spread) - self.spread
        self.inside = max(bands_width, min(24 * self.text, math.ceil(fonts.width(contents.title, self.big, bold=True))))
        self.width = 2 * self.margin + self.inside
        self.title = fonts.wrap(contents.title, self.big, self.inside, 5, bold=True)
        self.note = fonts.wrap(contents.note, self.small, self.inside, 3)
        self.height = self.frame + sum(self.between(line[0]) + max(map(self.band_height, line)) for line in self.lines)

    @property
    def within_limits(self) -> bool:
        """Whether it can be drawn at once."""
        return self.width * self.height <= MAX_CANVAS and max(self.width, self.height) <= _MAX_SIDE

    @property
    def lines(self) -> list[range]:
        """The numbers of the bands that are side by side, line after line."""
        count = len(self.bands)
        return [range(first, min(first + self.columns_of_bands, count)) for first in range(0, count, self.columns_of_bands)]

    @property
    def frame(self) -> int:
        """The height of the margins, the title and the note."""
        note = self.text + len(self.note) * fonts.height(self.small) if self.note else 0
        return 2 * self.margin + self.title_height() + note

    def shown(self) -> Iterator[Tile]:
        """Yield the tiles that stand on it."""
        for band in self.bands:
            cells = self.contents.blocks[band.block].cells
            yield from (tile for row in band.rows for column in band.columns for tile in cells[row][column])

    def scaled(self, tile: Tile) -> tuple[int, int] | None:
        """Return the pixels that a picture takes; None if it is missing."""
        size = self.contents.sizes[id(tile)]
        return None if isinstance(size, str) else self._within(size)

    def slot_height(self, block: int, row: int) -> int:
        """Return the height of one picture's place in a row, without its caption."""
        cells = self.contents.blocks[block].cells[row]
        return max(
            (size[1] for cell in cells for tile in cell if (size := self.scaled(tile))), default=self._within(self.contents.usual)[1]
        )

    def caption(self, tile: Tile, column: int) -> tuple[str, ...]:
        """Return the lines under a picture."""
        width = self.slots[column] if self.across > 1 else self.cells[column]
        return fonts.wrap(tile.caption, self.small, width, 3) if tile.caption else ()

    def caption_height(self, block: int, row: int) -> int:
        """Return the height of the captions of one line of pictures in a row."""
        cells = self.contents.blocks[block].cells[row]
        lines = max((len(self.caption(tile, column)) for column, cell in enumerate(cells) for tile in cell), default=0)
        return lines * fonts.height(self.small) + (self.inner + self.gap // 2 if lines else 0)

    def row_label(self, block: int, row: int) -> tuple[str, ...]:
        """Return the lines beside a row."""
        if (block, row) not in self._label_lines:
            lines = max(4, self._pictures_height(block, row) // fonts.height(self.text))
            label = self.contents.blocks[block].rows[row]
            width = self.labels - self.aside
            self._label_lines[block, row] = fonts.wrap(label, self.text, width, lines) if self.labels and label else ()
        return self._label_lines[block, row]

    def row_height(self, block: int, row: int) -> int:
        """Return the height of a row of cells."""
        return max(self._pictures_height(block, row), len(self.row_label(block, row)) * fonts.height(self.text))

    def column_labels(self, band: Band) -> list[tuple[str, ...]]:
        """Return the lines above each column."""
        labels = self.contents.blocks[band.block].columns
        return [fonts.wrap(labels[column], self.text, self.cells[column], 5) if labels[column] else () for column in band.columns]

    def head_height(self, band: Band) -> int:
        """Return the height of what stands above a band's first row: the name of the columns and their labels."""
        lines = max(map(len, self.column_labels(band)), default=0)
        name = fonts.height(self.small) if self.contents.column_name and lines else 0
        corner = fonts.height(self.small) if self.contents.row_name and self.labels and not lines else 0
        height = lines * fonts.height(self.text) + name + corner
        return height + (self.under if height else 0)

    def heading(self, number: int) -> str:
        """Return the heading of a band, empty if it continues a block."""
        band = self.bands[number]
        text = self.contents.blocks[band.block].heading
        return text if number == 0 or self.bands[number - 1].block != band.block else ""

    def heading_height(self, number: int) -> int:
        """Return the height of a band's heading with its rule."""
        return fonts.height(self.text) + self.gap if self.heading(number) else 0

    def title_height(self) -> int:
        """Return the height of the title with the room under it."""
        return len(self.title) * fonts.height(self.big) + (self.text if self.title else 0)

    def band_height(self, number: int) -> int:
        """Return the height of a band with its heading and labels."""
        band = self.bands[number]
        rows = sum(self.row_height(band.block, row) + self.gap for row in band.rows) - self.gap
        return self.heading_height(number) + self.head_height(band) + rows

    def between(self, number: int) -> int:
        """Return the room above a band that is not the first."""
        return 0 if number == 0 else round(self.text * (2 if self.heading(number) else 1.4))

    def _slot_width(self, column: int) -> int:
        rows = [row for block in self.contents.blocks if column < len(block.columns) for row in block.cells]
        sizes = [size for row in rows for tile in row[column] if (size := self.scaled(tile))]
        return max((size[0] for size in sizes), default=self._within(self.contents.usual)[0])

    def _cell_width(self, column: int) -> int:
        """Return the width of a cell: of its pictures, and of the longest word of its label if that is a little wider."""
        pictures = self.slots[column] * self.across + self.inner * (self.across - 1)
        labels = [block.columns[column] for block in self.contents.blocks if column < len(block.columns)]
        words = max((fonts.width(word, self.text) for label in set(labels) for word in label.split()), default=0.0)
        return max(pictures, min(math.ceil(words), 6 * self.text))

    def _label_width(self) -> int:
        labels = {label for block in self.contents.blocks for label in block.rows if label}
        if not labels:
            return 0
        natural = max(fonts.width(label, self.text) for label in labels)
        name = fonts.width(f"{self.contents.row_name} ↓", self.small)
        word = max(fonts.width(word, self.text) for label in labels for word in label.split() or [""])
        most = max(min(word, 12 * self.text), min(14 * self.text, max(8 * self.text, self.edge * 0.8)))
        return math.ceil(max(min(natural, most), min(name, most))) + 1 + self.aside

    def _pictures_height(self, block: int, row: int) -> int:
        most = max(len(cell) for cell in self.contents.blocks[block].cells[row])
        lines = max(1, -(-most // self.across))
        return lines * (self.slot_height(block, row) + self.caption_height(block, row)) + (lines - 1) * self.inner

    def _within(self, size: tuple[int, int]) -> tuple[int, int]:
        return within(size, self.asked_edge or max(size))


def _across(most: int) -> int:
    """Return how many images of one cell are side by side."""
    return max(1, most) if most <= 3 else math.ceil(math.sqrt(most))
