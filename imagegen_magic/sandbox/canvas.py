"""A canvas for the sandbox's drawings: polygons with smooth edges, gradients, glows and shadows, with Pillow alone.

It draws on a larger image (of a very large picture a smaller one), which is scaled to the final size at the end.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from typing import cast

from PIL import Image, ImageColor, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
Point = tuple[float, float]
Paint = Colour | Sequence[Colour]
"""One colour, or the colours of a vertical gradient over the shape's own height."""

_MAX_PIXELS = 2_000_000  # drawn on
_MAX_SCALE = 4.0
_SHADOW_SCALE = 1 / 8


def colour(text: str) -> Colour:
    """Return the colour of a hexadecimal text."""
    red, green, blue = ImageColor.getrgb(text)[:3]
    return red, green, blue


def mix(left: Colour, right: Colour, part: float) -> Colour:
    """Return the colour that is `part` (0 to 1) of the way from left to right."""
    red, green, blue = (round(a + (b - a) * min(1.0, max(0.0, part))) for a, b in zip(left, right, strict=True))
    return red, green, blue


def brightness(paint: Colour) -> float:
    """Return how bright a colour is to the eye, 0 to 1."""
    return (0.299 * paint[0] + 0.587 * paint[1] + 0.114 * paint[2]) / 255


class Canvas:
    """An RGB canvas; `width` and `height` in final pixels, as all coordinates are; `unit` is the shorter of both."""

    def __init__(self, width: int, height: int, paint: Paint) -> None:
        self.width, self.height, self.unit = width, height, float(min(width, height))
        self._scale = min(_MAX_SCALE, math.sqrt(_MAX_PIXELS / (width * height)))
        self._image = Image.new("RGB", (max(1, round(width * self._scale)), max(1, round(height * self._scale))))
        self._pen = ImageDraw.Draw(self._image)
        self.rectangle(0, 0, width, height, paint)

    def finished(self) -> Image.Image:
        """Return the image at its final size."""
        return self._image.resize((self.width, self.height), Image.Resampling.BILINEAR)

    def polygons(self, shapes: Iterable[Sequence[Point]], paint: Paint, opacity: float = 1.0) -> None:
        """Paint polygons, with one paint over all of them; `opacity` 0 to 1."""
        scaled = [[(x * self._scale, y * self._scale) for x, y in shape] for shape in shapes]
        stops = _stops(paint)
        if len(stops) == 1 and opacity == 1:
            for points in scaled:
                self._pen.polygon(points, fill=stops[0])
        elif scaled and (box := self._box([point for points in scaled for point in points])):
            mask = Image.new("L", (box[2] - box[0], box[3] - box[1]))
            pen = ImageDraw.Draw(mask)
            for points in scaled:
                pen.polygon([(x - box[0], y - box[1]) for x, y in points], fill=round(255 * opacity))
            ys = [y for points in scaled for _, y in points]
            self._image.paste(_gradient(stops, min(ys), max(ys), box), box, mask)

    def polygon(self, points: Sequence[Point], paint: Paint, opacity: float = 1.0) -> None:
        """Paint one polygon."""
        self.polygons([points], paint, opacity)

    def rectangle(self, left: float, top: float, right: float, bottom: float, paint: Paint) -> None:
        """Paint a rectangle."""
        self.polygon(rectangle(left, top, right, bottom), paint)

    def disc(self, x: float, y: float, radius: float, paint: Paint, opacity: float = 1.0) -> None:
        """Paint a disc."""
        self.polygon(arc(x, y, radius, points=90), paint, opacity)

    def line(self, points: Sequence[Point], stroke: float, paint: Colour) -> None:
        """Paint a line with round joints."""
        self._pen.line([(x * self._scale, y * self._scale) for x, y in points], paint, max(1, round(stroke * self._scale)), joint="curve")

    def below(self, edge: Sequence[Point], paint: Paint) -> None:
        """Paint everything below an edge that runs from left to right."""
        self.polygon([*edge, (self.width, self.height + 1), (0, self.height + 1)], paint)

    def glow(self, x: float, y: float, radius: float, paint: Colour, strength: float) -> None:
        """Paint light that fades out towards `radius`; `strength` 0 to 1 in its middle."""
        x, y, radius = x * self._scale, y * self._scale, radius * self._scale
        if box := self._box([(x - radius, y - radius), (x + radius, y + radius)]):
            fade = Image.radial_gradient("L").point([round(strength * max(0.0, 1 - value / 180) ** 2.2 * 255) for value in range(256)])
            scale = fade.width / (2 * radius)
            left, top, right, bottom = (edge - start + radius for edge, start in zip(box, (x, y, x, y), strict=True))
            source = (max(0.0, left * scale), max(0.0, top * scale), min(256.0, right * scale), min(256.0, bottom * scale))
            self._paste(paint, box, fade.resize((box[2] - box[0], box[3] - box[1]), Image.Resampling.BILINEAR, box=source))

    def shadow(self, points: Sequence[Point], blur: float, opacity: float, paint: Colour) -> None:
        """Paint the soft shadow of a polygon."""
        scale, reach = self._scale, 2 * blur * self._scale
        scaled = [(x * scale, y * scale) for x, y in points]
        if box := self._box([(x + away, y + away) for x, y in scaled for away in (-reach, reach)]):
            size = (box[2] - box[0], box[3] - box[1])
            small = Image.new("L", (math.ceil(size[0] * _SHADOW_SCALE), math.ceil(size[1] * _SHADOW_SCALE)))
            outline = [((x - box[0]) * _SHADOW_SCALE, (y - box[1]) * _SHADOW_SCALE) for x, y in scaled]
            ImageDraw.Draw(small).polygon(outline, fill=round(255 * opacity))
            mask = small.filter(ImageFilter.GaussianBlur(blur * scale * _SHADOW_SCALE)).resize(size, Image.Resampling.BILINEAR)
            self._paste(paint, box, mask)

    def _paste(self, paint: Colour, box: tuple[int, int, int, int], mask: Image.Image) -> None:
        self._image.paste(Image.new("RGB", mask.size, paint), box, mask)  # a third of the time of pasting a colour

    def _box(self, points: Sequence[Point]) -> tuple[int, int, int, int] | None:
        """Return the part of the image that points span; None if they are outside."""
        xs, ys = [x for x, _ in points], [y for _, y in points]
        left, top = max(0, math.floor(min(xs))), max(0, math.floor(min(ys)))
        right, bottom = min(self._image.width, math.ceil(max(xs)) + 1), min(self._image.height, math.ceil(max(ys)) + 1)
        return (left, top, right, bottom) if left < right and top < bottom else None


