"""How a sum grew over time, as a small picture that stands by itself: a step line on a light card."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal

from PIL import Image, ImageDraw

from imagegen_magic.humanize import local_day
from imagegen_magic.imaging.preview import Preview, fitted
from imagegen_magic.imaging.text import fonts

_SCALE = 2  # pixels for each CSS pixel, for dense screens
_SIZE = (640, 220)  # CSS pixels, as are all below
_RADIUS, _PADDING, _TITLE, _WORDS = 6, 16, 14, 12
_PAPER, _INK, _QUIET, _HAIRLINE = (255, 255, 255), (28, 28, 30), (97, 97, 102), (228, 228, 231)
_LINE, _AREA = (26, 95, 180), (225, 235, 248)
_DAY = 86_400.0

Point = tuple[float, Decimal]


def draw_chart(points: Sequence[Point], *, title: str, amount: Callable[[Decimal], str], until: float) -> Preview:
    """Return the picture, for a page twice as small: `points` are (epoch seconds, the sum from then on), rising, at least one.

    `amount` puts a sum into words for the scale; `until` is where the line ends. The card is light by itself, so that it can be read on
    any page; what is outside its corners is transparent.
    """
    card = _Card(points, amount, until)
    card.draw(title)
    return fitted(_rounded(card.image), 60_000)


def ticks(top: Decimal, most: int = 4) -> list[Decimal]:
    """Return the round numbers of a scale from 0 to just above `top`: at most so many steps."""
    if top <= 0:
        return [Decimal(0), Decimal(1)]
    power = Decimal(10) ** (top / most).adjusted()
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * most >= top)
    count = next(number for number in range(1, most + 1) if step * number >= top)  # dividing would round a sum of many digits
    return [step * number for number in range(count + 1)]


class _Card:
    """The card as it is drawn."""

    def __init__(self, points: Sequence[Point], amount: Callable[[Decimal], str], until: float) -> None:
        self.image = Image.new("RGB", (_SIZE[0] * _SCALE, _SIZE[1] * _SCALE), _PAPER)
        self._pen = ImageDraw.Draw(self.image)
        self._points, self._amount = points, amount
        self._scale = ticks(points[-1][1])
        self._start = min(points[0][0], until - _DAY)
        self._until = max(until, points[-1][0])
        widest = max(self._width(amount(each)) for each in self._scale)
        self._left, self._right = _PADDING + widest + 8, _SIZE[0] - _PADDING
        self._top, self._bottom = _PADDING + 34.0, _SIZE[1] - _PADDING - 22.0

    def draw(self, title: str) -> None:
        """Draw all of it."""
        self._text((_PADDING, _PADDING - 4), title, _TITLE, _INK, bold=True)
        self._text_ending((self._right, _PADDING - 4), self._amount(self._points[-1][1]), _TITLE, _INK)
        steps = list(self._steps())
        self._pen.polygon([*steps, (steps[-1][0], self._pixel(self._bottom)), (steps[0][0], self._pixel(self._bottom))], fill=_AREA)
        self._draw_scale()
        self._pen.line(steps, fill=_LINE, width=2 * _SCALE, joint="curve")
        self._dot(*steps[-1])
        self._draw_days()

    def _steps(self) -> Iterator[tuple[float, float]]:
        """Yield the corners of the line, in pixels: level, then up where something was spent."""
        height = Decimal(0)
        for moment, amount in self._points:
            yield self._x(moment), self._y(height)
            yield self._x(moment), self._y(amount)
            height = amount
        yield self._x(self._until), self._y(height)

    def _draw_scale(self) -> None:
        for each in self._scale:
            y = self._y(each)
            self._pen.line([(self._pixel(self._left), y), (self._pixel(self._right), y)], fill=_HAIRLINE, width=_SCALE // 2)
            place = (self._left - 8, y / _SCALE - fonts.height(_WORDS) / 2)
            self._text_ending(place, self._amount(each), _WORDS, _QUIET)

    def _draw_days(self) -> None:
        first, last = map(local_day, (self._start, self._until))
        self._text((self._left, self._bottom + 6), first, _WORDS, _QUIET)
        self._text_ending((self._right, self._bottom + 6), last, _WORDS, _QUIET)

    def _dot(self, x: float, y: float) -> None:
        radius = 3.5 * _SCALE
        self._pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=_LINE, outline=_PAPER, width=_SCALE)

    def _x(self, moment: float) -> float:
        share = (moment - self._start) / (self._until - self._start)
        return self._pixel(self._left + share * (self._right - self._left))

    def _y(self, amount: Decimal) -> float:
        share = float(amount / self._scale[-1])
        return self._pixel(self._bottom - share * (self._bottom - self._top))

    def _pixel(self, length: float) -> float:
        return length * _SCALE

    def _width(self, text: str) -> float:
        return fonts.width(text, _WORDS * _SCALE) / _SCALE

    def _text(self, place: tuple[float, float], text: str, size: int, colour: tuple[int, int, int], *, bold: bool = False) -> None:
        fonts.draw(self.image, (place[0] * _SCALE, place[1] * _SCALE), text, size * _SCALE, colour, bold=bold)

    def _text_ending(self, place: tuple[float, float], text: str, size: int, colour: tuple[int, int, int]) -> None:
        width = fonts.width(text, size * _SCALE) / _SCALE
        self._text((place[0] - width, place[1]), text, size, colour)


def _rounded(card: Image.Image) -> Image.Image:
    outline = Image.new("L", card.size, 0)
    ImageDraw.Draw(outline).rounded_rectangle([0, 0, card.width - 1, card.height - 1], _RADIUS * _SCALE, fill=255)
    card.putalpha(outline)
    return card
