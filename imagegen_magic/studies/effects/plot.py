"""The comparisons of one score as a plot of matplotlib: the same signs as the HTML bars."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from imagegen_magic.studies import figures
from imagegen_magic.studies.effects.records import Comparison, ScoreEffects

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_THICK, _THIN = 5, 1.5  # points
_WIDTH, _ROW, _REST = 7.5, 0.34, 1.3  # inches: of the figure, of a row, of what is above and below the rows
_LEGEND = "thick: 95 % interval of one comparison; thin: of all together; dashed: 0"


def plot(score: ScoreEffects, ax: Axes | None) -> Axes:
    """Return axes with a row for each comparison, under a heading for each axis."""
    rows: list[tuple[str, Comparison | None]] = []
    for (group, axis, against), each in groupby(score.comparisons, key=lambda one: (dict(one.group), one.axis, one.against)):
        of = "".join(f"{name}={value}: " for name, value in group.items())
        rows += [(f"{of}{axis}, compared with {against}", None), *((one.value, one) for one in each)]
    ax = figures.new_axes(ax, _WIDTH, _REST + _ROW * len(rows))
    ax.axvline(0, color=figures.text_colour(), linestyle="--", linewidth=1, zorder=1)
    for y, (_, one) in enumerate(rows):
        if one is not None:
            _row(ax, y, one)
    ax.set_yticks(range(len(rows)), [figures.label(name) for name, _ in rows])
    for tick, (_, one) in zip(ax.yaxis.get_major_ticks(), rows, strict=True):
        tick.tick1line.set_visible(one is not None)
        tick.label1.set_fontweight("normal" if one else "bold")
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlabel(f"difference in {figures.label(score.name)}\n{_LEGEND}")
    better = f"{score.better} is better" if score.better else ""
    figures.heading(ax, f"{score.name} ({better})" if better else score.name)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    return figures.described(ax, _alt(score))


def _row(ax: Axes, y: float, one: Comparison) -> None:
    """Draw one comparison: its intervals, a filled diamond or an empty circle, and the word for it."""
    colour, words = figures.LINE_COLOUR, figures.text_colour()
    ax.plot(one.family_interval, (y, y), color=colour, linewidth=_THIN, zorder=2)
    ax.plot(one.interval, (y, y), color=colour, linewidth=_THICK, solid_capstyle="butt", zorder=2)
    shape = {"marker": "D", "markerfacecolor": words} if one.clear else {"marker": "o", "markerfacecolor": ax.get_facecolor()}
    ax.plot([one.estimate], [y], linestyle="none", markeredgecolor=words, markersize=7, zorder=3, **shape)
    figures.beside(ax, y, "clear" if one.clear else "inconclusive", fontweight="bold" if one.clear else "normal")


def _alt(score: ScoreEffects) -> str:
    """Return the plot in words."""
    parts = []
    for one in score.comparisons:
        of = "".join(f"{name}={value}: " for name, value in one.group.items())
        low, high = one.interval
        parts.append(f"{of}{one.axis}={one.value} against {one.against}: {one.estimate:+.3g} ({low:+.3g} to {high:+.3g}), {one.verdict}")
    return f"Effects on {score.name}. {'; '.join(parts)}."
