"""Sweeps over all combinations of values: `plan()` shows what will happen, `sweep()` makes the images, `load()` loads them again."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from imagegen_magic import readers
from imagegen_magic.deprecated import renamed_fields
from imagegen_magic.engine import api
from imagegen_magic.engine.context import EngineContext, Kind, context_of
from imagegen_magic.engine.endpoints import without_key
from imagegen_magic.engine.jobs import reuse
from imagegen_magic.engine.jobs.builder import fingerprint
from imagegen_magic.engine.jobs.job import Job, PlannedRequest
from imagegen_magic.engine.jobs.resume import megapixels
from imagegen_magic.engine.ledger.spending import prorate
from imagegen_magic.engine.ledger.sweeps import Combination, SweepRecord
from imagegen_magic.engine.settings import ENGINE_OPTIONS, REQUEST_OPTIONS, Settings
from imagegen_magic.engine.settings import load as load_settings
from imagegen_magic.errors import ImageGenError, MissingKey, PictureDeleted, UnsupportedOption
from imagegen_magic.humanize import pluralize
from imagegen_magic.options import PARAMETERS
from imagegen_magic.providers import registry
from imagegen_magic.providers.model import Model
from imagegen_magic.records import FrozenDict, Record
from imagegen_magic.request import ImageRequest
from imagegen_magic.result import Cost, Generation, total
from imagegen_magic.studies.sweeps.axes import Axis, Template, check, parse_axes
from imagegen_magic.studies.sweeps.load import load
from imagegen_magic.studies.sweeps.result import SkippedCombination, SweepResult, summarize

__all__ = ["SweepEstimate", "SweepPlan", "SweepResult", "estimate", "load", "plan", "start", "sweep"]

MAX_TASKS = 100_000  # of one sweep: more are a typing error
_MAX_REASONS = 8  # in a refusal


@renamed_fields(wishes="requests")
@dataclass(frozen=True, slots=True, repr=False)
class SweepPlan(Record):
    """What a sweep will do: its `requests` in the order of its axes, each repeat a request, and the combinations that are not possible."""

    request: ImageRequest
    axes: tuple[Axis, ...]
    repeat: int
    requests: tuple[PlannedRequest, ...]
    impossible: tuple[SkippedCombination, ...]

    @property
    def record(self) -> SweepRecord:
        """The sweep as the ledger stores it."""
        return SweepRecord(self.request.prompt, FrozenDict({axis.name: axis.labels for axis in self.axes}), self._fixed)

    @property
    def _fixed(self) -> str:
        """The options that do not vary, as text: the same prompt and axes with other options are another sweep."""
        varied = {"prompt", *(axis.name for axis in self.axes)}
        first = self.requests[0] if self.requests else None
        options = {name: value for name, value in first.request.asked().items() if name not in varied} if first else {}
        parameters = {name: value for name, value in options.pop("parameters", {}).items() if name not in varied}
        options |= {"parameters": parameters} if parameters else {}
        origins = {(item.endpoint.base_url, item.endpoint.sandbox) for item in self.requests} if "provider" not in varied else set()
        contents = [image.identity for image in first.plan.uploads] if first else []
        return json.dumps([options, sorted(origins), contents], sort_keys=True, default=str)

    @property
    def pictures(self) -> int:
        """How many images it makes."""
        return sum(request.plan.count for request in self.requests)

    @property
    def combinations(self) -> int:
        """How many combinations there are, including those that are not possible."""
        return len(self.requests) // self.repeat + len(self.impossible)


@renamed_fields(there="existing", waiting="pending", usual="typical")
@dataclass(frozen=True, slots=True)
class SweepEstimate(Record):
    """The estimate of a sweep, before anything is sent.

    Of `pictures`, `existing` are saved, `pending` are at a gateway or of unknown outcome and not sent again, and `new` will be made. Of
    the new ones, `free` are the sandbox's, `unknown` have no known price, and the others cost `price`, a sum for each unit. `typical` is
    the typical duration of one task in seconds, (low, high), None if none is recorded.
    """

    pictures: int
    existing: int
    pending: int
    new: int
    free: int
    unknown: int
    price: tuple[Cost, ...]
    typical: tuple[float, float] | None


def plan(
    request: ImageRequest,
    axes: Mapping[str, Sequence[Any]] | Sequence[Axis],
    *,
    settings: Settings,
    repeat: int = 1,
    skip_impossible: bool = False,
    provider: str | None = None,
    variables: Callable[[str], str] | None = None,
    keys: bool = True,
    fit: bool = False,
) -> SweepPlan:
    """Return what a sweep will do; `request` has the prompt with its placeholders and the options that do not vary.

    `variables` returns the text of a placeholder that is not an axis, or raises. Without `keys` the plan needs no keys and cannot be
    sent. With `fit`, references that are too large are scaled down. Raises UnsupportedOption for invalid axes and, unless
    `skip_impossible`, for combinations that are not possible; UnknownProvider, MissingKey.
    """
    try:
        repeat = readers.count(repeat)
    except ValueError as error:
        what = f"repeat = {repeat!r} is not a number of pictures"
        raise UnsupportedOption(what, option="repeat", value=repeat, hint=f"the option repeat takes {error}") from None
    settings.check(*ENGINE_OPTIONS)
    if not isinstance(request.prompt, str):
        what = f"The prompt must be a text, not of type {type(request.prompt).__name__}"
        raise UnsupportedOption(what, option="prompt", value=request.prompt, hint="describe the picture")
    parsed = parse_axes(axes)
    template = Template.parse(request.prompt, parsed, variables)
    check(parsed, template, partial(_is_parameter, request, settings, provider))
    varied = {axis.name for axis in parsed}
    settings.check(*(name for name in REQUEST_OPTIONS if name not in varied and getattr(request, name) is None))
    _check_axes(request, provider, parsed, repeat, template.placeholders)
    request = replace(request, prompt=template.text)
    make = partial(api.prepare if keys else _without_keys, fit=fit, shared=api.Shared())
    planned, impossible = _combined(template, parsed, partial(make, settings=settings), request, provider, settings)
    if impossible and not (skip_impossible and planned):
        raise _refused(parsed, planned, impossible, skip_impossible)
    return SweepPlan(request, parsed, repeat, tuple(item for item in planned for _ in range(repeat)), tuple(impossible))


def _check_axes(request: ImageRequest, provider: str | None, axes: Sequence[Axis], repeat: int, placeholders: Sequence[str]) -> None:
    given = {**request.asked(), **({"provider": provider} if provider else {})}
    further = {name: value for name, value in {**request.extra, **request.parameters}.items() if name not in placeholders}
    for axis in axes:
        options = given if axis.is_option else further
        if axis.name in options:
            hint = "give it once: as an axis, or as an option of all"
            raise UnsupportedOption(f"{axis.name} is both an axis and an option", option=axis.name, value=options[axis.name], hint=hint)
    number = repeat * math.prod(len(axis.values) for axis in axes)
    if number > MAX_TASKS:
        what = f"{number} tasks are more than the {MAX_TASKS} of one sweep"
        raise UnsupportedOption(what, option="sweep", value=number, hint="name fewer values")


def _combined(
    template: Template,
    axes: Sequence[Axis],
    make: Callable[..., PlannedRequest],
    request: ImageRequest,
    provider: str | None,
    settings: Settings,
) -> tuple[list[PlannedRequest], list[SkippedCombination]]:
    """Return the requests of all combinations, and the combinations that are not possible."""
    requests, impossible = [], []
    for chosen in itertools.product(*(zip(axis.labels, axis.values, strict=True) for axis in axes)):
        combination = FrozenDict({axis.name: label for axis, (label, _) in zip(axes, chosen, strict=True)})
        options = {axis.name: value for axis, (_, value) in zip(axes, chosen, strict=True) if axis.is_option}
        name = options.pop("provider", provider)
        further = {axis.name: value for axis, (_, value) in zip(axes, chosen, strict=True) if not axis.is_option}
        try:
            each = replace(request, prompt=template.render(combination), **options)
            each = _with_parameters(each, further, template.placeholders, partial(api.model_of, settings=settings, provider=name))
            requests.append(make(each, provider=name, combination=combination))
        except UnsupportedOption as error:
            impossible.append(SkippedCombination(combination, error))
    return requests, impossible


def _is_parameter(request: ImageRequest, settings: Settings, provider: str | None, name: str) -> bool:
    """Return whether an axis of that name can be a parameter: an option for those, or one that a model has or may have."""
    known = (model for each in registry.all_providers(settings.provider_tables) for model in each.models)
    if name in PARAMETERS or any(name in model.parameters for model in known):
        return True
    with suppress(ImageGenError):  # an unknown gateway or model is refused later
        model = api.model_of(request, settings, provider)
        return name in model.parameters or not model.strict
    return False


def _with_parameters(
    request: ImageRequest, values: Mapping[str, Any], placeholders: Sequence[str], model_of: Callable[[ImageRequest], Model]
) -> ImageRequest:
    """Return a request with axes as parameters; one that is a placeholder of the prompt is a parameter only if the model has it."""
    if shared := set(values) & set(placeholders):
        declared = model_of(request).parameters
        values = {name: value for name, value in values.items() if name not in shared or name in declared}
    return replace(request, parameters={**request.parameters, **values}) if values else request


def _without_keys(
    request: ImageRequest, settings: Settings, provider: str | None, combination: Combination, *, fit: bool, shared: api.Shared
) -> PlannedRequest:
    """Return a planned request that cannot be sent if its gateway has no key."""
    with suppress(MissingKey):
        return api.prepare(request, settings, provider, combination, fit=fit, shared=shared)
    planned = api.plan(request, provider=provider, fit=fit, settings=settings)
    endpoint = without_key(registry.get_provider(planned.provider, settings.provider_tables), settings)
    return PlannedRequest(endpoint, planned, api.apply_defaults(request, settings), combination)


def _refused(
    axes: Sequence[Axis], requests: Sequence[PlannedRequest], impossible: Sequence[SkippedCombination], skipped: bool
) -> UnsupportedOption:
    """Return the refusal that names each combination that is not possible, grouped by reason."""
    if not axes:
        return impossible[0].error
    values = {axis.name: axis.labels for axis in axes}
    found = reasons(impossible, values)
    shown = "; ".join(found[:_MAX_REASONS])
    shown += f"; and for {pluralize(len(found) - _MAX_REASONS, 'more reason')}" if len(found) > _MAX_REASONS else ""
    number, total_number = len(impossible), len(requests) + len(impossible)
    what = f"{number} of {total_number} combinations are not possible" if requests else "None of the combinations is possible"
    hint = "change the axes" if skipped or not requests else "--skip-impossible (skip_impossible=True in Python) leaves them out"
    errors = [item.error for item in impossible]
    providers = [name for name in errors[0].providers if all(name in error.providers for error in errors)]
    allowed = {error.allowed for error in errors}
    return UnsupportedOption(
        f"{what}: {shown}",
        option="sweep",
        value=number,
        allowed=allowed.pop() if len(allowed) == 1 else (),
        providers=[] if "provider" in values else providers,
        hint=hint,
    )


def reasons(impossible: Sequence[SkippedCombination], axes: Mapping[str, Sequence[str]]) -> list[str]:
    """Return why combinations are not possible, one line for each reason, with its combinations."""
    groups: dict[str, list[Combination]] = {}
    for skipped in impossible:
        groups.setdefault(skipped.error.what, []).append(skipped.combination)
    lines = [(summarize(combinations, axes), what) for what, combinations in groups.items()]
    return [f"{which}: {what}" if which else what for which, what in lines]


async def estimate(plan: SweepPlan, settings: Settings) -> SweepEstimate:
    """Return the estimate of a sweep, without sending anything; on the engine's loop."""
    context = context_of(settings)
    existing, pending = await _reusable(plan, context) if settings.get("reuse") else (set(), set())
    tasks = [(request, count) for request in plan.requests for count in request.plan.images_per_call]
    known_tasks = existing | pending
    new = [task for number, task in enumerate(tasks) if number not in known_tasks]
    paid = [(prorate(request.plan.price, count, request.plan.count), count) for request, count in new if not request.endpoint.sandbox]
    known = [price for price, _ in paid if price.amount is not None]
    return SweepEstimate(
        pictures=plan.pictures,
        existing=sum(tasks[number][1] for number in existing),
        pending=sum(tasks[number][1] for number in pending),
        new=sum(count for _, count in new),
        free=sum(count for request, count in new if request.endpoint.sandbox),
        unknown=sum(count for price, count in paid if price.amount is None),
        price=total(known) if known else (),
        typical=await _typical([request for request, _ in new], context),
    )


