"""The result of a sweep: its images with their combinations, as a grid, a sheet, or a table."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from imagegen_magic.deprecated import renamed_fields
from imagegen_magic.engine import loop
from imagegen_magic.engine.context import ledger_of
from imagegen_magic.engine.ledger.sweeps import Combination
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.humanize import gateway_name
from imagegen_magic.records import FrozenDict, Record, frozen
from imagegen_magic.result import GeneratedImage, Generation, as_output
from imagegen_magic.secret_patterns import without_queries, without_queries_in
from imagegen_magic.studies.effects.available import Sample, compare
from imagegen_magic.studies.effects.table import Effects
from imagegen_magic.studies.scores.table import Scores, table_of
from imagegen_magic.studies.sweeps.axes import OPTIONS

if TYPE_CHECKING:
    from PIL.Image import Image

    from imagegen_magic.imaging.sheet.grid import Content, Sheet

_EDGE = 512  # pixels of a grid's images by default
_MAX_LABEL = 80  # characters of a value in a table or message
_MAX_ACROSS = 8  # values side by side in a grid; a longer axis goes down the side


@renamed_fields(place="combination")
@dataclass(frozen=True, slots=True, repr=False)
class SkippedCombination(Record):
    """A combination that was left out, and why its gateway cannot do it."""

    combination: Combination
    error: UnsupportedOption

    def __post_init__(self) -> None:
        object.__setattr__(self, "combination", frozen(self.combination))


@dataclass(frozen=True, slots=True, repr=False)
class SweepResult(Generation):
    """The images of a sweep: a Generation with the combination of each image.

    `prompt` is the text with placeholders, `axes` the values of each axis in their order. `places` and `words` belong to the tasks,
    which an image's `task` counts from 0: their combination, and why there is no image, empty if there is one. `impossible` are the
    combinations that were left out. `study` is the number in the ledger, for `load`.
    """

    prompt: str = ""
    axes: Mapping[str, tuple[str, ...]] = field(default_factory=FrozenDict)
    places: tuple[Combination, ...] = ()
    words: tuple[str, ...] = ()
    impossible: tuple[SkippedCombination, ...] = ()
    study: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "axes", frozen(self.axes))
        object.__setattr__(self, "places", tuple(map(frozen, self.places)))

    def place(self, image: GeneratedImage) -> Combination:
        """Return the combination of an image. Raises UnsupportedOption for an image of another sweep."""
        for known in self.images:
            if image is known or (isinstance(image, GeneratedImage) and (image.id == known.id if image.id else image == known)):
                return self.places[known.task]
        raise UnsupportedOption(f"{image!r} is not a picture of this sweep", option="image", value=image, hint="give one of its pictures")

    def at(self, **place: Any) -> tuple[GeneratedImage, ...]:
        """Return the images with these values: `at(style="oil", quality="low")`.

        Raises UnsupportedOption for an axis or a value that the sweep does not have.
        """
        wanted = {self._axis(name): self._value(self._axis(name), value) for name, value in place.items()}
        return tuple(image for image in self.images if wanted.items() <= self.places[image.task].items())

    def _axis(self, name: str) -> str:
        return _known(name, "axis", self.axes, f"The sweep has no axis {name}")

    def _value(self, axis: str, value: Any) -> str:
        return _known(str(value), axis, self.axes[axis], f"{axis} has no value {value}")

    def grid(self, rows: str | None = None, columns: str | None = None, *, edge: int | None = _EDGE, score: str = "") -> Image:
        """Return the labelled grid: the axis `rows` down the side, `columns` across the top, one grid for each value of other axes.

        `edge` bounds each image, in pixels; None keeps its size. With a `score` each image has its value below it. Raises
        UnsupportedOption for an axis or a score that the sweep does not have, and if the grid would be too large, with the edge that fits.
        """
        from imagegen_magic.imaging.sheet import sheet as sheets
        from imagegen_magic.imaging.text import missing_fonts

        sheet = self.sheet(rows, columns, captions=self._score_captions(score) if score else {})
        missing_fonts.warn(sheet.missing_scripts())
        return sheets.to_image(sheet, edge)

    def sheet(
        self,
        rows: str | None = None,
        columns: str | None = None,
        pictures: Mapping[int, bytes] | None = None,
        captions: Mapping[int, str] = FrozenDict(),
    ) -> Sheet:
        """Return the grid as a sheet for any size; `pictures` are smaller copies to draw from, `captions` words below, by ledger id."""
        from imagegen_magic.imaging.sheet.grid import NO_AXIS, Axis, grid

        down, across = self._sides(rows, columns)
        others = [name for name in self.axes if name not in (down, across)]
        layers = list(itertools.product(*(self.axes[name] for name in others)))
        return grid(
            self._cells(down, across, others, pictures or {}, captions),
            Axis(down, self.axes[down], tuple(map(short, self.axes[down]))) if down else NO_AXIS,
            Axis(across, self.axes[across], tuple(map(short, self.axes[across]))) if across else NO_AXIS,
            Axis(", ".join(others), tuple(layers), tuple(", ".join(map(short, layer)) for layer in layers)) if others else NO_AXIS,
            title=self.prompt,
            note=self._note(),
        )

    def _sides(self, rows: str | None, columns: str | None) -> tuple[str, str]:
        """Return the axes down the side and across the top; the name is empty if there is none."""
        chosen = [self._axis(name) for name in (rows, columns) if name]
        if len(chosen) == 2 and rows == columns:
            raise UnsupportedOption(f"{rows} cannot be rows and columns", option="columns", value=columns, hint="choose two axes")
        left = [name for name in self.axes if name not in chosen]
        if rows or columns:
            return rows or next(iter(left), ""), columns or next(iter(left), "")
        if len(left) < 2:
            return "", next(iter(left), "")
        short, long = sorted(left[:2], key=lambda name: len(self.axes[name]))
        return (short, long) if len(self.axes[long]) <= _MAX_ACROSS else (long, short)

    def _score_captions(self, score: str) -> dict[int, str]:
        """Return the words for a score of each image: its value, or why it has none."""
        scores = self.scores
        values = scores.measured(score)
        missing = {image.id: scores[score].text(image) for image in self.images} if score in scores.columns else {}
        return {
            image.id: f"{score} {values[image.id]:.4g}" if image.id in values else f"{score} {missing.get(image.id, '–')}"
            for image in self.images
        }

    def _cells(
        self, down: str, across: str, others: Sequence[str], pictures: Mapping[int, bytes], captions: Mapping[int, str]
    ) -> dict[tuple[Any, ...], list[Content]]:
        from imagegen_magic.imaging.sheet.grid import Tile

        def key(combination: Combination) -> tuple[Any, ...]:
            sides = combination.get(down, ""), combination.get(across, "")
            return (*sides, tuple(combination[name] for name in others)) if others else sides

        cells: dict[tuple[Any, ...], list[Content]] = {}
        for image in self.images:
            cells.setdefault(key(self.places[image.task]), []).append(Tile(pictures.get(image.id, image.file), captions.get(image.id, "")))
        for combination, why in missing(self):
            cells.setdefault(key(combination), []).append(why)
        return cells

    def _note(self) -> str:
        """Return the facts that all images share."""
        facts = [
            (
                gateway_name(image.provider, image.sandbox),
                image.model,
                f"quality {image.request.quality}" if image.request.quality else "",
                f"size {image.size_asked}" if image.size_asked else "",
            )
            for image in self.images
        ]
        return " · ".join(column[0] for column in zip(*facts, strict=True) if len(set(column)) == 1 and column[0])

    def _title(self) -> str:
        return self.prompt

    def _captions(self) -> tuple[str, ...]:
        return tuple(" · ".join(self.places[image.task].values()) or image.file.name for image in self.images)

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with one row per image: its combination, options, prompt, pixels, seconds, cost, and path.

        Raises ModuleNotFoundError if pandas is not installed; `rows()` returns the same as plain values.
        """
        try:
            import pandas  # type: ignore[import-untyped,import-not-found,unused-ignore]  # optional
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "to_frame() needs pandas (pip install pandas); rows() gives the same without", name="pandas"
            ) from error
        return pandas.DataFrame(self.rows())

    @property
    def scores(self) -> Scores:
        """The scores of its images as the ledger has them now; see `imagegen_magic.score`."""
        return loop.run(table_of(self.images, self.study, ledger_of(load())))

    def effects(self, *scores: str, against: Mapping[str, str] | None = None, over: str = "", by: str = "") -> Effects:
        """Return what the axes do to scores, with 95 % intervals; by default to all scores that its images have.

        A score is the name of a scorer, or `votes`, `stars`, `drift`, `seconds` or `cost`. `against` names the baseline of an axis:
        `{"style": "oil"}`. `over` pairs the comparison over the values of an axis, so that it holds for other values of it too; `by` makes
        a table for each value of an axis. Raises UnsupportedOption for an unknown score, axis or value.
        """
        sample = Sample(self.images, {image.id: self.places[image.task] for image in self.images}, missing(self), self.study)
        return loop.run(compare(sample, scores, ledger_of(load()), against=against, over=over, by=by))

    def rows(self) -> list[dict[str, Any]]:
        """Return one record per image: axes, options, prompt, pixels, seconds, cost (None: unknown), path, and `score NAME` of each score.

        URLs have no query, which may be signed.
        """
        scores = self.scores
        records = [{**self._record(image), **scores.of(image)} for image in self.images]
        names = dict.fromkeys(name for record in records for name in record)
        return [{name: record.get(name) for name in names} for record in records]

    def _record(self, image: GeneratedImage) -> dict[str, Any]:
        options = {name: value for name, value in image.request.asked().items() if name != "prompt"}
        options |= {**options.pop("parameters", {}), **({} if image.seed is None else {"seed": image.seed})}
        cost = image.cost
        facts = {
            "prompt": image.request.prompt,
            "provider": image.provider,
            "model": image.model,
            "sandbox": image.sandbox,
            "width": image.width,
            "height": image.height,
            "seconds": image.seconds,
            "cost": None if cost.amount is None else float(cost.amount),
            "cost_unit": cost.unit or None,
            "cost_kind": cost.kind,
            "reused": image.reused,
            "id": image.id,
            "task_id": image.task_id,
            "path": str(image.file),
        }
        axes = columns(self.places[image.task], facts)
        return {name: without_queries_in(value) for name, value in {**axes, **options, **facts, **axes}.items()}

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        return as_output(self, by="progress.sweep_view:mimebundle") if self.images else ({"text/plain": repr(self)}, {})

    def __repr__(self) -> str:
        study = f", study {self.study}" if self.study else ""
        return f"<SweepResult of {len(self)} by {self.provider}: {axes_text(self.axes) or 'no axis'}{study}>"


