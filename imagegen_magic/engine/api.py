"""Requests for images: `generate()` and `stream()`, and the steps they consist of: `prepare()`, `start_batch()`, `start()`, `resume()`."""

from __future__ import annotations

import asyncio
import difflib
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from imagegen_magic.engine import credentials, endpoints, hosted_secrets, loop, threads
from imagegen_magic.engine.context import context_of, ledger_of
from imagegen_magic.engine.endpoints import SANDBOX_NAME, Endpoint, endpoint_for, select_endpoint
from imagegen_magic.engine.jobs.builder import create_tasks
from imagegen_magic.engine.jobs.job import Job, PlannedRequest, ResultFactory
from imagegen_magic.engine.jobs.resume import resume_tasks
from imagegen_magic.engine.jobs.task import Event
from imagegen_magic.engine.jobs.unanswered import recover_listed, recover_spooled, unanswered
from imagegen_magic.engine.learnt_models import can_learn, with_learnt
from imagegen_magic.engine.ledger import stored_requests
from imagegen_magic.engine.ledger.budget import budget_check_again
from imagegen_magic.engine.ledger.ledger import Ledger, TaskRow
from imagegen_magic.engine.ledger.sweeps import SweepRecord
from imagegen_magic.engine.net.transport import NotSent, OutcomeUnknown
from imagegen_magic.engine.settings import ENGINE_OPTIONS, REQUEST_OPTIONS, Settings, load
from imagegen_magic.engine.storage import folders
from imagegen_magic.errors import GatewayUnreachable, MissingKey, UnsupportedOption
from imagegen_magic.humanize import pluralize
from imagegen_magic.options import PARAMETERS
from imagegen_magic.providers import registry
from imagegen_magic.providers.base import Balance, Model, Plan, Provider
from imagegen_magic.records import FrozenDict
from imagegen_magic.request import ImageRequest, with_parameters
from imagegen_magic.result import Generation

if TYPE_CHECKING:
    from imagegen_magic.engine.references import Known

_FIELDS = (*(item.name for item in fields(ImageRequest) if item.name != "prompt"), *PARAMETERS)
_NO_COMBINATION: Mapping[str, str] = FrozenDict()

T = TypeVar("T")


class Shared:
    """What the requests of one job have in common, so that it is loaded and held once: images, and equal gateways and prices."""

    def __init__(self) -> None:
        self.pictures: Known = {}
        self._records: dict[Any, Any] = {}

    def one(self, record: T) -> T:
        """Return the first record that was equal to this one."""
        first: T = self._records.setdefault(record, record)
        return first


def apply_defaults(request: ImageRequest, settings: Settings) -> ImageRequest:
    """Return the request with the configured defaults in its empty fields."""
    defaults = {name: settings.get(name) for name in REQUEST_OPTIONS if getattr(request, name) is None and settings.get(name) is not None}
    return replace(request, **defaults)


async def balance(provider: str | None = None, *, settings: Settings | None = None) -> Balance:
    """Ask a gateway what the account has, in its own unit.

    Raises UnsupportedOption if it does not report that, MissingKey without a key, APIError or AuthenticationError by its answer, and
    GatewayUnreachable.
    """
    endpoint = select_endpoint(settings or load(), provider=provider)
    asked, call = endpoint.provider, endpoint.provider.balance_call()
    if call is None:
        hint = f"see the account's page at {asked.docs_url or asked.base_url}"
        raise UnsupportedOption(f"{asked.title} does not report what the account has", option="balance", value=asked.name, hint=hint)
    context = context_of(settings or load())
    try:
        answer = await context.call(endpoint, call)
    except (NotSent, OutcomeUnknown) as error:
        raise GatewayUnreachable(f"{asked.title} cannot be reached ({error})") from None
    if answer.status >= 300:
        raise asked.read_error(answer.status, answer.content)
    return asked.read_balance(answer.content)


def ledger(settings: Settings | None = None) -> Ledger:
    """Return this process's ledger."""
    return ledger_of(settings or load())


def plan(
    request: ImageRequest,
    *,
    provider: str | None = None,
    sandbox: bool | None = None,
    fit: bool = False,
    settings: Settings | None = None,
) -> Plan:
    """Return the plan of a request, without sending anything and without a key.

    Raises UnsupportedOption, which names the gateways that can do it.
    """
    settings = settings or load()
    _, gateway, made = _planned(request, settings, provider, sandbox, fit=fit)
    if made.request.references:
        from imagegen_magic.engine.uploads import routes

        routes.check_hosts(made, gateway)
    return made


