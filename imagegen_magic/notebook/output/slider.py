"""A slider between two images: HTML without a script, which a saved notebook still shows."""

from __future__ import annotations

from html import escape

from imagegen_magic.notebook.output.style import FONT, QUIET

_LETTER = (
    "position:absolute;top:8px;z-index:2;padding:0 7px;border-radius:3px;background-color:#222;color:#fff;"
    "font-size:11px;line-height:20px;white-space:nowrap"
)
_PICTURE = "display:block;max-width:none;max-height:none;margin:0"
# if the page keeps style sheets, the slider shrinks with the page, and the corner to drag has an icon
_STYLE = (
    "<style>.imagegen-slider{container-type:inline-size;max-width:100%}"
    ".imagegen-slider img{width:100cqw!important;height:auto!important;aspect-ratio:var(--imagegen-shape)}"
    ".imagegen-slider-over{max-width:100%!important;height:auto!important}"
    ".imagegen-slider-over::-webkit-resizer{background:#fff url(\"data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' "
    "viewBox='0 0 30 30' fill='none' stroke='%23333' stroke-width='3' stroke-linecap='round' stroke-linejoin='round'%3E"
    "%3Cpath d='M11 9l-6 6 6 6M19 9l6 6-6 6'/%3E%3C/svg%3E\") center/contain no-repeat}"
    ".imagegen-slider summary:focus-visible{outline:2px solid var(--jp-brand-color1,#1976d2);outline-offset:2px}</style>"
)


def html(before: str, after: str, *, width: int, height: int, before_words: str = "before", after_words: str = "after") -> str:
    """Return a slider between two images, given as data URLs of at most 150 kB each; `width` and `height` in CSS pixels.

    The left image is in a box over the right one, whose lower right corner is dragged (CSS `resize`). A line of text below,
    also for the keyboard, hides and shows the left image. Both are stretched to width by height, less
    on a narrower page.
    """
    left, right = escape(before_words), escape(after_words)
    size = f"width:{width}px;height:{height}px"
    under = f'<img src="{escape(after)}" alt="{right}" width="{width}" height="{height}" style="{_PICTURE};{size}">'
    over = (
        f'<div class="imagegen-slider-over" style="position:absolute;top:0;left:0;width:50%;height:{height}px;min-width:30px;'
        f'max-width:{width}px;overflow:hidden;resize:horizontal;border-right:2px solid #fff;box-sizing:border-box">'
        f'<span style="{_LETTER};left:8px">{left}</span>'
        f'<img src="{escape(before)}" alt="{left}" width="{width}" height="{height}" style="{_PICTURE};{size}"></div>'
    )
    words = f"Drag the line by its lower end; press here to take “{left}” away and back"
    box = f"{FONT};position:relative;width:{width}px;margin-bottom:6px;overflow:hidden;--imagegen-shape:{width}/{height}"
    return (
        f'{_STYLE}<div class="imagegen-slider" style="{box}">{under}'
        f'<span style="{_LETTER};right:8px">{right}</span>'
        f'<details open="open" aria-label="{left} over {right}">'
        f'<summary style="{QUIET};padding:4px;cursor:pointer">{words}</summary>{over}</details></div>'
    )
