"""`%imagegen effects`: what each axis of a sweep does to the scores of its pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from IPython.core.error import UsageError
from IPython.display import display

from imagegen_magic.notebook.arguments import image_selector
from imagegen_magic.studies.sweeps.result import SweepResult

if TYPE_CHECKING:
    from imagegen_magic.notebook.context import NotebookContext


def effects(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Show the effect table of a sweep's scores."""
    name, *scores = arguments
    _, value = image_selector.variable_images(context, name)
    if not isinstance(value, SweepResult):
        raise UsageError(f"{name} is no sweep, so there is no axis to compare: give the variable of a sweep.")
    axis, _, baseline = flags.get("--against", "").partition("=")
    if axis and not baseline:
        raise UsageError("--against takes an axis with one of its values: --against style=oil.")
    against = {axis: baseline} if axis else None
    display(value.effects(*scores, against=against, over=flags.get("--over", ""), by=flags.get("--by", "")))