def _stops(paint: Paint) -> list[Colour]:
    return [cast(Colour, paint)] if isinstance(paint[0], int) else list(cast(Sequence[Colour], paint))


def _gradient(stops: Sequence[Colour], top: float, bottom: float, box: tuple[int, int, int, int]) -> Image.Image:
    """Return the part within a box of a vertical gradient from `top` to `bottom`."""
    column = Image.new("RGB", (1, len(stops)))
    column.putdata(stops)
    rows = [0.5 + (len(stops) - 1) * min(1.0, max(0.0, (y - top) / max(1.0, bottom - top))) for y in (box[1], box[3])]
    colours = column.resize((1, box[3] - box[1]), Image.Resampling.BILINEAR, box=(0, rows[0], 1, max(rows[1], rows[0] + 1e-3))).tobytes()
    width = box[2] - box[0]  # rows of bytes are joined, which takes a third of the time that Pillow takes to widen the column
    return Image.frombytes("RGB", (width, box[3] - box[1]), b"".join(colours[at : at + 3] * width for at in range(0, len(colours), 3)))


def rectangle(left: float, top: float, right: float, bottom: float) -> list[Point]:
    """Return the corners of a rectangle."""
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def arc(x: float, y: float, radius: float, start: float = 0, end: float = 360, points: int = 45) -> list[Point]:
    """Return points on an arc between two angles in degrees, clockwise from three o'clock."""
    angles = (math.radians(start + (end - start) * number / (points - 1)) for number in range(points))
    return [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]


def ridge(rng: random.Random, width: float, base: float, height: float, rough: float, points: int = 257) -> list[Point]:
    """Return a skyline from left to right by midpoint displacement.

    `base`: pixels from the top at its foot; `height`: how far it rises; `rough`: how little each halving calms it (0.4 to 0.6).
    """
    levels = [rng.uniform(-1, 1), *([0.0] * (points - 2)), rng.uniform(-1, 1)]
    step, swing = points - 1, 1.0
    while step > 1:
        half = step // 2
        for middle in range(half, points - 1, step):
            levels[middle] = (levels[middle - half] + levels[middle + half]) / 2 + rng.uniform(-swing, swing)
        step, swing = half, swing * rough
    low, high = min(levels), max(levels)
    return [(width * index / (points - 1), base - height * (level - low) / max(high - low, 1e-9)) for index, level in enumerate(levels)]


def swell(rng: random.Random, width: float, base: float, height: float, waves: float, points: int = 161) -> list[Point]:
    """Return a smooth edge from left to right: the sum of three waves, the longest with `waves` crests."""
    parts = [
        (waves * factor * rng.uniform(0.8, 1.2), rng.uniform(0, math.tau), weight) for factor, weight in ((1, 1), (1.9, 0.45), (3.1, 0.18))
    ]
    places = [index / (points - 1) for index in range(points)]
    levels = [sum(weight * math.sin(math.tau * count * place + phase) for count, phase, weight in parts) / 1.63 for place in places]
    return [(width * place, base + height * level) for place, level in zip(places, levels, strict=True)]


def height_at(edge: Sequence[Point], x: float) -> float:
    """Return the y of an edge with evenly spaced points at an x."""
    place = min(max(x / (edge[-1][0] or 1.0), 0.0), 1.0) * (len(edge) - 1)
    index = min(int(place), len(edge) - 2)
    return edge[index][1] + (edge[index + 1][1] - edge[index][1]) * (place - index)


def placed(path: str, x: float, y: float, size: float) -> list[Point]:
    """Return the points of a path, written as in SVG's `points` and in hundredths of `size`, around a place."""
    return [(x + float(a) * size / 100, y + float(b) * size / 100) for a, b in (pair.split(",") for pair in path.split())]
