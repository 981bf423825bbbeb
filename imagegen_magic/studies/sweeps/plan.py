"""Asking for all combinations of some values: `plan()` says what will happen, `sweep()` makes the pictures, `load()` finds them again."""

from __future__ import annotations

import asyncio
import itertools
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from imagegen_magic import readers
from imagegen_magic.engine import api
from imagegen_magic.engine.context import EngineContext, Kind, context_of
from imagegen_magic.engine.endpoints import without_key
from imagegen_magic.engine.jobs import reuse
from imagegen_magic.engine.jobs.builder import fingerprint
from imagegen_magic.engine.jobs.job import Job, PlannedRequest
from imagegen_magic.engine.ledger.spending import prorate
from imagegen_magic.engine.ledger.sweeps import SweepRecord
from imagegen_magic.engine.references import Known
from imagegen_magic.engine.settings import ENGINE_OPTIONS, REQUEST_OPTIONS, Settings
from imagegen_magic.engine.settings import load as load_settings
from imagegen_magic.errors import MissingKey, UnsupportedOption
from imagegen_magic.humanize import pluralize
from imagegen_magic.providers import registry
from imagegen_magic.records import FrozenDict, Record
from imagegen_magic.request import ImageRequest
from imagegen_magic.result import Cost, Generation, total
from imagegen_magic.studies.sweeps import axes as sides
from imagegen_magic.studies.sweeps.axes import Axis, Template
from imagegen_magic.studies.sweeps.load import load
from imagegen_magic.studies.sweeps.result import SkippedCombination, SweepResult, gathered

__all__ = ["SweepEstimate", "SweepPlan", "SweepResult", "begin", "load", "outlook", "plan", "sweep"]

MOST = 100_000  # tasks of one sweep: beyond that it is a slip of the keyboard
_GROUPS = 8  # reasons that a refusal names


@dataclass(frozen=True, slots=True, repr=False)
class SweepPlan(Record):
    """What a sweep will do: `wishes` in the order of its axes (each repeat one of its own), and what its gateways cannot do."""

    request: ImageRequest
    axes: tuple[Axis, ...]
    repeat: int
    wishes: tuple[PlannedRequest, ...]
    impossible: tuple[SkippedCombination, ...]

    @property
    def study(self) -> SweepRecord:
        """The sweep as the ledger remembers it."""
        return SweepRecord(self.request.prompt, FrozenDict({axis.name: axis.labels for axis in self.axes}), self._fixed)

    @property
    def _fixed(self) -> str:
        """What does not vary, as text: the same prompt and axes with other options are another sweep."""
        varied = {"prompt", *(axis.name for axis in self.axes)}
        options = {name: value for name, value in self.wishes[0].request.asked().items() if name not in varied} if self.wishes else {}
        gateways = sorted({(wish.gateway.base_url, wish.gateway.sandbox) for wish in self.wishes}) if "provider" not in varied else []
        contents = [picture.identity for picture in self.wishes[0].plan.uploads] if self.wishes else []
        return json.dumps([options, gateways, contents], sort_keys=True, default=str)

    @property
    def pictures(self) -> int:
        """How many pictures it is to make."""
        return sum(wish.plan.count for wish in self.wishes)

    @property
    def combinations(self) -> int:
        """How many combinations there are, those that are left out among them."""
        return len(self.wishes) // self.repeat + len(self.impossible)


@dataclass(frozen=True, slots=True)
class SweepEstimate(Record):
    """What is known before anything is sent.

    Of `pictures`, `there` are there already, `waiting` are at a gateway or of unknown fate and not sent again, `new` ones are to be made.
    Of these, `free` ones are the sandbox's, `unknown` ones have no known price, and the others cost `price`, a sum for each unit.
    `usual` are the seconds that one of these tasks usually takes, (low, high), None where nothing is remembered.
    """

    pictures: int
    there: int
    waiting: int
    new: int
    free: int
    unknown: int
    price: tuple[Cost, ...]
    usual: tuple[float, float] | None


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
    """Return what a sweep will do; `request` has the prompt with its slots and the options that do not vary.

    `variables` gives the text for a slot that no axis fills, or raises. Without `keys` it is only to be looked at, and needs none. With
    `fit`, references that are too large are scaled down.
    Raises UnsupportedOption for axes that do not fit, and, naming them, for combinations that cannot be done, unless they are to be left
    out; UnknownProvider, MissingKey.
    """
    repeat = _number_of("repeat", repeat)
    settings.check(*ENGINE_OPTIONS)
    _check_prompt(request)
    lines = sides.all_of(axes)
    template = Template.read(request.prompt, lines, variables)
    sides.check(lines, template)
    varied = {line.name for line in lines}
    settings.check(*(name for name in REQUEST_OPTIONS if name not in varied and getattr(request, name) is None))
    _check_twice(request, provider, lines)
    _check_number(lines, repeat)
    request = replace(request, prompt=template.text)
    make = partial(api.prepare if keys else _to_look_at, fit=fit, pictures={})
    wishes, impossible = _wishes(request, template, lines, settings, provider, make)
    if impossible and not (skip_impossible and wishes):
        raise _refused(lines, wishes, impossible, skip_impossible)
    each = tuple(wish for wish in wishes for _ in range(repeat))
    return SweepPlan(request, lines, repeat, each, tuple(impossible))


