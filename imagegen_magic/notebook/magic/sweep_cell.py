"""`--sweep` and `--repeat` in a cell: what will happen is shown first, then asked about where it is much, then followed."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.display import display

from imagegen_magic.engine import api, loop
from imagegen_magic.engine.jobs.job import pluralize
from imagegen_magic.engine.storage import folders
from imagegen_magic.errors import ImageGenError, UnsupportedOption
from imagegen_magic.notebook.arguments.image_sources import named
from imagegen_magic.notebook.magic import cell, confirmation
from imagegen_magic.notebook.output.tables import Note, Page, Table, pixels, refused, shortened
from imagegen_magic.notebook.progress import sweep_view
from imagegen_magic.notebook.progress.state import span
from imagegen_magic.studies.sweeps import axes as sides
from imagegen_magic.studies.sweeps import plan
from imagegen_magic.studies.sweeps.axes import Axis
from imagegen_magic.studies.sweeps.plan import SweepEstimate, SweepPlan
from imagegen_magic.studies.sweeps.result import axes_words, short

if TYPE_CHECKING:
    from imagegen_magic.engine.jobs.job import Job, PlannedRequest
    from imagegen_magic.engine.settings import Settings
    from imagegen_magic.notebook.context import NotebookContext

_DRY_ROWS = 40  # combinations that a dry run lists
_REASONS = 8  # reasons for leaving out combinations that are told
_OF_ALL = ("timeout", "save_dir", "name", "sandbox")


def run(context: NotebookContext, given: Mapping[str, Any], prompt: str) -> None:
    """Do what a cell with --sweep or --repeat asks for; raises why it cannot, before anything is sent."""
    settings = _settings(context, given)
    settings.check("keep_loop", "drift_above", *([] if "preview" in given else ["preview"]))  # which are needed when it is paid for
    planned = _planned(context, given, prompt, settings)
    asked = [wish.request for wish in planned.wishes[:: planned.repeat]]
    cell.refuse_keys_in(asked, settings, [planned.study.axes])
    outlook = loop.run(plan.outlook(planned, settings))
    if given.get("dry_run"):
        display(_dry_page(planned, outlook, settings))
        return
    cell.tell_of_waiting(context, settings)
    display(Page(*(Note(words) for words in [headline(planned, outlook), *_left_out(planned)])))
    folders.check(settings)
    _ask(outlook, settings, given)
    job = plan.begin(planned, settings, preview=sweep_view.edge(planned.pictures), title=_title(planned))
    values = planned.study.axes
    said = given.get("preview") or (settings.get("preview") if settings.origin("preview") != "built in" else None)

    def looking(job: Job, shell: Any, *, background: bool = False) -> Any:
        return sweep_view.view(job, shell, values, background=background, width=said)

    if given.get("no_wait"):
        cell.leave(context, job, given.get("out"), looking=looking)
    else:
        keep_loop = bool(given.get("keep_loop") or settings.get("keep_loop"))
        cell.follow(context, job, given.get("out"), keep_loop=keep_loop, looking=looking)


def _settings(context: NotebookContext, given: Mapping[str, Any]) -> Settings:
    said = {name: given[name] for name in _OF_ALL if name in given}
    return context.settings().replace("this cell", **said, reuse=False if given.get("fresh") else given.get("reuse"))


def _planned(context: NotebookContext, given: Mapping[str, Any], prompt: str, settings: Settings) -> SweepPlan:
    variables = context.shell.user_ns
    axes = [_axis(name, text, variables, context.folder) for name, text in given.get("sweep", ())]
    plain = {name: value for name, value in given.items() if name != "vars"}
    return plan.plan(
        cell.request_of(plain, prompt, variables, context.folder),
        axes,
        settings=settings,
        repeat=given.get("repeat", 1),
        skip_impossible=bool(given.get("skip_impossible")),
        provider=given.get("provider"),
        variables=(lambda name: cell.variable(name, variables)) if given.get("vars") else None,
        keys=not given.get("dry_run"),
        fit=bool(given.get("fit")),
    )


def _axis(name: str, text: str, variables: Mapping[str, Any], folder: Path) -> Axis:
    """Return an axis from what stands behind --sweep: its values, or the name of a variable that has them."""
    listed, option = text.strip(), sides.named(name)
    values: Sequence[Any] = sides.split(text)
    if listed.startswith("@") and listed[1:].isidentifier():
        values = _listed(option, listed[1:], variables)
    elif option in ("references", "mask"):
        values = [named(value, variables, folder, option=option) for value in values]
    return sides.axis(option, values)


def _listed(axis: str, name: str, variables: Mapping[str, Any]) -> list[Any]:
    if name not in variables:
        near = difflib.get_close_matches(name, [other for other in variables if not other.startswith("_")], n=1)
        what = f"The axis {axis} names the variable {name}, which the notebook does not have"
        raise UnsupportedOption(what, option=axis, value=name, nearest=near[0] if near else None, hint="define it first")
    found = variables[name]
    if isinstance(found, str | bytes | Mapping):
        kind = type(found).__name__
        step = f"make {name} a list of values, or write them into the cell"
        raise UnsupportedOption(f"The variable {name} is a {kind}, and the axis {axis} needs a list", option=axis, value=name, hint=step)
    try:
        return list(found)
    except TypeError:
        step = f"make {name} a list of values"
        raise UnsupportedOption(f"The variable {name} is no list", option=axis, value=name, hint=step) from None


def headline(planned: SweepPlan, outlook: SweepEstimate) -> str:
    """Return the plan in one line: how many pictures of which axes, what of it is there, what it costs, and how long one takes."""
    facts = [_counts(planned), *_there(outlook)]
    if outlook.new:
        facts.append(price_words(outlook))
        facts.append(_usual(outlook))
    return " · ".join(facts)


def _counts(planned: SweepPlan) -> str:
    axes = axes_words(planned.study.axes)
    each = f", {planned.repeat} of each" if planned.repeat > 1 and axes else ""
    return pluralize(planned.pictures, "picture") + (f": {axes}{each}" if axes else "")


def _there(outlook: SweepEstimate) -> Iterator[str]:
    if outlook.there:
        yield f"{outlook.there} there already"
    if outlook.waiting:
        yield f"{outlook.waiting} sent before and not sent again"
    if outlook.there or outlook.waiting:
        yield f"{outlook.new} to make"


def price_words(outlook: SweepEstimate) -> str:
    """Return what the new pictures cost, each currency by itself; what is not known is said to be unknown."""
    told = [str(cost) for cost in outlook.price]
    told += [f"{outlook.unknown} of unknown price"] if outlook.unknown and told else []
    told += ["cost unknown"] if outlook.unknown and not told else []
    told += [f"{outlook.free} free in the sandbox" if told else "the sandbox, nothing is charged"] if outlook.free else []
    return " + ".join(told)


def _usual(outlook: SweepEstimate) -> str:
    if outlook.usual is None:
        return "usual time not known yet"
    return f"usually {span(*outlook.usual)} each"


def _title(planned: SweepPlan) -> str:
    axes = axes_words(planned.study.axes)
    return f"{pluralize(planned.pictures, 'picture')}" + (f" of {axes}" if axes else f": {shortened(planned.request.prompt)}")


def _left_out(planned: SweepPlan) -> Iterator[str]:
    if not planned.impossible:
        return
    told = plan.reasons(planned.impossible, planned.study.axes)
    yield f"Left out, as it cannot be done ({len(planned.impossible)} of {planned.combinations} combinations):"
    yield from told[:_REASONS]
    if len(told) > _REASONS:
        yield f"and for {len(told) - _REASONS} further reasons"


def _dry_page(planned: SweepPlan, outlook: SweepEstimate, settings: Settings) -> Page:
    """Return the plan of a dry run: its line, at most 40 combinations, and what should be known of them."""
    names = list(planned.study.axes)
    each = planned.wishes[:: planned.repeat]
    rows = [
        [
            *(short(wish.place[name]) for name in names),
            shortened(wish.plan.request.prompt, 80),
            f"{wish.plan.provider} {wish.plan.model.name}" + (" (sandbox)" if wish.gateway.sandbox else ""),
            pixels(wish.plan.pixels) or "the gateway decides",
            str(wish.gateway.money(wish.plan.price)),
        ]
        for wish in each[:_DRY_ROWS]
    ]
    warnings = list(dict.fromkeys(warning for wish in each for warning in wish.plan.warnings))
    more = [Note(f"and {len(each) - _DRY_ROWS} further combinations")] if len(each) > _DRY_ROWS else []
    notes = [Note(words) for words in [*_left_out(planned), *_uploads(each, settings), *warnings[:_REASONS]]]
    lead = Note(f"The plan; nothing was sent and nothing is charged. {headline(planned, outlook)}")
    wrong = [Note(refused(why)) for why in folders.troubles(settings)]
    return Page(lead, *wrong, Table((*names, "prompt", "made by", "pixels", "price"), rows), *more, *notes)


def _uploads(wishes: Sequence[PlannedRequest], settings: Settings) -> Iterator[str]:
    """Yield a line for each picture of this machine: what it is, at which gateway it will be, for how long."""
    different = {(one.gateway.base_url, *(picture.identity for picture in one.plan.uploads)): one for one in wishes if one.plan.uploads}
    told = dict.fromkeys(words for one in different.values() for words in api.outlook(one.plan, one.gateway, settings))
    yield from list(told)[:_DRY_ROWS]
    if len(told) > _DRY_ROWS:
        yield f"and {len(told) - _DRY_ROWS} further pictures"


def _ask(outlook: SweepEstimate, settings: Settings, given: Mapping[str, Any]) -> None:
    """Ask before many pictures or much money; raises where the answer is no, or where nobody can be asked."""
    why = list(_much(outlook, settings))
    if given.get("yes") or not why:
        return
    told = " and ".join(words for words, _ in why)
    ways = ", ".join(dict.fromkeys(way for _, way in why))
    answer = confirmation.agreed(f"This is {told}. Make {'it' if outlook.new == 1 else 'them'}?")
    if answer is None:
        raise ImageGenError(
            f"This is {told}, and nobody can be asked here, so nothing was sent",
            blame="you",
            charge="no",
            hint=f"add --yes if it is meant, or {ways} (%imagegen config)",
        )
    if not answer:
        raise confirmation.declined()


def _much(outlook: SweepEstimate, settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield why this is to be asked about (the number of pictures, an amount, a price that cannot be known), and what ends the asking."""
    yield from confirmation.much(outlook.new, outlook.price, outlook.unknown, settings)
