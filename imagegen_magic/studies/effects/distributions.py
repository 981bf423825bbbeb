"""Tails of Student's t, of F and of the noncentral t distribution.

All rest on the regularized incomplete beta function, by its continued fraction (NIST Digital Library of Mathematical Functions, 8.17.22)
with the method of Lentz (W. J. Lentz, Applied Optics 15, 1976). The noncentral t is the series of algorithm AS 243 (R. V. Lenth, Applied
Statistics 38, 1989).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from statistics import NormalDist

_TINY = 1e-300
_CERTAIN = 30.0  # standard errors above the critical value: found every time, up to rounding
_PRECISION = 1e-16
_MAX_TERMS = 20_000
_LARGE = 12.0  # from here on Stirling's series is exact to 1e-15
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156)


def t_tails(t: float, df: float) -> float:
    """Return the probability that |T| exceeds |t|, with `df` degrees of freedom: the two-sided p."""
    square = t * t / df
    if square == math.inf:
        return 0.0
    log_x = -math.log1p(square)
    log_y = math.log(square) + log_x if square else -math.inf
    return _beta(df / 2, 0.5, log_x, log_y)


def f_tail(f: float, df1: float, df2: float) -> float:
    """Return the probability that F exceeds `f`, with `df1` and `df2` degrees of freedom."""
    if f <= 0:
        return 1.0
    ratio = df1 * f / df2
    log_x = -math.log1p(ratio)
    return 0.0 if ratio == math.inf else _beta(df2 / 2, df1 / 2, log_x, math.log(ratio) + log_x)


@functools.lru_cache(maxsize=256)
def t_critical(p: float, df: float) -> float:
    """Return the t that |T| exceeds with probability `p`, 0 < p < 1.

    Newton's steps begin at the normal quantile, left of the root; the tail is convex there, so each step approaches it from the left.
    """
    t = NormalDist().inv_cdf(1 - p / 2)
    for _ in range(500):
        step = (t_tails(t, df) - p) / (2 * _t_density(t, df))
        t += step
        if abs(step) <= 1e-14 * t:
            break
    return t


def _t_density(t: float, df: float) -> float:
    return math.exp(-(df + 1) / 2 * math.log1p(t * t / df) - _log_beta(df / 2, 0.5)) / math.sqrt(df)


def power(shift: float, p: float, df: float) -> float:
    """Return how often a two-sided test at level `p` finds an effect of `shift` standard errors."""
    critical = t_critical(p, df)
    if shift > critical + _CERTAIN:
        return 1.0
    return _noncentral_tail(critical, df, shift) + _noncentral_tail(critical, df, -shift)


def _noncentral_tail(t: float, df: float, shift: float) -> float:
    """Return the probability that a noncentral T exceeds t >= 0."""
    half = shift * shift / 2
    square = t * t / df
    log_y = -math.log1p(square)
    log_x = math.log(square) + log_y if square else -math.inf
    evens, odds = (_falling_betas(a, df / 2, log_x, log_y) for a in (0.5, 1.0))
    even, odd = math.exp(-half), shift * math.exp(-half) / math.sqrt(2) / math.gamma(1.5)
    total, covered = 0.0, 0.0
    for term in range(_MAX_TERMS):
        total += even * next(evens) + odd * next(odds)
        covered += even
        if term > half and 1 - covered < 1e-14 + 1e-15 * term:
            break
        even *= half / (term + 1)
        odd *= half / (term + 1.5)
    return min(1.0, max(0.0, 1 - NormalDist().cdf(-shift) - total / 2))


def _falling_betas(a: float, b: float, log_x: float, log_y: float) -> Iterator[float]:
    """Yield I_x(a, b), I_x(a + 1, b) and so on, each from the one before."""
    value, x = _beta(a, b, log_x, log_y), math.exp(log_x)
    step = math.exp(a * log_x + b * log_y - _log_beta(a, b)) / a if x else 0.0
    while True:
        yield value
        value -= step
        step *= x * (a + b) / (a + 1)
        a += 1


def _beta(a: float, b: float, log_x: float, log_y: float) -> float:
    """Return the regularized incomplete beta function I_x(a, b) from the logarithms of x and y = 1 - x."""
    if log_x == -math.inf or log_y == -math.inf:
        return 0.0 if log_x == -math.inf else 1.0
    front = math.exp(a * log_x + b * log_y - _log_beta(a, b))
    if math.exp(log_x) < (a + 1) / (a + b + 2):
        return front * _fraction(a, b, math.exp(log_x)) / a
    return 1 - front * _fraction(b, a, math.exp(log_y)) / b


def _fraction(a: float, b: float, x: float) -> float:
    """Return the continued fraction of the incomplete beta function."""
    c, d = 1.0, 1 / _apart(1 - (a + b) * x / (a + 1))
    found = d
    for m in range(1, _MAX_TERMS):
        for numerator in (m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)), -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))):
            d = 1 / _apart(1 + numerator * d)
            c = _apart(1 + numerator / c)
            found *= c * d
        if abs(c * d - 1) < _PRECISION * 3:
            break
    return found


def _apart(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def _log_beta(a: float, b: float) -> float:
    """Return the logarithm of the beta function; without cancellation if one argument is large."""
    small, large = min(a, b), max(a, b)
    if large < _LARGE:
        return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    if small < _LARGE:
        growth = (large - 0.5) * math.log1p(small / large) + small * math.log(large + small) - small
        return math.lgamma(small) - growth - _stirling(large + small) + _stirling(large)
    ends = (small - 0.5) * math.log(small / (a + b)) - (large - 0.5) * math.log1p(small / large) - 0.5 * math.log(a + b)
    return ends + 0.5 * math.log(2 * math.pi) + _stirling(small) + _stirling(large) - _stirling(a + b)


def _stirling(x: float) -> float:
    """Return log gamma(x) - ((x - 1/2) log x - x + log(2 pi) / 2), for a large x."""
    return math.fsum(coefficient / x ** (2 * power + 1) for power, coefficient in enumerate(_STIRLING))
