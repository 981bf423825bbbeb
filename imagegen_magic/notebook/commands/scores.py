"""`%imagegen score`, `scores` and `scorers`: measure the pictures of a variable, and show what was measured."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.display import display

from imagegen_magic.engine import api, loop
from imagegen_magic.engine.ledger import scores as stored
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.humanize import pluralize, truncate
from imagegen_magic.notebook.arguments import confirmation, image_selector
from imagegen_magic.notebook.context import has_kernel
from imagegen_magic.notebook.output.display import Canvas, line
from imagegen_magic.notebook.output.tables import Cell, Note, Page, Table
from imagegen_magic.notebook.output.thumbnails import thumbnail
from imagegen_magic.studies.scores import builtin
from imagegen_magic.studies.scores.scorer import Scorer, similar
from imagegen_magic.studies.scores.scoring import ScoringPlan, perform, plan
from imagegen_magic.studies.scores.table import ScoreColumn, Scores, table_of
from imagegen_magic.studies.sweeps.result import short

if TYPE_CHECKING:
    from imagegen_magic.engine.settings import Settings
    from imagegen_magic.notebook.context import NotebookContext
    from imagegen_magic.result import GeneratedImage

_INTERVAL = 0.2  # seconds between two updates of the progress line
_MAX_ROWS = 40  # pictures that the table shows
_EDGE, _BYTES = 96, 3_000  # of a picture in the table: pixels, bytes


def score(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Measure the pictures of a variable with scorers; what is known is not measured again."""
    name, *words = arguments
    if not words:
        raise UsageError(f"Name a scorer: a function of this notebook, or one of {', '.join(builtin.NAMES)}.")
    run(context, name, words, flags, context.settings())


def run(context: NotebookContext, name: str, words: Sequence[str], flags: Collection[str], settings: Settings) -> None:
    """Measure the pictures of a variable with the named scorers, after a question if that costs much."""
    images, value = image_selector.variable_images(context, name)
    scorers = [find(context, word) for word in words]
    sweep = int(getattr(value, "study", 0) or 0)
    planned = loop.run(plan(images, *scorers, sweep=sweep, fresh="--fresh" in flags, retry="--retry" in flags, settings=settings))
    if "--dry-run" in flags:
        display(Page(Note("Dry run: nothing was measured, nothing is charged."), _plan_table(planned)))
        return
    _confirm(planned, settings, yes="--yes" in flags)
    progress = _Progress(context)
    found = loop.run(perform(planned, settings, progress))
    progress.end(_summary(planned, found))


def find(context: NotebookContext, word: str) -> Scorer | Any:
    """Return the scorer that a word names: a function of the notebook, or a built-in one. Raises UsageError."""
    value = context.shell.user_ns.get(word)
    if callable(value) or isinstance(value, Scorer):
        return value
    try:
        if found := builtin.builtin(word):
            return found
    except UnsupportedOption as error:
        raise UsageError(f"{error.what}: {error.hint}.") from None
    functions = [key for key, each in context.shell.user_ns.items() if isinstance(each, Scorer)]
    near = similar(word, [*builtin.NAMES, *functions])
    hint = f"did you mean {near[0]}?" if near else f"define it in a cell, or take one of {', '.join(builtin.NAMES)}."
    raise UsageError(f"There is no scorer {word}: {hint}")


def _plan_table(planned: ScoringPlan) -> Table:
    rows = [(each.scorer, str(each.new), str(each.known), str(each.failed), str(each.price)) for each in planned.estimates]
    return Table(("scorer", "to measure", "known", "failed before", "price"), rows)


def _confirm(planned: ScoringPlan, settings: Settings, *, yes: bool) -> None:
    """Ask before paid scorers as a sweep does; free ones need no question."""
    paid = [run for run in planned.runs if run.scorer.price is not None and run.todo]
    if not paid:
        return
    calls = sum(len(numbers) for run in paid for numbers in run.todo)
    unknown = sum(len(run.todo) for run in paid if run.estimate.price.amount is None)
    known = [cost for cost in planned.price if cost.amount is not None]
    confirmation.require(list(confirmation.reasons(calls, known, unknown, settings, what="paid score")), "Score them?", yes=yes)


