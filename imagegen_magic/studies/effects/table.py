"""The effect table: what each value of an axis does to a score, compared with a baseline, with t intervals and Holm's correction."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.humanize import pluralize
from imagegen_magic.records import FrozenDict
from imagegen_magic.studies.effects import view
from imagegen_magic.studies.effects.distributions import f_tail, t_tails
from imagegen_magic.studies.effects.least_squares import Cells, Fit, InseparableError, Level, fit
from imagegen_magic.studies.effects.plot import plot
from imagegen_magic.studies.effects.records import LEVEL, POWER, Comparison, EffectTable, Row, ScoreEffects, ScoreRows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MIN_BLOCKS, _FEW_BLOCKS = 3, 6
_LOST = 0.2  # of a value's pictures, from which the table names it


@dataclass(frozen=True, slots=True, repr=False)
class Effects(EffectTable):
    """The effect table of some scores; in a notebook it shows itself as bars."""

    def __str__(self) -> str:
        return view.text(self)

    def __repr__(self) -> str:
        return f"<Effects on {', '.join(score.name for score in self.scores)}: {pluralize(len(self.comparisons), 'comparison')}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": view.short_text(self), "text/html": view.html(self)}

    def plot(self, ax: Axes | None = None, *, score: str = "") -> Axes:
        """Return matplotlib's axes with the comparisons of one score; `score` names it if the table has several.

        Its text alternative is `get_label()`. Raises UnsupportedOption for another score or one without a comparison, ModuleNotFoundError
        without matplotlib.
        """
        known = {each.name: each for each in self.scores if each.comparisons}
        name = score or (next(iter(known)) if len(known) == 1 else "")
        if name not in known:
            what = (
                f"There is no comparison of {name}" if name else f"The table has comparisons of {len(known)} scores, and a plot shows one"
            )
            raise UnsupportedOption(what, option="score", value=score, allowed=list(known), hint="name one: plot(score=…)")
        return plot(known[name], ax)


def effects(
    scores: Iterable[ScoreRows],
    *,
    against: Mapping[str, str] | None = None,
    over: str = "",
    by: str = "",
    checks: int = 1,
    widen: Mapping[str, Callable[[ScoreEffects], ScoreEffects]] | None = None,
) -> Effects:
    """Return the effect table of scores, with Holm's correction over all comparisons of all scores.

    `against` names the baseline of an axis; by default it is the first value that has a score. `over` compares the values of the other
    axes within each of its values, and pairs them; `by` makes a table for each of its values. `checks` counts comparisons of the growing
    sweep. `widen` has, by a score's name, what replaces its comparisons before the correction: those of votes hold for other raters too.
    Raises UnsupportedOption for an unknown axis or value, and for `over` with less than three values.
    """
    listed = tuple(scores)
    design = _Design(_axes_of(listed), dict(against or {}), over, by)
    design.check()
    widen = widen or {}
    found = [widen.get(each.name, _unchanged)(each) for each in (_effects_of(score, design) for score in listed)]
    adjusted = iter(corrected([each for score in found for each in score.comparisons]))
    shown = [dataclasses.replace(score, comparisons=tuple(next(adjusted) for _ in score.comparisons)) for score in found]
    return Effects(tuple(_with_power(score) for score in shown), over, by, checks)


def _unchanged(found: ScoreEffects) -> ScoreEffects:
    return found


def uncorrected(score: ScoreRows, *, against: Mapping[str, str] | None = None, over: str = "", by: str = "") -> tuple[Comparison, ...]:
    """Return the comparisons of one score as `effects` does, without Holm's correction; none if there is nothing to compare."""
    return _effects_of(score, _Design(_axes_of([score]), dict(against or {}), over, by)).comparisons


def _axes_of(scores: Iterable[ScoreRows]) -> dict[str, list[str]]:
    """Return the values of each axis in their order of appearance."""
    levels = dict.fromkeys(level for score in scores for row in score.rows for level in row.combination.items())
    axes: dict[str, list[str]] = {}
    for axis, value in levels:
        axes.setdefault(axis, []).append(value)
    return axes


