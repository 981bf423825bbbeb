"""Text on images in the scripts of prompts: a font for every character, from the system's own, emoji in colour.

What no font can draw is shown as its escape (`\\u4e2d`), never as an empty box, and `missing_glyphs` lists it.
"""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from imagegen_magic.imaging.text.font_files import Face, emoji_tile, faces, has_glyphs, opened, others
from imagegen_magic.imaging.text.graphemes import breakable, escaped, graphemes, is_emoji, language_of, script_of, spaced

ELLIPSIS = "…"


class Run(NamedTuple):
    """A piece of a line that one face draws."""

    text: str
    face: Face
    emoji: bool


class Fonts:
    """The faces that draw a text: the system's, then Pillow's own.

    An instance is not for two threads at a time; make one for each, it is cheap.
    """

    def __init__(self) -> None:
        self._loaded: dict[tuple[Face, int], ImageFont.FreeTypeFont] = {}
        self._found: dict[tuple[str, str, bool], tuple[Face, bool] | None] = {}
        self._widths: dict[tuple[str, Face, int], float] = {}
        self._measured: dict[tuple[str, int, bool], float] = {}
        self._wrapped: dict[tuple[str, int, float, int, bool], list[str]] = {}

    def missing_glyphs(self, text: str) -> tuple[str, ...]:
        """Return the characters of a text that no font here can draw, each once, in order; they are shown as escapes."""
        language = language_of(text)
        return tuple(dict.fromkeys(each for each in graphemes(spaced(text)) if self._face(each, language, False) is None))

    def height(self, size: int) -> int:
        """Return the height of a line in pixels, of text of `size` px."""
        return round(size * 1.36)

    def width(self, text: str, size: int, *, bold: bool = False) -> float:
        """Return how many pixels a line takes."""
        key = (text, size, bold)
        if key not in self._measured:
            self._measured[key] = sum(self._run_width(run, size) for run in self._runs(spaced(text), language_of(text), bold))
        return self._measured[key]

    def wrap(self, text: str, size: int, width: float, lines: int, *, bold: bool = False) -> list[str]:
        """Return a text as at most so many lines of at most `width` px; what does not fit is left off, and an ellipsis says so.

        White space is collapsed; words longer than a line are broken; Chinese and Japanese break anywhere but before closing marks.
        """
        key = (text, size, width, lines, bold)
        if key not in self._wrapped:
            self._wrapped[key] = self._lines(text, size, width, lines, bold)
        return self._wrapped[key]

    def draw(
        self, image: Image.Image, place: tuple[float, float], text: str, size: int, colour: tuple[int, int, int], *, bold: bool = False
    ) -> None:
        """Draw one line into an RGB picture, the upper left of its line box at `place`, in pixels."""
        x, top = place
        baseline = top + self.height(size) * 0.77
        pen = ImageDraw.Draw(image)
        for run in self._runs(spaced(text), language_of(text), bold):
            if run.emoji:
                self._draw_emoji(image, x, baseline, run, size)
            else:
                pen.text((x, baseline), run.text, colour, self._font(run.face, size), anchor="ls")
            x += self._run_width(run, size)

    def _lines(self, text: str, size: int, width: float, lines: int, bold: bool) -> list[str]:
        pieces = [piece for piece in breakable(" ".join(text.split())) if piece]
        wrapped: list[str] = []
        while pieces and len(wrapped) < lines:
            wrapped.append(self._line(pieces, size, width, bold))
        if pieces and wrapped:
            wrapped[-1] = self._ended(wrapped[-1] + pieces[0], size, width, bold)
        return [line.strip() for line in wrapped]

    def _line(self, pieces: list[str], size: int, width: float, bold: bool) -> str:
        """Take one line's worth off the pieces."""
        line, taken = "", 0.0
        while pieces:
            piece = pieces[0]
            wide = self.width(piece.rstrip(), size, bold=bold)
            if taken + wide <= width:
                line += pieces.pop(0)
                taken += self.width(piece, size, bold=bold)
            elif wide <= width or taken > width * 0.6:
                break
            else:
                head, tail = self._broken(piece, size, width - taken, bold, at_least=not line)
                line, pieces[0] = line + head, tail
                if not tail:
                    pieces.pop(0)
                    taken += self.width(head, size, bold=bold)
                    continue
                break
        return line

    def _broken(self, word: str, size: int, width: float, bold: bool, *, at_least: bool) -> tuple[str, str]:
        """Break a word that no line can hold, at the last cluster that fits."""
        parts = list(graphemes(word))
        count, taken = 0, 0.0
        for part in parts:
            taken += self.width(part, size, bold=bold)
            if taken > width:
                break
            count += 1
        count = max(count, 1) if at_least else count
        return "".join(parts[:count]), "".join(parts[count:])

    def _ended(self, line: str, size: int, width: float, bold: bool) -> str:
        """Return a line that ends in an ellipsis and fits."""
        parts = list(graphemes(line))
        while parts and self.width("".join(parts).rstrip() + ELLIPSIS, size, bold=bold) > width:
            parts.pop()
        return "".join(parts).rstrip(" ,;:，、；：") + ELLIPSIS

    def _runs(self, text: str, language: str, bold: bool) -> list[Run]:
        runs: list[Run] = []
        for each in graphemes(text):
            face, emoji = self._face(each, language, bold) or (None, False)
            shown = each if face else escaped(each)
            face = face or self._base(bold)
            if runs and runs[-1].face == face and not emoji and not runs[-1].emoji:
                runs[-1] = Run(runs[-1].text + shown, face, False)
            else:
                runs.append(Run(shown, face, emoji))
        return runs

    def _base(self, bold: bool) -> Face:
        return faces("latin", bold)[0]

    def _face(self, cluster: str, language: str, bold: bool) -> tuple[Face, bool] | None:
        """Return the face that draws a cluster, and whether as emoji; None if there is none."""
        key = (cluster, language, bold)
        if key not in self._found:
            self._found[key] = self._search(cluster, language, bold)
        return self._found[key]

    def _search(self, cluster: str, language: str, bold: bool) -> tuple[Face, bool] | None:
        if unicodedata.category(cluster[0]) in ("Cc", "Cs"):
            return None
        emoji = [(face, True) for face in faces("emoji", False)]
        plain = ((face, False) for face in faces(script_of(cluster, language), bold))
        candidates = (*emoji, *plain) if is_emoji(cluster) else (*plain, *emoji)
        for face, pictured in candidates:
            if has_glyphs(face, cluster, pictured):
                return face, pictured
        return next(((face, False) for face in others() if has_glyphs(face, cluster, False)), None)

    def _font(self, face: Face, size: int) -> ImageFont.FreeTypeFont:
        if (face, size) not in self._loaded:
            self._loaded[face, size] = opened(face, size)
        return self._loaded[face, size]

    def _run_width(self, run: Run, size: int) -> float:
        if run.emoji:
            return size * 1.25
        key = (run.text, run.face, size)
        if key not in self._widths:
            self._widths[key] = self._font(run.face, size).getlength(run.text)
        return self._widths[key]

    def _draw_emoji(self, image: Image.Image, x: float, baseline: float, run: Run, size: int) -> None:
        tile = emoji_tile(run.face, run.text)
        edge = max(1, round(size * 1.2))
        scale = edge / max(tile.size)
        tile = tile.resize((max(1, round(tile.width * scale)), max(1, round(tile.height * scale))), Image.Resampling.LANCZOS)
        left = round(x + (size * 1.25 - tile.width) / 2)
        image.paste(tile, (left, round(baseline - size * 0.36 - tile.height / 2)), tile)