async def _reusable(plan: SweepPlan, context: EngineContext) -> tuple[set[int], set[int]]:
    """Return the positions of the tasks that are saved, and of those that are not sent again: pending, unknown, deleted."""
    await context.ledger.recover_orphans()
    found = await reuse.find(context.ledger, [fingerprint(request, call) for request in plan.requests for call in request.plan.calls])
    return set(found.complete), {*found.missing, *found.pending, *found.unknown, *found.deleted}


async def _typical(requests: Sequence[PlannedRequest], context: EngineContext) -> tuple[float, float] | None:
    """Return the typical duration of these requests, from the fastest kind to the slowest, as far as it is recorded."""
    kinds: dict[Kind, float] = {}
    for request in requests:
        plan = request.plan
        kinds[plan.provider, request.endpoint.sandbox, plan.model.name, *plan.tier] = megapixels({"pixels": plan.pixels})
    known = [typical for kind, size in kinds.items() if (typical := (await context.history(kind, size)).typical())]
    return (min(low for low, _ in known), max(high for _, high in known)) if known else None


def start(plan: SweepPlan, settings: Settings, *, preview: int | None = None, title: str = "") -> Job:
    """Start a sweep and return at once: a Job whose result is a SweepResult; `preview` bounds previews in pixels."""
    return api.start_batch(
        plan.requests,
        settings,
        preview=preview,
        sweep=plan.record if plan.axes else None,
        title=title,
        result_factory=lambda job, made: _result(plan, job, made),
    )


