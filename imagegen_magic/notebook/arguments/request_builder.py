"""From the options and the prompt of a cell to an ImageRequest: its images, and the variables of `--vars`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.notebook.arguments import image_selector
from imagegen_magic.options import PARAMETERS
from imagegen_magic.providers.describe import shown
from imagegen_magic.request import ImageRequest, is_blank, with_parameters

_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
_FIELDS = {field.name for field in fields(ImageRequest)}


def build_request(given: Mapping[str, Any], prompt: str, variables: Mapping[str, Any], folder: Path) -> ImageRequest:
    """Return the request of a cell; raises UnsupportedOption for an empty prompt, and for an image that does not exist."""
    if given.get("vars"):
        prompt = with_variables(prompt, variables)
    if is_blank(prompt):
        raise _no_prompt(prompt)
    requested = with_parameters({name: given[name] for name in (_FIELDS | set(PARAMETERS)) & set(given)})
    if "references" in requested:
        words = requested["references"]
        requested["references"] = tuple(image_selector.reference(word, variables, folder) for word in words)
    if "mask" in requested:
        requested["mask"] = image_selector.reference(requested["mask"], variables, folder, option="mask")
    return ImageRequest(prompt, **requested)


def _no_prompt(prompt: str) -> UnsupportedOption:
    visible = any(char.isprintable() and not char.isspace() for char in prompt)
    what = f"There is no prompt in {shown(prompt)}" if visible else "There is no prompt"
    step = "describe the picture below %%imagegen or after %imagegen; %imagegen --help shows how"
    return UnsupportedOption(what, option="prompt", value=prompt, hint=step)


def with_variables(prompt: str, variables: Mapping[str, Any]) -> str:
    """Replace each `{{name}}` by the variable of that name, once and without evaluating anything; all other text stays.

    Raises UnsupportedOption for a name that the notebook does not have.
    """

    def value(match: re.Match[str]) -> str:
        return variable(match[1], variables) if match[1].isidentifier() else match[0]

    return _PLACEHOLDER.sub(value, prompt)


def variable(name: str, variables: Mapping[str, Any]) -> str:
    """Return the text of a variable that a prompt names; raises UnsupportedOption if the notebook does not have it."""
    if name not in variables:
        what = f"The prompt names the variable {name!r}, which the notebook does not have"
        near = f"did you mean {near}? Else " if (near := similar(name, variables)) else ""
        step = f"{near}define it first, or leave out --vars to send {{{{…}}}} unchanged"
        raise UnsupportedOption(what, option="vars", value=name, hint=step)
    return str(variables[name])


def similar(name: str, variables: Mapping[str, Any]) -> str | None:
    """Return the variable whose name is most similar; None if none is."""
    found = difflib.get_close_matches(name, [other for other in variables if not other.startswith("_")], n=1)
    return found[0] if found else None