@dataclass(frozen=True, slots=True)
class _Design:
    """The axes with their values, and what was asked of them."""

    axes: Mapping[str, Sequence[str]]
    against: Mapping[str, str]
    over: str
    by: str

    def check(self) -> None:
        """Raise UnsupportedOption for what the axes do not have."""
        for option, axis in (("over", self.over), ("by", self.by), *(("against", axis) for axis in self.against)):
            if axis and axis not in self.axes:
                raise UnsupportedOption(f"There is no axis {axis}", option=option, value=axis, allowed=list(self.axes))
        for axis, value in self.against.items():
            if value not in self.axes[axis]:
                raise UnsupportedOption(f"{axis} has no value {value}", option="against", value=value, allowed=list(self.axes[axis]))
        if self.over and self.over == self.by:
            raise UnsupportedOption("over and by name the same axis", option="by", value=self.by, hint="choose one of them")
        if self.over and (count := len(self.axes[self.over])) < _MIN_BLOCKS:
            what = f"{self.over} has {pluralize(count, 'value')}; a comparison over an axis needs at least {_MIN_BLOCKS}"
            raise UnsupportedOption(what, option="over", value=self.over, hint="leave it out to compare these values only")

    def order(self, axis: str, present: Iterable[str]) -> list[str]:
        """Return the values of an axis that are present, the baseline first."""
        known = set(present)
        ordered = [value for value in self.axes[axis] if value in known]
        first = self.against.get(axis)
        return [first, *(value for value in ordered if value != first)] if first in known else ordered


def _effects_of(score: ScoreRows, design: _Design) -> ScoreEffects:
    missing = Counter(row.reason or "no value" for row in score.rows if row.value is None)
    measured = _gathered(score.rows)
    facts = (len(score.rows) - missing.total(), len(score.rows), FrozenDict(missing), score.better, score.detail)
    problem = score.problem or _problem(measured, design)
    if problem:
        return ScoreEffects(score.name, (), *facts, problem)
    comparisons: list[Comparison] = []
    notes: list[str] = []
    for group, rows in _groups(measured, design.by):
        try:
            comparisons += _over(score.name, rows, design, group) if design.over else _fitted(score.name, rows, design, group, notes)
        except _NoComparisonError as error:
            notes.append(f"{_named(group)}{error}")
    if not comparisons:
        return ScoreEffects(score.name, (), *facts, " ".join(dict.fromkeys(notes)) or "There is no axis with two values to compare.")
    notes += _lost(score.rows)
    return ScoreEffects(score.name, tuple(comparisons), *facts, "", tuple(dict.fromkeys(notes)))


class _Gathered(NamedTuple):
    """A combination with all its measured values."""

    combination: Mapping[str, str]
    values: list[float]


def _gathered(rows: Iterable[Row]) -> list[_Gathered]:
    """Return the measured values of each combination, in their order of appearance."""
    found: dict[tuple[Level, ...], list[float]] = {}
    for row in rows:
        if row.value is not None:
            found.setdefault(tuple(row.combination.items()), []).append(row.value)
    return [_Gathered(dict(combination), values) for combination, values in found.items()]


class _NoComparisonError(Exception):
    """Why a group of rows has no comparison."""


def _problem(measured: Sequence[_Gathered], design: _Design) -> str:
    if not measured:
        return "No picture has a value."
    values = [value for row in measured for value in row.values]
    if len(set(values)) == 1:
        return f"All {len(values)} have the same value: there is nothing to compare."
    for axis, value in design.against.items():
        if not any(row.combination.get(axis) == value for row in measured):
            return f"No picture of {axis}={value} has a value, so nothing can be compared with it."
    return ""


def _groups(rows: Sequence[_Gathered], by: str) -> list[tuple[dict[str, str], list[_Gathered]]]:
    if not by:
        return [({}, list(rows))]
    values = dict.fromkeys(row.combination.get(by, "") for row in rows)
    return [({by: value}, [row for row in rows if row.combination.get(by, "") == value]) for value in values]


def _named(group: Mapping[str, str]) -> str:
    return "".join(f"{axis}={value}: " for axis, value in group.items())


