"""What a provider sends and what its answers mean, as records. Pure, like everything of the providers."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from imagegen_magic.deprecated import renamed_fields
from imagegen_magic.errors import ImageGenError
from imagegen_magic.providers import parameters
from imagegen_magic.providers.model import Model, Pixels
from imagegen_magic.records import FrozenDict, Record, frozen
from imagegen_magic.request import ImageRequest, LocalImage
from imagegen_magic.result import Cost


@dataclass(frozen=True, slots=True, repr=False)
class Call(Record):
    """One HTTP request to make: `path` is joined to the base URL, `json` is its body.

    `path` may also be an https address on the base URL's host or one of the provider's `key_hosts`. With `form`, the body is a multipart
    form: texts, and placeholders of pictures (alone or in lists) as files. `headers` never hold the key. With `events` the response is a
    stream of server-sent events.
    """

    method: str
    path: str
    json: Mapping[str, Any] | None = None
    form: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=FrozenDict)
    events: bool = False

    def __post_init__(self) -> None:
        for name in ("json", "form", "headers"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, frozen(value))


@renamed_fields(pictures="images_per_call")
@dataclass(frozen=True, slots=True, repr=False)
class Plan(Record):
    """What will be sent and what is expected, before anything is paid for.

    `request` has every default filled in. `calls` are the submissions, `images_per_call` the number of pictures of each. `pixels` lists
    the (width, height) that match the request, the nominal one first; it is empty if they are unknown. `mime_type` and `alpha` are
    what the bytes should be, None if unknown. `tier` is (quality, pixels tier): tasks of one tier take about the same time. `uploads`
    are the pictures of this machine that are uploaded first; until then the calls have their placeholders. `unchecked` are the warnings of
    what the page refuses.
    """

    provider: str
    model: Model
    request: ImageRequest
    calls: tuple[Call, ...]
    images_per_call: tuple[int, ...]
    pixels: tuple[Pixels, ...]
    mime_type: str | None
    alpha: bool | None
    tier: tuple[str, str]
    price: Cost
    warnings: tuple[str, ...] = ()
    uploads: tuple[LocalImage, ...] = ()
    unchecked: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """How many pictures in all."""
        return sum(self.images_per_call)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of the first picture of each call; empty without one."""
        before = itertools.accumulate(self.images_per_call[:-1], initial=0)
        found = (parameters.counted(self.model.parameters, self.request.parameters, done).get("seed") for done in before)
        return tuple(seed for seed in found if type(seed) is int)


@renamed_fields(others="extra_task_ids")
@dataclass(frozen=True, slots=True)
class Submission(Record):
    """An accepted task: its id, its cost if the gateway reports it, and the estimated duration in seconds.

    `extra_task_ids` are the ids of further tasks that the gateway made of the same submission; they are not polled. `finished` is the
    result if the answer has it already; the task then may have no id.
    """

    task_id: str
    cost: Cost = Cost()
    estimated_seconds: float | None = None
    extra_task_ids: tuple[str, ...] = ()
    finished: Succeeded | None = None


@dataclass(frozen=True, slots=True)
class Balance(Record):
    """What an account has: `remaining` (None: unlimited) and `used` (None: not reported) in the gateway's own `unit`."""

    remaining: Decimal | None
    unit: str
    used: Decimal | None = None

    def __str__(self) -> str:
        remaining = "unlimited" if self.remaining is None else str(Cost(self.remaining, self.unit, "measured"))
        return remaining if self.used is None else f"{remaining}, {Cost(self.used, self.unit, 'measured')} used"


@dataclass(frozen=True, slots=True, repr=False)
class ListedTask(Record):
    """A task in the gateway's own list: `created` in epoch seconds, `prompt` and `size` None if the list does not show them."""

    task_id: str
    model: str
    prompt: str | None
    size: str | None
    created: float


@renamed_fields(word="status")
@dataclass(frozen=True, slots=True, repr=False)
class Pending(Record):
    """Not finished: the gateway's own status, and the completed fraction (0..1), None if unknown.

    `queued`: the service certainly has not begun, so that cancelling it costs nothing.
    """

    status: str
    fraction: float | None = None
    queued: bool = False


@renamed_fields(pictures="image_urls")
@dataclass(frozen=True, slots=True, repr=False)
class Succeeded(Record):
    """Finished: the pictures' addresses, when they expire (epoch seconds), the cost, and the gateway's own duration in seconds.

    A picture within the answer itself has the address `in_answer(...)`. `seeds` are those that the service reports, one a picture;
    `text` is what it wrote beside the pictures.
    """

    image_urls: tuple[str, ...]
    expires_at: float | None = None
    cost: Cost = Cost()
    seconds: float | None = None
    seeds: tuple[int, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class Failed(Record):
    """Finished without a picture, and why."""

    error: ImageGenError


@dataclass(frozen=True, slots=True, repr=False)
class Elsewhere(Record):
    """Finished, and the result is the response to this call, which carries the key; `Provider.read_result` reads it."""

    call: Call


@dataclass(frozen=True, slots=True, repr=False)
class Partial(Record):
    """A first view of a picture that is still being made: its address `in_answer(...)` within the event, and its number from 0."""

    image_url: str
    number: int = 0


TaskState = Pending | Elsewhere | Succeeded | Failed


def in_answer(*path: str | int) -> str:
    """Return the address of a picture within an answer, as base64 at that path: `in_answer("data", 0, "b64_json")`."""
    return "#" + "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path)


@renamed_fields(least="min_interval", first="initial_delay", batch="batch_size")
@dataclass(frozen=True, slots=True)
class PollingPolicy(Record):
    """How often a gateway may be polled: seconds between polls and before the first, tasks in a batch (0: no batches)."""

    min_interval: float = 3.0
    initial_delay: float = 3.0
    batch_size: int = 0
