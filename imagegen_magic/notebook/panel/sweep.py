"""The panel's sweep without widgets: up to two axes, their plan with its price, the question before many pictures, and the start."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from imagegen_magic.engine import loop
from imagegen_magic.engine.jobs.job import Job
from imagegen_magic.engine.settings import Settings
from imagegen_magic.engine.storage import folders
from imagegen_magic.errors import ImageGenError, UnsupportedOption
from imagegen_magic.humanize import pluralize
from imagegen_magic.notebook.arguments import confirmation
from imagegen_magic.notebook.panel.state import PanelState
from imagegen_magic.notebook.progress import sweep_text, sweep_view
from imagegen_magic.providers.model import VALUE_LISTS
from imagegen_magic.request import ImageRequest
from imagegen_magic.studies.sweeps import plan
from imagegen_magic.studies.sweeps.axes import Axis, make_axis, placeholders, split
from imagegen_magic.studies.sweeps.plan import SweepEstimate, SweepPlan

AXES = 2
_LABELS = {"size": "Aspect ratio", "output_format": "Format", "provider": "Service"}
_SUGGESTED = 4  # values


class SweepChoice(NamedTuple):
    """What is chosen: the name and the values of each axis as typed, the pictures of each combination, and whether to leave some out."""

    names: tuple[str, ...] = ("",) * AXES
    values: tuple[str, ...] = ("",) * AXES
    repeat: int = 1
    skip_impossible: bool = False

    @property
    def axes(self) -> Iterator[tuple[str, str]]:
        """The axes that have a name and values."""
        return ((name, values) for name, values in zip(self.names, self.values, strict=True) if name and values.strip())


class _Planned(NamedTuple):
    chosen: object  # everything that the plan is of
    plan: SweepPlan | None
    estimate: SweepEstimate | None
    problem: str


class PanelSweep:
    """The choice of a sweep and its plan, for the request that the panel has."""

    def __init__(self, state: PanelState) -> None:
        self._state = state
        self.choice = SweepChoice()
        self._planned = _Planned(None, None, None, "")
        self._unconfirmed: object = None

    def set(self, control: str, value: Any) -> None:
        """Set what a control shows: `name 0` and `values 0` of an axis, `repeat`, `skip_impossible`. Another name empties the values."""
        part, _, number = control.partition(" ")
        if not number:
            self.choice = self.choice._replace(**{part: value})
            return
        index = int(number)
        changed: dict[str, Any] = {"names": list(self.choice.names), "values": list(self.choice.values)}
        if part == "name" and value != self.choice.names[index]:
            changed["values"][index] = ""
        changed[f"{part.removesuffix('s')}s"][index] = value
        self.choice = self.choice._replace(names=tuple(changed["names"]), values=tuple(changed["values"]))

    def axis_names(self) -> list[tuple[str, str]]:
        """Return what can vary, as (label, name): words of the prompt, options, parameters of the model, model and service."""
        validation = self._state.validation
        words = [(f"{{{{{name}}}}}", name) for name in placeholders(self._state.request.prompt)]
        options = [(_label(name), name) for name in VALUE_LISTS if len(validation.values[name]) > 1]
        parameters = [(_label(name), name) for name in validation.model.parameters]
        return [("none", ""), *words, *options, *parameters, (_label("model"), "model"), (_label("provider"), "provider")]

    def suggestion(self, name: str) -> str:
        """Return values of an axis as an example of what can be typed."""
        validation = self._state.validation
        if name in VALUE_LISTS:
            known = [value.value for value in validation.values[name] if value.value != "auto"]
        elif name == "model":
            known = [model.name for model in self._state.provider.models]
        elif name == "provider":
            known = list(self._state.providers)
        elif name in validation.model.parameters:
            known = list(validation.model.parameters[name].choices)
        else:
            known = ["oil painting", "ink"]
        return " | ".join(known[:_SUGGESTED]) or "1 | 2 | 3"

    @property
    def _chosen(self) -> object:
        state = self._state
        return self.choice, state.request, state.provider.name, state.sandbox, state.missing_key

    @property
    def is_planned(self) -> bool:
        """Whether the plan is that of the current choice."""
        return self._planned.chosen == self._chosen or not any(self.choice.axes)

    @property
    def problem(self) -> str:
        """Why it cannot start; empty if it can, or if there is no axis yet."""
        return self._planned.problem if any(self.choice.axes) else ""

    @property
    def headline(self) -> str:
        """The number of pictures, the price and the usual time; empty without a plan."""
        planned = self._planned
        return sweep_text.headline(planned.plan, planned.estimate) if any(self.choice.axes) and planned.plan and planned.estimate else ""

    @property
    def is_ready(self) -> bool:
        """Whether it can start."""
        return self.is_planned and bool(self.headline)

    @property
    def has_impossible(self) -> bool:
        """Whether some of its combinations are not possible, or left out."""
        return self.choice.skip_impossible or " combinations are not possible" in self.problem

    def make_plan(self) -> None:
        """Plan the current choice; sends nothing, may read files. Not on the engine's loop."""
        chosen = self._chosen
        try:
            planned = self._plan_of(self.choice)
            found = _Planned(chosen, planned, loop.run(plan.estimate(planned, self._settings())), "")
        except ImageGenError as error:
            found = _Planned(chosen, None, None, str(error))
        self._planned = found

    def _plan_of(self, choice: SweepChoice) -> SweepPlan:
        axes = tuple(make_axis(name, split(values)) for name, values in choice.axes)
        provider = None if any(axis.name == "provider" for axis in axes) else self._state.provider.name
        return plan.plan(
            self._request(axes),
            axes,
            settings=self._settings(),
            repeat=choice.repeat,
            skip_impossible=choice.skip_impossible,
            provider=provider,
        )

    def _request(self, axes: tuple[Axis, ...]) -> ImageRequest:
        """Return the panel's request without the options that vary; a model is one of its service, so it varies with the service."""
        request, names = self._state.request, {axis.name for axis in axes}
        varied = {axis.name for axis in axes if axis.is_option} - {"provider"} | ({"model"} if "provider" in names else set())
        options: dict[str, Any] = dict.fromkeys(varied)
        for name in ("extra", "parameters"):
            options[name] = {key: value for key, value in getattr(request, name).items() if key not in names}
        return replace(request, **options)

    def _settings(self) -> Settings:
        return self._state.job_settings.replace("the panel", sandbox=self._state.sandbox)

    def question(self) -> str:
        """Return the question that a second press confirms; empty if none is needed, or if it was just confirmed."""
        chosen, estimate = self._chosen, self._planned.estimate
        confirmed, self._unconfirmed = self._unconfirmed == chosen, None
        if confirmed or estimate is None:
            return ""
        why = " and ".join(
            reason for reason, _ in confirmation.reasons(estimate.new, estimate.price, estimate.unknown, self._state.settings)
        )
        if not why:
            return ""
        self._unconfirmed = chosen
        return f"This is {why}. Nothing was sent: press Start sweep again to make {'it' if estimate.new == 1 else 'them'}."

    def start(self, folder: Path) -> tuple[Job, SweepPlan]:
        """Start the planned sweep, for a notebook in `folder`. Raises ImageGenError before anything is sent."""
        planned = self._planned.plan
        if planned is None or not self.is_planned:
            raise UnsupportedOption("There is no sweep to start", option="sweep", value="", hint="choose an axis and type its values")
        settings = replace(self._settings(), folder=folder)
        folders.check(settings)
        job = plan.start(planned, settings, preview=sweep_view.edge(planned.pictures), title=sweep_text.title(planned))
        return job, planned

    def summary(self) -> str:
        """Return the axes and the number of pictures for the head of the group; empty without an axis."""
        names = " × ".join(_label(name) for name, _ in self.choice.axes)
        planned = self._planned.plan
        return f"{names}: {pluralize(planned.pictures, 'picture')}" if names and planned and self.is_planned else names


def _label(name: str) -> str:
    return _LABELS.get(name, name.replace("_", " ").capitalize())
