"""The scores that a set of images has, each as rows for the effect table: those of scorers, and what the ledger has without one.

`votes` are the strengths of a Bradley-Terry fit to people's votes between these images, `votes NAME` those of a judge, `votes+judges` those
of both together, which are compared only by that name. `stars` and `drift` are as stored, `seconds` is how long
a picture took, `cost` its price in one unit.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from imagegen_magic.engine.ledger.annotations import annotations_of
from imagegen_magic.engine.ledger.effect_checks import count_checks
from imagegen_magic.engine.ledger.ledger import Ledger
from imagegen_magic.engine.ledger.sweeps import Combination
from imagegen_magic.engine.ledger.votes import JUDGE, PERSON, Vote, votes_between
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.records import Record, frozen
from imagegen_magic.result import GeneratedImage
from imagegen_magic.studies import ranking
from imagegen_magic.studies.effects import families
from imagegen_magic.studies.effects.raters import RaterVotes, by_rater
from imagegen_magic.studies.effects.records import Row, ScoreEffects, ScoreRows
from imagegen_magic.studies.effects.table import Effects, effects
from imagegen_magic.studies.scores.table import ScoreColumn, table_of

FROM_LEDGER = ("votes", "stars", "drift", "seconds", "cost")
"""The scores that need no scorer."""
POOLED = "votes+judges"
"""The votes of people and judges together: they are one score only on request."""
_LAST = ("seconds", "cost")  # without a name they are compared only if there is nothing else


@dataclass(frozen=True, slots=True)
class Sample(Record):
    """The images of a sweep with their combinations by id, and the combinations without an image, with why there is none."""

    images: Sequence[GeneratedImage]
    combinations: Mapping[int, Combination]
    missing: Sequence[tuple[Combination, str]] = ()
    sweep: int = 0

    def rows(self, value: Callable[[GeneratedImage], float | str]) -> tuple[Row, ...]:
        """Return a row for each image; `value` returns its score, or why it has none."""
        found = [(self.combinations.get(image.id, {}), value(image)) for image in self.images]
        measured = [Row(combination, None, each) if isinstance(each, str) else Row(combination, each) for combination, each in found]
        return (*measured, *(Row(combination, None, f"without a picture ({why})") for combination, why in self.missing))


async def available(sample: Sample, ledger: Ledger) -> dict[str, ScoreRows]:
    """Return the scores that at least one image has, by name: those of scorers first, then those of the ledger."""
    scores = await table_of(sample.images, sample.sweep, ledger)
    found = [_of_column(column, sample) for column in scores.columns.values()]
    found += [*await _votes(sample, ledger), await _stars(sample, ledger), *_of_images(sample)]
    return {score.name: score for score in found if any(row.value is not None for row in score.rows)}


async def compare(
    sample: Sample, names: Sequence[str], ledger: Ledger, *, against: Mapping[str, str] | None = None, over: str = "", by: str = ""
) -> Effects:
    """Return the effect table of the named scores; by default of all, and of seconds and cost only if there is no other.

    The check is recorded, so that a table of a sweep that grew between checks shows how often it was checked. Raises UnsupportedOption
    for an unknown score, axis or value.
    """
    combinations = {number: frozen(each) for number, each in sample.combinations.items()}  # once, and not for each score
    sample = replace(sample, combinations=combinations)
    known = await available(sample, ledger)
    chosen = _chosen(names, known)
    if not any(sample.combinations.get(image.id) for image in sample.images):
        what = "These pictures are of no sweep, so there is no axis to compare"
        raise UnsupportedOption(what, option="effects", value="", hint="give the variable of a sweep")
    widen = await _widen(sample, [score.name for score in chosen], ledger, {"against": against, "over": over, "by": by})
    found = await asyncio.to_thread(effects, chosen, against=against, over=over, by=by, widen=widen)
    sizes = {score.name: score.measured for score in found.scores if score.comparisons}
    checks = await count_checks(ledger, sample.sweep, sizes) if sample.sweep and sizes else 1
    judges, models = {each.name: each.judges for each in chosen}, dict.fromkeys(image.model for image in sample.images)
    noted = [replace(each, notes=(*each.notes, *families.warnings(judges[each.name], models))) for each in found.scores]
    return Effects(tuple(noted), found.over, found.by, checks, any(image.sandbox for image in sample.images))


def _chosen(names: Sequence[str], known: Mapping[str, ScoreRows]) -> list[ScoreRows]:
    if not names:
        return [score for name, score in known.items() if name.split()[0] not in (*_LAST, POOLED)] or list(known.values())
    chosen: dict[str, ScoreRows] = {}
    for name in names:
        found = {key: score for key, score in known.items() if key == name or key.startswith(f"{name} ")}
        if not found:
            hint = "vote, give stars or score the pictures first" if name in FROM_LEDGER else "%imagegen score measures pictures"
            raise UnsupportedOption(f"These pictures have no score {name}", option="score", value=name, allowed=list(known), hint=hint)
        chosen |= found
    return list(chosen.values())


def _of_column(column: ScoreColumn, sample: Sample) -> ScoreRows:
    def value(image: GeneratedImage) -> float | str:
        found = column.values.get(image.id)
        if found is None:
            return "not scored"
        return found.state if found.value is None else found.value

    detail = f"version {column.version}"
    judges = (f"{column.scorer} {column.version}",) if column.kind == JUDGE else ()
    if column.of == "picture":
        return ScoreRows(column.name, sample.rows(value), column.better, detail, judges=judges)
    first: dict[tuple[tuple[str, str], ...], GeneratedImage] = {}
    for image in sample.images:
        first.setdefault(tuple(sample.combinations.get(image.id, {}).items()), image)
    one_each = Sample(list(first.values()), sample.combinations)
    return ScoreRows(column.name, one_each.rows(value), column.better, f"{detail}, one value for each combination", judges=judges)


async def _votes(sample: Sample, ledger: Ledger) -> list[ScoreRows]:
    """Return the strengths by people's votes, by those of each judge, and by all together if there are both."""
    groups = await _vote_groups(sample, ledger)
    return [await asyncio.to_thread(_strengths, name, votes, sample) for name, votes in groups.items()]


