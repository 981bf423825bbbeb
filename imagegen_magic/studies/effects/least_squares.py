"""The additive least-squares fit of a score over axes: one constant, and one coefficient for each value of an axis but its baseline.

The normal equations come from the sums of each combination, so their size does not grow with the repeats.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from imagegen_magic.records import FrozenDict, Record

_SINGULAR = 1e-9  # of a column's sum of squares: what a dependent column leaves of it is rounding
_ROUNDING = 1e-13  # of the largest value: a smaller coefficient or deviation is rounding

Level = tuple[str, str]
"""(axis, value)."""
Cells = Mapping[tuple[str, ...], Sequence[float]]
"""The measured values of each combination, whose values are in the order of the axes."""


class InseparableError(ValueError):
    """The combinations cannot distinguish the effects of some axes, its arguments: they change together."""


@dataclass(frozen=True, slots=True)
class Fit(Record):
    """The coefficient of each level, and its variance in units of the residual variance.

    `residual` is the residual sum of squares with `df` degrees of freedom, `within` that of the values around the mean of their
    combination with `within_df`. `count` values were fitted.
    """

    coefficients: Mapping[Level, float]
    unscaled: Mapping[Level, float]
    residual: float
    df: int
    within: float
    within_df: int
    count: int


def fit(axes: Mapping[str, Sequence[str]], cells: Cells) -> Fit:
    """Return the fit; `axes` has the values of each axis, its baseline first, and every value is in some combination.

    Raises InseparableError if some axes change together.
    """
    levels = [(axis, value) for axis, values in axes.items() for value in values[1:]]
    position = {level: number for number, level in enumerate(levels, 1)}
    names = list(axes)
    columns = {cell: (0, *(position[level] for level in zip(names, cell, strict=True) if level in position)) for cell in cells}
    count = sum(map(len, cells.values()))
    centre = math.fsum(value for values in cells.values() for value in values) / count
    matrix, right = _normal_equations(
        len(levels) + 1, {cell: [value - centre for value in values] for cell, values in cells.items()}, columns
    )
    lower = _factor(matrix, levels)
    solved = _solve(lower, right)
    rounding = _ROUNDING * max(abs(value) for values in cells.values() for value in values)
    residual, within = _sums_of_squares(cells, columns, centre, solved)
    residual, within = (each if each > count * rounding**2 else 0.0 for each in (residual, within))
    inverse = _inverse_diagonal(lower)
    return Fit(
        FrozenDict({level: solved[number] if abs(solved[number]) > rounding else 0.0 for level, number in position.items()}),
        FrozenDict({level: inverse[number] for level, number in position.items()}),
        residual,
        count - len(levels) - 1,
        within,
        count - len(cells),
        count,
    )


def _normal_equations(size: int, cells: Cells, columns: Mapping[tuple[str, ...], Sequence[int]]) -> tuple[list[list[float]], list[float]]:
    matrix, right = [[0.0] * size for _ in range(size)], [0.0] * size
    for cell, values in cells.items():
        total, count = math.fsum(values), len(values)
        for row in columns[cell]:
            right[row] += total
            for column in columns[cell]:
                matrix[row][column] += count
    return matrix, right


def _factor(matrix: Sequence[Sequence[float]], levels: Sequence[Level]) -> list[list[float]]:
    """Return the lower triangle of the Cholesky factor. Raises InseparableError for a dependent column, with the axes of its sum."""
    lower: list[list[float]] = []
    for row, values in enumerate(matrix):
        line: list[float] = []
        for column in range(row):
            above = lower[column]
            line.append((values[column] - sum(map(operator.mul, line, above))) / above[column])
        pivot = values[row] - sum(value * value for value in line)
        if pivot <= _SINGULAR * values[row]:
            weights = _back(lower, line)
            dependent = {
                levels[row - 1][0],
                *(levels[number - 1][0] for number, weight in enumerate(weights) if number and abs(weight) > 1e-6),
            }
            raise InseparableError(*(axis for axis in dict.fromkeys(axis for axis, _ in levels) if axis in dependent))
        line.append(math.sqrt(pivot))
        lower.append(line)
    return lower


def _solve(lower: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    """Return x with L Lᵀ x = right."""
    forward: list[float] = []
    for line, value in zip(lower, right, strict=True):
        forward.append((value - sum(map(operator.mul, line, forward))) / line[-1])
    return _back(lower, forward)


def _back(lower: Sequence[Sequence[float]], right: Sequence[float]) -> list[float]:
    """Return x with Lᵀ x = right."""
    left, found = list(right), [0.0] * len(lower)
    for row in range(len(lower) - 1, -1, -1):
        found[row] = left[row] / lower[row][row]
        for column in range(row):
            left[column] -= lower[row][column] * found[row]
    return found


def _inverse_diagonal(lower: Sequence[Sequence[float]]) -> list[float]:
    """Return the diagonal of the inverse of L Lᵀ: the sums of squares of the columns of L⁻¹."""
    size = len(lower)
    found = [0.0] * size
    for column in range(size):
        line = [0.0] * size
        for row in range(column, size):
            known = sum(map(operator.mul, lower[row][column:row], line[column:row]))
            line[row] = (float(row == column) - known) / lower[row][row]
        found[column] = math.fsum(value * value for value in line)
    return found


def _sums_of_squares(
    cells: Cells, columns: Mapping[tuple[str, ...], Sequence[int]], centre: float, solved: Sequence[float]
) -> tuple[float, float]:
    """Return the residual sum of squares, and the part of it within combinations."""
    within, between = [], []
    for cell, values in cells.items():
        mean = math.fsum(value - centre for value in values) / len(values)
        within += [(value - centre - mean) ** 2 for value in values]
        between.append(len(values) * (mean - sum(solved[number] for number in columns[cell])) ** 2)
    return math.fsum(within) + math.fsum(between), math.fsum(within)
