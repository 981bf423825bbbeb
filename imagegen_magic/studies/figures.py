"""Axes of matplotlib, an optional package, in the user's own style; each has a text alternative as its label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imagegen_magic._version import install_extra
from imagegen_magic.humanize import truncate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINE_COLOUR = "C0"
"""The first colour of the user's cycle of colours."""
_MAX_LABEL = 40  # characters
_MIDDLE = 0.179  # luminance on which black and white text have the same contrast
_BESIDE = 8  # points between axes and the words beside them


def new_axes(ax: Axes | None, width: float, height: float) -> Axes:
    """Return the given axes, or those of a new figure of so many inches.

    Raises ModuleNotFoundError without matplotlib, with the command that installs it.
    """
    try:
        from matplotlib import pyplot
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "matplotlib":
            raise
        raise ModuleNotFoundError(f"Plots need matplotlib: {install_extra('plot')}", name="matplotlib") from error
    return pyplot.subplots(figsize=(width, height), layout="constrained")[1] if ax is None else ax


def described(ax: Axes, alt: str) -> Axes:
    """Return axes with their text alternative, which `get_label()` returns."""
    ax.set_label(alt)
    return ax


def label(text: str) -> str:
    """Return a text on one line, shortened, in which a dollar does not begin a formula."""
    return truncate(" ".join(text.split()), _MAX_LABEL).replace("$", r"\$")


def heading(ax: Axes, text: str) -> None:
    """Put a heading above axes, at the left."""
    ax.set_title(text.replace("$", r"\$"), loc="left", fontsize="medium", fontweight="bold", wrap=True)


def beside(ax: Axes, y: float, text: str, **options: Any) -> None:
    """Put words at the right of axes, at a height in data coordinates."""
    place = {"xy": (1, y), "xycoords": ax.get_yaxis_transform(), "xytext": (_BESIDE, 0), "textcoords": "offset points"}
    ax.annotate(text, **place, va="center", ha="left", annotation_clip=False, **options)  # type: ignore[arg-type]


def text_colour() -> Any:
    """Return the colour of texts."""
    from matplotlib import rcParams

    return rcParams["text.color"]


def is_dark() -> bool:
    """Return whether texts are light, so that the figure is dark."""
    return not wants_white(text_colour())


def wants_white(colour: Any) -> bool:
    """Return whether white text has more contrast on a colour than black text (WCAG 2.2, relative luminance)."""
    from matplotlib.colors import to_rgb

    parts = to_rgb(colour if isinstance(colour, str) else tuple(colour)[:3])
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue < _MIDDLE