def _result(plan: SweepPlan, job: Job, made: Generation) -> SweepResult:
    saved = {image.task for image in made.images}
    return SweepResult(
        images=tuple(replace(image, preview=None) for image in made.images),
        request=plan.request,
        provider=made.provider,
        seconds=made.seconds,
        tasks=made.tasks,
        errors=made.errors,
        costs=made.costs,
        prompt=plan.request.prompt,
        axes=FrozenDict({axis.name: axis.labels for axis in plan.axes}),
        places=tuple(job.places),
        words=tuple("" if task in saved else _why_missing(job, task) for task in range(len(job.places))),
        impossible=plan.impossible,
        study=job.sweep,
    )


def _why_missing(job: Job, task: int) -> str:
    latest = job.latest.get(task)
    if latest and isinstance(latest.error, PictureDeleted):
        return "deleted"
    return {"failed": "failed", "left": "waiting"}.get(latest.stage, "not made") if latest else "not made"


async def sweep(
    prompt: str | ImageRequest,
    axes: Mapping[str, Sequence[Any]],
    *,
    repeat: int = 1,
    skip_impossible: bool = False,
    reuse: bool | None = None,
    provider: str | None = None,
    sandbox: bool | None = None,
    timeout: float | None = None,
    save_dir: str | Path | None = None,
    name: str | None = None,
    fit: bool = False,
    workers: Any = None,
    **options: Any,
) -> SweepResult:
    """Make the images of all combinations of the axes' values and return them, on any running event loop.

    An axis is an option (`quality`, `size`, `provider`, …), a parameter of the model (`seed`, `steps`), or a placeholder of the prompt
    (`style` for `{{style}}`). `repeat` images are made of each combination. With `reuse`, only missing images are made and paid for.
    `options` are the fields of ImageRequest that do not vary. `workers` fetch the pictures: so many processes, or the Dask cluster of a
    client or an address. Raises UnsupportedOption before anything is sent, and the error if no
    image was made. If only some were made, `errors` has the reasons, and a warning is emitted.
    """
    given = {"timeout": timeout, "save_dir": save_dir, "name": name, "sandbox": sandbox, "reuse": reuse, "workers": workers}
    settings = load_settings().replace("this call", **given)
    request = api.request_of(prompt, options)
    make = partial(plan, settings=settings, repeat=repeat, skip_impossible=skip_impossible, provider=provider, fit=fit)
    job = start(await asyncio.to_thread(make, request, axes), settings)  # in a thread, so that the caller's loop is not blocked
    result = await job.result()
    assert isinstance(result, SweepResult)
    if result.errors:
        warnings.warn(f"{len(result)} of {job.expecting} pictures were made. {result.errors[0]}", stacklevel=2)
    return result