def planned_endpoint(plan: Plan, settings: Settings, *, provider: str | None = None, sandbox: bool | None = None) -> Endpoint:
    """Return the gateway that a planned request would go to, given the requested `provider` and `sandbox`; it needs no key."""
    named = plan.provider if (provider or settings.get("provider") or SANDBOX_NAME) != SANDBOX_NAME else None
    return select_endpoint(settings, provider=named, sandbox=sandbox, model=plan.model.name, planning=True)


def upload_preview(plan: Plan, gateway: Endpoint, settings: Settings) -> list[str]:
    """Return a line for each local image that a plan would upload: its name, its host, and how long it is kept there.

    Raises UnsupportedOption if it cannot be uploaded.
    """
    if not plan.request.references:
        return []
    from imagegen_magic.engine.uploads import routes

    return routes.preview(plan, gateway, settings)


def start(
    request: ImageRequest,
    *,
    provider: str | None = None,
    sandbox: bool | None = None,
    timeout: float | None = None,
    save_dir: str | Path | None = None,
    name: str | None = None,
    preview: int | None = None,
    reuse: bool | None = None,
    fit: bool = False,
    settings: Settings | None = None,
) -> Job:
    """Start a request and return at once. Raises UnsupportedOption, UnknownProvider or MissingKey before anything is sent.

    `reuse` returns the results of an earlier identical request, at no cost; `fit` scales down references that are too large for the
    gateway.
    """
    settings = (settings or load()).replace("this call", timeout=timeout, save_dir=save_dir, name=name, sandbox=sandbox, reuse=reuse)
    return start_batch([prepare(request, settings, provider, fit=fit)], settings, preview=preview)


def prepare(
    request: ImageRequest,
    settings: Settings,
    provider: str | None = None,
    combination: Mapping[str, str] = _NO_COMBINATION,
    *,
    fit: bool = False,
    shared: Shared | None = None,
) -> PlannedRequest:
    """Return what `start_batch` takes: the request with the configured defaults, its gateway and plan, and its combination in a sweep.

    References and mask are loaded, which takes a while for large ones: `shared` keeps them for the next request of the job. `fit` scales
    down what is too large. Raises UnsupportedOption, ImageInvalid, UnknownProvider or MissingKey.
    """
    shared = shared or Shared()
    request, _, plan = _planned(request, settings, provider, fit=fit, known=shared.pictures, fetch=True)  # the limits before a missing key
    gateway = select_endpoint(settings, provider=provider, model=request.model)
    gateway = with_learnt(gateway, settings, plan.model.name)
    if request.references:
        from imagegen_magic.engine.uploads import routes

        routes.check(plan, gateway, settings)
    return PlannedRequest(shared.one(gateway), replace(plan, price=shared.one(plan.price)), request, combination)


def _planned(
    request: ImageRequest,
    settings: Settings,
    provider: str | None,
    sandbox: bool | None = None,
    *,
    fit: bool,
    known: Known | None = None,
    fetch: bool = False,
) -> tuple[ImageRequest, Endpoint, Plan]:
    """Return the request with the configured defaults and loaded references, its gateway (no key is needed), and its plan.

    `fetch` asks a service that describes its models for them, once a day.
    """
    settings.check(*ENGINE_OPTIONS)
    request = apply_defaults(request, settings)
    gateway = select_endpoint(settings, provider=provider, sandbox=sandbox, model=request.model, planning=True)
    if fetch and can_learn(gateway.provider, request.model) and (gateway.sandbox or endpoints.obtains_key(gateway.provider, settings)):
        keyed = endpoint_for(gateway.provider, settings, sandbox=gateway.sandbox)
        with_learnt(keyed, settings, request.model, fetch=True)
    gateway = with_learnt(gateway, settings, request.model)
    if request.references or request.mask is not None:
        request = _with_references(request, gateway, settings, fit, known)
    return request, gateway, endpoints.plan(gateway.provider, request, settings, sandbox=gateway.sandbox)


def model_of(request: ImageRequest, settings: Settings, provider: str | None = None) -> Model:
    """Return the model that a request would use, with what its service describes; no key is needed. Raises UnknownProvider."""
    request = apply_defaults(request, settings)
    gateway = select_endpoint(settings, provider=provider, model=request.model, planning=True)
    return with_learnt(gateway, settings, request.model).provider.model(request.model)


