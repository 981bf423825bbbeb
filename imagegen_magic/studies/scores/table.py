"""The scores of a set of images as the ledger has them, each scorer in its latest version."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from imagegen_magic.engine import loop
from imagegen_magic.engine.context import ledger_of
from imagegen_magic.engine.ledger import scores as stored
from imagegen_magic.engine.ledger.annotations import annotations_of
from imagegen_magic.engine.ledger.ledger import Ledger
from imagegen_magic.engine.ledger.scores import ScoreRow, StoredScorer
from imagegen_magic.engine.ledger.sweeps import axes_of, combinations_of
from imagegen_magic.engine.ledger.votes import PERSON, votes_between
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import ImageGenError, UnsupportedOption
from imagegen_magic.records import FrozenDict, Record
from imagegen_magic.result import Cost, GeneratedImage
from imagegen_magic.studies import ranking
from imagegen_magic.studies.scores import inputs, plots
from imagegen_magic.studies.scores.outcomes import Outcome
from imagegen_magic.studies.scores.scorer import STORED_SCORES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from PIL.Image import Image

_EDGE = 160  # pixels of a picture in a plot


@dataclass(frozen=True, slots=True)
class ScoreColumn(Record):
    """The values of one measure: by image id, and of images that were not scored with this version by nothing.

    `better` is higher, lower or empty; `range` bounds the values if it is known. `version` names the scorer's, or is the beginning of its
    fingerprint. With `of="combination"` the value is that of all repeats together. `kind` is code or judge.
    """

    name: str
    scorer: str
    measure: str
    version: str
    better: str
    range: tuple[float, float] | None
    values: Mapping[int, Outcome]
    of: str = "picture"
    kind: str = "code"

    @property
    def numbers(self) -> dict[int, float]:
        """The measured values, by image id."""
        return {number: found.value for number, found in self.values.items() if found.value is not None}

    def text(self, image: GeneratedImage) -> str:
        """Return the value of an image for a table: four significant digits, or why it has none."""
        outcome = self.values.get(image.id)
        if outcome is None:
            return "not scored"
        if outcome.value is None:
            return "–" if outcome.state == "not applicable" else "failed"
        return f"{outcome.value:.4g}"


@dataclass(frozen=True, slots=True)
class Scores(Record):
    """All scores of some images: `columns` by name, in the order in which their scorers were used.

    `axes` has the values of each axis if the images are a sweep, also those of which no image was made.
    """

    images: tuple[GeneratedImage, ...]
    sweep: int = 0
    combinations: Mapping[int, Mapping[str, str]] = field(default_factory=FrozenDict)
    columns: Mapping[str, ScoreColumn] = field(default_factory=FrozenDict)
    axes: Mapping[str, Sequence[str]] = field(default_factory=FrozenDict)

    def __getitem__(self, name: str) -> ScoreColumn:
        return self.columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def failed(self) -> list[tuple[GeneratedImage, str, str]]:
        """The failures: (image, column, why)."""
        return [
            (image, column.name, found.error)
            for column in self.columns.values()
            for image in self.images
            if (found := column.values.get(image.id)) and found.state == "failed"
        ]

    def rows(self) -> list[dict[str, Any]]:
        """Return one record per image: its id, its combination, and `score NAME` for each column (None: no value)."""
        return [{"id": image.id, **self.combinations.get(image.id, {}), **self.of(image)} for image in self.images]

    def of(self, image: GeneratedImage) -> dict[str, float | None]:
        """Return the scores of one image, as `score NAME`."""
        return {f"score {name}": column.numbers.get(image.id) for name, column in self.columns.items()}

    def reasons(self, image: GeneratedImage) -> dict[str, str]:
        """Return the reasons that scorers gave for an image, as `score NAME reason`."""
        found = {name: column.values.get(image.id) for name, column in self.columns.items()}
        return {f"score {name} reason": outcome.reason for name, outcome in found.items() if outcome and outcome.reason}

    def measured(self, name: str) -> dict[int, float]:
        """Return the values of a score by image id: of a column, or of `votes`, `stars`, `drift`, `seconds`, `cost` in one unit.

        Raises UnsupportedOption for another score, for one that no image has, for a cost in several units, and for too few votes.
        """
        found = self.columns[name].numbers if name in self.columns else _of_images(name, self.images)
        if found is None:
            found = loop.run(_of_ledger(name, self.images, ledger_of(load())))
        if not found:
            hint = "measure it first with score(study, scorer), or give stars or votes"
            known = [*self.columns, *(each for each in STORED_SCORES if each not in self.columns)]
            raise UnsupportedOption(f"These pictures have no score {name}", option="score", value=name, allowed=known, hint=hint)
        return found

    def heatmap(self, score: str, rows: str, columns: str, ax: Axes | None = None) -> Axes:
        """Return matplotlib's axes with the mean and the count of a score for each pair of values of two axes; missing ones are hatched.

        Its text alternative is `get_label()`. Raises UnsupportedOption for an unknown score or axis, and ModuleNotFoundError without
        matplotlib.
        """
        values, cells = self.measured(score), dict[tuple[str, str], list[float]]()
        for image in self._subjects(score):
            combination = self.combinations.get(image.id, {})
            cells.setdefault((combination.get(rows, ""), combination.get(columns, "")), []).extend(_given(values.get(image.id)))
        down, across = plots.Side(rows, self._values(rows, "rows")), plots.Side(columns, self._values(columns, "columns"))
        return plots.heatmap(cells, down, across, score, ax)

    def scatter(self, across: str, up: str, ax: Axes | None = None) -> Axes:
        """Return matplotlib's axes with a point for each picture: one score from left to right, another from the bottom up.

        Raises as `heatmap` does.
        """
        lefts, rights = self.measured(across), self.measured(up)
        points = [(lefts[image.id], rights[image.id]) for image in self.images if image.id in lefts and image.id in rights]
        return plots.scatter(points, (self._label(across), self._label(up)), len(self.images), ax)

    def strip(self, score: str, ax: Axes | None = None) -> Axes:
        """Return matplotlib's axes with small pictures from best to worst; of more than 24, 12 of each end. Raises as `heatmap` does."""
        values, better = self.measured(score), self._better(score)
        ordered = sorted((image for image in self.images if image.id in values), key=lambda image: values[image.id])
        order = "best first" if better else "highest first"
        if better != "lower":
            ordered.reverse()
        captions = [" · ".join(self.combinations.get(image.id, {}).values()) or f"@{image.id}" for image in ordered]
        entries = [
            plots.Entry(values[image.id], caption, functools.partial(_small, image))
            for image, caption in zip(ordered, captions, strict=True)
        ]
        return plots.strip(entries, score, order, len(self.images), ax)

    def _subjects(self, score: str) -> Sequence[GeneratedImage]:
        """Return the images, or one of each combination if the score is of combinations."""
        if score not in self.columns or self.columns[score].of == "picture":
            return self.images
        return list({tuple(self.combinations.get(image.id, {}).items()): image for image in self.images}.values())

    def _values(self, axis: str, option: str) -> list[str]:
        """Return the values of an axis in the sweep's order, else in that of the images. Raises UnsupportedOption for an unknown axis."""
        met = (each[axis] for image in self.images if axis in (each := self.combinations.get(image.id, {})))
        values = list(dict.fromkeys([*self.axes.get(axis, ()), *met]))
        if not values:
            known = list(dict.fromkeys(name for each in self.combinations.values() for name in each))
            raise UnsupportedOption(f"These pictures have no axis {axis}", option=option, value=axis, allowed=known)
        return values

    def _label(self, score: str) -> str:
        """Return a score's name with the unit of a cost."""
        units = {image.cost.unit for image in self.images if image.cost.amount is not None}
        return f"cost {units.pop()}" if score == "cost" and score not in self.columns and len(units) == 1 else score

    def _better(self, score: str) -> str:
        if score in self.columns:
            return self.columns[score].better
        return "higher" if score in ("votes", "stars") else "lower"

    def to_frame(self) -> Any:
        """Return `rows()` as a pandas DataFrame. Raises ModuleNotFoundError if pandas is not installed."""
        import pandas  # type: ignore[import-untyped,import-not-found,unused-ignore]  # optional

        return pandas.DataFrame(self.rows())


