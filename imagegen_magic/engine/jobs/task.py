"""The records of one task: what it shares with its siblings, what is known of it so far, and what is written about its images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from imagegen_magic._version import __version__
from imagegen_magic.engine.clock import CLOCK
from imagegen_magic.engine.context import DurationHistory
from imagegen_magic.engine.endpoints import Endpoint
from imagegen_magic.engine.ledger.claims import Claims
from imagegen_magic.engine.settings import Settings
from imagegen_magic.engine.storage.filenames import filename_stem, row_folder
from imagegen_magic.errors import ImageGenError, LedgerError, SubmissionUnknown
from imagegen_magic.humanize import iso_time
from imagegen_magic.paths import Location
from imagegen_magic.request import ImageRequest, LocalImage
from imagegen_magic.result import Cost, GeneratedImage, Progress, Stage
from imagegen_magic.secret_patterns import without_queries_in

if TYPE_CHECKING:
    from imagegen_magic.imaging.preview import Preview

Event = Progress | GeneratedImage


class JobChannel(NamedTuple):
    """How a job's runners reach it: its settings, where events go, its claims, whether it still runs, and which refusals are known."""

    settings: Settings
    preview_edge: int | None
    started: float  # epoch seconds
    emit: Callable[[Event], None]
    claims: Claims  # of its tasks until each ends here
    check_wanted: Callable[[], None]
    known_refusal: Callable[[Endpoint], ImageGenError | None]  # the error that a submission would meet as well


class TaskSpec(NamedTuple):
    """What the tasks of one request have in common.

    `expected` holds pixels, mime_type and alpha as the plan promised them; `price` is the estimate for one task; `earlier` is the
    latest image (id, epoch seconds) of an identical request; `protected` holds the SHA-256 of the image to edit and of its mask, if
    both are known; `uploads` are the images that were uploaded to the gateway for it.
    """

    endpoint: Endpoint
    history: DurationHistory
    request: ImageRequest
    asked: Mapping[str, Any]
    model: str
    expected: Mapping[str, Any]
    price: Cost
    save_dir: Location
    filename_stem: str
    tasks: int
    earlier: tuple[int, float] | None = None
    protected: tuple[str, str] | None = None
    uploads: tuple[LocalImage, ...] = ()
    unknown: SubmissionUnknown | None = None  # if it was submitted before and only its outcome is asked about
    extra_folders: tuple[Location, ...] = ()  # that may hold its images already, saved by a process that was killed


def by_row(spec: TaskSpec, row: int, name: str | None) -> TaskSpec:
    """Return the spec of one task of a large job: its files are called by the ledger's row, in a folder for each 1,000 rows."""
    folder, stem = row_folder(row), filename_stem(spec.request.prompt, str(row), name)
    extra = tuple(each / folder for each in spec.extra_folders)
    return spec._replace(save_dir=spec.save_dir / folder, filename_stem=stem, extra_folders=extra)


@dataclass(slots=True)
class RunningTask:
    """One task while it runs: its ledger row, what is sent, and what is known so far.

    `first` is the number of its first image within the request, from 1.
    """

    row: int
    position: int
    first: int
    count: int
    sent: Mapping[str, Any]
    idempotency_key: str
    task_id: str = ""
    submitted: float = field(default_factory=CLOCK.time)
    cost: Cost = Cost()
    seconds: float | None = None
    addresses: dict[int, str] = field(default_factory=dict)  # ledger's image id -> address, not yet saved
    numbers: dict[int, int] = field(default_factory=dict)  # ledger's image id -> number within the task, from 0
    seeds: dict[int, int] = field(default_factory=dict)  # number within the task, from 0 -> the seed that is known
    text: str = ""  # what the service wrote beside the pictures
    kept_until: float = math.inf  # epoch seconds: when the service deletes its images, as far as that is known
    resumed: bool = False


class Reporter:
    """What one task reports while it runs: progress and images through `emit`, and errors that delayed nothing in `side_errors`."""

    def __init__(self, spec: TaskSpec, task: RunningTask, emit: Callable[[Event], None]) -> None:
        self.spec, self.task, self.emit = spec, task, emit
        self.side_errors: list[ImageGenError] = []

    def progress(
        self,
        stage: Stage,
        note: str = "",
        *,
        fraction: float | None = None,
        error: ImageGenError | None = None,
        preview: Preview | None = None,
    ) -> None:
        """Report the stage that the task has reached."""
        task, spec = self.task, self.spec
        typical = spec.history.typical()
        self.emit(Progress(stage, task.position, spec.tasks, task.row, task.submitted, fraction, typical, note, error, preview))

    def ledger_error(self, error: LedgerError) -> None:
        """Keep the first error of the ledger, which writes later what it could not write now."""
        if not any(isinstance(each, LedgerError) for each in self.side_errors):
            self.side_errors.append(error)


def known_seeds(task: RunningTask, reported: Sequence[int]) -> dict[int, int]:
    """Return the seeds of a task's images by number from 0: those that the service reports, else the sent one of its first image."""
    if reported:
        return dict(enumerate(reported))
    sent = task.sent.get("seed")
    return {0: sent} if isinstance(sent, int) and not isinstance(sent, bool) else {}


def sidecar(spec: TaskSpec, task: RunningTask, number: int, image: Mapping[str, Any], mismatches: tuple[str, ...]) -> dict[str, Any]:
    """Return the JSON that is saved beside an image; `image` holds its width, height and MIME type, nothing if it cannot be read."""
    cost = task.cost.share(len(task.numbers))
    sent = task.sent.get("json")  # a newer version may have sent something else
    return {
        "prompt": spec.request.prompt,
        "asked": dict(spec.asked),
        "sent": without_queries_in(dict(sent) if isinstance(sent, Mapping) else {}),  # the ledger has the queries too
        "gateway": spec.endpoint.provider.name,
        "sandbox": spec.endpoint.sandbox,
        "model": spec.model,
        "task_id": task.task_id,
        "number": number,
        **({"seed": task.seeds[number - task.first]} if number - task.first in task.seeds else {}),
        **({"text": task.text} if task.text else {}),
        **image,
        "differences": list(mismatches),
        "cost": {"amount": None if cost.amount is None else str(cost.amount), "unit": cost.unit, "kind": cost.kind, "source": cost.source},
        "submitted": iso_time(task.submitted).replace("+00:00", "Z"),
        "saved": iso_time(CLOCK.time()).replace("+00:00", "Z"),
        "seconds": task.seconds,
        "made_with": f"imagegen_magic {__version__}",
    }


def generated_image(spec: TaskSpec, task: RunningTask, **saved: Any) -> GeneratedImage:
    """Return the image that a cell returns; `saved` holds what is known of its file: id, path, url, width, height, mime_type and so on."""
    return GeneratedImage(
        size_asked=spec.request.size or "",
        request=spec.request,
        provider=spec.endpoint.provider.name,
        model=spec.model,
        task_id=task.task_id,
        cost=task.cost.share(len(task.numbers)),
        created=CLOCK.time(),
        seconds=task.seconds,
        text=task.text,
        task=task.position,
        sandbox=spec.endpoint.sandbox,
        earlier=spec.earlier,
        unchecked=tuple(spec.expected.get("unchecked", ())),
        **saved,
    )