def _with_references(request: ImageRequest, gateway: Endpoint, settings: Settings, fit: bool, known: Known | None) -> ImageRequest:
    """Return a request with its references loaded; if one cannot be used, the refusal names the gateways that accept it."""
    from imagegen_magic.engine.references import load_references

    def make(provider: Provider, request: ImageRequest) -> Plan:
        return provider.plan(load_references(request, provider, settings, fit=fit, known=known))

    try:
        return load_references(request, gateway.provider, settings, fit=fit, known=known)
    except UnsupportedOption as refusal:
        able = endpoints.alternatives_to(gateway.provider, request, settings, make, sandbox=gateway.sandbox)
        raise refusal.available_from(able) from None


def start_batch(
    requests: Sequence[PlannedRequest],
    settings: Settings,
    *,
    preview: int | None = None,
    sweep: SweepRecord | None = None,
    title: str = "",
    result_factory: ResultFactory | None = None,
) -> Job:
    """Start several requests as one job, and return at once; `preview` is the longest edge of previews in the notebook, in pixels.

    Raises UnsupportedOption if a request contains a key, which would be written to the ledger and the sidecar; MissingKey if a plan has
    none, because it was made without one or in another process.
    """
    _check_keys(requests)
    settings.check(*ENGINE_OPTIONS)
    credentials.reject_embedded_keys((each.request for each in requests), [each.combination for each in requests], settings)
    job = Job(requests, settings, preview_edge=preview, title=title, result_factory=result_factory)
    return job.begin(lambda channel: create_tasks(requests, channel, sweep))


def _check_keys(requests: Sequence[PlannedRequest]) -> None:
    keyed = (each.endpoint for each in requests if not each.endpoint.sandbox and each.endpoint.provider.needs_key)
    bare = next((endpoint for endpoint in keyed if not endpoint.key.is_well_formed()), None)
    if bare is not None:
        what = f"This plan has no key for {bare.provider.title}: it comes from a pickle, or was made without one"
        raise MissingKey(what, hint="make the plan again in this process, which finds the key")


def resume(
    settings: Settings | None = None,
    *,
    ids: Sequence[int] | None = None,
    save_dir: str | Path | None = None,
    preview: int | None = None,
    ask_again: bool = False,
    workers: Any = None,
) -> Job:
    """Collect finished tasks whose images were not fetched. From synchronous code; `ids` are the ledger's task rows.

    Submissions of unknown outcome are searched in the gateway's own list, if it has one. `ask_again` also sends them again with the same
    body and key to gateways that answer with the first task: nothing is paid twice, but what never arrived is made now, and paid for.
    Raises BudgetExceeded if that would exceed a budget. Without it, nothing is submitted.

    Images are saved where their request named, or in `save_dir`; raises SaveError if that folder cannot be written. `workers` fetch them,
    as in `generate_all`. The job's note names
    submissions without an answer. A setting that cannot be read is ignored, so that it blocks no collection.
    """
    settings = (settings or load()).replace("this call", workers=workers)

    async def claim(ledger: Ledger, job: Job) -> list[TaskRow]:
        readable = settings.without_errors
        unknown = [each for each in await unanswered(ledger, readable) if ids is None or each.task.row in ids]
        await recover_spooled(context_of(readable), readable, unknown, job.claims)
        found = await recover_listed(context_of(readable), readable, unknown, job.claims)
        rows = await ledger.claim(rows=ids, claims=job.claims)
        if ask_again and (asked := [each for each in unknown if each.until is not None and each.task.row not in found]):
            prices = {each.task.row: (each.price, each.task.count) for each in asked if not each.task.sandbox}
            check = budget_check_again(prices, ledger, settings.get("unknown_price"))
            rows += await ledger.claim_unknown([each.task.row for each in asked], claims=job.claims, allow=check)
        return rows

    return _collect(settings, save_dir, preview, claim)


def resume_task(row: int, settings: Settings | None = None, *, save_dir: str | Path | None = None, preview: int | None = None) -> Job:
    """Collect one task again, also one that was forgotten, has failed, or came as a file that cannot be read; submits nothing.

    From synchronous code; `row` is the ledger's. Raises UnsupportedOption if there is nothing to collect.
    """
    settings = settings or load()
    job = _collect(settings, save_dir, preview, lambda ledger, job: ledger.reclaim(row, claims=job.claims), again=True)
    if not job.expecting:
        what = loop.run(_why_nothing_to_collect(settings, row))
        raise UnsupportedOption(what, option="resume", value=row, hint="%imagegen jobs shows what waits")
    return job


