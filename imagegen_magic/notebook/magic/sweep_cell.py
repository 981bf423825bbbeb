"""`--sweep` and `--repeat` in a cell: show the plan, ask for a confirmation if it is needed, then run it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.display import display

from imagegen_magic.engine import api, credentials, loop
from imagegen_magic.engine.settings import NOTEBOOK_OPTIONS
from imagegen_magic.engine.storage import folders
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.humanize import gateway_name, truncate
from imagegen_magic.notebook.arguments import confirmation, image_selector, provider_choice, request_builder
from imagegen_magic.notebook.output.tables import Note, Page, Table, pixels, refused, show_note
from imagegen_magic.notebook.progress import run as runs
from imagegen_magic.notebook.progress import sweep_text, sweep_view
from imagegen_magic.request import ImageRequest
from imagegen_magic.studies.sweeps import plan
from imagegen_magic.studies.sweeps.axes import Axis, make_axis, normalize_name, split
from imagegen_magic.studies.sweeps.plan import SweepEstimate, SweepPlan
from imagegen_magic.studies.sweeps.result import short

if TYPE_CHECKING:
    from imagegen_magic.engine.jobs.job import Job, PlannedRequest
    from imagegen_magic.engine.settings import Settings
    from imagegen_magic.notebook.context import NotebookContext

_DRY_ROWS = 40  # combinations that a dry run lists
_REASONS = 8  # reasons for left-out combinations that are shown


def start(context: NotebookContext, given: Mapping[str, Any], prompt: str, settings: Settings) -> tuple[Job, runs.MakeView] | None:
    """Start a sweep, and return its job with its view; None after a dry run. Raises before anything is sent."""
    settings.check(*NOTEBOOK_OPTIONS)  # most are used only after the job was paid for
    if not given.get("dry_run"):
        settings = provider_choice.choose(ImageRequest(prompt), settings, given.get("provider"), context.shell)
    planned = _planned(context, given, prompt, settings)
    requests = [item.request for item in planned.requests[:: planned.repeat]]
    # of variables; a plan would show a key, and the ledger keep it
    credentials.reject_embedded_keys(requests, [planned.record.axes], settings)
    estimate = loop.run(plan.estimate(planned, settings))
    if given.get("dry_run"):
        display(_dry_page(planned, estimate, settings))
        return None
    runs.remind_of_waiting(context, settings)
    show_note(sweep_text.headline(planned, estimate), *_left_out(planned))
    folders.check(settings)
    _confirm(estimate, settings, given)
    width = settings.get("preview") if settings.origin("preview") != "built in" else None
    job = plan.start(planned, settings, preview=sweep_view.edge(planned.pictures), title=sweep_text.title(planned))
    return job, partial(sweep_view.SweepView, axes=planned.record.axes, width=width)


def _planned(context: NotebookContext, given: Mapping[str, Any], prompt: str, settings: Settings) -> SweepPlan:
    variables = context.shell.user_ns
    axes = [_axis(name, text, variables, context.folder) for name, text in given.get("sweep", ())]
    plain = {name: value for name, value in given.items() if name != "vars"}
    return plan.plan(
        request_builder.build_request(plain, prompt, variables, context.folder),
        axes,
        settings=settings,
        repeat=given.get("repeat", 1),
        skip_impossible=bool(given.get("skip_impossible")),
        provider=given.get("provider"),
        variables=(lambda name: request_builder.variable(name, variables)) if given.get("vars") else None,
        keys=not given.get("dry_run"),
        fit=bool(given.get("fit")),
    )


def _axis(name: str, text: str, variables: Mapping[str, Any], folder: Path) -> Axis:
    """Return the axis of a --sweep: its values, or the name of a variable that holds them."""
    listed, option = text.strip(), normalize_name(name)
    values: Sequence[Any] = split(text)
    if listed.startswith("@") and listed[1:].isidentifier():
        values = _listed(option, listed[1:], variables)
    elif option in ("references", "mask"):
        values = [image_selector.reference(value, variables, folder, option=option) for value in values]
    return make_axis(option, values)


def _listed(axis: str, name: str, variables: Mapping[str, Any]) -> list[Any]:
    if name not in variables:
        near = request_builder.similar(name, variables)
        what = f"The axis {axis} names the variable {name}, which the notebook does not have"
        raise UnsupportedOption(what, option=axis, value=name, hint=f"{f'did you mean {near}? Else ' if near else ''}define it first")
    found = variables[name]
    if isinstance(found, str | bytes | Mapping):
        type_name = type(found).__name__
        step = f"make {name} a list of values, or write them into the cell"
        raise UnsupportedOption(
            f"The variable {name} is a {type_name}, and the axis {axis} needs a list", option=axis, value=name, hint=step
        )
    try:
        return list(found)
    except TypeError:
        step = f"make {name} a list of values"
        raise UnsupportedOption(f"The variable {name} is not a list", option=axis, value=name, hint=step) from None


def _left_out(planned: SweepPlan) -> Iterator[str]:
    if planned.impossible:
        yield f"Left out, not possible ({len(planned.impossible)} of {planned.combinations} combinations):"
        yield from _first(plan.reasons(planned.impossible, planned.record.axes), _REASONS, "reasons")


def _first(lines: Sequence[str], limit: int, noun: str) -> list[str]:
    """Return at most `limit` lines, and one that counts the others."""
    return [*lines[:limit], f"and {len(lines) - limit} more {noun}"] if len(lines) > limit else list(lines)


def _dry_page(planned: SweepPlan, estimate: SweepEstimate, settings: Settings) -> Page:
    """Return the plan of a dry run: its headline, at most 40 combinations, and the notes on them."""
    names = list(planned.record.axes)
    combinations = planned.requests[:: planned.repeat]
    rows = [
        [
            *(short(request.combination[name]) for name in names),
            truncate(request.plan.request.prompt, 80),
            gateway_name(f"{request.plan.provider} {request.plan.model.name}", request.endpoint.sandbox),
            pixels(request.plan.pixels) or "the service decides",
            str(request.endpoint.label_cost(request.plan.price)),
        ]
        for request in combinations[:_DRY_ROWS]
    ]
    warnings = list(dict.fromkeys(warning for request in combinations for warning in request.plan.warnings))
    more = [f"and {len(combinations) - _DRY_ROWS} more combinations"] if len(combinations) > _DRY_ROWS else []
    lead = Note(f"Dry run: nothing was sent, nothing is charged. {sweep_text.headline(planned, estimate)}")
    wrong = [Note(refused(why)) for why in folders.problems(settings)]
    notes = map(Note, [*more, *_left_out(planned), *_uploads(combinations, settings), *warnings[:_REASONS]])
    return Page(lead, *wrong, Table((*names, "prompt", "made by", "pixels", "price"), rows), *notes)


def _uploads(requests: Sequence[PlannedRequest], settings: Settings) -> list[str]:
    """Return a line for each local image: what it is, to which gateway it is uploaded, and for how long."""
    different = {(item.endpoint.base_url, *(image.identity for image in item.plan.uploads)): item for item in requests if item.plan.uploads}
    lines = dict.fromkeys(line for item in different.values() for line in api.upload_preview(item.plan, item.endpoint, settings))
    return _first(list(lines), _DRY_ROWS, "pictures")


def _confirm(estimate: SweepEstimate, settings: Settings, given: Mapping[str, Any]) -> None:
    """Ask before many images or a high price; raises if the answer is no, or if the question cannot be asked."""
    reasons = list(confirmation.reasons(estimate.new, estimate.price, estimate.unknown, settings))
    question = f"Make {'it' if estimate.new == 1 else 'them'}?"
    confirmation.require(reasons, question, yes=bool(given.get("yes")))
