"""Scorers on workers: the name of a scorer and images travel there, values come back; a function of a cell stays in this process."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pkgutil import resolve_name
from typing import Any, NamedTuple

from imagegen_magic.engine.context import context_of
from imagegen_magic.engine.settings import Settings
from imagegen_magic.engine.workers.batches import Batches
from imagegen_magic.result import GeneratedImage
from imagegen_magic.studies.scores import outcomes
from imagegen_magic.studies.scores.builtin import builtin
from imagegen_magic.studies.scores.outcomes import Outcome
from imagegen_magic.studies.scores.scorer import Scorer, as_scorer


class ScoreTask(NamedTuple):
    """Images that one scorer measures, each with its further inputs; the worker's scorer must have the same fingerprint."""

    scorer: str
    fingerprint: str
    images: tuple[GeneratedImage, ...]
    inputs: tuple[Mapping[str, Any], ...]


def address_of(scorer: Scorer) -> str:
    """Return the name by which a worker finds a free scorer of images; empty if it has to run in this process.

    It is that of a built-in scorer, or `package:function` of a module that can be imported: not of a cell, and not a coroutine function.
    """
    function = scorer.function
    if scorer.price is not None or scorer.of != "picture" or inspect.iscoroutinefunction(function):
        return ""
    if scorer.builtin:
        return scorer.builtin
    name = f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', '')}"
    if name.startswith((":", "__main__:")) or "<" in name:
        return ""
    try:
        found = resolve_name(name)
    except (ImportError, AttributeError, ValueError):
        return ""
    return name if found is function or (isinstance(found, Scorer) and found.function is function) else ""


def task_of(scorer: Scorer, images: Sequence[GeneratedImage], inputs: Sequence[Mapping[str, Any]]) -> ScoreTask:
    """Return the task of some images. Their addresses at the service and their previews stay here."""
    plain = tuple(replace(image, url="", preview=None) for image in images)
    return ScoreTask(address_of(scorer), scorer.fingerprint, plain, tuple(inputs))


def score_all(task: ScoreTask) -> list[dict[str, Outcome]]:
    """Measure images, on a worker, and return the outcomes of each. Whatever a scorer raises is a failure of its image."""
    try:
        scorer = _scorer(task.scorer)
        if scorer.fingerprint != task.fingerprint:
            return [{"": outcomes.failed(f"the worker has another version of {scorer.name}")} for _ in task.images]
        if scorer.batch:
            keywords = {name: [each[name] for each in task.inputs] for name in scorer.inputs}
            returned = list(scorer.function(list(task.images), **keywords))
            if len(returned) != len(task.images):
                raise ValueError(f"it returned a list of {len(returned)} values for {len(task.images)} pictures")
            return [outcomes.read(each) for each in returned]
    except Exception as error:  # a scorer is anybody's code
        return [{"": outcomes.failed(error)} for _ in task.images]
    return [_read(scorer.function, image, inputs) for image, inputs in zip(task.images, task.inputs, strict=True)]


@functools.lru_cache(maxsize=64)
def _scorer(name: str) -> Scorer:
    return as_scorer(name, builtin)


def _read(function: Callable[..., Any], image: GeneratedImage, inputs: Mapping[str, Any]) -> dict[str, Outcome]:
    try:
        return outcomes.read(function(image, **inputs))
    except Exception as error:  # a scorer is anybody's code
        return {"": outcomes.failed(error)}


async def workers_of(settings: Settings, images: Sequence[GeneratedImage], scorers: Sequence[Scorer]) -> Batches | None:
    """Return the workers that the settings name, None if there are none; on the engine's loop.

    Raises UnsupportedOption if they cannot be used, do not see the folders of the images, or lack what the scorers take.
    """
    backend = context_of(settings).workers.of(settings.get("workers"))
    if backend is not None:
        for folder in dict.fromkeys(image.file.parent for image in images):
            await backend.check(folder)
        for resources in dict.fromkeys(scorer.resources for scorer in scorers if scorer.resources):
            await backend.check_resources(resources)
    return backend