def _given(value: float | None) -> list[float]:
    return [] if value is None else [value]


def _small(image: GeneratedImage) -> Image | None:
    """Return a small copy of an image, None if its file is missing or damaged."""
    from imagegen_magic.imaging.preview import small

    try:
        return small(image.open(), _EDGE)
    except (OSError, ImageGenError):
        return None


def _of_images(name: str, images: Iterable[GeneratedImage]) -> dict[int, float] | None:
    """Return a score that images know themselves, None for another one. Raises UnsupportedOption for a cost in several units."""
    if name == "drift":
        return {image.id: image.drift[0] for image in images if image.drift is not None}
    if name == "seconds":
        return {image.id: float(image.seconds) for image in images if image.seconds is not None}
    if name.split()[:1] != ["cost"]:
        return None
    costs = {image.id: image.cost for image in images if image.cost.amount is not None}
    units = sorted({cost.unit for cost in costs.values()})
    if name == "cost" and len(units) > 1:
        what = f"The pictures cost {' and '.join(units)}, which are not added or compared"
        raise UnsupportedOption(what, option="score", value=name, allowed=[f"cost {unit}" for unit in units])
    return {number: float(cost.amount or 0) for number, cost in costs.items() if name in ("cost", f"cost {cost.unit}")}


async def _of_ledger(name: str, images: Iterable[GeneratedImage], ledger: Ledger) -> dict[int, float]:
    """Return the stars, or the strengths by people's votes. Raises UnsupportedOption before the planned number of votes."""
    pictures = list(dict.fromkeys(image.id for image in images if image.id))
    if name == "stars":
        notes = await annotations_of(ledger, pictures)
        return {number: float(each.stars) for number, each in notes.items() if each.stars}
    votes = [vote for vote in await votes_between(ledger, pictures) if vote.kind == PERSON] if name == "votes" else []
    if votes and len(votes) < (goal := ranking.votes_needed(len(pictures))):
        hint = "%imagegen vote shows more pairs"
        raise UnsupportedOption(f"There are {len(votes)} of {goal} votes", option="score", value=name, hint=hint)
    return ranking.strengths(pictures, votes) if votes else {}


