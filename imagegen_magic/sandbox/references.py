"""The pictures of the sandbox's own that an edit starts from: found by their addresses, checked, and handed out by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import parse_qsl, urlsplit

from imagegen_magic.formats import PNG
from imagegen_magic.sandbox import fault_responses
from imagegen_magic.sandbox.dialects.base import Refusal, Submission
from imagegen_magic.sandbox.images import signed
from imagegen_magic.sandbox.tasks import Task, TaskStore
from imagegen_magic.sandbox.uploads import UploadStore

_UPLOADED = re.compile(r"/files/\w+/uploads/([0-9a-f]{64}\.\w+)")
_RESULT = re.compile(r"/files/\w+/([^/]+)/(\d+)\.\w+")


class ReferenceStore:
    """Uploaded files and finished images by name: `upload/FILE`, `result/TASK/INDEX`, and "" for any other address.

    `draw` returns the bytes of a task's picture of that index, `clock` the time in epoch seconds.
    """

    def __init__(self, uploads: UploadStore, store: TaskStore, draw: Callable[[Task, int], bytes], clock: Callable[[], float]) -> None:
        self._uploads, self._store, self._draw, self._clock = uploads, store, draw, clock

    def of(self, submission: Submission, host: str) -> tuple[tuple[str, ...], str]:
        """Return the names of an submission's references and of its mask; `host` is the sandbox's own host.

        Raises Refusal for a missing one, and for a mask without alpha or with other pixels than the first reference.
        """
        sources = tuple(self._name(url, host) for url in submission.references)
        mask = self._name(submission.mask, host) if submission.mask else ""
        if mask:
            self._check_mask(sources[0], mask)
        return sources, mask

    def find(self, name: str) -> bytes | None:
        """Return the bytes of a picture by its name, None if it is missing; one of a task is drawn again."""
        kind, _, rest = name.partition("/")
        if kind == "upload":
            return self._uploads.get(rest)
        task = self._store.get(rest.rpartition("/")[0])
        return self._draw(task, int(rest.rpartition("/")[2])) if task else None

    def _name(self, url: str, host: str) -> str:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        if not signed(parts.path, query):
            if parts.netloc == host:
                raise fault_responses.unreachable(url[:80])
            return ""
        if float(query["expires"]) < self._clock():
            raise fault_responses.unreachable(f"{url[:80]} has expired")
        if (file := _UPLOADED.fullmatch(parts.path)) and self._uploads.get(file[1]) is not None:
            return f"upload/{file[1]}"
        if (result := _RESULT.fullmatch(parts.path)) and (task := self._store.find(result[1])) and int(result[2]) < task.n:
            return f"result/{task.id}/{result[2]}"
        raise fault_responses.unreachable(f"{url[:80]} is not there")

    def _check_mask(self, first: str, mask: str) -> None:
        facts = self._uploads.facts(mask.removeprefix("upload/"))
        if facts is None:
            return
        if facts.mime_type != PNG.mime_type or not facts.alpha:
            raise Refusal(400, "invalid_mask", "mask_url must be a PNG with an alpha channel")
        if self._pixels(first) not in (None, (facts.width, facts.height)):
            raise Refusal(400, "invalid_mask", "mask_url must have the same dimensions as the first image")

    def _pixels(self, name: str) -> tuple[int, int] | None:
        kind, _, rest = name.partition("/")
        if kind == "result" and (task := self._store.get(rest.rpartition("/")[0])):
            return task.pixels
        facts = self._uploads.facts(rest)
        return None if facts is None else (facts.width, facts.height)