def _cells(rows: Sequence[_Gathered], design: _Design, without: Iterable[str]) -> tuple[dict[str, list[str]], Cells]:
    """Return the axes with two or more measured values, the baseline first, and the values of each combination of them."""
    axes = {}
    for axis in design.axes:
        present = {row.combination[axis] for row in rows if axis in row.combination}
        if axis not in without and len(present) > 1:
            axes[axis] = design.order(axis, present)
    cells: dict[tuple[str, ...], list[float]] = {}
    for row in rows:
        cells.setdefault(tuple(row.combination.get(axis, "") for axis in axes), []).extend(row.values)
    return axes, cells


def _fitted(name: str, rows: Sequence[_Gathered], design: _Design, group: Mapping[str, str], notes: list[str]) -> list[Comparison]:
    """Return the comparisons of the additive fit, and add what it shows to `notes`."""
    axes, cells = _cells(rows, design, [design.by])
    found = _fit(axes, cells)
    if found.df < 1:
        raise _NoComparisonError(f"{pluralize(found.count, 'value')} cannot show how much pictures scatter: add repeats.")
    if len(cells) == found.count:
        notes.append("One picture of each combination: differences between combinations count as noise.")
    if (p := _lack_of_fit(found, len(cells))) < LEVEL:
        which = "The axes" if len(axes) > 2 else " and ".join(axes)
        notes.append(f"{_named(group)}{which} may not act independently (p = {p:.2g}): --by AXIS compares each value separately.")
    variance = _residual_variance(found, cells)
    counts = _counts(axes, cells)
    shared = {"df": float(found.df), "group": FrozenDict(group), "fitted": found.count, "repeats": found.count / len(cells)}
    shared["deviation"] = math.sqrt(variance)
    return [
        _comparison(
            (name, axis, value, axes[axis][0]), estimate, math.sqrt(found.unscaled[axis, value] * variance), counts[axis, value], shared
        )
        for (axis, value), estimate in found.coefficients.items()
    ]


def _fit(axes: Mapping[str, Sequence[str]], cells: Cells) -> Fit:
    if not axes:
        raise _NoComparisonError("There is no axis with two values to compare.")
    try:
        return fit(axes, cells)
    except InseparableError as error:
        what = f"The effects of {' and '.join(error.args)} cannot be separated"
        raise _NoComparisonError(f"{what}: their values change together in the pictures that have a value.") from None


def _comparison(names: Sequence[str], estimate: float, error: float, count: int, shared: Mapping[str, Any]) -> Comparison:
    p = t_tails(estimate / error, shared["df"]) if error else float(estimate == 0)
    score, axis, value, against = names
    return Comparison(score, axis, value, against, estimate, error, p=p, count=count, **shared)


def _residual_variance(found: Fit, cells: Cells) -> float:
    """Return the residual variance. That of 0/1 scores is at least 2 q (1 - q) with q = 1 / (N + 2): few failures look like none."""
    variance = found.residual / found.df
    if all(value in (0, 1) for values in cells.values() for value in values):
        q = 1 / (found.count + 2)
        variance = max(variance, 2 * q * (1 - q))
    return variance


def _lack_of_fit(found: Fit, cells: int) -> float:
    """Return the p of the lack-of-fit F: whether combinations differ more from the additive fit than their repeats explain."""
    df = found.df - found.within_df
    if df < 1 or found.within_df < 1 or found.within <= 0:
        return 1.0
    return f_tail((found.residual - found.within) / df / (found.within / found.within_df), df, found.within_df)


def _counts(axes: Mapping[str, Sequence[str]], cells: Cells) -> Counter[Level]:
    counts: Counter[Level] = Counter()
    for cell, values in cells.items():
        for level in zip(axes, cell, strict=True):
            counts[level] += len(values)
    return counts