def _check_prompt(request: ImageRequest) -> None:
    if not isinstance(request.prompt, str):
        what = f"The prompt is a text, not of type {type(request.prompt).__name__}"
        raise UnsupportedOption(what, option="prompt", value=request.prompt, hint="say what the picture shows")


def _check_twice(request: ImageRequest, provider: str | None, lines: Sequence[Axis]) -> None:
    said = {**request.asked(), **({"provider": provider} if provider else {})}
    for axis in lines:
        if axis.is_option and axis.name in said:
            step = "say it once: as an axis, or as an option of all"
            raise UnsupportedOption(f"{axis.name} is both an axis and an option", option=axis.name, value=said[axis.name], hint=step)


def _number_of(option: str, value: Any) -> int:
    try:
        return readers.count(value)
    except ValueError as error:
        what = f"{option} = {value!r} is no number of pictures"
        raise UnsupportedOption(what, option=option, value=value, hint=f"the option {option} takes {error}") from None


def _check_number(lines: Sequence[Axis], repeat: int) -> None:
    number = repeat
    for axis in lines:
        number *= len(axis.values)
    if number > MOST:
        step = "name fewer values"
        raise UnsupportedOption(f"{number} tasks are more than the {MOST} of one sweep", option="sweep", value=number, hint=step)


def _wishes(
    request: ImageRequest,
    template: Template,
    lines: Sequence[Axis],
    settings: Settings,
    provider: str | None,
    wish: Callable[..., PlannedRequest],
) -> tuple[list[PlannedRequest], list[SkippedCombination]]:
    wishes, impossible = [], []
    for chosen in itertools.product(*(range(len(axis.values)) for axis in lines)):
        place = FrozenDict({axis.name: axis.labels[number] for axis, number in zip(lines, chosen, strict=True)})
        said = {axis.name: axis.values[number] for axis, number in zip(lines, chosen, strict=True) if axis.is_option}
        gateway = said.pop("provider", provider)
        try:
            wishes.append(wish(replace(request, prompt=template.filled(place), **said), settings, gateway, place))
        except UnsupportedOption as error:
            impossible.append(SkippedCombination(place, error))
    return wishes, impossible


def _to_look_at(
    request: ImageRequest, settings: Settings, provider: str | None, place: Mapping[str, str], *, fit: bool, pictures: Known
) -> PlannedRequest:
    """Return a wish; where its gateway has no key, one that cannot be sent."""
    with suppress(MissingKey):
        return api.prepare(request, settings, provider, place, fit=fit, pictures=pictures)
    planned = api.plan(request, provider=provider, fit=fit, settings=settings)
    gateway = without_key(registry.get_provider(planned.provider, settings.look_alikes), settings)
    return PlannedRequest(gateway, planned, api.apply_defaults(request, settings), place)


def _refused(
    lines: Sequence[Axis], wishes: Sequence[PlannedRequest], impossible: Sequence[SkippedCombination], skipped: bool
) -> UnsupportedOption:
    """Return the refusal that names each combination that cannot be done, those of one reason together."""
    if not lines:
        return impossible[0].error
    values = {axis.name: axis.labels for axis in lines}
    told = reasons(impossible, values)
    shown = "; ".join(told[:_GROUPS]) + (f"; and for {pluralize(len(told) - _GROUPS, 'further reason')}" if len(told) > _GROUPS else "")
    number, of = len(impossible), len(wishes) + len(impossible)
    which = "None of the combinations can be done" if not wishes else f"{number} of {of} combinations cannot be done"
    step = "change the axes" if skipped or not wishes else "--skip-impossible (skip_impossible=True in Python) leaves them out"
    able = (
        []
        if "provider" in values
        else [name for name in impossible[0].error.providers if all(name in one.error.providers for one in impossible)]
    )
    values_here = {one.error.allowed for one in impossible}
    allowed = values_here.pop() if len(values_here) == 1 else ()
    return UnsupportedOption(f"{which}: {shown}", option="sweep", value=number, allowed=allowed, providers=able, hint=step)


