"""Scores as plots of matplotlib: a heat map over two axes, one score against another, and pictures from best to worst."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from imagegen_magic.humanize import pluralize
from imagegen_magic.studies import figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL.Image import Image

_ACROSS = 8  # pictures of a row of a strip
_MAX_PICTURES = 24  # of a strip: 12 from each end
_EDGE, _CAPTION, _FREE = 0.94, 0.22, 0.5  # of a strip: the edge of a picture, its caption in columns, a free line in rows
_INCH = 1.15  # inches of a column
_HATCH = "////"
MISSING = "none"


class Side(NamedTuple):
    """One side of a heat map: the name of its axis and the values."""

    name: str
    values: Sequence[str]


class Entry(NamedTuple):
    """One picture of a strip: its value, the words below it, and what opens its small copy, None if it cannot be read."""

    value: float
    caption: str
    picture: Callable[[], Image | None]


def heatmap(cells: Mapping[tuple[str, str], Sequence[float]], rows: Side, columns: Side, score: str, ax: Axes | None) -> Axes:
    """Return axes with the mean and the count of each cell; cells without a value are hatched."""
    ax = figures.new_axes(ax, 2.6 + 1.15 * len(columns.values), 1.7 + 0.75 * len(rows.values))
    means = {key: statistics.fmean(values) for key, values in cells.items() if values}
    grid = [[means.get((row, column), float("nan")) for column in columns.values] for row in rows.values]
    low, high = min(means.values()), max(means.values())
    drawn = ax.imshow(grid, cmap="Blues_r" if figures.is_dark() else "Blues", aspect="auto")
    bar = ax.figure.colorbar(drawn, ax=ax, pad=0.03)
    bar.set_label(f"mean {figures.label(score)}")
    for y, row in enumerate(rows.values):
        for x, column in enumerate(columns.values):
            values = cells.get((row, column), ())
            if not values:
                _hatch(ax, (x - 0.5, y - 0.5), 1, 1)
                ax.text(x, y, MISSING, ha="center", va="center", bbox={"facecolor": ax.get_facecolor(), "edgecolor": "none", "pad": 2})
                continue
            ink = "white" if figures.wants_white(drawn.get_cmap()((means[row, column] - low) / (high - low or 1))) else "black"
            ax.text(x, y - 0.1, f"{means[row, column]:.3g}", ha="center", va="center", color=ink, fontweight="bold")
            ax.text(x, y + 0.24, f"n = {len(values)}", ha="center", va="center", color=ink, fontsize="small")
    ax.set_xticks(range(len(columns.values)), list(map(figures.label, columns.values)))
    ax.set_yticks(range(len(rows.values)), list(map(figures.label, rows.values)))
    ax.set_xlabel(figures.label(columns.name))
    ax.set_ylabel(figures.label(rows.name))
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)
    figures.heading(ax, f"{score}, mean of each cell")
    words = [
        f"{row}, {column}: " + (f"{means[row, column]:.3g} (n = {len(cells[row, column])})" if (row, column) in means else MISSING)
        for row in rows.values
        for column in columns.values
    ]
    return figures.described(ax, f"Mean {score} by {rows.name} and {columns.name}. {'; '.join(words)}.")


def _hatch(ax: Axes, corner: tuple[float, float], width: float, height: float) -> None:
    """Draw the box of something that is missing."""
    from matplotlib.patches import Rectangle

    ax.add_patch(Rectangle(corner, width, height, hatch=_HATCH, facecolor="none", edgecolor=figures.text_colour(), linewidth=0, alpha=0.5))


def scatter(points: Sequence[tuple[float, float]], names: tuple[str, str], total: int, ax: Axes | None) -> Axes:
    """Return axes with a point for each picture that has both scores, of `total` pictures; `names` are those of the two sides."""
    ax = figures.new_axes(ax, 6, 4.2)
    across, up = zip(*points, strict=True) if points else ((), ())
    ax.plot(across, up, linestyle="none", marker="o", markersize=7, alpha=0.6, color=figures.LINE_COLOUR, markeredgewidth=0)
    ax.set_xlabel(figures.label(names[0]))
    ax.set_ylabel(figures.label(names[1]))
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    count = f"{len(points)} of {pluralize(total, 'picture')} have both scores"
    figures.heading(ax, f"{names[1]} against {names[0]}: {count}")
    spans = [f"{name} from {min(values):.3g} to {max(values):.3g}" for name, values in zip(names, (across, up), strict=True) if values]
    return figures.described(ax, f"{names[1]} against {names[0]}. {'. '.join([count, *spans])}.")


def strip(entries: Sequence[Entry], score: str, order: str, total: int, ax: Axes | None) -> Axes:
    """Return axes with pictures in reading order, each with its value; of many, those of both ends. `order` says what comes first."""
    half, rest = _MAX_PICTURES // 2, max(0, len(entries) - _MAX_PICTURES)
    shown = [*entries[:half], *entries[-half:]] if rest else list(entries)
    pictures = [entry.picture() for entry in shown]
    row = max((_within(picture)[1] for picture in pictures), default=_EDGE) + _CAPTION
    places = _places(len(shown), half if rest else 0)
    down = 1 + max((y for _, y in places), default=0)
    across = min(_ACROSS, max(1, len(shown)))
    ax = figures.new_axes(ax, across * _INCH + 0.4, down * row * _INCH + 0.6)
    for entry, picture, (x, y) in zip(shown, pictures, places, strict=True):
        _draw(ax, picture, x, y * row)
        ax.text(x + _EDGE / 2, (y + 1) * row - _CAPTION / 2, f"{entry.value:.4g}", ha="center", va="center", fontsize="small")
    if rest:
        ax.text(0, (places[half][1] - _FREE / 2) * row, f"… {pluralize(rest, 'picture')} between …", va="center", gid="between")
    ax.set_xlim(-0.03, across)
    ax.set_ylim(down * row, -0.03)
    ax.set_aspect("equal")
    ax.set_axis_off()
    count = "" if len(entries) == total else f"; {total - len(entries)} of {pluralize(total, 'picture')} have no value"
    figures.heading(ax, f"{score}, {order}{count}")
    words = [f"{each.caption}: {each.value:.4g}" for each in shown]
    words[half:half] = [f"… {pluralize(rest, 'picture')} between"] if rest else []
    return figures.described(ax, f"Pictures by {score}, {order}{count}. {'; '.join(words)}.")


def _places(count: int, gap: int) -> list[tuple[int, float]]:
    """Return the column and the row of each picture; before the one with the number `gap`, if it is not 0, there is a free line."""
    places = [(number % _ACROSS, float(number // _ACROSS)) for number in range(gap or count)]
    below = -(-gap // _ACROSS) + _FREE
    return [*places, *((number % _ACROSS, below + number // _ACROSS) for number in range(count - len(places)))]


def _within(picture: Image | None) -> tuple[float, float]:
    """Return the width and height at which a picture is drawn."""
    if picture is None:
        return _EDGE, _EDGE
    scale = _EDGE / max(picture.size)
    return picture.width * scale, picture.height * scale


def _draw(ax: Axes, picture: Image | None, x: float, y: float) -> None:
    width, height = _within(picture)
    left = x + (_EDGE - width) / 2
    if picture is None:
        _hatch(ax, (left, y), width, height)
    else:
        ax.imshow(picture, extent=(left, left + width, y + height, y), interpolation="antialiased")
