"""Scoring: what is not known yet is measured, stored as it comes, and never measured twice."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from imagegen_magic.engine import api, loop
from imagegen_magic.engine.ledger import scores as stored
from imagegen_magic.engine.ledger.ledger import Ledger
from imagegen_magic.engine.ledger.scores import CombinationScoreRow, ScoreRow, StoredScorer
from imagegen_magic.engine.ledger.sweeps import combinations_of
from imagegen_magic.engine.settings import Settings, load
from imagegen_magic.engine.workers.batches import Batches
from imagegen_magic.engine.workers.records import BackendLost, WorkerLost
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.humanize import pluralize
from imagegen_magic.records import Record
from imagegen_magic.result import Cost, GeneratedImage, pictures_in, total
from imagegen_magic.studies.scores import inputs, outcomes, remote
from imagegen_magic.studies.scores.builtin import builtin
from imagegen_magic.studies.scores.outcomes import Outcome
from imagegen_magic.studies.scores.scorer import Scorer, as_scorer
from imagegen_magic.studies.scores.table import Scores, table_of

_CHUNK = 16  # images of a free scorer whose values are stored together
_SAME_FAILURES = 5  # the first so many failures with one reason end a run


@dataclass(frozen=True, slots=True)
class ScoringEstimate(Record):
    """What scoring will do: for each scorer the images to measure, those measured before, those that failed, and the price."""

    scorer: str
    new: int
    known: int
    failed: int
    price: Cost = Cost(Decimal(0), "", "measured")


@dataclass(slots=True)
class ScoringPlan:
    """The images that each scorer measures; made by `plan`, performed by `perform`."""

    images: Mapping[int, GeneratedImage]
    sweep: int
    combinations: Mapping[int, Mapping[str, str]]
    runs: list[ScorerRun] = field(default_factory=list)

    @property
    def estimates(self) -> list[ScoringEstimate]:
        """What each scorer will do."""
        return [run.estimate for run in self.runs]

    @property
    def price(self) -> tuple[Cost, ...]:
        """The sum of the prices of paid scorers in each unit, empty if everything is free."""
        costs = [run.estimate.price for run in self.runs if run.scorer.price is not None and run.todo]
        return total(costs) if costs else ()


@dataclass(slots=True)
class ScorerRun:
    """One scorer with the images that it has to measure, as (image ids); a combination's images stand together."""

    scorer: Scorer
    stored: StoredScorer
    todo: list[tuple[int, ...]]
    hashes: Mapping[int, str]
    known: int = 0
    failed: int = 0

    @property
    def estimate(self) -> ScoringEstimate:
        """What it will do."""
        price = self.scorer.price
        if price is not None and price.amount is not None:
            price = Cost(price.amount * len(self.todo), price.unit, price.kind, price.source, price.checked)
        free = Cost(Decimal(0), "", "measured")
        return ScoringEstimate(self.scorer.name, len(self.todo), self.known, self.failed, free if price is None else price)


async def score(
    study: Iterable[GeneratedImage],
    *scorers: Any,
    fresh: bool = False,
    retry: bool = False,
    settings: Settings | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
    workers: Any = None,
) -> Scores:
    """Measure images with scorers and return all their scores, on any running event loop.

    A scorer is a function, see `scorer`, `package:function`, or the name of a built-in one. What is in the ledger is not measured again:
    `fresh` measures all, `retry` also what failed before. A failure is recorded for its image and ends nothing, unless the first five
    images fail for the same reason. `on_progress` gets the scorer's name, the number of images done, and of all. A cancelled run keeps
    what is done. `workers` run free scorers that they can import, as for `generate_all`; paid ones and functions of a cell run here.

    Raises UnsupportedOption before anything runs for what is no scorer, and if a scorer fails everywhere; BudgetExceeded before a paid
    scorer is called.
    """
    settings = (settings or load()).replace("this call", workers=workers)
    sweep = int(getattr(study, "study", 0) or 0)
    planned = await plan(study, *scorers, sweep=sweep, fresh=fresh, retry=retry, settings=settings)
    return await perform(planned, settings, on_progress)