async def table_of(images: Sequence[GeneratedImage], sweep: int, ledger: Ledger) -> Scores:
    """Return the scores of these images; `sweep` is the number of theirs, 0 for none. Images of another ledger have no scores here."""
    if not ledger.path.exists():
        return Scores(tuple(images))
    pictures = list(await stored.known_pictures(ledger, {image.id: image.task_id for image in images if image.id}))
    number, combinations = await combinations_of(ledger, pictures, sweep)
    latest = {each.name: each for each in await stored.scorers(ledger)}  # the last used one of each name is last
    by_id = {each.id: each for each in latest.values()}
    columns: dict[str, dict[int, Outcome]] = {}
    facts: dict[str, tuple[StoredScorer, str, str]] = {}
    hashes = await _hashes(by_id, images, combinations, ledger)
    for row in await stored.scores_of(ledger, pictures):
        if row.scorer in by_id and row.inputs == hashes[row.scorer].get(row.picture, ""):
            name = column_name(by_id[row.scorer].name, row.measure)
            facts[name] = (by_id[row.scorer], row.measure, "picture")
            columns.setdefault(name, {})[row.picture] = _outcome(row)
    for each in await stored.combination_scores_of(ledger, number) if number else ():
        if each.scorer in by_id:
            name = column_name(by_id[each.scorer].name, each.measure)
            facts[name] = (by_id[each.scorer], each.measure, "combination")
            found = Outcome(each.state, each.value, each.reason, each.error)  # type: ignore[arg-type]
            columns.setdefault(name, {}).update(dict.fromkeys((each_id for each_id in each.pictures if each_id in combinations), found))
    order = {each.id: position for position, each in enumerate(latest.values())}
    ordered = sorted(columns, key=lambda name: (order[facts[name][0].id], name))
    shown = {name: _column(name, *facts[name], FrozenDict(columns[name])) for name in ordered}
    axes = {axis: tuple(values) for axis, values in (await axes_of(ledger, sweep) if sweep else {}).items()}
    by_image = {key: FrozenDict(value) for key, value in combinations.items()}
    return Scores(tuple(images), number, FrozenDict(by_image), FrozenDict(shown), FrozenDict(axes))


async def _hashes(
    scorers: Mapping[int, StoredScorer], images: Sequence[GeneratedImage], combinations: inputs.Combinations, ledger: Ledger
) -> dict[int, dict[int, str]]:
    """Return the hash of each scorer's inputs for each image, by their ids, without the empty ones."""
    hashes: dict[int, dict[int, str]] = {number: {} for number in scorers}
    for number, each in scorers.items():
        for image in images if each.inputs else ():
            hashes[number][image.id] = await inputs.hash_of(each.inputs.split(), image, combinations, ledger)
    return hashes


def column_name(scorer: str, measure: str) -> str:
    """Return the name of a measure in tables."""
    return f"{scorer} {measure}".strip()


def _outcome(row: ScoreRow) -> Outcome:
    cost = None if row.cost == Cost() else row.cost
    return Outcome(row.state, row.value, row.reason, row.error, cost)  # type: ignore[arg-type]


def _column(name: str, scorer: StoredScorer, measure: str, of: str, values: Mapping[int, Outcome]) -> ScoreColumn:
    bounds = None if scorer.minimum is None or scorer.maximum is None else (scorer.minimum, scorer.maximum)
    return ScoreColumn(name, scorer.name, measure, scorer.version or scorer.fingerprint[:6], scorer.better, bounds, values, of, scorer.kind)
