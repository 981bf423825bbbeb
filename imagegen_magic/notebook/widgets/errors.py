"""Errors of what a widget requested, shown in the widget: no cell would show them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from imagegen_magic.errors import ImageGenError


async def report_errors(work: Awaitable[None], show: Callable[[str], None], part: str) -> None:
    """Await something, and `show` its error; `part` is named if the error is one of this package."""
    try:
        await work
    except ImageGenError as error:
        show(str(error))
    except Exception as error:  # also an error of this package
        show(f"The {part} itself failed: {type(error).__name__}: {error}")