async def plan(
    images: Iterable[GeneratedImage],
    *scorers: Any,
    sweep: int = 0,
    fresh: bool = False,
    retry: bool = False,
    settings: Settings | None = None,
) -> ScoringPlan:
    """Return what `score` will do, without measuring anything; `sweep` is the number of the images' sweep, by default the latest.

    Raises UnsupportedOption.
    """
    settings = settings or load()
    ledger = api.ledger(settings)
    chosen = [as_scorer(each, builtin) for each in scorers]
    if not chosen:
        raise UnsupportedOption("No scorer is named", option="scorer", value="", hint="name a built-in scorer, or give a function")
    known = {image.id: image for image in pictures_in(images) if image.id}
    await stored.recover_calls(ledger)
    made = ScoringPlan(known, *await combinations_of(ledger, list(known), sweep))
    for each in chosen:
        made.runs.append(await _run_of(each, made, ledger, settings, fresh=fresh, retry=retry))
    return made


async def _run_of(scorer: Scorer, made: ScoringPlan, ledger: Ledger, settings: Settings, *, fresh: bool, retry: bool) -> ScorerRun:
    low, high = scorer.range or (None, None)
    packages = ", ".join(scorer.packages)
    facts = (
        scorer.name,
        scorer.version,
        scorer.fingerprint,
        scorer.kind,
        scorer.better,
        low,
        high,
        scorer.source,
        packages,
        " ".join(scorer.inputs),
    )
    registered = await stored.register(ledger, StoredScorer(*facts))
    hashes = {number: await inputs.hash_of(scorer.inputs, image, made.combinations, ledger) for number, image in made.images.items()}
    if scorer.of == "combination":
        return await _combination_run(scorer, registered, made, ledger, fresh=fresh, retry=retry)
    states: dict[int, set[str]] = {}
    for row in await stored.scores_of(ledger, list(made.images), registered.id):
        if row.inputs == hashes[row.picture]:
            states.setdefault(row.picture, set()).add(row.state)
    failed = {number for number, found in states.items() if "failed" in found}
    again = set(states) if fresh else failed if retry else set()
    todo: list[tuple[int, ...]] = [(number,) for number in made.images if number not in states or number in again]
    return ScorerRun(scorer, registered, todo, hashes, len(states) - len(failed), len(failed))


async def _combination_run(
    scorer: Scorer, registered: StoredScorer, made: ScoringPlan, ledger: Ledger, *, fresh: bool, retry: bool
) -> ScorerRun:
    """Return the run of a scorer of combinations: one is measured again if its images are other ones than before."""
    if not made.sweep:
        what = f"The scorer {scorer.name} measures combinations, and these pictures are of no sweep"
        raise UnsupportedOption(what, option="scorer", value=scorer.name, hint="give a sweep")
    groups: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for number in made.images:
        groups.setdefault(tuple(sorted(made.combinations.get(number, {}).items())), []).append(number)
    rows = await stored.combination_scores_of(ledger, made.sweep, registered.id)
    known = {row.pictures: row.state for row in rows}
    todo = [
        tuple(numbers)
        for numbers in groups.values()
        if fresh or tuple(numbers) not in known or (retry and known[tuple(numbers)] == "failed")
    ]
    failed = sum(known.get(tuple(numbers)) == "failed" for numbers in groups.values())
    return ScorerRun(scorer, registered, todo, {}, len(groups) - len(todo), failed)


async def perform(planned: ScoringPlan, settings: Settings, on_progress: Callable[[str, int, int], None] | None = None) -> Scores:
    """Measure what a plan has, and return all scores of its images. Raises as `score` does."""
    ledger = api.ledger(settings)
    unknown_price = settings.get("unknown_price")
    for run in planned.runs:
        if run.scorer.price is not None and run.todo:
            check = stored.check_scoring_budget(ledger, run.scorer.price, sum(map(len, run.todo)), unknown_price)
            await ledger.run(check, writes=False)
    distant = [run for run in planned.runs if run.todo and remote.address_of(run.scorer)]
    images = [planned.images[number] for run in distant for group in run.todo for number in group]
    scorers = [run.scorer for run in distant]
    workers = await loop.await_on_engine(remote.workers_of(settings, images, scorers)) if distant else None
    jobs = [_Scoring(run, planned, ledger, settings, on_progress, workers) for run in planned.runs]
    tasks = [asyncio.ensure_future(job.run()) for job in jobs]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return await table_of(list(planned.images.values()), planned.sweep, ledger)