def reasons(impossible: Sequence[SkippedCombination], axes: Mapping[str, Sequence[str]]) -> list[str]:
    """Return why combinations cannot be done, one line a reason, each with the combinations it is true of."""
    groups: dict[str, list[SkippedCombination]] = {}
    for one in impossible:
        groups.setdefault(one.error.what, []).append(one)
    told = [(gathered((one.place for one in group), axes), what) for what, group in groups.items()]
    return [f"{places}: {what}" if places else what for places, what in told]


async def outlook(plan: SweepPlan, settings: Settings) -> SweepEstimate:
    """Return what is known of a sweep before anything is sent; on the engine's loop."""
    session = context_of(settings)
    there, waiting = await _found(plan, session) if settings.get("reuse") else (set(), set())
    tasks = [(wish, count) for wish in plan.wishes for count in wish.plan.images_per_call]
    new = [task for number, task in enumerate(tasks) if number not in there | waiting]
    paid = [(prorate(wish.plan.price, count, wish.plan.count), count) for wish, count in new if not wish.gateway.sandbox]
    known = [price for price, _ in paid if price.amount is not None]
    return SweepEstimate(
        pictures=plan.pictures,
        there=sum(tasks[number][1] for number in there),
        waiting=sum(tasks[number][1] for number in waiting),
        new=sum(count for _, count in new),
        free=sum(count for wish, count in new if wish.gateway.sandbox),
        unknown=sum(count for price, count in paid if price.amount is None),
        price=total(known) if known else (),
        usual=await _usual([wish for wish, _ in new], session),
    )


async def _found(plan: SweepPlan, session: EngineContext) -> tuple[set[int], set[int]]:
    """Return the positions of what is there already, and of what is on its way or of unknown fate and will not be sent again."""
    await session.ledger.recover_orphans()
    marks = [fingerprint(wish, call) for wish in plan.wishes for call in wish.plan.calls]
    found = await reuse.find(session.ledger, marks)
    return set(found.complete), set(found.missing) | set(found.pending) | set(found.unknown)


async def _usual(wishes: Sequence[PlannedRequest], session: EngineContext) -> tuple[float, float] | None:
    """Return what such tasks usually take, from the quickest kind to the slowest, as far as it is remembered."""
    known = []
    for kind, megapixels in {_kind(wish): _megapixels(wish) for wish in wishes}.items():
        if usual := (await session.history(kind, megapixels)).usual():
            known.append(usual)
    return (min(low for low, _ in known), max(high for _, high in known)) if known else None


def _kind(wish: PlannedRequest) -> Kind:
    return wish.plan.provider, wish.gateway.sandbox, wish.plan.model.name, *wish.plan.tier


def _megapixels(wish: PlannedRequest) -> float:
    pixels = wish.plan.pixels
    return pixels[0][0] * pixels[0][1] / 1e6 if pixels else 1.0


def begin(plan: SweepPlan, settings: Settings, *, preview: int | None = None, title: str = "") -> Job:
    """Begin a sweep and return at once: a Job whose result is a SweepResult; `preview` as in `generation.begin`."""
    sweep = plan.study if plan.axes else None

    def dressed(job: Job, made: Generation) -> SweepResult:
        return _result(plan, job, made)

    return api.start_batch(plan.wishes, settings, preview=preview, sweep=sweep, title=title, result_factory=dressed)


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
        words=tuple("" if task in saved else _word(job, task) for task in range(len(job.places))),
        impossible=plan.impossible,
        study=job.sweep,
    )


_WORDS = {"failed": "failed", "left": "waiting"}


def _word(job: Job, task: int) -> str:
    latest = job.latest.get(task)
    return _WORDS.get(latest.stage, "not made") if latest else "not made"


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
    **options: Any,
) -> SweepResult:
    """Make the pictures of all combinations of the axes' values and return them, on any running event loop.

    An axis is an option (`quality`, `size`, `provider`, …) or a slot of the prompt (`style` where the prompt says `{{style}}`); `repeat`
    pictures are made of each combination. With `reuse` only what is missing is made and paid for. `options` are the fields of
    ImageRequest that do not vary. Raises UnsupportedOption before anything is sent, and what ended it where no picture was made; where
    only some were, `errors` says why, and a warning says so.
    """
    settings = load_settings().replace("this call", timeout=timeout, save_dir=save_dir, name=name, sandbox=sandbox, reuse=reuse)
    request = api.request_of(prompt, options)
    make = partial(plan, settings=settings, repeat=repeat, skip_impossible=skip_impossible, provider=provider, fit=fit)
    job = begin(await asyncio.to_thread(make, request, axes), settings)  # the caller's loop goes on meanwhile
    result = await job.result()
    assert isinstance(result, SweepResult)
    if result.errors:
        warnings.warn(f"{len(result)} of {job.expecting} pictures were made. {result.errors[0]}", stacklevel=2)
    return result
