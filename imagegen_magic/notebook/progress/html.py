"""Progress as HTML: one frame for each image, in the image's shape, and the stage as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from imagegen_magic.notebook.progress.state import JobProgress, TaskProgress
from imagegen_magic.providers.base import Plan
from imagegen_magic.request import Size

_BOX = (72, 48)  # CSS pixels that a frame fits into
_PERIOD = 1.6  # seconds of one cycle of the animation
_FROM_START = "animation-delay:0s"
_MAX_FRAMES = 4  # side by side
_GAP = 4  # CSS pixels between frames
_NONE: Mapping[int, Sequence[str]] = {}

STYLE = """<style>
.imagegen-row{display:flex;align-items:center;gap:12px;margin:4px 0;line-height:1.4;
 font-family:var(--jp-ui-font-family,sans-serif);font-size:var(--jp-ui-font-size1,13px);color:var(--jp-ui-font-color1,inherit)}
.imagegen-frames{display:flex;gap:4px;flex:none}
.imagegen-frame{display:block;position:relative;overflow:hidden;box-sizing:border-box;border-radius:3px;
 border:1px solid var(--jp-border-color2,rgba(127,127,127,.4));background:var(--jp-layout-color2,rgba(127,127,127,.12))}
.imagegen-frame>img{display:block;width:100%;height:100%;object-fit:cover}
.imagegen-fill{display:block;height:100%;background:var(--jp-brand-color1,#1976d2);opacity:.75;transition:width .3s}
.imagegen-sweep{position:absolute;inset:0;
 background-image:linear-gradient(100deg,transparent 30%,var(--jp-brand-color1,#1976d2) 50%,transparent 70%);
 background-size:300% 100%;opacity:.55;animation:imagegen-sweep 1.6s linear infinite}
.imagegen-failed{border-color:var(--jp-error-color1,#d32f2f);border-style:dashed;background:none}
.imagegen-about{line-height:1.4;font-family:var(--jp-ui-font-family,sans-serif);font-size:var(--jp-ui-font-size1,13px);
 color:var(--jp-ui-font-color2,inherit)}
.imagegen-words{overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
@keyframes imagegen-sweep{from{background-position:100% 0}to{background-position:-50% 0}}
@media (prefers-reduced-motion:reduce){.imagegen-sweep{animation:none;background:var(--jp-brand-color1,#1976d2);opacity:.2}}
</style>"""


def frame_of(plan: Plan | None) -> tuple[int, int]:
    """Return the size of a frame in CSS pixels for the images of a plan; a square if their shape is unknown."""
    if plan and plan.pixels:
        return shape(*plan.pixels[0])
    size = Size.parse(plan.request.size) if plan and plan.request.size else Size("auto")
    return shape(size.width or 1, size.height or 1)


def shape(width: int, height: int) -> tuple[int, int]:
    """Return the size of a frame in CSS pixels for an image of these pixels."""
    scale = min(_BOX[0] / width, _BOX[1] / height)
    return max(14, round(width * scale)), max(14, round(height * scale))


def rows_html(
    progress: JobProgress,
    now: float,
    frame: tuple[int, int],
    expected: Sequence[int],
    thumbnails: Mapping[int, Sequence[str]] = _NONE,
) -> list[str]:
    """Return a row for each task, or one for all if there are many: a frame for each image, and the stage as text.

    `expected` is the number of images of each task, `thumbnails` are data URLs by task. The text of all rows is aligned.
    """
    if progress.many:
        return [total_html(progress, now)]
    counts = [max(1, *expected[task : task + 1], len(row.images)) for task, row in enumerate(progress.rows)]
    width = min(max(counts), _MAX_FRAMES) * (frame[0] + _GAP) - _GAP
    return [
        _row(_frames(row, row.text(now), frame, count, thumbnails.get(task, ())), row.text(now), width)
        for task, (row, count) in enumerate(zip(progress.rows, counts, strict=True))
    ]


def _frames(row: TaskProgress, text: str, frame: tuple[int, int], count: int, thumbnails: Sequence[str]) -> str:
    frames = [_picture(address, frame, row) for address in thumbnails[:_MAX_FRAMES]]
    return "".join(frames) + _frame(row, text, frame) * (min(count, _MAX_FRAMES) - len(frames))


def in_phase(html: str, now: float) -> str:
    """Continue the animation where it was, although each update makes new elements."""
    return html.replace(_FROM_START, f"animation-delay:-{now % _PERIOD:.2f}s")


def total_html(progress: JobProgress, now: float) -> str:
    """Return all tasks as one bar with their counts."""
    fill = f'<span class="imagegen-fill" style="width:{progress.fraction:.1%}"></span>'
    text = progress.text(now)
    return _row(_box((240, 16), f'role="progressbar" aria-valuetext="{escape(text)}"', fill), text, 240)


def about_html(lines: Sequence[str]) -> str:
    """Return the title of a job and its warnings as quiet lines."""
    return "".join(f'<div class="imagegen-about">{escape(text)}</div>' for text in lines)


def _row(frames: str, text: str, width: int) -> str:
    left = f'<span class="imagegen-frames" style="min-width:{width}px">{frames}</span>'
    return f'<div class="imagegen-row">{left}<span class="imagegen-words">{escape(text)}</span></div>'


def _frame(row: TaskProgress, text: str, frame: tuple[int, int]) -> str:
    attributes = f'role="progressbar" aria-valuetext="{escape(text)}"'
    if row.stage == "failed":
        return _box(frame, attributes, "", "imagegen-failed")
    if row.ended:
        return _box(frame, attributes, "")
    if row.first_view:
        view = f'<img src="{escape(row.first_view)}" alt="a first view of the picture">'
        return _box(frame, attributes, f'{view}<span class="imagegen-sweep" style="{_FROM_START}"></span>')
    if row.fraction is not None:
        attributes += f' aria-valuenow="{row.fraction:.2f}" aria-valuemin="0" aria-valuemax="1"'
        return _box(frame, attributes, f'<span class="imagegen-fill" style="width:{row.fraction:.1%}"></span>')
    return _box(frame, attributes, f'<span class="imagegen-sweep" style="{_FROM_START}"></span>')


def _picture(address: str, frame: tuple[int, int], row: TaskProgress) -> str:
    prompt = row.images[0].request.prompt if row.images else ""
    return _box(frame, "", f'<img src="{escape(address)}" alt="{escape(prompt)}">')


def _box(frame: tuple[int, int], attributes: str, inside: str, more: str = "") -> str:
    return f'<span class="imagegen-frame {more}" style="width:{frame[0]}px;height:{frame[1]}px" {attributes}>{inside}</span>'
