"""Records of the effect table: what goes in, and what it shows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from imagegen_magic.records import FrozenDict, Record, frozen
from imagegen_magic.studies.effects.distributions import power, t_critical

LEVEL = 0.05
"""The share of false alarms, for an interval and for all comparisons together."""
POWER = 0.8
"""The share of sweeps in which `repeats_needed` finds an effect."""
_MAX_REPEATS = 100


@dataclass(frozen=True, slots=True)
class Row(Record):
    """One picture, or one combination: the value of each axis, and its score; None with the `reason` why it is missing."""

    combination: Mapping[str, str]
    value: float | None
    reason: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "combination", frozen(self.combination))


@dataclass(frozen=True, slots=True)
class ScoreRows(Record):
    """The rows of one score. `better` is higher, lower or empty, `detail` follows the name in brackets.

    A `problem` is why no interval may be shown; the fit is not made then. `judges` names the models that gave the values.
    """

    name: str
    rows: tuple[Row, ...]
    better: str = ""
    detail: str = ""
    problem: str = ""
    judges: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison(Record):
    """The difference that `value` of an axis makes to a score, compared with the baseline `against`.

    `estimate` and `standard_error` are in units of the score, `p` is two-sided, `adjusted_p` Holm's over `family` comparisons. `count`
    rows have the value. With `over`, `blocks` are its values that have both. `group` is the value of `by`. `fitted` rows, on average
    `repeats` of a combination, have the residual standard deviation `deviation`.
    """

    score: str
    axis: str
    value: str
    against: str
    estimate: float
    standard_error: float
    df: float
    p: float
    count: int
    group: Mapping[str, str] = field(default_factory=FrozenDict)
    blocks: int = 0
    repeats: float = 0.0
    fitted: int = 0
    deviation: float = 0.0
    adjusted_p: float = 1.0
    family: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "group", frozen(self.group))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of this comparison alone."""
        return self._interval(LEVEL)

    @property
    def family_interval(self) -> tuple[float, float]:
        """The interval that holds together with those of the other comparisons, in 95 % of studies (Bonferroni)."""
        return self._interval(LEVEL / self.family)

    def _interval(self, level: float) -> tuple[float, float]:
        reach = t_critical(level, self.df) * self.standard_error
        return self.estimate - reach, self.estimate + reach

    @property
    def clear(self) -> bool:
        """Whether the difference is clear after correcting for all comparisons shown."""
        return self.adjusted_p < LEVEL

    @property
    def repeats_needed(self) -> int | None:
        """How many repeats of each combination would find an effect as large as the estimate in 80 % of sweeps.

        The design stays as it is, and so does the correction. None if the comparison is clear, if more than 100 are needed, or if it
        cannot be computed.
        """
        if self.clear or not self.standard_error or not self.repeats or self.found_with(_MAX_REPEATS, self.estimate) < POWER:
            return None
        low, high = math.floor(self.repeats), _MAX_REPEATS
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.found_with(middle, self.estimate) >= POWER else (middle, high)
        return high

    def found_with(self, repeats: float, effect: float) -> float:
        """Return the share of sweeps that find an `effect` with so many repeats of the same combinations, 0 to 1."""
        more = repeats / self.repeats
        df = max(1.0, self.fitted * more - (self.fitted - self.df))
        return power(abs(effect) / self.standard_error * math.sqrt(more), LEVEL / self.family, df)

    @property
    def verdict(self) -> str:
        """The result in words."""
        if self.family == 1:
            return "clear" if self.clear else "inconclusive"
        if self.clear:
            return f"clear, also after correcting for {self.family} comparisons"
        return f"inconclusive after correcting for {self.family} comparisons" if self.p < LEVEL else "inconclusive"


@dataclass(frozen=True, slots=True)
class ScoreEffects(Record):
    """The comparisons of one score, how many of `total` rows were `measured`, why others are `missing`, and `notes`.

    `problem` is why there is no comparison.
    """

    name: str
    comparisons: tuple[Comparison, ...]
    measured: int
    total: int
    missing: Mapping[str, int]
    better: str = ""
    detail: str = ""
    problem: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "missing", frozen(self.missing))


@dataclass(frozen=True, slots=True, repr=False)
class EffectTable(Record):
    """The comparisons of some scores.

    `over` is the axis whose values are the blocks of paired comparisons, `by` that of separate tables. `checks` counts how often the sweep
    was compared while it grew.
    """

    scores: tuple[ScoreEffects, ...]
    over: str = ""
    by: str = ""
    checks: int = 1
    sandbox: bool = False

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """All comparisons, score by score."""
        return tuple(each for score in self.scores for each in score.comparisons)

    def __getitem__(self, name: str) -> ScoreEffects:
        for score in self.scores:
            if score.name == name:
                return score
        raise KeyError(name)

    def rows(self) -> list[dict[str, Any]]:
        """Return one record per comparison, as plain values."""
        return [_record(each) for each in self.comparisons]

    def to_frame(self) -> Any:
        """Return `rows()` as a pandas DataFrame. Raises ModuleNotFoundError if pandas is not installed."""
        import pandas  # type: ignore[import-untyped,import-not-found,unused-ignore]  # optional

        return pandas.DataFrame(self.rows())


def _record(one: Comparison) -> dict[str, Any]:
    names = (
        "score",
        "axis",
        "value",
        "against",
        "estimate",
        "standard_error",
        "df",
        "p",
        "adjusted_p",
        "count",
        "blocks",
        "repeats_needed",
    )
    low, high = one.interval
    family_low, family_high = one.family_interval
    bounds = {"low": low, "high": high, "family_low": family_low, "family_high": family_high}
    return {**{name: getattr(one, name) for name in names}, **bounds, "clear": one.clear, "verdict": one.verdict, **one.group}
