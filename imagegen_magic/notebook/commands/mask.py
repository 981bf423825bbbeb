"""`%imagegen mask`: paint a mask on an image; see `mask_editor`."""

from __future__ import annotations

import keyword
from typing import TYPE_CHECKING

from IPython.core.error import UsageError

from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.notebook.arguments import image_selector
from imagegen_magic.notebook.mask_editor import open_painter

if TYPE_CHECKING:
    from imagegen_magic.notebook.context import NotebookContext
    from imagegen_magic.request import LocalImage


def run(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Open a painter on the image of that name; `-o` names the variable, `--from` a mask to continue with."""
    out = flags.get("-o") or flags.get("--out") or "mask"
    if not out.isidentifier() or keyword.iskeyword(out):
        raise UsageError(f"-o takes the name of a variable, not {out!r}.")
    picture = _resolved(context, arguments[0], "references")
    start = _resolved(context, flags["--from"], "mask") if "--from" in flags else None
    open_painter(picture, shell=context.shell, folder=context.folder, out=out, start=start)


def _resolved(context: NotebookContext, text: str, option: str) -> LocalImage:
    found = image_selector.resolve(text, context.shell.user_ns, context.folder, context.settings(), option=option)
    if isinstance(found, str):
        step = "download it into a file first, and name that"
        raise UnsupportedOption(f"{found} is an address, and its picture is not on this machine", option=option, value=found, hint=step)
    return found
