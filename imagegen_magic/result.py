"""The results of a request: costs in their own units, the progress of its tasks, and its images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

from imagegen_magic.errors import ImageGenError, ReadError, UnsupportedOption
from imagegen_magic.paths import Location, StorePath, text_of
from imagegen_magic.records import Record
from imagegen_magic.request import ImageRequest

if TYPE_CHECKING:
    from PIL.Image import Image

    from imagegen_magic.imaging.preview import Preview

Kind = Literal["measured", "calculated", "reserved", "estimated", "unknown"]
_CERTAINTY: tuple[Kind, ...] = ("measured", "calculated", "reserved", "estimated", "unknown")


@dataclass(frozen=True, slots=True)
class Cost(Record):
    """An amount in the gateway's own unit (`USD`, `credits`, …), or unknown; never 0 for unknown.

    `kind` is how it is known (`calculated`: from measured tokens at the service's listed prices), `source` where from, and `checked` on
    which date (ISO). `unknown` counts the parts of a sum whose price is unknown.
    """

    amount: Decimal | None = None
    unit: str = ""
    kind: Kind = "unknown"
    source: str = ""
    checked: str = ""
    unknown: int = 0

    def __str__(self) -> str:
        if self.amount is None:
            return "cost unknown"
        if not self.unit:
            return "nothing spent"
        text = f"${_round(self.amount, 2)}" if self.unit == "USD" else f"{_round(self.amount, 0)} {self.unit}"
        mark = {"estimated": "about ", "reserved": "reserved "}.get(self.kind, "")
        money = f"{text} of play money" if self.source == "sandbox" else text
        return f"{mark}{money}" + (f" + {self.unknown} unknown" if self.unknown else "")

    def share(self, parts: int) -> Cost:
        """Return what one of `parts` equal pictures costs."""
        if self.amount is None or parts < 2:
            return self
        return Cost(self.amount / parts, self.unit, self.kind, self.source, self.checked)


def _round(amount: Decimal, least: int) -> str:
    """Return an amount as text: at most four decimals, at least `least`; below 0.0001 two significant digits."""
    if amount and abs(amount) < Decimal("0.0001"):
        return f"{amount:.2g}"
    whole, _, decimals = f"{amount:.4f}".partition(".")
    decimals = decimals.rstrip("0").ljust(least, "0")
    return f"{whole}.{decimals}" if decimals else whole


def total(costs: Iterable[Cost]) -> tuple[Cost, ...]:
    """Return the sum of the costs of each unit; play money of the sandbox has sums of its own, after the others.

    Unknown costs are counted in the first sum; without one, the result is one unknown cost.
    """
    sums: dict[tuple[bool, str], Cost] = {}
    unknown = 0
    for cost in costs:
        if cost.amount is None:
            unknown += 1
            continue
        kind_of_money = (cost.source == "sandbox", cost.unit)
        before = sums.get(kind_of_money)
        if before is None or before.amount is None:
            sums[kind_of_money] = cost
            continue
        kind = max(before.kind, cost.kind, key=_CERTAINTY.index)
        amount, parts = before.amount + cost.amount, before.unknown + cost.unknown
        sums[kind_of_money] = Cost(amount, cost.unit, kind, cost.source, cost.checked, parts)
    if not sums:
        return (Cost(),)
    first, *others = (sums[name] for name in sorted(sums, key=lambda name: name[0]))
    return (replace(first, unknown=first.unknown + unknown), *others)


Stage = Literal["planned", "submitting", "waiting", "fetching", "saved", "failed", "left"]


class StageInfo(NamedTuple):
    """One stage of a task: its text in a row and in a count, whether the task has ended, and whether its request was sent."""

    text: str
    counted: str
    ended: bool
    sent: bool


STAGES: dict[Stage, StageInfo] = {
    "saved": StageInfo("saved", "saved", True, True),
    "fetching": StageInfo("fetching", "fetching", False, True),
    "waiting": StageInfo("waiting", "waiting", False, True),
    "submitting": StageInfo("submitting", "submitting", False, False),
    "planned": StageInfo("waiting for its turn", "to come", False, False),
    "failed": StageInfo("failed", "failed", True, True),
    "left": StageInfo("left to the service", "left", True, True),
}
"""Every stage, in the order in which messages count them. `left`: the wait ended, and the task continues at the gateway."""


@dataclass(frozen=True, slots=True, repr=False)
class Progress(Record):
    """The progress of one task.

    `stage` is one of `STAGES`. `task` of `tasks` counts from 0; `row` is the ledger's id of the task; `since` is when it was submitted,
    else planned, in epoch seconds. `fraction` is 0..1, or None if the gateway reports none. `usual` is the range of seconds that such a
    task takes, (low, high), from earlier ones. `note` is text for the user. `preview` is a first view of the picture that is being made.
    """

    stage: Stage
    task: int
    tasks: int
    row: int
    since: float
    fraction: float | None = None
    usual: tuple[float, float] | None = None
    note: str = ""
    error: ImageGenError | None = None
    preview: Preview | None = None


@dataclass(frozen=True, slots=True, repr=False)
class GeneratedImage(Record):
    """One complete image, on the disk or in a store.

    `path` is its file on the disk, None if it is in a store; `location` is that path as text, or the address in the store.

    `width` and `height` are in pixels, read from its bytes; `seconds` from the submission to the end; `created` in epoch seconds; `id`
    is the ledger's. `differences` names in text what differs from the request. `reused` means that it existed and cost nothing now.
    `earlier` is the latest image of an identical request, as (id, epoch seconds). `drift` is the change of what a mask protects, as (share
    of its pixels, mean absolute difference), both 0..1. `url` may be signed: no repr shows its query, but `dataclasses.asdict`, with
    which pandas makes a DataFrame of images, copies it whole. `unchecked` names what the model's page refuses and was sent on request.
    `seed` is that with which it was made, requested or reported by the service, None if it is not known. `text` is what the service
    wrote beside it; a reused image has none.
    """

    path: Path | None
    url: str
    width: int
    height: int
    mime_type: str
    size_asked: str
    request: ImageRequest
    provider: str
    model: str
    task_id: str
    cost: Cost
    created: float
    seconds: float | None = None
    id: int = 0
    task: int = 0
    sandbox: bool = False
    differences: tuple[str, ...] = ()
    reused: bool = False
    earlier: tuple[int, float] | None = None
    drift: tuple[float, float] | None = None
    preview: Preview | None = field(default=None, repr=False, compare=False)
    unchecked: tuple[str, ...] = ()
    seed: int | None = None
    text: str = ""
    location: str = ""

    def __post_init__(self) -> None:
        if self.path is not None:
            object.__setattr__(self, "location", text_of(self.path))

    @property
    def file(self) -> Location:
        """The file: a Path, or a StorePath, which has the same attributes for reading."""
        return StorePath(self.location) if self.path is None else self.path

    @property
    def data(self) -> bytes:
        """The gateway's bytes, unchanged. Raises PictureGone (a FileNotFoundError) if the file was moved, else ReadError (an OSError)."""
        try:
            return self.file.read_bytes()
        except OSError as error:
            raise ReadError.of(self.location, error) from None

    def __repr__(self) -> str:
        play = " (sandbox)" if self.sandbox else ""
        name = f" @{self.id}" if self.id else ""
        return f"<GeneratedImage{name} {self.location}, {self.width}×{self.height}, by {self.provider} {self.model}{play}>"

    def open(self) -> Image:
        """Return the decoded Pillow image. Raises as `data`, and ImageInvalid if the file is damaged."""
        from imagegen_magic.imaging.decode import reopened

        return reopened(self.data)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        try:
            self.file.stat()
        except OSError as error:
            return {"text/plain": f"{self!r}: {ReadError.of(self.location, error).what}"}, {}
        return as_output((self,))

    def _mime_(self) -> tuple[str, str]:
        """Return the picture as HTML for marimo, which cannot format a list of objects that have several types (in 0.25)."""
        bundle, _ = self._repr_mimebundle_()
        return "text/html", bundle.get("text/html") or escape(bundle["text/plain"])


def file_fields(file: Location) -> dict[str, Any]:
    """Return the fields of a GeneratedImage that name its file."""
    return {"path": file if isinstance(file, Path) else None, "location": text_of(file)}


class Images(tuple[GeneratedImage, ...]):
    """Some images of a Generation: a tuple that shows itself as a cell shows its images."""

    __slots__ = ()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        return as_output(self) if self else ({"text/plain": repr(self)}, {})


def as_output(images: Sequence[GeneratedImage], by: str = "output.gallery:mimebundle") -> tuple[dict[str, Any], dict[str, Any]]:
    """Return images as an output. The function is found by its name, because the notebook's modules are a layer above."""
    from pkgutil import resolve_name

    bundle: tuple[dict[str, Any], dict[str, Any]] = resolve_name(f"imagegen_magic.notebook.{by}")(images)
    return bundle


@dataclass(frozen=True, slots=True)
class Generation(Record, Sequence[GeneratedImage]):
    """The result of a cell: a sequence of images, with their request, provider, costs and duration.

    `seconds` is the wall time of the request; `tasks` are the gateway's task ids; `errors` are those of the images that are missing.
    """

    images: tuple[GeneratedImage, ...]
    request: ImageRequest
    provider: str
    seconds: float
    tasks: tuple[str, ...]
    errors: tuple[ImageGenError, ...] = field(default=())
    costs: tuple[Cost, ...] = (Cost(),)

    @property
    def cost(self) -> Cost:
        """The cost of the request, in the gateway's own unit."""
        return self.costs[0]

    @overload
    def __getitem__(self, index: int) -> GeneratedImage: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[GeneratedImage]: ...
    def __getitem__(self, index: int | slice) -> GeneratedImage | Sequence[GeneratedImage]:
        return Images(self.images[index]) if isinstance(index, slice) else self.images[index]

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[GeneratedImage]:
        return iter(self.images)

    def contact_sheet(self, path: str | Path | None = None, *, columns: int | None = None, edge: int | None = None) -> Image | Path:
        """Return all images on one sheet, `columns` in a row; or write it to `path` (.png or .pdf) and return that.

        Each image keeps its pixels, or is scaled to at most `edge`. Raises UnsupportedOption for another suffix, and for a sheet that would
        be too large, with the edge that fits; SaveError if it cannot be written.
        """
        from imagegen_magic.imaging.sheet import grid
        from imagegen_magic.imaging.sheet import sheet as sheets
        from imagegen_magic.imaging.text import missing_fonts

        sheet = grid.contact_sheet([image.file for image in self.images], self._captions(), columns, title=self._title())
        missing_fonts.warn(sheet.missing_scripts())
        return sheets.to_image(sheet, edge) if path is None else sheets.write(sheet, path, edge)

    def _mime_(self) -> tuple[str, str]:
        """Return the pictures as HTML for marimo."""
        bundle, _ = self._repr_mimebundle_()
        return "text/html", bundle.get("text/html") or escape(bundle["text/plain"])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        return as_output(self.images) if self.images else ({"text/plain": repr(self)}, {})

    def _title(self) -> str:
        return self.request.prompt

    def _captions(self) -> tuple[str, ...]:
        return tuple(image.file.name for image in self.images)

    def __repr__(self) -> str:
        paths = ", ".join(str(image.file) for image in self.images)
        return f"<Generation of {len(self)} by {self.provider}: {paths}>"


def pictures_in(value: object, option: str = "images") -> list[GeneratedImage]:
    """Return the images of a value: of an image, a Generation, or any iterable of those.

    Raises UnsupportedOption for anything else.
    """
    if isinstance(value, GeneratedImage):
        return [value]
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        return [image for each in value for image in ([each] if isinstance(each, GeneratedImage) else _within(each, option))]
    what = f"A value of type {type(value).__name__} holds no pictures that were made"
    raise UnsupportedOption(what, option=option, value=value, hint="give a Generation, one of its pictures, or a list of pictures")


def _within(value: object, option: str) -> list[GeneratedImage]:
    if isinstance(value, Iterator):  # it may be endless
        value = type(value).__name__
    return pictures_in(value, option)