async def _why_nothing_to_collect(settings: Settings, row: int) -> str:
    tasks = await ledger_of(settings).tasks(rows=[row])
    if not tasks:
        return f"There is no task {row}"
    if tasks[0].task_id is None:
        return f"Task {row} has no id at its service, so nothing can be collected"
    if tasks[0].state == "saved":
        return f"All pictures of task {row} are saved"
    return f"Task {row} is running: this kernel or another one waits for it"


Claim = Callable[[Ledger, Job], Awaitable[list[TaskRow]]]


def _collect(settings: Settings, save_dir: str | Path | None, preview: int | None, claim: Claim, *, again: bool = False) -> Job:
    unread, settings = settings.errors.values(), settings.without_errors
    job = Job((), settings, preview_edge=preview)
    elsewhere = None if save_dir is None else settings.replace("this call", save_dir=save_dir).save_dir
    try:
        unsent, rows, cut_off = loop.run(_claim(settings, claim, job))
        if rows and elsewhere is not None:
            job.made_folders = loop.run(threads.writing(folders.make_ready, settings, elsewhere))
    except BaseException:  # above all an interrupt: release what may be claimed already
        job.abort()
        raise
    job.expecting = sum(_unsaved(row, again) for row in rows)
    left_out = [f"{error.what}, so it was left out here." for error in unread]
    unclear = len({row.row for row in cut_off} - {row.row for row in rows})
    job.note = " ".join(
        filter(None, [_cut_off_note(unclear), unsent_note(unsent), *left_out, stored_requests.version_note(row.asked for row in rows)])
    )
    return job.begin(lambda channel: resume_tasks(rows, channel, elsewhere, again=again))


def _cut_off_note(submissions: int) -> str:
    if not submissions:
        return ""
    return (
        f"{pluralize(submissions, 'submission')} {'was' if submissions == 1 else 'were'} cut off before an answer came. It is "
        f"unknown whether the service accepted {'it' if submissions == 1 else 'them'}, and nothing was sent again. "
        "%imagegen jobs shows what can be tried."
    )


def unsent_note(tasks: int) -> str:
    """Return the note on tasks that an ended process had not sent; empty if there are none."""
    if not tasks:
        return ""
    them = "it" if tasks == 1 else "them"
    return (
        f"{pluralize(tasks, 'task')} {'was' if tasks == 1 else 'were'} not sent before {'its' if tasks == 1 else 'their'} process ended, "
        f"and nothing is charged for {them}: the same request with --reuse sends {them}."
    )


async def _claim(settings: Settings, claim: Claim, job: Job) -> tuple[int, list[TaskRow], list[TaskRow]]:
    unsent = await ledger_of(settings).count_unsent()
    cut_off = await ledger_of(settings).recover_orphans()
    return unsent, await claim(ledger_of(settings), job), cut_off


def _unsaved(row: TaskRow, again: bool) -> int:
    return sum(picture.saved_at is None if again else not picture.path for picture in row.pictures) or row.count


async def generate(
    prompt: str | ImageRequest,
    *,
    provider: str | None = None,
    sandbox: bool | None = None,
    timeout: float | None = None,
    save_dir: str | Path | None = None,
    name: str | None = None,
    reuse: bool | None = None,
    fit: bool = False,
    **options: Any,
) -> Generation:
    """Make images and return them, on any running event loop; `options` are the fields of ImageRequest, and
    `seed`, `negative_prompt` and `partials`.

    Raises the error that ended it if no image was made. If only some were made, `errors` of the Generation has the reasons, and a
    warning names the first. Cancelling it stops the waiting, and `%imagegen resume` collects the rest.
    """
    request = request_of(prompt, options)
    job = await _started(request, provider=provider, sandbox=sandbox, timeout=timeout, save_dir=save_dir, name=name, reuse=reuse, fit=fit)
    return _with_warning(await job.result(), job)


async def generate_all(
    requests: Iterable[str | ImageRequest],
    *,
    provider: str | None = None,
    sandbox: bool | None = None,
    timeout: float | None = None,
    save_dir: str | Path | None = None,
    name: str | None = None,
    reuse: bool | None = None,
    fit: bool = False,
    workers: Any = None,
) -> Generation:
    """Make the images of any list of requests as one job and return them, on any running event loop.

    `workers` download, verify and save the pictures: so many processes of this machine, or the Dask cluster of a client or an address.
    Submitting, polling, the ledger and the keys stay in this process. The images are the same as without workers.

    Raises UnsupportedOption or BudgetExceeded for all of them before anything is sent, else as `generate` does.
    """
    given = {"timeout": timeout, "save_dir": save_dir, "name": name, "sandbox": sandbox, "reuse": reuse, "workers": workers}
    settings = load().replace("this call", **given)
    job = await asyncio.to_thread(_start_all, list(requests), settings, provider, fit)  # it may load references
    return _with_warning(await job.result(), job)