def _over(name: str, rows: Sequence[_Gathered], design: _Design, group: Mapping[str, str]) -> list[Comparison]:
    """Return the comparisons of the paired t over an axis: a difference within each of its values, then their mean.

    It estimates the effect for other values of that axis too.
    """
    axes, cells = _cells(rows, design, [design.over, design.by])
    if not axes:
        raise _NoComparisonError("There is no axis with two values to compare.")
    differences: dict[Level, list[float]] = {(axis, value): [] for axis, values in axes.items() for value in values[1:]}
    for block in design.axes[design.over]:
        for level, difference in _within(block, rows, design, axes).items():
            differences[level].append(difference)
    counts = _counts(axes, cells)
    found = [
        _paired((name, axis, value, axes[axis][0]), within, counts[axis, value], group)
        for (axis, value), within in differences.items()
        if len(within) >= _MIN_BLOCKS
    ]
    if not found:
        raise _NoComparisonError(f"Less than {_MIN_BLOCKS} values of {design.over} have both values of a comparison.")
    return found


def _within(block: str, rows: Sequence[_Gathered], design: _Design, axes: Mapping[str, Sequence[str]]) -> dict[Level, float]:
    """Return the coefficients within one block that compare with the baseline of the whole table."""
    inside = [row for row in rows if row.combination.get(design.over) == block]
    own, cells = _cells(inside, design, [design.over, design.by])
    try:
        found = _fit(own, cells)
    except _NoComparisonError:
        return {}
    return {level: each for level, each in found.coefficients.items() if own[level[0]][0] == axes[level[0]][0]}


def _paired(names: Sequence[str], differences: Sequence[float], count: int, group: Mapping[str, str]) -> Comparison:
    blocks = len(differences)
    error = statistics.stdev(differences) / math.sqrt(blocks)
    shared = {"df": float(blocks - 1), "group": FrozenDict(group), "blocks": blocks}
    return _comparison(names, statistics.fmean(differences), error, count, shared)


def _lost(rows: Sequence[Row]) -> Iterator[str]:
    """Yield which values of an axis lost many pictures, if other values lost fewer."""
    lost = Counter(level for row in rows if row.value is None for level in row.combination.items())
    every = Counter(level for row in rows for level in row.combination.items()) if lost else lost
    for axis in dict.fromkeys(axis for axis, _ in every):
        counts = {value: count for (name, value), count in every.items() if name == axis}
        shares = {value: lost[axis, value] / count for value, count in counts.items()}
        for value, share in shares.items():
            if share >= _LOST and share > 2 * min(shares.values()):
                missing = f"{lost[axis, value]} of {pluralize(counts[value], 'picture')} of {axis}={value} have no value"
                yield f"{missing}: this compares the pictures that exist."


def corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Return the comparisons with adjusted p (S. Holm, Scandinavian Journal of Statistics 6, 1979)."""
    count, largest = len(comparisons), 0.0
    adjusted = list(comparisons)
    for rank, place in enumerate(sorted(range(count), key=lambda number: comparisons[number].p)):
        largest = min(1.0, max(largest, (count - rank) * comparisons[place].p))
        adjusted[place] = dataclasses.replace(comparisons[place], adjusted_p=largest, family=count)
    return adjusted


def _with_power(score: ScoreEffects) -> ScoreEffects:
    """Return the score with a note on how small an effect these pictures find."""
    notes = list(score.notes)
    if blocks := [each.blocks for each in score.comparisons if each.blocks]:
        if min(blocks) < _FEW_BLOCKS:
            notes.append(f"{min(blocks)} values are few: the interval will be wide.")
    elif any(not each.clear for each in score.comparisons):
        notes.append(_found_share(score))
    return dataclasses.replace(score, notes=tuple(note for note in notes if note))


def _found_share(score: ScoreEffects) -> str:
    """Return how often these pictures find an effect of half a residual standard deviation; empty if often enough."""
    worst = max((each for each in score.comparisons if each.deviation), key=lambda each: each.standard_error, default=None)
    if worst is None:
        return ""
    effect = worst.deviation / 2
    share = worst.found_with(worst.repeats, effect)
    if share >= POWER:
        return ""
    which = f"A difference of {effect:.2g} (half the standard deviation between repeats)"
    return f"{which} is found in {100 * share:.0f} % of sweeps of this size."