class _Progress:
    """One line that shows how far each scorer is, replaced by the summary at the end."""

    def __init__(self, context: NotebookContext) -> None:
        self._shell = context.shell
        self._canvas = Canvas(context.shell) if has_kernel(context.shell) else None
        self._id = ""
        self._counts: dict[str, tuple[int, int]] = {}
        self._shown = 0.0

    def __call__(self, scorer: str, done: int, total: int) -> None:
        self._counts[scorer] = (done, total)
        if self._canvas is None or time.monotonic() < self._shown + _INTERVAL:
            return
        self._shown = time.monotonic()
        self._put("Scoring: " + ", ".join(f"{name} {count} of {all_}" for name, (count, all_) in self._counts.items() if all_))

    def _put(self, text: str) -> None:
        if self._canvas is None:
            print(text)
        elif self._id:
            self._canvas.update(self._id, line(text))
        else:
            self._id = self._canvas.show(line(text))

    def end(self, text: str) -> None:
        """Show the summary in place of the progress."""
        self._put(text)


def _summary(planned: ScoringPlan, found: Scores) -> str:
    parts = []
    for run in planned.runs:
        columns = [column for column in found.columns.values() if column.scorer == run.scorer.name]
        failed = len({image.id for image, column, _ in found.failed if found[column].scorer == run.scorer.name})
        measured = len({number for column in columns for number in column.numbers})
        new = f", {len(run.todo)} of them now" if run.todo and run.known else "" if run.todo else ", all known before"
        broken = f", {failed} failed" if failed else ""
        parts.append(f"{run.scorer.name}: {measured} of {pluralize(len(planned.images), 'picture')} measured{new}{broken}")
    return ". ".join(parts) + "."


def scores(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Show one row for each picture with its scores; with --failed, why values are missing."""
    images, value = image_selector.variable_images(context, arguments[0])
    found = loop.run(table_of(images, int(getattr(value, "study", 0) or 0), api.ledger(context.settings())))
    if not found:
        print(f"{arguments[0]} has no scores yet: %imagegen score {arguments[0]} SCORER measures.")
        return
    display(_failures(found, arguments[0]) if "--failed" in flags else Page(*_tables(found, arguments[0])))


def _failures(found: Scores, name: str) -> Page:
    if not found.failed:
        return Page(Note(f"No score of {name} failed."))
    rows = [(f"@{image.id}", column, truncate(why, 300)) for image, column, why in found.failed]
    return Page(Table(("picture", "score", "why it failed"), rows), Note(f"%imagegen score {name} SCORER --retry measures these again."))


def _tables(found: Scores, name: str) -> Iterator[Table | Note]:
    heads = ["id", "picture", *(_head(column) for column in found.columns.values())]
    rows: list[list[str | Cell]] = []
    for image in found.images[:_MAX_ROWS]:
        values = [column.text(image) for column in found.columns.values()]
        rows.append([f"@{image.id}", _picture(image, found), *values])
    yield Table(heads, rows)
    if (rest := len(found.images) - _MAX_ROWS) > 0:
        yield Note(f"… and {pluralize(rest, 'more picture')}; {name}.scores.rows() has all.")
    if found.failed:
        yield Note(f"{pluralize(len(found.failed), 'value')} failed: %imagegen scores {name} --failed shows why.")


def _head(column: ScoreColumn) -> str:
    return f"{column.name} ({column.better} is better)" if column.better else column.name


def _picture(image: GeneratedImage, found: Scores) -> Cell:
    combination = found.combinations.get(image.id) or {}
    label = " · ".join(map(short, combination.values())) or truncate(image.request.prompt, 50)
    return Cell(label, picture=thumbnail(image, _EDGE, _BYTES), alt=image.request.prompt)


def scorers(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Show the scorers that were used, each in its latest version, and those that come with the package."""
    ledger = api.ledger(context.settings())
    used = {each.name: each for each in loop.run(stored.scorers(ledger))}
    counts = loop.run(stored.counts(ledger))
    rows = [
        (each.name, each.version or each.fingerprint[:6], each.kind, each.better or "–", *map(str, counts.get(each.id, (0, 0))))
        for each in reversed(used.values())
    ]
    tables: Iterable[Table] = [Table(("scorer", "version", "kind", "better", "measured", "failed"), rows, "Used")] if rows else []
    names = ", ".join(name for name in builtin.NAMES if name not in used)
    display(Page(*tables, Note(f"Built in: {names}."), Note("Any function of a picture is a scorer too: help(imagegen_magic.scorer).")))
