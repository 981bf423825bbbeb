"""What comes back: money in its own unit, progress on the way, pictures at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from imagegen_magic.errors import ImageGenError, ImageInvalid, ReadError, UnsupportedOption
from imagegen_magic.paths import text_of
from imagegen_magic.records import Record
from imagegen_magic.request import ImageRequest

if TYPE_CHECKING:
    from PIL.Image import Image

    from imagegen_magic.imaging.preview import Preview

Kind = Literal["measured", "reserved", "estimated", "unknown"]
_CERTAINTY: tuple[Kind, ...] = ("measured", "reserved", "estimated", "unknown")


@dataclass(frozen=True, slots=True)
class Cost(Record):
    """An amount in the gateway's own unit (`USD`, `credits`, …), or unknown; never 0 for unknown.

    `kind` says how it is known, `source` by whom and `checked` on which date (ISO). `unknown` counts the parts of a
    sum whose price is not known.
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
    """Return an amount as a person reads it: four decimals at most, `least` of them always; tiny ones with two digits."""
    if amount and abs(amount) < Decimal("0.0001"):
        return f"{amount:.2g}"
    whole, _, decimals = f"{amount:.4f}".partition(".")
    decimals = decimals.rstrip("0").ljust(least, "0")
    return f"{whole}.{decimals}" if decimals else whole


def total(costs: Iterable[Cost]) -> tuple[Cost, ...]:
    """Add costs within each unit, never across, and never play money to money, which stands first.

    What is unknown is counted in the first sum, or stands alone.
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
    pluralize = Cost(first.amount, first.unit, first.kind, first.source, first.checked, first.unknown + unknown)
    return (pluralize, *others)


Stage = Literal["planned", "submitting", "waiting", "fetching", "saved", "failed", "left"]


@dataclass(frozen=True, slots=True, repr=False)
class Progress(Record):
    """Where one task stands.

    `task` of `tasks` counts from 0; `row` is the ledger's id of the task; `since` the epoch seconds at which it was
    submitted (or planned); `fraction` is 0..1 where the gateway tells one; `usual` the seconds such a task usually
    takes, (low, high), from history; `note` what a person should know now. `left` means: we stopped waiting, the
    gateway did not.
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


@dataclass(frozen=True, slots=True, repr=False)
class GeneratedImage(Record):
    """One picture, whole and on disk.

    `width` and `height` in pixels, from its bytes; `seconds` from submit to finished; `created` epoch seconds; `id` is the ledger's.
    `differences` says in words where it is not what was asked. `reused` says that it was there already, and nothing was spent now;
    `earlier` names the latest picture that was asked for in the very same way before, as (id, epoch seconds); `drift` says how much of
    what a mask protects was changed, as (share of its pixels, mean absolute difference), both 0..1.
    """

    path: Path
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

    @property
    def data(self) -> bytes:
        """The gateway's bytes, untouched. Raises PictureGone (a FileNotFoundError) where the file was moved, ReadError (an OSError)."""
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise ReadError.of(text_of(self.path), error) from None

    def __repr__(self) -> str:
        play = " (sandbox)" if self.sandbox else ""
        name = f" @{self.id}" if self.id else ""
        return f"<GeneratedImage{name} {text_of(self.path)}, {self.width}×{self.height}, by {self.provider} {self.model}{play}>"

    def open(self) -> Image:
        """Return the picture, decoded, as a Pillow image. Raises as `data`, and ImageInvalid where the file was broken since."""
        from imagegen_magic.imaging.decode import reopened

        return reopened(self.data)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        from imagegen_magic.imaging.preview import preview

        try:
            small = self.preview or preview(self.data)
        except (ReadError, ImageInvalid) as error:
            return {"text/plain": f"{self!r}: {error.what}"}, {}
        bundle = {small.mime_type: small.base64, "text/plain": text_of(self.path)}
        return bundle, {small.mime_type: {"width": small.width, "height": small.height}}


@dataclass(frozen=True, slots=True)
class Generation(Record, Sequence[GeneratedImage]):
    """What a cell returns: a sequence of pictures, with what was asked, by whom, its cost and duration.

    `seconds` is the wall time of the whole; `tasks` the gateway's task ids; `errors` what went wrong beside the
    pictures that were made.
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
        """What all of it cost, in the gateway's own unit."""
        return self.costs[0]

    @overload
    def __getitem__(self, index: int) -> GeneratedImage: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[GeneratedImage]: ...
    def __getitem__(self, index: int | slice) -> GeneratedImage | Sequence[GeneratedImage]:
        return self.images[index]

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[GeneratedImage]:
        return iter(self.images)

    def contact_sheet(self, path: str | Path | None = None, *, columns: int | None = None, edge: int | None = None) -> Image | Path:
        """Return all pictures on one sheet, `columns` in a row; or write it to `path` (.png or .pdf) and return that.

        Each picture has its own pixels, or at most `edge`. Raises UnsupportedOption for another suffix, and where the sheet would be too
        large, with the edge that fits; SaveError where the disk refuses.
        """
        from imagegen_magic.imaging.sheet import grid, save
        from imagegen_magic.imaging.text import missing_fonts

        sheet = grid.contact_sheet([image.path for image in self.images], self._captions(), columns, title=self._title())
        missing_fonts.warn(sheet)
        return save.picture(sheet, edge) if path is None else save.write(sheet, path, edge)

    def _title(self) -> str:
        return self.request.prompt

    def _captions(self) -> tuple[str, ...]:
        return tuple(image.path.name for image in self.images)

    def __repr__(self) -> str:
        paths = ", ".join(str(image.path) for image in self.images)
        return f"<Generation of {len(self)} by {self.provider}: {paths}>"


def pictures_in(value: object, option: str = "images") -> list[GeneratedImage]:
    """Return the pictures that a value is or holds: a picture, a Generation, or any iterable of those.

    Raises UnsupportedOption for anything else.
    """
    if isinstance(value, GeneratedImage):
        return [value]
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        return [image for each in value for image in ([each] if isinstance(each, GeneratedImage) else _within(each, option))]
    what = f"A value of type {type(value).__name__} holds no pictures that were made"
    raise UnsupportedOption(what, option=option, value=value, hint="give a Generation, one of its pictures, or a list of pictures")


def _within(value: object, option: str) -> list[GeneratedImage]:
    if isinstance(value, Iterator):  # of itself, perhaps without an end
        value = type(value).__name__
    return pictures_in(value, option)
