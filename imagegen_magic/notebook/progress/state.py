"""The progress of a job's tasks, and its text. Knows no clock, kernel or front end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from imagegen_magic.errors import AGAIN, ImageGenError, message
from imagegen_magic.humanize import duration
from imagegen_magic.result import STAGES, GeneratedImage, Progress, Stage

MANY = 12  # tasks; above this, one row counts them all


@dataclass
class TaskProgress:
    """One task: its latest progress and its images."""

    progress: Progress | None = None
    images: list[GeneratedImage] = field(default_factory=list)
    first_view: str = ""  # data URL of the picture that is being made

    @property
    def stage(self) -> Stage:
        """The stage, `planned` before anything is known."""
        return self.progress.stage if self.progress else "planned"

    @property
    def ended(self) -> bool:
        """Whether the task has ended."""
        return STAGES[self.stage].ended

    @property
    def fraction(self) -> float | None:
        """The fraction done, 0..1; None if unknown."""
        if self.stage == "saved":
            return 1.0
        return self.progress.fraction if self.progress and self.stage in ("waiting", "fetching") else None

    def text(self, now: float) -> str:
        """Return the stage as text; `now` in epoch seconds."""
        if self.progress is None:
            return STAGES["submitting"].text
        note = f" ({self.progress.note})" if self.progress.note else ""
        if self.progress.error:
            return f"{self.stage}: {self.progress.error.what}"
        if self.stage == "waiting":
            return _waiting(self.progress, now) + note
        if self.stage == "planned" and note:
            return self.progress.note
        return STAGES[self.stage].text + note


def _waiting(progress: Progress, now: float) -> str:
    elapsed = max(0.0, now - progress.since)
    text = f"waiting {duration(elapsed)}"
    if progress.fraction is not None:
        text += f", {progress.fraction:.0%}"
    if progress.usual is None:
        return text
    longer = "longer than the usual " if elapsed > progress.usual[1] else "usually "
    return f"{text}, {longer}{span(*progress.usual)}"


def span(low: float, high: float) -> str:
    """Return a range of seconds as text: `20–46 s`, `2–3 min`."""
    unit, size = ("s", 1) if high < 120 else ("min", 60)
    first, last = max(1, round(low / size)), max(1, round(high / size))
    return f"{last} {unit}" if first == last else f"{first}–{last} {unit}"


class JobProgress:
    """All tasks of one job, in their order."""

    def __init__(self, tasks: int, now: float) -> None:
        self.rows = [TaskProgress() for _ in range(max(1, tasks))]
        self.started = now
        self.stopping = False

    def take(self, event: Progress | GeneratedImage) -> None:
        """Record an event of the job."""
        tasks = max(event.task + 1, event.tasks if isinstance(event, Progress) else 0)
        self.rows += [TaskProgress() for _ in range(tasks - len(self.rows))]
        row = self.rows[event.task]
        if isinstance(event, GeneratedImage):
            row.images.append(event)
        else:
            row.progress = event
            row.first_view = event.preview.data_url if event.preview else row.first_view

    @property
    def images(self) -> list[GeneratedImage]:
        """The images so far, in the order of the tasks, and within a task in the gateway's order."""
        return [image for row in self.rows for image in sorted(row.images, key=lambda image: image.id)]

    @property
    def submitted(self) -> bool:
        """Whether a request has reached a gateway."""
        return any(STAGES[row.stage].sent for row in self.rows)

    @property
    def task_errors(self) -> list[tuple[int, ImageGenError]]:
        """The errors so far, each with its task, counted from 0."""
        return [(task, row.progress.error) for task, row in enumerate(self.rows) if row.progress and row.progress.error]

    def other_errors(self, errors: Iterable[ImageGenError]) -> list[ImageGenError]:
        """Return those of a job's errors that are of no single task."""
        known = {str(error) for _, error in self.task_errors}
        return [error for error in errors if str(error) not in known]

    def errors(self, again: str = AGAIN) -> Iterator[str]:
        """Yield the errors, a line each; the same error of several tasks once. `again` is how the request is repeated."""
        tasks_of: dict[str, list[str]] = {}
        for task, error in self.task_errors:
            tasks_of.setdefault(message(error, again), []).append(str(task + 1))
        for text, tasks in tasks_of.items():
            yield f"task {', '.join(tasks)} of {len(self.rows)}: {text}" if len(self.rows) > 1 else text

    @property
    def many(self) -> bool:
        """Whether there are too many tasks for one row each."""
        return len(self.rows) > MANY

    @property
    def fraction(self) -> float:
        """The fraction of tasks that have ended, 0..1."""
        return sum(row.ended for row in self.rows) / len(self.rows)

    def text(self, now: float) -> str:
        """Return all tasks in one line; `now` in epoch seconds."""
        if self.stopping:
            return "stopping"
        if len(self.rows) == 1:
            return self.rows[0].text(now)
        return f"{self._counts()}, {duration(now - self.started)}"

    def _counts(self) -> str:
        stages = [row.stage for row in self.rows]
        counts = [(stages.count(stage), info) for stage, info in STAGES.items() if stage != "saved"]
        saved = f"{stages.count('saved')} of {len(stages)} saved"
        return ", ".join([saved, *(f"{number} {info.counted}" for number, info in counts if number)])
