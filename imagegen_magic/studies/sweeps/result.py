"""What a sweep gives: its pictures, each at its place between the axes, as a grid, a sheet, or a table."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.records import FrozenDict, Record, frozen
from imagegen_magic.result import GeneratedImage, Generation
from imagegen_magic.secret_patterns import without_queries, without_queries_in
from imagegen_magic.studies.sweeps.axes import OPTIONS

if TYPE_CHECKING:
    from PIL.Image import Image

    from imagegen_magic.imaging.sheet.grid import Content, Sheet

Place = Mapping[str, str]
"""Where a picture stands: the value of each axis."""

_EDGE = 512  # px of a grid's pictures, unless told otherwise
_LABEL = 80  # characters of a value in a table or message
_ACROSS = 8  # values that a grid has side by side, before the longer axis goes down
_NOT_POSSIBLE = "not possible here"


@dataclass(frozen=True, slots=True, repr=False)
class SkippedCombination(Record):
    """A combination that was left out, and why its gateway cannot do it."""

    place: Place
    error: UnsupportedOption

    def __post_init__(self) -> None:
        object.__setattr__(self, "place", frozen(self.place))


@dataclass(frozen=True, slots=True, repr=False)
class SweepResult(Generation):
    """The pictures of a sweep: a Generation that knows the place of each between the axes.

    `prompt` is the text with its slots, `axes` the values of each axis in their order; `places` and `words` belong to the tasks (a
    picture's `task` counts them from 0): their place, and why there is no picture, empty where there is one. `impossible` was left out;
    `study` is the ledger's number, by which `load` finds it again.
    """

    prompt: str = ""
    axes: Mapping[str, tuple[str, ...]] = field(default_factory=FrozenDict)
    places: tuple[Place, ...] = ()
    words: tuple[str, ...] = ()
    impossible: tuple[SkippedCombination, ...] = ()
    study: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "axes", frozen(self.axes))
        object.__setattr__(self, "places", tuple(map(frozen, self.places)))

    def place(self, image: GeneratedImage) -> Place:
        """Return the value of each axis that a picture was made with. Raises UnsupportedOption for one of another sweep."""
        for each in self.images:
            if image is each or (isinstance(image, GeneratedImage) and (image.id == each.id if image.id else image == each)):
                return self.places[each.task]
        raise UnsupportedOption(f"{image!r} is no picture of this sweep", option="image", value=image, hint="give one of its own")

    def at(self, **place: Any) -> tuple[GeneratedImage, ...]:
        """Return the pictures with these values, of all combinations that have them: `at(style="oil", quality="low")`.

        Raises UnsupportedOption for an axis or a value that the sweep does not have.
        """
        wanted = {self._axis(name): self._value(self._axis(name), value) for name, value in place.items()}
        return tuple(image for image in self.images if wanted.items() <= self.places[image.task].items())

    def _axis(self, name: str) -> str:
        if not isinstance(name, str) or name not in self.axes:
            near = difflib.get_close_matches(str(name), self.axes, n=1)
            raise UnsupportedOption(
                f"The sweep has no axis {name}", option="axis", value=name, allowed=list(self.axes), fix={"axis": near[0]} if near else None
            )
        return name

    def _value(self, axis: str, value: Any) -> str:
        text, known = str(value), self.axes[axis]
        if text not in known:
            near = difflib.get_close_matches(text, known, n=1)
            raise UnsupportedOption(
                f"{axis} has no value {text}", option=axis, value=text, allowed=known, fix={axis: near[0]} if near else None
            )
        return text

    def grid(self, rows: str | None = None, columns: str | None = None, *, edge: int | None = _EDGE) -> Image:
        """Return the labelled grid: the axis `rows` down the side, `columns` across the top, further axes as grids beneath one another.

        `edge` bounds each picture, in pixels; None keeps its own. Raises UnsupportedOption for an axis that the sweep does not have, and
        where the grid would be too large, with the edge that fits.
        """
        from imagegen_magic.imaging.sheet import save
        from imagegen_magic.imaging.text import missing_fonts

        sheet = self.sheet(rows, columns)
        missing_fonts.warn(sheet)
        return save.picture(sheet, edge)

    def sheet(self, rows: str | None = None, columns: str | None = None, pictures: Mapping[int, bytes] | None = None) -> Sheet:
        """Return the grid to be drawn in any size; `pictures` are smaller copies to draw it from, by the ledger's id."""
        from imagegen_magic.imaging.sheet.grid import NO_AXIS, Axis, grid

        down, across = self._sides(rows, columns)
        others = [name for name in self.axes if name not in (down, across)]
        layers = list(itertools.product(*(self.axes[name] for name in others)))
        return grid(
            self._cells(down, across, others, pictures or {}),
            Axis(down, self.axes[down], tuple(map(short, self.axes[down]))) if down else NO_AXIS,
            Axis(across, self.axes[across], tuple(map(short, self.axes[across]))) if across else NO_AXIS,
            Axis(", ".join(others), tuple(layers), tuple(", ".join(map(short, layer)) for layer in layers)) if others else NO_AXIS,
            title=self.prompt,
            note=self._note(),
        )

    def _sides(self, rows: str | None, columns: str | None) -> tuple[str, str]:
        """Return the axes down the side and across the top; the empty name where there is none."""
        chosen = [self._axis(name) for name in (rows, columns) if name]
        if len(chosen) == 2 and rows == columns:
            raise UnsupportedOption(f"{rows} cannot be rows and columns", option="columns", value=columns, hint="choose two axes")
        left = [name for name in self.axes if name not in chosen]
        if rows or columns:
            return rows or _first(left), columns or _first(left)
        if len(left) < 2:
            return "", _first(left)
        short, long = sorted(left[:2], key=lambda name: len(self.axes[name]))
        return (short, long) if len(self.axes[long]) <= _ACROSS else (long, short)

    def _cells(self, down: str, across: str, others: Sequence[str], pictures: Mapping[int, bytes]) -> dict[tuple[Any, ...], list[Content]]:
        def key(place: Place) -> tuple[Any, ...]:
            return place.get(down, ""), place.get(across, ""), tuple(place[name] for name in others) if others else ""

        cells: dict[tuple[Any, ...], list[Content]] = {}
        by_task = self._by_task()
        for task, place in enumerate(self.places):
            made: list[Content] = [pictures.get(image.id, image.path) for image in by_task.get(task, ())]
            cells.setdefault(key(place), []).extend(made or [self.words[task] or "missing"])
        for one in self.impossible:
            cells[key(one.place)] = [_NOT_POSSIBLE]
        return cells

    def _by_task(self) -> dict[int, list[GeneratedImage]]:
        by_task: dict[int, list[GeneratedImage]] = {}
        for image in self.images:
            by_task.setdefault(image.task, []).append(image)
        return by_task

    def _note(self) -> str:
        """Return what all pictures have in common."""
        told = [[image.provider + (" (sandbox)" if image.sandbox else ""), image.model] for image in self.images]
        options = [(image.request.quality, image.size_asked) for image in self.images]
        told = [
            [*facts, f"quality {quality}" if quality else "", f"size {size}" if size else ""]
            for facts, (quality, size) in zip(told, options, strict=True)
        ]
        return " · ".join(facts[0] for facts in zip(*told, strict=True) if len(set(facts)) == 1 and facts[0])

    def _title(self) -> str:
        return self.prompt

    def _captions(self) -> tuple[str, ...]:
        return tuple(place_words(self.places[image.task]) or image.path.name for image in self.images)

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with one row a picture: its place, options, prompt, pixels, seconds, cost, and path.

        Raises ModuleNotFoundError where pandas is not installed; `rows()` has the same as plain values.
        """
        try:
            import pandas  # type: ignore[import-untyped,import-not-found,unused-ignore]  # optional
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "to_frame() needs pandas (pip install pandas); rows() gives the same without", name="pandas"
            ) from error
        return pandas.DataFrame(self.rows())

    def rows(self) -> list[dict[str, Any]]:
        """Return one record a picture: the axes, the options as sent, prompt, pixels, seconds, cost (None: unknown), and path.

        Addresses have no query: it may be signed.
        """
        records = [self._record(image) for image in self.images]
        names = dict.fromkeys(name for record in records for name in record)
        return [{name: record.get(name) for name in names} for record in records]

    def _record(self, image: GeneratedImage) -> dict[str, Any]:
        options = {name: value for name, value in image.request.asked().items() if name != "prompt"}
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
            "path": str(image.path),
        }
        place = columns(self.places[image.task], facts)
        return {name: without_queries_in(value) for name, value in {**place, **options, **facts, **place}.items()}

    def __repr__(self) -> str:
        study = f", study {self.study}" if self.study else ""
        return f"<SweepResult of {len(self)} by {self.provider}: {axes_words(self.axes) or 'no axis'}{study}>"


def columns(place: Place, others: Iterable[str]) -> dict[str, str]:
    """Return a place as columns of a table; a slot that is called like one of the `others` is `axis NAME` there."""
    taken = set(others) - set(OPTIONS)  # an option's own column says the same
    return {f"axis {name}" if name in taken else name: value for name, value in place.items()}


def short(value: str) -> str:
    """Return an axis's value as a table or a message shows it: one line of at most 80 characters."""
    line = without_queries(" ".join(value.split()))
    return line if len(line) <= _LABEL else f"{line[: _LABEL - 1].rstrip()}…"


def axes_words(axes: Mapping[str, Sequence[str]]) -> str:
    """Return the axes with how many values each has: `style (3) × quality (2)`."""
    return " × ".join(f"{name} ({len(values)})" for name, values in axes.items())


def place_words(place: Place) -> str:
    """Return a place in one line: `oil · low`."""
    return " · ".join(place.values())


def gathered(places: Iterable[Place], axes: Mapping[str, Sequence[str]], most: int = 12) -> str:
    """Return several places in few words: nothing where it is all of them, what they have in common where they are a product, else each.

    At most `most` are named.
    """
    listed = list(places)
    values = {name: [value for value in axes[name] if any(place[name] == value for place in listed)] for name in axes}
    if len(listed) == math.prod(map(len, values.values())):
        told = [f"{name}={','.join(map(short, some))}" for name, some in values.items() if len(some) < len(axes[name])]
        return " ".join(told)
    shown = [" · ".join(map(short, place.values())) for place in listed[:most]]
    return ", ".join(shown) + (f" and {len(listed) - most} more" if len(listed) > most else "")


def _first(names: Sequence[str]) -> str:
    return names[0] if names else ""