class _Scoring:
    """One scorer at work: as many calls in parallel as it allows, each stored as it ends."""

    def __init__(
        self,
        run: ScorerRun,
        planned: ScoringPlan,
        ledger: Ledger,
        settings: Settings,
        on_progress: Callable[[str, int, int], None] | None,
        workers: Batches | None,
    ) -> None:
        self._workers = workers if remote.address_of(run.scorer) else None
        self._run, self._scorer, self._planned, self._ledger, self._settings = run, run.scorer, planned, ledger, settings
        self._on_progress = on_progress
        self._done = 0
        self._first_errors: list[str] = []

    async def run(self) -> None:
        """Measure everything."""
        self._report(0)
        chunks = iter(list(_batched(self._run.todo, self._chunk_size)))
        at_once = self._scorer.at_once if self._workers is None else self._workers.slots
        calls = [asyncio.ensure_future(self._work(chunks)) for _ in range(min(at_once, max(1, len(self._run.todo))))]
        try:
            await asyncio.gather(*calls)
        finally:
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    @property
    def _chunk_size(self) -> int:
        if self._scorer.batch:
            return self._scorer.batch
        return 1 if self._scorer.price is not None or self._scorer.of == "combination" or self._is_async else _CHUNK

    @property
    def _is_async(self) -> bool:
        function = self._scorer.function
        return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004

    async def _work(self, chunks: Iterator[tuple[tuple[int, ...], ...]]) -> None:
        for chunk in chunks:
            if self._scorer.of == "combination":
                await self._measure_combination(chunk[0])
            else:
                await self._measure_images([number for (number,) in chunk])
            self._report(len(chunk))
            self._stop_if_all_fail()

    def _report(self, more: int) -> None:
        self._done += more
        if self._on_progress is not None:
            self._on_progress(self._scorer.name, self._done, len(self._run.todo))

    async def _measure_images(self, numbers: Sequence[int]) -> None:
        if self._scorer.price is not None:
            return await self._measure_paid(numbers, self._scorer.price)
        rows: list[ScoreRow] = []
        try:
            for group in [list(numbers)] if self._scorer.batch or self._workers else [[number] for number in numbers]:
                rows += await self._rows(group)
        finally:  # also what was measured before a cancellation
            if rows:
                await asyncio.shield(stored.record_scores(self._ledger, rows))
        return None

    async def _measure_paid(self, numbers: Sequence[int], price: Cost) -> None:
        calls = await stored.begin_calls(self._ledger, self._run.stored.id, numbers, price, self._settings.get("unknown_price"))
        try:
            rows = await self._rows(numbers)
        except asyncio.CancelledError:
            cut_off = stored.interrupt_calls(self._ledger, dict(zip(calls, numbers, strict=True)), self._run.stored.id, self._run.hashes)
            await asyncio.shield(cut_off)
            raise
        costs = [row.cost for row in rows if row.cost.amount is not None]
        cost = total(costs)[0].share(len(numbers)) if costs else None
        await asyncio.shield(stored.record_scores(self._ledger, rows, calls, cost))

    async def _rows(self, numbers: Sequence[int]) -> list[ScoreRow]:
        """Call the scorer once, and return the values of each image."""
        started = time.perf_counter()
        found = await self._call(numbers)
        seconds = (time.perf_counter() - started) / len(numbers)
        rows = []
        for number, values in zip(numbers, found, strict=True):
            self._note_errors(values)
            rows += [self._row(number, measure, outcome, seconds) for measure, outcome in values.items()]
        return rows

    def _row(self, number: int, measure: str, outcome: Outcome, seconds: float) -> ScoreRow:
        facts = (number, self._run.stored.id, self._run.hashes.get(number, ""), measure, outcome.state, outcome.value)
        return ScoreRow(*facts, outcome.reason, outcome.error, seconds, outcome.cost or Cost())

    async def _call(self, numbers: Sequence[int]) -> list[dict[str, Outcome]]:
        images = [self._planned.images[number] for number in numbers]
        try:
            arguments = [await self._inputs_of(image) for image in images]
            if self._workers is not None:
                return await self._measured_by(self._workers, images, arguments)
            if not self._scorer.batch:
                return [outcomes.read(await self._returned(image, **each)) for image, each in zip(images, arguments, strict=True)]
            keywords = {name: [each[name] for each in arguments] for name in self._scorer.inputs}
            returned = list(await self._returned(images, **keywords))
        except Exception as error:  # a scorer is anybody's code
            return [{"": outcomes.failed(error)} for _ in numbers]
        if len(returned) != len(numbers):
            what = f"it returned a list of {len(returned)} values for {pluralize(len(numbers), 'picture')}"
            return [{"": outcomes.failed(what)} for _ in numbers]
        return [outcomes.read(each) for each in returned]

    async def _measured_by(
        self, workers: Batches, images: Sequence[GeneratedImage], arguments: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Outcome]]:
        """Return the outcomes that a worker finds; an image that ends its worker fails, and without workers this process measures."""
        task = remote.task_of(self._scorer, images, arguments)
        try:
            found = await loop.await_on_engine(workers.compute(remote.score_all, task, self._scorer.resources))
        except WorkerLost as lost:
            if len(images) == 1:
                return [{"": outcomes.failed(f"the worker that measured it ended ({lost})")}]
            alone = [await self._measured_by(workers, [image], [each]) for image, each in zip(images, arguments, strict=True)]
            return [outcome for (outcome,) in alone]
        except BackendLost:
            self._workers = None
            return await self._call([image.id for image in images])
        measured: list[dict[str, Outcome]] = found
        return measured

    async def _inputs_of(self, image: GeneratedImage) -> dict[str, Any]:
        return await inputs.values_of(self._scorer.inputs, image, self._planned.combinations, self._ledger, self._settings.home)

    async def _returned(self, subject: Any, **keywords: Any) -> Any:
        if self._is_async:
            return await self._scorer.function(subject, **keywords)
        found = await asyncio.to_thread(self._scorer.function, subject, **keywords)
        return await found if inspect.isawaitable(found) else found

    async def _measure_combination(self, numbers: tuple[int, ...]) -> None:
        images = [self._planned.images[number] for number in numbers]
        try:
            values = outcomes.read(await self._returned(images))
        except Exception as error:  # a scorer is anybody's code
            values = {"": outcomes.failed(error)}
        self._note_errors(values)
        combination = self._planned.combinations.get(numbers[0], {})
        rows = [
            CombinationScoreRow(
                self._planned.sweep,
                self._run.stored.id,
                combination,
                measure,
                outcome.state,
                outcome.value,
                numbers,
                outcome.reason,
                outcome.error,
            )
            for measure, outcome in values.items()
        ]
        await asyncio.shield(stored.record_combination_scores(self._ledger, rows))

    def _note_errors(self, values: Mapping[str, Outcome]) -> None:
        if len(self._first_errors) < _SAME_FAILURES:
            self._first_errors.append(next((each.error for each in values.values() if each.state == "failed"), ""))

    def _stop_if_all_fail(self) -> None:
        errors = set(self._first_errors)
        if len(self._first_errors) == _SAME_FAILURES and len(errors) == 1 and (error := errors.pop()):
            what = f"{self._scorer.name} failed for the first {_SAME_FAILURES} pictures for the same reason: {error}"
            hint = "the run ended there and nothing more was charged; mend the scorer, then score again with retry"
            raise UnsupportedOption(what, option="scorer", value=self._scorer.name, hint=hint)


def _batched(items: Sequence[Any], size: int) -> Iterator[tuple[Any, ...]]:
    iterator = iter(items)
    while chunk := tuple(itertools.islice(iterator, size)):
        yield chunk
