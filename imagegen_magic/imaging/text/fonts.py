"""Text on images in the scripts of prompts: a font for every character, the system's or Pillow's own, emoji in colour.

What no font can draw is shown as its escape (`\\u4e2d`), never as an empty box, and `missing_glyphs` lists it.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import NamedTuple

from PIL import Image, ImageDraw

from imagegen_magic.imaging.text.font_files import Face, emoji_tile, faces, has_glyphs, opened, others
from imagegen_magic.imaging.text.graphemes import breakable, escaped, graphemes, is_emoji, language_of, script_of, spaced

ELLIPSIS = "…"
_EMOJI_WIDTH = 1.25  # of the text size


class Run(NamedTuple):
    """A piece of a line that one face draws."""

    text: str
    face: Face
    emoji: bool


def missing_glyphs(text: str) -> tuple[str, ...]:
    """Return the characters of a text that no font here can draw, each once, in order; they are shown as escapes."""
    language = language_of(text)
    return tuple(dict.fromkeys(each for each in graphemes(spaced(text)) if face_of(each, language, False) is None))


def height(size: int) -> int:
    """Return the height of a line in pixels, of text of `size` px."""
    return round(size * 1.36)


@lru_cache(maxsize=16_384)
def width(text: str, size: int, *, bold: bool = False) -> float:
    """Return the width of a line in pixels."""
    return sum(_run_width(run, size) for run in runs(spaced(text), language_of(text), bold))


@lru_cache(maxsize=4096)
def wrap(text: str, size: int, limit: float, lines: int, *, bold: bool = False) -> tuple[str, ...]:
    """Return a text as at most so many lines of at most `limit` px; what does not fit is left off, and an ellipsis says so.

    White space is collapsed; words longer than a line are broken; Chinese and Japanese break anywhere but before closing marks.
    """
    pieces = [piece for piece in breakable(" ".join(text.split())) if piece]
    wrapped: list[str] = []
    while pieces and len(wrapped) < lines:
        wrapped.append(_line(pieces, size, limit, bold))
    if pieces and wrapped:
        wrapped[-1] = _ended(wrapped[-1] + pieces[0], size, limit, bold)
    return tuple(line.strip() for line in wrapped)


def draw(image: Image.Image, place: tuple[float, float], text: str, size: int, colour: tuple[int, int, int], *, bold: bool = False) -> None:
    """Draw one line into an RGB image, the upper left of its line box at `place`, in pixels."""
    x, top = place
    baseline = top + height(size) * 0.77
    for run in runs(spaced(text), language_of(text), bold):
        if run.emoji:
            _draw_emoji(image, x, baseline, run, size)
        else:
            ImageDraw.Draw(image).text((x, baseline), run.text, colour, opened(run.face, size), anchor="ls")
        x += _run_width(run, size)


def _line(pieces: list[str], size: int, limit: float, bold: bool) -> str:
    """Take one line's worth off the pieces."""
    line, taken = "", 0.0
    while pieces:
        piece = pieces[0]
        wide = width(piece.rstrip(), size, bold=bold)
        if taken + wide <= limit:
            line += pieces.pop(0)
            taken += width(piece, size, bold=bold)
        elif wide <= limit or taken > limit * 0.6:
            break
        else:
            head, tail = _broken(piece, size, limit - taken, bold, at_least=not line)
            line, pieces[0] = line + head, tail
            if tail:
                break
            pieces.pop(0)
            taken += width(head, size, bold=bold)
    return line


def _broken(word: str, size: int, limit: float, bold: bool, *, at_least: bool) -> tuple[str, str]:
    """Break a word that no line can hold, at the last cluster that fits; `at_least` one is kept."""
    parts = list(graphemes(word))
    count, taken = 0, 0.0
    for part in parts:
        taken += width(part, size, bold=bold)
        if taken > limit:
            break
        count += 1
    count = max(count, 1) if at_least else count
    return "".join(parts[:count]), "".join(parts[count:])


def _ended(line: str, size: int, limit: float, bold: bool) -> str:
    """Return a line that ends in an ellipsis and fits."""
    parts = list(graphemes(line))
    while parts and width("".join(parts).rstrip() + ELLIPSIS, size, bold=bold) > limit:
        parts.pop()
    return "".join(parts).rstrip(" ,;:，、；：") + ELLIPSIS


def runs(text: str, language: str, bold: bool) -> list[Run]:
    """Return a line as the pieces that one face each draws."""
    found: list[Run] = []
    for each in graphemes(text):
        face, emoji = face_of(each, language, bold) or (None, False)
        shown = each if face else escaped(each)
        face = face or faces("latin", bold)[0]
        if found and found[-1].face == face and not emoji and not found[-1].emoji:
            found[-1] = Run(found[-1].text + shown, face, False)
        else:
            found.append(Run(shown, face, emoji))
    return found


@lru_cache(maxsize=16_384)
def face_of(cluster: str, language: str, bold: bool) -> tuple[Face, bool] | None:
    """Return the face that draws a cluster, and whether as emoji; None if there is none."""
    if unicodedata.category(cluster[0]) in ("Cc", "Cs"):
        return None
    emoji = [(face, True) for face in faces("emoji", False)]
    plain = [(face, False) for face in faces(script_of(cluster, language), bold)]
    candidates = (*emoji, *plain) if is_emoji(cluster) else (*plain, *emoji)
    if found := next(((face, pictured) for face, pictured in candidates if has_glyphs(face, cluster, pictured)), None):
        return found
    return next(((face, False) for face in others() if has_glyphs(face, cluster, False)), None)


def _run_width(run: Run, size: int) -> float:
    return size * _EMOJI_WIDTH if run.emoji else opened(run.face, size).getlength(run.text)


def _draw_emoji(image: Image.Image, x: float, baseline: float, run: Run, size: int) -> None:
    tile = emoji_tile(run.face, run.text)
    scale = max(1, round(size * 1.2)) / max(tile.size)
    tile = tile.resize((max(1, round(tile.width * scale)), max(1, round(tile.height * scale))), Image.Resampling.LANCZOS)
    left = round(x + (size * _EMOJI_WIDTH - tile.width) / 2)
    image.paste(tile, (left, round(baseline - size * 0.36 - tile.height / 2)), tile)
