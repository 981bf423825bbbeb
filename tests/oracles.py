"""Reference values of scipy and statsmodels for the effect table.

    python tests/oracles.py

writes 30 designs and all tails to `tests/data/effects/reference.json`, to which CI holds the package. `scripts/test --long` computes them
again with 200 designs: only then are scipy and statsmodels installed, by the extra `long`.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imagegen_magic.studies.effects.records import LEVEL, Row, ScoreRows
from imagegen_magic.studies.effects.table import Effects, effects

STORED = Path(__file__).parent / "data" / "effects" / "reference.json"
DESIGNS_STORED, DESIGNS_COMPUTED, SEED = 30, 200, 3

STYLES, QUALITIES, SUBJECTS = ("oil", "ink", "watercolour"), ("low", "high"), ("fox", "owl", "cat", "hen")
T = list(itertools.product((1e-3, 0.1, 0.5, 1, 2, 3, 6, 20, 1e3), (1, 2, 3.5, 10, 47, 300, 1e4)))  # (t, df)
T_CRITICAL = list(itertools.product((0.2, 0.05, 1e-3, 1e-6), (1, 2, 3.5, 10, 47, 300, 1e4)))  # (p, df)
F = list(itertools.product((0, 0.01, 0.5, 1, 1.5, 3, 30), (1, 2, 7, 40, 500), (1, 3, 20, 1000, 1e5)))  # (f, df1, df2)
POWER = list(itertools.product((0.0, 0.5, 2, 4), (0.05, 0.01), (2, 5, 60, 300)))  # (shift, p, df)


def sweep(value: Any, repeats: int = 3, missing: Any = lambda: "") -> tuple[Row, ...]:
    """Return the rows of three styles by two qualities by four subjects; `value` gets a combination, `missing` returns a reason or ''."""
    rows = []
    for style in STYLES:
        for quality in QUALITIES:
            for subject in SUBJECTS:
                combination = {"style": style, "quality": quality, "subject": subject}
                reasons = [missing() for _ in range(repeats)]
                rows += [Row(combination, None if reason else value(combination), reason) for reason in reasons]
    return tuple(rows)


def table(rows: Any, name: str = "text", **options: Any) -> Effects:
    """Return the effects on one score."""
    return effects([ScoreRows(name, tuple(rows))], **options)


def styles(seed: int, shift: float = 1) -> tuple[Row, ...]:
    """Return the rows of a sweep in which ink differs by `shift` standard deviations."""
    generator = random.Random(seed)
    return sweep(lambda combination: generator.gauss(shift * (combination["style"] == "ink"), 1))


def written(rows: Any) -> list[Any]:
    """Return rows as JSON."""
    return [[dict(row.combination), row.value] for row in rows]


def read(rows: Any) -> list[Row]:
    """Return rows from JSON."""
    return [Row(combination, value, "failed" if value is None else "") for combination, value in rows]


def designs(count: int) -> Iterator[list[Row]]:
    """Yield random designs of one to three axes, with missing combinations and pictures, whose axes can be separated."""
    generator = random.Random(SEED)
    while count:
        axes = {name: [f"{name}{value}" for value in range(generator.randint(2, 4))] for name in "abc"[: generator.randint(1, 3)]}
        rows = []
        for number in range(generator.randint(8, 60)):
            combination = {name: generator.choice(values) for name, values in axes.items()}
            missing = generator.random() < 0.15
            value = 1e3 * (number % 2) + generator.gauss(combination["a"] == "a1", 1)
            rows.append(Row(combination, None if missing else value, "failed" if missing else ""))
        if not table(rows)["text"].problem:
            count -= 1
            yield rows


def fitted(rows: list[Row]) -> dict[str, Any]:
    """Return a design with what statsmodels makes of it: axis, value, estimate, interval and p of each comparison."""
    import numpy
    from statsmodels.regression.linear_model import OLS

    levels = [(one.axis, one.value) for one in table(rows).comparisons]
    measured = [row for row in rows if row.value is not None]
    design = [[1.0, *(float(row.combination[axis] == value) for axis, value in levels)] for row in measured]
    found = OLS(numpy.array([row.value for row in measured]), numpy.array(design)).fit()
    columns = zip(levels, found.params[1:].tolist(), found.conf_int(LEVEL)[1:].tolist(), found.pvalues[1:].tolist(), strict=True)
    return {"rows": written(rows), "comparisons": [[*level, *values] for level, *values in columns]}


def adjusted(values: list[float]) -> list[float]:
    """Return the p of Holm's correction."""
    from statsmodels.stats.multitest import multipletests

    return multipletests(values, method="holm")[1].tolist()


def tails() -> dict[str, list[Any]]:
    """Return the tails of scipy, with their arguments."""
    from scipy import stats

    def power(shift: float, p: float, df: float) -> float:
        critical = stats.t.isf(p / 2, df)
        return stats.nct.sf(critical, df, shift) + stats.nct.cdf(-critical, df, shift)

    return {
        "t": [[*each, float(2 * stats.t.sf(*each))] for each in T],
        "t_critical": [[p, df, float(stats.t.isf(p / 2, df))] for p, df in T_CRITICAL],
        "f": [[*each, float(stats.f.sf(*each))] for each in F],
        "power": [[*each, float(power(*each))] for each in POWER],
    }


def paired(rows: tuple[Row, ...]) -> dict[str, Any]:
    """Return the paired t of ink and oil over the subjects."""
    from scipy import stats

    def means(style: str) -> list[float]:
        inside = [
            [row.value for row in rows if (row.combination["style"], row.combination["subject"]) == (style, name)] for name in SUBJECTS
        ]
        return [sum(values) / len(values) for values in inside]

    found = stats.ttest_rel(means("ink"), means("oil"))
    return {"rows": written(rows), "p": float(found.pvalue), "interval": [float(each) for each in found.confidence_interval()]}


def reference(count: int) -> dict[str, Any]:
    """Return the reference values, with `count` designs."""
    families = [styles(8, shift) for shift in (1.2, 0.4)]
    found = effects([ScoreRows(name, rows) for name, rows in zip(("one", "two"), families, strict=True)])
    return {
        "versions": {name: importlib.metadata.version(name) for name in ("scipy", "statsmodels")},
        "seed": SEED,
        **tails(),
        "designs": [fitted(rows) for rows in designs(count)],
        "holm": {"scores": [written(rows) for rows in families], "adjusted": adjusted([one.p for one in found.comparisons])},
        "paired": paired(styles(2)),
    }


if __name__ == "__main__":
    STORED.parent.mkdir(exist_ok=True)
    text = json.dumps(reference(DESIGNS_STORED), separators=(",", ":")).replace('],"', '],\n"').replace("]],[[", "]],\n[[")
    STORED.write_text(f"{text}\n")
