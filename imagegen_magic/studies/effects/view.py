"""The effect table as text and as HTML bars. A word and a shape stand beside every colour.

The bars are borders, which forced colours keep, and signs of a font; the HTML has no style sheet and no script.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby

from imagegen_magic.humanize import pluralize, truncate
from imagegen_magic.secret_patterns import without_queries
from imagegen_magic.studies.effects.records import Comparison, EffectTable, ScoreEffects

_MAX_LABEL = 60  # characters of an axis's value
_MAX_BARS = 30  # comparisons that are drawn
_BLUE = "#1976d2"  # 4.6:1 on white, 4.1:1 on #111
_MAX_LINES = 120  # of the plain text in a notebook
_WIDTH = 260  # pixels of a bar's scale
_FONT = "font-family:var(--jp-ui-font-family,sans-serif);font-size:var(--jp-ui-font-size1,13px);line-height:1.5"
_CELL = "text-align:left;padding:3px 12px 3px 0;border:0;border-bottom:1px solid var(--jp-border-color2,#8884)"
_HEADS = "value", "difference", "interval", "result"
_NOTE = "margin:2px 0;color:var(--jp-ui-font-color2,inherit)"
_PLAIN = "mathjax_ignore tex2jax_ignore"
_LEGEND = (
    "◆ clear, ○ inconclusive. The thick line is the 95 % interval of one comparison, the thin line that of all comparisons together; "
    "the dashed line is 0."
)


def text(found: EffectTable) -> str:
    """Return the table as plain text."""
    blocks = ["\n".join(_score_lines(score)) for score in found.scores]
    return without_queries("\n\n".join(filter(None, [*blocks, "\n".join(_closing(found))])))


def short_text(found: EffectTable) -> str:
    """Return the beginning of the table as plain text, for a saved notebook."""
    lines = text(found).splitlines()
    return "\n".join(lines if len(lines) <= _MAX_LINES else [*lines[:_MAX_LINES], f"… and {len(lines) - _MAX_LINES} more lines: print it"])


def html(found: EffectTable) -> str:
    """Return the table as HTML, escaped: below 60 kB, since it draws at most 30 comparisons."""
    left, parts = _MAX_BARS, []
    for score in found.scores:
        drawn = score.comparisons[:left]
        left -= len(drawn)
        parts.append(_score_html(score, drawn))
    if (rest := len(found.comparisons) - _MAX_BARS) > 0:
        parts.append(_note(f"… and {pluralize(rest, 'more comparison')}: rows() has all."))
    legend = [_LEGEND] if found.comparisons else []
    parts += [_note(words) for words in (*legend, *_closing(found))]
    return without_queries(f'<div class="imagegen-effects {_PLAIN}" style="{_FONT};overflow-x:auto">{"".join(parts)}</div>')


def _score_lines(score: ScoreEffects) -> Iterator[str]:
    yield f"{_name(score)}: {_counts(score)}"
    if score.problem:
        yield score.problem
    for title, comparisons in _tables(score.comparisons):
        yield title
        names = [_label(one.value) for one in comparisons]
        cells = [(name, *_numbers(one), _verdict(one)) for name, one in zip(names, comparisons, strict=True)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for row in cells:
            yield "  " + "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()
    yield from score.notes


def _tables(comparisons: Sequence[Comparison]) -> Iterator[tuple[str, list[Comparison]]]:
    """Yield the heading of each axis and its comparisons."""
    for (group, axis, against), each in groupby(comparisons, key=lambda one: (dict(one.group), one.axis, one.against)):
        of = "".join(f"{name}={_label(value)}: " for name, value in group.items())
        yield f"{of}{axis}, compared with {_label(against)}", list(each)


def _name(score: ScoreEffects) -> str:
    details = [score.detail, f"{score.better} is better" if score.better else ""]
    inside = ", ".join(detail for detail in details if detail)
    return f"{score.name} ({inside})" if inside else score.name


def _counts(score: ScoreEffects) -> str:
    missing = "".join(f", {count} {reason}" for reason, count in score.missing.items())
    return f"{score.measured} of {score.total} have a value{missing}"


def _label(value: str) -> str:
    return truncate(" ".join(value.split()), _MAX_LABEL)


def _numbers(one: Comparison) -> tuple[str, str]:
    """Return the estimate and its interval, with as many decimals as the interval's width suggests."""
    low, high = one.interval
    if high <= low:
        return _signed(one.estimate, "+.4g"), "exactly"
    form = f"+.{max(0, -math.floor(math.log10((high - low) / 6)))}f"
    return _signed(one.estimate, form), f"95 %: {_signed(low, form)} to {_signed(high, form)}"