def _start_all(requests: Sequence[str | ImageRequest], settings: Settings, provider: str | None, fit: bool) -> Job:
    if not requests:
        raise UnsupportedOption("There is no request in the list", option="requests", value=(), hint="give prompts or ImageRequests")
    shared = Shared()
    asked = [each if isinstance(each, ImageRequest) else ImageRequest(each) for each in requests]
    return start_batch([prepare(each, settings, provider, fit=fit, shared=shared) for each in asked], settings)


def _with_warning(generation: Generation, job: Job) -> Generation:
    if generation.errors:
        made, asked = len(generation), job.expecting
        warnings.warn(f"{made} of {asked} pictures were made. {generation.errors[0]}", stacklevel=3)
    return generation


async def stream(
    prompt: str | ImageRequest,
    *,
    provider: str | None = None,
    sandbox: bool | None = None,
    timeout: float | None = None,
    save_dir: str | Path | None = None,
    name: str | None = None,
    reuse: bool | None = None,
    fit: bool = False,
    **options: Any,
) -> AsyncIterator[Event]:
    """Yield Progress and GeneratedImage as they come, on any running event loop; leaving the iteration early stops the waiting.

    Raises like `generate`, after the last event.
    """
    request = request_of(prompt, options)
    job = await _started(request, provider=provider, sandbox=sandbox, timeout=timeout, save_dir=save_dir, name=name, reuse=reuse, fit=fit)
    events = job.events()
    try:
        while (event := await loop.await_on_engine(anext(events, None))) is not None:
            yield event
    finally:
        if not job.done:
            job.cancel()
    await job.result()


async def _started(request: ImageRequest, **keywords: Any) -> Job:
    """Start a request without blocking the caller's loop: in a thread if references must be loaded.

    If it is cancelled before it started, it is cancelled as soon as it does.
    """
    if not registry.has_file(str(keywords["provider"])) and not registry.entry_points_loaded():
        await asyncio.to_thread(registry.provider_names)  # reads all installed packages, once
    if all(isinstance(each, str) for each in (*request.references, request.mask or "")) and not _asks_first(request, keywords):
        return start(request, **keywords)
    _read_secret(keywords)
    begun: list[Job] = []
    stopped = threading.Event()

    def begin_unless_stopped() -> Job:
        begun.append(start(request, **keywords))
        if stopped.is_set():
            begun[0].cancel()
        return begun[0]

    try:
        return await asyncio.to_thread(begin_unless_stopped)
    except asyncio.CancelledError:
        stopped.set()
        for job in begun:
            job.cancel()
        raise


def _read_secret(keywords: Mapping[str, Any]) -> None:
    """Read the key of the named service from a hosted notebook's secrets, which the thread that starts the request cannot do."""
    settings = load()
    name = keywords["provider"] or settings.get("provider") or SANDBOX_NAME
    sandbox = settings.get("sandbox") if keywords["sandbox"] is None else keywords["sandbox"]
    if hosted_secrets.readable() and name != SANDBOX_NAME and not sandbox:
        endpoints.obtains_key(registry.get_provider(name, settings.provider_tables), settings)


def _asks_first(request: ImageRequest, keywords: Mapping[str, Any]) -> bool:
    """Return whether starting may wait for a service's description of its models."""
    settings = load()
    name = keywords["provider"] or settings.get("provider")
    return (name or SANDBOX_NAME) != SANDBOX_NAME and can_learn(
        endpoints.located(registry.get_provider(name, settings.provider_tables)), request.model
    )


def request_of(prompt: str | ImageRequest, options: Mapping[str, Any]) -> ImageRequest:
    """Return a prompt, or a request, with these fields; `seed`, `negative_prompt` and `partials` stand in its `parameters`.

    Raises UnsupportedOption for a field that there is not.
    """
    for name in options:
        if name not in _FIELDS:
            near = difflib.get_close_matches(name, _FIELDS, n=1)
            step = "" if near else 'another field of the service goes into extra={"name": value}'
            keywords = {"option": name, "value": options[name], "allowed": _FIELDS, "hint": step}
            keywords["fix"] = {near[0]: options[name]} if near else None
            raise UnsupportedOption(f"There is no option {name}", **keywords)
    if isinstance(prompt, ImageRequest):
        return replace(prompt, **with_parameters(options, prompt.parameters))
    return ImageRequest(prompt, **with_parameters(options))
