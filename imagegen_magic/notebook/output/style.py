"""CSS that outputs share: the front end's own font and colours, so that a light and a dark theme both fit."""

from __future__ import annotations

UI_FONT = "font-family:var(--jp-ui-font-family,sans-serif);font-size:var(--jp-ui-font-size1,13px)"
FONT = f"{UI_FONT};line-height:1.5"
COMPACT = f"{UI_FONT};line-height:1.4"
QUIET = "color:var(--jp-ui-font-color2,inherit)"
TEXT = "color:var(--jp-ui-font-color1,inherit)"
HEADING = "font-weight:600;margin:8px 0 2px"
RULE = "1px solid var(--jp-border-color2,#8884)"
AS_TEXT = "mathjax_ignore tex2jax_ignore"  # CSS classes without which two dollar signs, as of two prices, enclose a formula
CODE = (
    "font-family:var(--jp-code-font-family,monospace);font-size:var(--jp-code-font-size,13px);"
    "white-space:pre-wrap;overflow-wrap:anywhere;margin:4px 0"
)


def hidden(name: str) -> str:
    """Return a style sheet that hides all outputs of a class; a living widget holds it, for the static output that is its substitute.

    It works in every front end that shows both in one page, whatever it puts around an output.
    """
    return f"<style>.{name}{{display:none}}</style>"


def hide_broken(widget: str, static: str) -> str:
    """Return a style sheet that hides a widget's output once the widget no longer exists.

    `widget` is a class of the living widget, `static` one of the output directly below it, which a saved notebook shows.
    """
    below = f"+.jp-OutputArea-child .{static}"
    return f"<style>.jp-OutputArea-child:not(:has(.{widget})):has({below}){{display:none}}</style>"