async def _vote_groups(sample: Sample, ledger: Ledger) -> dict[str, list[Vote]]:
    """Return the votes of each score by its name."""
    pictures = {image.id for image in sample.images if image.id}
    votes = await votes_between(ledger, pictures) if len(pictures) <= ranking.MAX_IMAGES else []
    people = [vote for vote in votes if vote.kind == PERSON]
    groups = {"votes": people} if people else {}
    for vote in votes:
        if vote.kind == JUDGE:
            groups.setdefault(f"votes {vote.rater}", []).append(vote)
    return {**groups, POOLED: votes} if people and len(groups) > 1 else groups


def _strengths(name: str, votes: Sequence[Vote], sample: Sample) -> ScoreRows:
    """Return the strengths as a score. Without the goal's number of votes there is no interval: watching them grow finds too much."""
    pictures = list(dict.fromkeys(image.id for image in sample.images if image.id))
    found = ranking.strengths(pictures, votes)
    goal = ranking.votes_needed(len(pictures))
    problem = f"{len(votes)} of {goal} votes: there is no comparison before the goal." if len(votes) < goal else ""
    rows = sample.rows(lambda image: found.get(image.id, "without a vote"))
    judges = dict.fromkeys(vote.rater for vote in votes if vote.kind == JUDGE)
    return ScoreRows(name, rows, "higher", f"log odds, {len(votes)} votes", problem, tuple(judges))


async def _widen(
    sample: Sample, names: Sequence[str], ledger: Ledger, design: Mapping[str, Any]
) -> dict[str, Callable[[ScoreEffects], ScoreEffects]]:
    """Return, for each score of votes, what makes its intervals hold for other raters too, and adds how far raters agree."""
    if not any(name.startswith("votes") for name in names):
        return {}
    groups = await _vote_groups(sample, ledger)
    people = groups.get("votes", [])
    return {name: RaterVotes(by_rater(votes), sample.combinations, design, people).widened for name, votes in groups.items()}


async def _stars(sample: Sample, ledger: Ledger) -> ScoreRows:
    notes = await annotations_of(ledger, [image.id for image in sample.images if image.id])
    stars = {number: float(each.stars) for number, each in notes.items() if each.stars}
    return ScoreRows("stars", sample.rows(lambda image: stars.get(image.id, "without stars")), "higher", "1 to 5")


def _of_images(sample: Sample) -> Iterable[ScoreRows]:
    """Yield what an image itself knows: drift, seconds, and cost in each unit."""
    drift = sample.rows(lambda image: "without a mask" if image.drift is None else image.drift[0])
    yield ScoreRows("drift", drift, "lower", "share of what the mask protects")
    yield ScoreRows("seconds", sample.rows(lambda image: "not known" if image.seconds is None else float(image.seconds)), "lower")
    units = sorted({image.cost.unit for image in sample.images if image.cost.amount is not None})
    for unit in units:
        rows = sample.rows(functools.partial(_cost, unit))
        yield ScoreRows(f"cost {unit}" if len(units) > 1 else "cost", rows, "lower", unit)


def _cost(unit: str, image: GeneratedImage) -> float | str:
    if image.cost.amount is None:
        return "of unknown cost"
    return float(image.cost.amount) if image.cost.unit == unit else "in another unit"
