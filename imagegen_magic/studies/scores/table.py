"""The scores of a set of images as the ledger has them, each scorer in its latest version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from imagegen_magic.engine.ledger import scores as stored
from imagegen_magic.engine.ledger.ledger import Ledger
from imagegen_magic.engine.ledger.scores import ScoreRow, StoredScorer
from imagegen_magic.engine.ledger.sweeps import combinations_of
from imagegen_magic.records import FrozenDict, Record
from imagegen_magic.result import Cost, GeneratedImage
from imagegen_magic.studies.scores import inputs
from imagegen_magic.studies.scores.outcomes import Outcome


@dataclass(frozen=True, slots=True)
class ScoreColumn(Record):
    """The values of one measure: by image id, and of images that were not scored with this version by nothing.

    `better` is higher, lower or empty; `range` bounds the values if it is known. `version` names the scorer's, or is the beginning of its
    fingerprint. With `of="combination"` the value is that of all repeats together.
    """

    name: str
    scorer: str
    measure: str
    version: str
    better: str
    range: tuple[float, float] | None
    values: Mapping[int, Outcome]
    of: str = "picture"

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
    """All scores of some images: `columns` by name, in the order in which their scorers were used."""

    images: tuple[GeneratedImage, ...]
    sweep: int = 0
    combinations: Mapping[int, Mapping[str, str]] = field(default_factory=FrozenDict)
    columns: Mapping[str, ScoreColumn] = field(default_factory=FrozenDict)

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

    def to_frame(self) -> Any:
        """Return `rows()` as a pandas DataFrame. Raises ModuleNotFoundError if pandas is not installed."""
        import pandas  # type: ignore[import-untyped,import-not-found,unused-ignore]  # optional

        return pandas.DataFrame(self.rows())


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
    return Scores(tuple(images), number, FrozenDict({key: FrozenDict(value) for key, value in combinations.items()}), FrozenDict(shown))


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
    return ScoreColumn(name, scorer.name, measure, scorer.version or scorer.fingerprint[:6], scorer.better, bounds, values, of)