def missing(result: SweepResult) -> list[tuple[Combination, str]]:
    """Return the combinations without an image, one for each task, and why there is none."""
    found = [(combination, why) for combination, why in zip(result.places, result.words, strict=False) if why]
    return [*found, *((skipped.combination, "not possible here") for skipped in result.impossible)]


def columns(combination: Combination, others: Iterable[str]) -> dict[str, str]:
    """Return a combination as columns of a table; a placeholder with the name of one of the `others` is `axis NAME`."""
    taken = set(others) - set(OPTIONS)  # an option's own column has the same value
    return {f"axis {name}" if name in taken else name: value for name, value in combination.items()}


def short(value: str) -> str:
    """Return a value of an axis for a table or a message: one line of at most 80 characters."""
    line = without_queries(" ".join(value.split()))
    return line if len(line) <= _MAX_LABEL else f"{line[: _MAX_LABEL - 1].rstrip()}…"


def axes_text(axes: Mapping[str, Sequence[str]]) -> str:
    """Return the axes with their numbers of values: `style (3) × quality (2)`."""
    return " × ".join(f"{name} ({len(values)})" for name, values in axes.items())


def summarize(combinations: Iterable[Combination], axes: Mapping[str, Sequence[str]], limit: int = 12) -> str:
    """Return combinations in few words: empty if they are all, the restricted axes if they are a product, else at most `limit` of them."""
    listed = list(combinations)
    found = {name: {combination[name] for combination in listed} for name in axes}
    values = {name: [value for value in axes[name] if value in found[name]] for name in axes}
    if len(listed) == math.prod(map(len, values.values())):
        return " ".join(f"{name}={','.join(map(short, some))}" for name, some in values.items() if len(some) < len(axes[name]))
    shown = [" · ".join(map(short, combination.values())) for combination in listed[:limit]]
    return ", ".join(shown) + (f" and {len(listed) - limit} more" if len(listed) > limit else "")


def _known(name: Any, option: str, allowed: Collection[str], what: str) -> str:
    """Return a name that is allowed. Raises UnsupportedOption with the most similar one."""
    if isinstance(name, str) and name in allowed:
        return name
    near = difflib.get_close_matches(str(name), allowed, n=1)
    raise UnsupportedOption(what, option=option, value=name, allowed=list(allowed), fix={option: near[0]} if near else None)