def _signed(value: float, form: str) -> str:
    """Return a number with its sign; a rounded 0 has none."""
    words = format(value, form)
    return words if words.strip("+-0.") else words.lstrip("+-")


def _verdict(one: Comparison) -> str:
    if one.repeats_needed is None:
        return one.verdict
    estimate = _numbers(one)[0].lstrip("+-")
    repeats = f"{one.repeats:.2g}".removesuffix(".0")
    return f"{one.verdict}; to find {estimate} takes about {pluralize(one.repeats_needed, 'repeat')}, there are {repeats}"


def _closing(found: EffectTable) -> Iterator[str]:
    """Yield what holds for the whole table."""
    if found.comparisons:
        if found.over:
            yield f"Paired over {found.over}: this estimates the effect for other values of {found.over} too."
        else:
            yield "This estimates the effect in new pictures of the same values. --over AXIS: for other values of an axis."
    if found.checks > 1:
        yield f"The sweep was checked {found.checks} times while it grew; 'clear' is weaker than stated."
    if found.sandbox:
        yield "These pictures are of the sandbox: they are drawn, and their prices are not real."


def _score_html(score: ScoreEffects, drawn: Sequence[Comparison]) -> str:
    parts = [f'<div style="font-weight:600;margin:8px 0 2px">{escape(_name(score))}</div>', _note(_counts(score))]
    if score.problem:
        parts.append(_note(score.problem))
    scale = _scale(drawn)
    for title, comparisons in _tables(drawn):
        rows = "".join(_row(one, scale) for one in comparisons)
        heads = "".join(f'<th scope="col" style="{_CELL};font-weight:600">{words}</th>' for words in _HEADS)
        caption = f'<caption style="text-align:left;padding:4px 0;color:inherit">{escape(title)}</caption>'
        table = "border-collapse:collapse;margin:0 0 8px"
        parts.append(f'<table style="{table}">{caption}<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>')
    return "".join([*parts, *map(_note, score.notes)])


def _note(words: str) -> str:
    return f'<p style="{_NOTE}">{escape(words)}</p>'


def _row(one: Comparison, scale: tuple[float, float]) -> str:
    estimate, interval = _numbers(one)
    words = f"{estimate} ({interval})"
    cells = (escape(words), _bar(one, scale, f"{_label(one.value)}: {words}, {one.verdict}"), escape(_verdict(one)))
    head = f'<th scope="row" style="{_CELL};font-weight:400">{escape(_label(one.value))}</th>'
    body = "".join(f'<td style="{_CELL}">{cell}</td>' for cell in cells)
    return f"<tr>{head}{body}</tr>"


def _scale(comparisons: Sequence[Comparison]) -> tuple[float, float]:
    """Return the ends of the scale of a score's bars: 0 and every interval are on it."""
    bounds = [bound for one in comparisons for bound in one.family_interval]
    low, high = min([0.0, *bounds]), max([0.0, *bounds])
    margin = (high - low) * 0.05 or 1.0
    return low - margin, high + margin


def _bar(one: Comparison, scale: tuple[float, float], alt: str) -> str:
    """Return the bar of a comparison: thin and thick lines, a mark, and the dashed line at 0."""

    def x(value: float) -> int:
        return round(_WIDTH * (value - scale[0]) / (scale[1] - scale[0]))

    def line(bounds: tuple[float, float], top: int, border: str) -> str:
        low, high = map(x, bounds)
        return f'<div style="margin:{top}px 0 0 {low}px;width:{max(1, high - low)}px;height:0;border-top:{border} solid {_BLUE}"></div>'

    lines = line(one.family_interval, 11, "2px") + line(one.interval, -4, "6px")
    zero = f'<div style="margin:-16px 0 0 {x(0)}px;width:0;height:24px;border-left:1px dashed"></div>'
    shape = "◆" if one.clear else "○"
    mark = f'<div style="margin:-24px 0 0 {x(one.estimate) - 8}px;width:16px;height:24px;line-height:24px;text-align:center">{shape}</div>'
    size = f"width:{_WIDTH}px;height:24px;overflow:hidden"
    return f'<div role="img" aria-label="{escape(alt)}" style="{size}">{lines}{zero}{mark}</div>'
