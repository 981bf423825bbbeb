"""Labelled grids and contact sheets of pictures: plain data in, a `Sheet` out that gives a preview, a PNG or a PDF."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.imaging.sheet.layout import Block, Contents
from imagegen_magic.imaging.sheet.sheet import Sheet
from imagegen_magic.imaging.sheet.tiles import Source, Tile

__all__ = ["NO_AXIS", "Axis", "Sheet", "Tile", "contact_sheet", "grid"]

Content = Tile | Source | str
"""An image (with or without a caption), or the word for a missing one: `failed`, `waiting`."""


@dataclass(frozen=True, slots=True)
class Axis:
    """What varies along one side: its name, its values, which are keys of the cells, and their labels if these differ."""

    name: str
    values: tuple[Hashable, ...]
    labels: tuple[str, ...] = ()

    def label(self, number: int) -> str:
        """Return the label of a value."""
        return self.labels[number] if self.labels else str(self.values[number])


NO_AXIS = Axis("", ("",))
"""A side along which nothing varies; its one value is the empty string."""


def grid(
    cells: Mapping[tuple[Hashable, ...], Sequence[Content] | Content],
    rows: Axis = NO_AXIS,
    columns: Axis = NO_AXIS,
    layers: Axis = NO_AXIS,
    *,
    title: str = "",
    note: str = "",
) -> Sheet:
    """Return a grid of the cells, keyed by (row value, column value), or (row value, column value, layer value).

    A cell holds one image or several (repeats); an absent key is drawn as a quiet box with the word "missing". Each value of `layers`
    becomes a grid of its own under a heading. `title` stands above (a prompt, say), `note` below.
    Raises UnsupportedOption if an axis has no value.
    """
    for axis in (rows, columns, layers):
        if not axis.values:
            raise UnsupportedOption(f"the axis {axis.name or 'without a name'} has no value", option="axis", value=axis.name)
    blocks = tuple(
        Block(layers.label(layer), _labels(rows), _labels(columns), _cells(cells, rows, columns, layers, value))
        for layer, value in enumerate(layers.values)
    )
    contents = Contents(blocks, title, note, rows.name, columns.name, layers.name)
    return Sheet(contents, _alt(blocks, rows, columns, layers, title))


def contact_sheet(
    pictures: Sequence[Content],
    captions: Sequence[str] = (),
    columns: int | None = None,
    *,
    title: str = "",
    note: str = "",
) -> Sheet:
    """Return images in reading order, `columns` in a row (default: nearly square), each with its caption.

    Raises UnsupportedOption if there is no image, for other `columns`, and ValueError if only some have a caption.
    """
    if not pictures:
        raise UnsupportedOption("there is no picture to lay out", option="pictures", value=0, hint="select at least one")
    if captions and len(captions) != len(pictures):
        raise ValueError(f"{len(captions)} captions for {len(pictures)} pictures")
    if columns is not None and (isinstance(columns, bool) or not isinstance(columns, int) or columns < 1):
        what = f"columns = {columns!r} is no number of columns"
        raise UnsupportedOption(what, option="columns", value=columns, allowed=("1 or more",))
    tiles = [_tile(each, captions[number] if captions else "") for number, each in enumerate(pictures)]
    across = min(len(tiles), columns or min(14, math.ceil(math.sqrt(len(tiles) * 1.3))))
    cells: list[tuple[Tile, ...]] = [(tile,) for tile in tiles] + [()] * (-len(tiles) % across)
    rows = tuple(tuple(cells[first : first + across]) for first in range(0, len(cells), across))
    block = Block("", ("",) * len(rows), ("",) * across, rows)
    alt = f"{title}: {len(tiles)} pictures" if title else f"Contact sheet of {len(tiles)} pictures"
    return Sheet(Contents((block,), title, note), alt)


def _labels(axis: Axis) -> tuple[str, ...]:
    return tuple(axis.label(number) for number in range(len(axis.values)))


def _cells(
    cells: Mapping[tuple[Hashable, ...], Sequence[Content] | Content],
    rows: Axis,
    columns: Axis,
    layers: Axis,
    layer: Hashable,
) -> tuple[tuple[tuple[Tile, ...], ...], ...]:
    def found(row: Hashable, column: Hashable) -> tuple[Tile, ...]:
        held = cells.get((row, column) if layers is NO_AXIS else (row, column, layer))
        return _tiles(held) if held is not None else (Tile(),)

    return tuple(tuple(found(row, column) for column in columns.values) for row in rows.values)


def _tiles(held: Sequence[Content] | Content) -> tuple[Tile, ...]:
    if isinstance(held, Sequence) and not isinstance(held, str | bytes):
        return tuple(_tile(each) for each in held)
    return (_tile(held),)


def _tile(content: Content, caption: str = "") -> Tile:
    if isinstance(content, Tile):
        return Tile(content.source, content.caption or caption, content.word)
    return Tile(None, caption, content) if isinstance(content, str) else Tile(content, caption)


def _alt(blocks: Sequence[Block], rows: Axis, columns: Axis, layers: Axis, title: str) -> str:
    pictures = sum(tile.source is not None for block in blocks for row in block.cells for cell in row for tile in cell)
    named = [("rows", rows), ("columns", columns), ("grids", layers)]
    axes = "; ".join(f"{side}: {axis.name or 'values'} ({', '.join(_labels(axis))})" for side, axis in named if axis is not NO_AXIS)
    return ". ".join(part for part in (title, f"Grid of {pictures} pictures", axes) if part)
