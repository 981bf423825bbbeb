"""The tasks a sandbox has accepted, kept in memory and, with a home, in files that outlive the process."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

_DAY = 86_400.0
_KEPT_DAYS = 8  # longer than any gateway keeps a picture


@dataclass(frozen=True, slots=True)
class Task:
    """An accepted task: what is to be drawn, since when (epoch seconds), for how long (seconds), at what price.

    `pixels` is the size of each of the `n` images. `take` counts the earlier tasks with the same prompt, because no service draws the
    same image twice. `faults` are the names of attached faults. `sources` and `mask` name images of the sandbox that it starts from:
    `upload/NAME` or `result/TASK/INDEX`, "" for any other address.
    """

    id: str
    provider: str
    model: str
    prompt: str
    quality: str
    pixels: tuple[int, int]
    n: int
    mime_type: str
    alpha: bool
    compression: int | None
    cost: float | None
    created: float
    seconds: float
    idempotency_key: str = ""
    take: int = 0
    faults: set[str] = field(default_factory=set)
    sources: tuple[str, ...] = ()
    mask: str = ""
    body: str = ""  # SHA-256 of the submission's body
    seed: int | None = None  # as requested

    @property
    def finished(self) -> float:
        """When the pictures are ready, in epoch seconds."""
        return self.created + self.seconds

    def lines(self) -> str:
        """Return the task as lines of JSON: 0.1.0 reads no other fields than its own, so that later ones follow as a change of faults."""
        values = {**asdict(self), "faults": sorted(self.faults)}
        later = {name: value for name in _LATER if (value := values.pop(name)) not in (None, "")}
        change = [json.dumps({"id": self.id, "cling": [], **later})] if later else []
        return "\n".join([json.dumps(values), *change])


def digest(body: Any) -> str:
    """Return the SHA-256 of a JSON body, whatever the order of its fields."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


_LATER = ("body", "seed")  # fields that 0.1.0 does not know
_FIELDS = {each.name for each in fields(Task)}


def _task(values: dict[str, Any]) -> Task:
    values["pixels"] = tuple(values["pixels"])
    values["faults"] = set(values["faults"])
    values["sources"] = tuple(values.get("sources", ()))
    return Task(**{name: value for name, value in values.items() if name in _FIELDS})  # a newer version may have written more


class TaskStore:
    """All tasks by id and by (gateway, idempotency key).

    With a `home`, every change is appended to the day's file, one JSON line each, so that several processes may
    share the folder and the tasks of a killed one are kept.
    """

    def __init__(self, home: Path | None = None) -> None:
        self.home = home
        self._tasks: dict[str, Task] = {}
        self._keys: dict[tuple[str, str], str] = {}
        self._asked: Counter[str] = Counter()
        self._read: dict[Path, int] = {}
        self._reading = threading.Lock()

    def __len__(self) -> int:
        return len(self._tasks)

    def add(self, task: Task) -> None:
        """Remember a task, durably against a kill of the process if there is a home."""
        self._remember(task)
        if self.home is not None:
            self._append(task.lines())

    def bind(self, task: Task, faults: Iterable[str]) -> None:
        """Attach faults to a task."""
        task.faults.update(faults)
        if self.home is not None:
            self._append(json.dumps({"id": task.id, "cling": sorted(task.faults)}))

    def get(self, task_id: str) -> Task | None:
        """Return the task of that id, as far as this process has read."""
        return self._tasks.get(task_id)

    def find(self, task_id: str) -> Task | None:
        """Return the task of that id, after reading what other processes have written if this one does not know it."""
        if task_id not in self._tasks:
            self.refresh()
        return self._tasks.get(task_id)

    def by_key(self, provider: str, idempotency_key: str) -> Task | None:
        """Return the task that was submitted with that Idempotency-Key."""
        return self._tasks.get(self._keys.get((provider, idempotency_key), ""))

    def latest(self, provider: str, count: int) -> list[Task]:
        """Return the latest tasks of a gateway, newest first."""
        found = [task for task in self._tasks.values() if task.provider == provider]
        return sorted(found, key=lambda task: task.created, reverse=True)[:count]

    def spent(self, provider: str) -> float:
        """Return the costs of a gateway's tasks, in its own unit."""
        return sum(task.cost or 0.0 for task in list(self._tasks.values()) if task.provider == provider)

    def times(self, prompt: str) -> int:
        """Return how many tasks have asked for this prompt."""
        return self._asked[prompt]

    def refresh(self) -> None:
        """Read what this and other processes have appended since; files of old days are removed."""
        with self._reading:
            for path in self._files():
                self._read_on(path)

    def _read_on(self, path: Path) -> None:
        with path.open("rb") as file:
            file.seek(self._read.get(path, 0))
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._read[path] = self._read.get(path, 0) + len(line)
                self._take(line)

    def _files(self) -> Iterator[Path]:
        oldest = f"tasks-{time.strftime('%Y-%m-%d', time.gmtime(time.time() - _KEPT_DAYS * _DAY))}.jsonl"
        for path in sorted(self.home.glob("tasks-*.jsonl")) if self.home is not None else ():
            if path.name < oldest:
                path.unlink(missing_ok=True)
            else:
                yield path

    def _take(self, line: bytes) -> None:
        try:
            values = json.loads(line)
        except ValueError:  # a process was killed within this line
            return
        if "cling" not in values:
            if values["id"] not in self._tasks:
                self._remember(_task(values))
        elif task := self._tasks.get(values["id"]):
            task.faults.update(values["cling"])
            self._tasks[task.id] = replace(task, **{name: values[name] for name in _LATER if name in values})

    def _remember(self, task: Task) -> None:
        self._tasks[task.id] = task
        self._asked[task.prompt] += 1
        if task.idempotency_key:
            self._keys[task.provider, task.idempotency_key] = task.id

    def _append(self, line: str) -> None:
        assert self.home is not None
        self.home.mkdir(parents=True, exist_ok=True)
        path = self.home / f"tasks-{time.strftime('%Y-%m-%d', time.gmtime())}.jsonl"
        with path.open("ab") as file:  # no handle is kept, so nothing is left open when a kernel dies
            file.write(f"{line}\n".encode())
