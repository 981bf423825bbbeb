"""The contract of a gateway: what it can do, what would be sent, what its answers mean.

Everything here and in the gateways' own files is pure: no network, no clock, no disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from imagegen_magic.errors import ImageGenError
from imagegen_magic.request import ImageRequest
from imagegen_magic.result import Cost

Pixels = tuple[int, int]


@dataclass(frozen=True, slots=True)
class PixelRule:
    """What explicit pixels must obey: edges in multiples of `step`, at most `longest`, long:short at most `ratio`, and an area within bounds."""

    step: int = 16
    longest: int = 3840
    ratio: float = 3.0
    least_area: int = 655_360
    most_area: int = 8_294_400


@dataclass(frozen=True, kw_only=True)
class Model:
    """One model's abilities as dated data.

    `sizes` maps ratio -> tier (lower case) -> (width, height) in pixels; a pair that is missing cannot be had.
    `also` lists further pixels that the gateway may answer with for a (ratio, tier). An empty tuple of values means
    that the gateway has no such field. `checked` is the ISO date of `document`.
    """

    name: str
    sizes: Mapping[str, Mapping[str, Pixels]]
    also: Mapping[tuple[str, str], tuple[Pixels, ...]] = field(default_factory=dict)
    auto_size: bool = False
    default_size: str = "1:1"
    pixel_rule: PixelRule | None = None
    odd_pixels: tuple[Pixels, ...] = ()
    resolutions: tuple[str, ...] = ()
    qualities: tuple[str, ...] = ()
    default_quality: str | None = None
    backgrounds: tuple[str, ...] = ()
    moderations: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    compressible: tuple[str, ...] = ()
    max_n: int = 1
    max_references: int = 0
    mask: bool = False
    callback: bool = False
    max_prompt: int | None = None
    retired: str | None = None
    checked: str
    document: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request to make: `path` is joined to the base URL, `json` is its body."""

    method: str
    path: str
    json: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What will happen, before a cent is spent.

    `request` is what was asked with every default filled in; `calls` are the submissions and `pictures` how many
    pictures each makes; `pixels` lists the (width, height) that count as what was asked, first the nominal, empty where
    nobody can know; `mime_type` and `alpha` what the bytes should be (None: nobody can know); `tier` is the class
    whose durations are alike: (quality, pixels tier).
    """

    provider: str
    model: Model
    request: ImageRequest
    calls: tuple[Call, ...]
    pictures: tuple[int, ...]
    pixels: tuple[Pixels, ...]
    mime_type: str | None
    alpha: bool | None
    tier: tuple[str, str]
    price: Cost
    warnings: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many pictures in all."""
        return sum(self.pictures)


@dataclass(frozen=True, slots=True)
class Submission:
    """An accepted task: its id, what the gateway says of the cost, and its estimate of the duration in seconds."""

    task_id: str
    cost: Cost = Cost()
    estimated_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not finished: the gateway's own word, and how far it is (0..1) where it tells."""

    word: str
    fraction: float | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """Finished: the pictures' addresses, when they expire (epoch seconds), the cost, and the gateway's own duration in seconds."""

    pictures: tuple[str, ...]
    expires_at: float | None = None
    cost: Cost = Cost()
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """Finished without a picture, and why."""

    error: ImageGenError


TaskState = Waiting | Done | Failed


@dataclass(frozen=True, slots=True)
class Cadence:
    """How often this gateway's page allows to look: seconds between looks, seconds before the first, tasks per batch (0: no batch query)."""

    least: float = 3.0
    first: float = 3.0
    batch: int = 0


class Provider:
    """A gateway: class attributes say what it is, methods what it would send and what its answers mean.

    `answer` in all readers is what came: decoded JSON, or the text where it was no JSON.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    base_url: ClassVar[str]
    key_variable: ClassVar[str]
    docs_url: ClassVar[str] = ""
    models: ClassVar[tuple[Model, ...]]
    cadence: ClassVar[Cadence] = Cadence()
    dialect: ClassVar[str] = ""  # whose wire format the sandbox shall speak for it; its own name where empty

    def model(self, name: str | None = None) -> Model:
        """Return the model of that name, the first where None; raises UnknownProvider."""
        raise NotImplementedError

    def plan(self, request: ImageRequest) -> Plan:
        """Return all that will happen; raises UnsupportedOption where the model cannot do it."""
        raise NotImplementedError

    def read_submission(self, answer: Any) -> Submission:
        """Read the answer to a submission; raises the gateway's refusal, or SubmissionUnknown where no id can be found."""
        raise NotImplementedError

    def task_call(self, task_id: str) -> Call:
        """Return the look at one task."""
        raise NotImplementedError

    def read_task(self, answer: Any) -> TaskState:
        """Read a look's answer; raises APIError where it says nothing of the task."""
        raise NotImplementedError

    def batch_call(self, task_ids: Sequence[str]) -> Call | None:
        """Return one look at many tasks, or None where the gateway has none."""
        return None

    def read_batch(self, answer: Any) -> dict[str, TaskState]:
        """Read a batch look; ids that the gateway left out are missing. Raises APIError where it is unreadable."""
        raise NotImplementedError

    def read_error(self, status: int, answer: Any) -> ImageGenError:
        """Return the error an HTTP answer of 400 and above means; its `refused` (APIError) says whether the request certainly was not accepted."""
        raise NotImplementedError
