"""The Bradley-Terry model: strengths of players from the results of pairwise comparisons.

Player i beats player j with probability 1 / (1 + exp(s_j - s_i)), where s are the strengths (R. A. Bradley and M. E. Terry, Rank analysis
of incomplete block designs, Biometrika 39, 1952). A tie counts as half a win for each. A weak normal prior with standard deviation 3 (odds
of 20 to 1) keeps the strengths finite if one player wins every time. Newton's method finds them; the covariance comes from the observed
information and is that of each strength's distance from the mean.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator, Sequence

_PRECISION = 1 / 9  # of the prior: a standard deviation of 3
_MAX_STEPS = 100
_TOLERANCE = 1e-7

Matrix = list[list[float]]
Game = tuple[int, int, float]
"""(left player, right player, score of the left one: 0..1)."""


def probability(strength: float) -> float:
    """Return the probability of a win over a player of mean strength (log odds 0)."""
    return 1 / (1 + math.exp(-strength)) if strength >= 0 else 1 - 1 / (1 + math.exp(strength))


def fit(count: int, games: Sequence[Game]) -> tuple[list[float], Matrix]:
    """Return the strengths of `count` players, with mean 0, and their covariance, of shape (count, count).

    The strengths are the most probable ones under the prior. The covariance is the inverse of the observed information, without the
    prior's variance of the common level.
    """
    strengths = [0.0] * count
    for _ in range(_MAX_STEPS):
        gradient, information = _derivatives(games, strengths)
        step = _solve(_cholesky(information), gradient)
        before, size = _log_posterior(games, strengths), 1.0
        while size > 1e-6 and _log_posterior(games, moved := _moved(strengths, step, size)) < before:
            size /= 2
        strengths = moved
        if max(map(abs, step), default=0.0) * size < _TOLERANCE:
            break
    mean = sum(strengths) / count if count else 0.0
    return [strength - mean for strength in strengths], _covariance(_derivatives(games, strengths)[1])


def influences(count: int, games: Sequence[Game]) -> Iterator[list[float]]:
    """Yield, for each pair of players that met, how the strengths move if its games are left out, of shape (count,).

    By one Newton step from the fit of all games. The squares of all of them add up to the variance that chance in the games gives an
    estimate (the jackknife; J. G. MacKinnon and H. White, Journal of Econometrics 29, 1985, call it HC3).
    """
    strengths, covariance = fit(count, games)
    gradients: dict[tuple[int, int], tuple[float, float]] = {}
    for left, right, score in games:
        pair, won = ((left, right), score) if left < right else ((right, left), 1 - score)
        expected = probability(strengths[pair[0]] - strengths[pair[1]])
        gradient, weight = gradients.get(pair, (0.0, 0.0))
        gradients[pair] = gradient + won - expected, weight + expected * (1 - expected)
    for (left, right), (gradient, weight) in gradients.items():
        moved = [one - other for one, other in zip(covariance[left], covariance[right], strict=True)]
        step = gradient / (1 - weight * (moved[left] - moved[right]))
        yield [step * change for change in moved]


def _log_posterior(games: Iterable[Game], strengths: Sequence[float]) -> float:
    """Return the logarithm of the posterior, up to a constant."""
    total = -_PRECISION / 2 * sum(strength * strength for strength in strengths)
    for left, right, score in games:
        lead = strengths[left] - strengths[right]
        total += score * lead - max(0.0, lead) - math.log1p(math.exp(-abs(lead)))
    return total


def _derivatives(games: Iterable[Game], strengths: Sequence[float]) -> tuple[list[float], Matrix]:
    """Return the gradient of the log posterior and its information, the negative second derivative."""
    count = len(strengths)
    gradient = [-_PRECISION * strength for strength in strengths]
    information = [[_PRECISION if row == column else 0.0 for column in range(count)] for row in range(count)]
    for left, right, score in games:
        expected = probability(strengths[left] - strengths[right])
        gradient[left] += score - expected
        gradient[right] -= score - expected
        weight = expected * (1 - expected)
        information[left][left] += weight
        information[right][right] += weight
        information[left][right] -= weight
        information[right][left] -= weight
    return gradient, information


def _covariance(information: Matrix) -> Matrix:
    """Return the inverse of the information for distances from the mean, without the prior's variance of the common level."""
    factor, count = _cholesky(information), len(information)
    level = 1 / (_PRECISION * count) if count else 0.0
    columns = [_solve(factor, [float(row == column) for row in range(count)]) for column in range(count)]
    return [[value - level for value in column] for column in columns]


def _cholesky(matrix: Matrix) -> Matrix:
    """Return the lower triangular Cholesky factor of a positive definite matrix."""
    lower: Matrix = []
    for row, values in enumerate(matrix):
        line: list[float] = []
        for column in range(row):
            above = lower[column]
            line.append((values[column] - sum(map(operator.mul, line, above))) / above[column])
        line.append(math.sqrt(values[row] - sum(value * value for value in line)))
        lower.append(line)
    return lower


def _solve(lower: Matrix, right: Sequence[float]) -> list[float]:
    """Return x with L Lᵀ x = right."""
    forward: list[float] = []
    for line, value in zip(lower, right, strict=True):
        forward.append((value - sum(map(operator.mul, line, forward))) / line[-1])
    found = [0.0] * len(lower)
    for row in range(len(lower) - 1, -1, -1):
        found[row] = forward[row] / lower[row][row]
        for column in range(row):
            forward[column] -= lower[row][column] * found[row]
    return found


def _moved(strengths: Sequence[float], step: Sequence[float], size: float) -> list[float]:
    return [strength + size * change for strength, change in zip(strengths, step, strict=True)]
