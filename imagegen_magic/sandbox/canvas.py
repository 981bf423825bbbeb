"""A sheet to paint on: smooth gradients, shadows, and shapes with clean edges at any size, with Pillow alone."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import cast

from PIL import Image, ImageColor, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
Point = tuple[float, float]
Box = tuple[int, int, int, int]
Paint = Colour | Sequence[Colour]
"""One colour, or the colours of a vertical gradient over the shape's own box."""

_LARGE = 700_000  # pixels from which a box is cut into tiles
_TILE = 384
_COARSE = 16


def colour(text: str) -> Colour:
    """Return the colour of a hexadecimal text."""
    red, green, blue = ImageColor.getrgb(text)[:3]
    return red, green, blue


def mix(one: Colour, other: Colour, part: float) -> Colour:
    """Return the colour that lies `part` (0..1) of the way from one to the other."""
    part = min(1.0, max(0.0, part))
    red, green, blue = (round(a + (b - a) * part) for a, b in zip(one, other, strict=True))
    return red, green, blue


def brightness(paint: Colour) -> float:
    """Return how bright a colour is to the eye, 0..1."""
    return (0.299 * paint[0] + 0.587 * paint[1] + 0.114 * paint[2]) / 255


def along(stops: Sequence[Colour], part: float) -> Colour:
    """Return the colour at `part` (0..1) of a gradient with evenly spaced stops."""
    place = min(max(part, 0.0), 1.0) * (len(stops) - 1)
    index = min(int(place), len(stops) - 2) if len(stops) > 1 else 0
    return mix(stops[index], stops[min(index + 1, len(stops) - 1)], place - index)


class Canvas:
    """An RGB sheet of width x height pixels; `unit` is its shorter edge, so that strokes fit every size."""

    def __init__(self, width: int, height: int, ground: Paint) -> None:
        self.width = width
        self.height = height
        self.unit = float(min(width, height))
        self.image = Image.new("RGB", (width, height))
        self.wash(ground)

    def wash(self, paint: Paint, box: Box | None = None) -> None:
        """Fill a box, or the whole sheet."""
        box = box or (0, 0, self.width, self.height)
        if box[2] > box[0] and box[3] > box[1]:
            self.image.paste(_fill(paint, box, box), box)

    def shape(self, bounds: tuple[float, float, float, float], draw: Callable[[Pen], None], paint: Paint, opacity: float = 1.0) -> None:
        """Paint what `draw` draws, with smooth edges; nothing is seen outside `bounds` (left, top, right, bottom)."""
        box = self._box(bounds)
        if box is None:
            return
        for tile, full in _tiles(box, draw):
            mask = None if full and opacity == 1 else _mask(tile, draw)
            if mask is not None and opacity < 1:
                mask = mask.point([round(value * opacity) for value in range(256)])
            self._paste(_fill(paint, box, tile), tile, mask)

    def polygons(self, shapes: Iterable[Sequence[Point]], paint: Paint, opacity: float = 1.0) -> None:
        """Paint polygons, one paint over their common box."""
        listed = [list(points) for points in shapes]
        xs = [x for points in listed for x, _ in points]
        ys = [y for points in listed for _, y in points]
        if not xs:
            return
        bounds = (min(xs), min(ys), max(xs), max(ys))

        def pen(pen: Pen) -> None:
            for points in listed:
                pen.polygon(points)

        self.shape(bounds, pen, paint, opacity)

    def polygon(self, points: Sequence[Point], paint: Paint, opacity: float = 1.0) -> None:
        """Paint one polygon."""
        self.polygons([points], paint, opacity)

    def disc(self, x: float, y: float, radius: float, paint: Paint, opacity: float = 1.0) -> None:
        """Paint a disc."""
        self.shape((x - radius, y - radius, x + radius, y + radius), lambda pen: pen.disc(x, y, radius), paint, opacity)

    def ring(self, x: float, y: float, radius: float, stroke: float, paint: Paint, opacity: float = 1.0) -> None:
        """Paint a ring whose outer edge has that radius."""
        bounds = (x - radius, y - radius, x + radius, y + radius)

        def pen(pen: Pen) -> None:
            pen.disc(x, y, radius)
            pen.disc(x, y, radius - stroke, 0)

        self.shape(bounds, pen, paint, opacity)

    def line(self, points: Sequence[Point], stroke: float, paint: Paint, opacity: float = 1.0) -> None:
        """Paint a line with round joints."""
        xs, ys = [x for x, _ in points], [y for _, y in points]
        bounds = (min(xs) - stroke, min(ys) - stroke, max(xs) + stroke, max(ys) + stroke)
        self.shape(bounds, lambda pen: pen.line(points, stroke), paint, opacity)

    def below(self, edge: Sequence[Point], paint: Paint) -> None:
        """Paint all that lies below an edge running from left to right."""
        top, bottom = min(y for _, y in edge), max(y for _, y in edge)
        end = float(self.height)
        stops = [paint] * 2 if isinstance(paint[0], int) else list(paint)
        cut = math.ceil(bottom) + 1
        part = min(1.0, (cut - top) / max(end - top, 1.0))
        upper = [along(stops, part * step / 8) for step in range(9)]  # type: ignore[arg-type]  # one colour was made two stops
        lower = [along(stops, part + (1 - part) * step / 8) for step in range(9)]  # type: ignore[arg-type]
        band = [*edge, (edge[-1][0], float(cut)), (edge[0][0], float(cut))]
        self.polygon(band, upper)
        if cut < self.height:
            self.wash(lower, (0, max(0, cut), self.width, self.height))

    def glow(self, x: float, y: float, radius: float, paint: Colour, strength: float) -> None:
        """Paint light that fades out towards `radius`; `strength` 0..1 at its heart."""
        box = self._box((x - radius, y - radius, x + radius, y + radius))
        if box is None:
            return
        fade = Image.radial_gradient("L").point([round(strength * max(0.0, 1 - value / 180) ** 2.2 * 255) for value in range(256)])
        scale = fade.width / (2 * radius)
        source = (
            (box[0] - x + radius) * scale,
            (box[1] - y + radius) * scale,
            (box[2] - x + radius) * scale,
            (box[3] - y + radius) * scale,
        )
        edge = (max(0.0, source[0]), max(0.0, source[1]), min(256.0, source[2]), min(256.0, source[3]))
        mask = fade.resize((box[2] - box[0], box[3] - box[1]), Image.Resampling.BICUBIC, box=edge)
        self._paste(paint, box, mask)

    def shadow(self, points: Sequence[Point], blur: float, shift: Point, opacity: float, paint: Colour = (0, 0, 0)) -> None:
        """Paint the soft shadow of a polygon, `shift` away from it."""
        xs, ys = [x + shift[0] for x, _ in points], [y + shift[1] for _, y in points]
        reach = 2 * blur
        box = self._box((min(xs) - reach, min(ys) - reach, max(xs) + reach, max(ys) + reach))
        if box is None:
            return
        scale = min(1.0, 3.0 / max(blur, 0.1))
        small = Image.new("L", (math.ceil((box[2] - box[0]) * scale) + 1, math.ceil((box[3] - box[1]) * scale) + 1))
        drawn = [((x - box[0]) * scale, (y - box[1]) * scale) for x, y in zip(xs, ys, strict=True)]
        ImageDraw.Draw(small).polygon(drawn, fill=round(255 * opacity))
        small = small.filter(ImageFilter.GaussianBlur(blur * scale))
        for tile in _grid(box):
            left, top = (tile[0] - box[0]) * scale, (tile[1] - box[1]) * scale
            part = (left, top, left + (tile[2] - tile[0]) * scale, top + (tile[3] - tile[1]) * scale)
            if small.crop((math.floor(part[0]), math.floor(part[1]), math.ceil(part[2]), math.ceil(part[3]))).getbbox():
                size = (tile[2] - tile[0], tile[3] - tile[1])
                self._paste(paint, tile, small.resize(size, Image.Resampling.BILINEAR, box=part))

    def _paste(self, paint: Image.Image | Colour, box: Box, mask: Image.Image | None) -> None:
        """Paste through a mask; Pillow blends an image more than twice as fast as a colour."""
        if mask is not None and isinstance(paint, tuple):
            paint = Image.new("RGB", mask.size, paint)
        self.image.paste(paint, box, mask)

    def _box(self, bounds: tuple[float, float, float, float]) -> Box | None:
        left, top = max(0, math.floor(bounds[0]) - 1), max(0, math.floor(bounds[1]) - 1)
        right, bottom = min(self.width, math.ceil(bounds[2]) + 1), min(self.height, math.ceil(bounds[3]) + 1)
        return (left, top, right, bottom) if right > left and bottom > top else None


class Pen:
    """Draws shapes into an enlarged mask; coordinates are the sheet's. `rim` is the value of every outline in a coarse mask."""

    def __init__(self, mask: Image.Image, scale: float, left: int, top: int, rim: int | None = None) -> None:
        self._draw = ImageDraw.Draw(mask)
        self._rim = {} if rim is None else {"outline": rim, "width": 2}
        self._scale = scale
        self._left = left
        self._top = top

    def _at(self, points: Iterable[Point]) -> list[Point]:
        return [((x - self._left) * self._scale, (y - self._top) * self._scale) for x, y in points]

    def polygon(self, points: Iterable[Point], value: int = 255) -> None:
        """Fill a polygon; value 0 cuts it out."""
        self._draw.polygon(self._at(points), fill=value, **self._rim)

    def disc(self, x: float, y: float, radius: float, value: int = 255) -> None:
        """Fill a disc."""
        if radius > 0:
            self._draw.ellipse(
                [*self._at([(x - radius, y - radius)])[0], *self._at([(x + radius, y + radius)])[0]], fill=value, **self._rim
            )

    def slice(self, x: float, y: float, radius: float, start: float, end: float, value: int = 255) -> None:
        """Fill a slice of a disc between two angles in degrees, clockwise from three o'clock."""
        corners = [*self._at([(x - radius, y - radius)])[0], *self._at([(x + radius, y + radius)])[0]]
        self._draw.pieslice(corners, start, end, fill=value, **self._rim)

    def rectangle(self, left: float, top: float, right: float, bottom: float, value: int = 255) -> None:
        """Fill a rectangle."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], value)

    def line(self, points: Iterable[Point], stroke: float, value: int = 255) -> None:
        """Draw a line with round joints and ends."""
        placed, wide = self._at(points), max(1, round(stroke * self._scale))
        self._draw.line(placed, fill=value, width=wide, joint="curve")
        for x, y in (placed[0], placed[-1]) if wide > 2 else ():
            self._draw.ellipse([x - wide / 2, y - wide / 2, x + wide / 2, y + wide / 2], fill=value)


def _tiles(box: Box, draw: Callable[[Pen], None]) -> Iterator[tuple[Box, bool]]:
    """Cut a large box into tiles, leave out those that the shape does not touch, and say which it covers in full."""
    width, height = box[2] - box[0], box[3] - box[1]
    if width * height < _LARGE:
        yield box, False
        return
    touched = _coarse(box, draw, 255).filter(ImageFilter.MaxFilter(3))
    covered = _coarse(box, draw, 0).filter(ImageFilter.MinFilter(3))
    for tile in _grid(box):
        seen = (
            (tile[0] - box[0]) // _COARSE,
            (tile[1] - box[1]) // _COARSE,
            -(-(tile[2] - box[0]) // _COARSE),
            -(-(tile[3] - box[1]) // _COARSE),
        )
        if touched.crop(seen).getbbox():
            yield tile, covered.crop(seen).getextrema()[0] == 255


def _coarse(box: Box, draw: Callable[[Pen], None], rim: int) -> Image.Image:
    """Draw small; outlines count as inside (rim 255) or outside (0), so that no thin stroke or cut is lost."""
    mask = Image.new("L", (-(-(box[2] - box[0]) // _COARSE), -(-(box[3] - box[1]) // _COARSE)))
    draw(Pen(mask, 1 / _COARSE, box[0], box[1], rim))
    return mask


def _grid(box: Box) -> Iterator[Box]:
    for top in range(box[1], box[3], _TILE):
        for left in range(box[0], box[2], _TILE):
            yield left, top, min(left + _TILE, box[2]), min(top + _TILE, box[3])


def _mask(box: Box, draw: Callable[[Pen], None]) -> Image.Image:
    width, height = box[2] - box[0], box[3] - box[1]
    scale = 2 if width * height > _LARGE // 4 else 3 if width * height > 40_000 else 5
    mask = Image.new("L", (width * scale, height * scale))
    draw(Pen(mask, scale, box[0], box[1]))
    return mask.reduce(scale)


def _fill(paint: Paint, box: Box, tile: Box) -> Image.Image | Colour:
    """Return what fills the tile of a box whose gradient runs from its top to its bottom."""
    if isinstance(paint[0], int):
        return cast(Colour, paint)
    scale = 256 / (box[3] - box[1])
    rows = (0, (tile[1] - box[1]) * scale, 1, (tile[3] - box[1]) * scale)
    column = _strip(tuple(paint)).resize((1, tile[3] - tile[1]), Image.Resampling.BILINEAR, box=rows)
    return column.resize((tile[2] - tile[0], tile[3] - tile[1]), Image.Resampling.NEAREST)  # a tenth of what one step would cost


@lru_cache(maxsize=64)
def _strip(stops: tuple[Colour, ...]) -> Image.Image:
    strip = Image.new("RGB", (1, 256))
    strip.putdata([along(stops, row / 255) for row in range(256)])
    return strip


def ridge(rng: random.Random, width: float, base: float, height: float, rough: float, points: int = 257) -> list[Point]:
    """Return a skyline from left to right by midpoint displacement: `base` pixels from the top at its foot, `height` its swing,
    `rough` how little each halving calms it (0.4 rolling, 0.6 craggy)."""
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
    """Return a smooth edge from left to right: three waves of `waves`, about twice and thrice as many crests."""
    parts = [
        (waves * factor * rng.uniform(0.8, 1.2), rng.uniform(0, math.tau), weight)
        for factor, weight in ((1, 1.0), (1.9, 0.45), (3.1, 0.18))
    ]
    edge = []
    for index in range(points):
        place = index / (points - 1)
        level = sum(weight * math.sin(math.tau * count * place + phase) for count, phase, weight in parts)
        edge.append((width * place, base + height * level / 1.63))
    return edge


def closed(rng: random.Random, x: float, y: float, radius: float, lobes: int, wobble: float, points: int = 120) -> list[Point]:
    """Return a smooth closed outline around a point, `wobble` (0..1) away from a circle."""
    parts = [(count, rng.uniform(0, math.tau), rng.uniform(0.3, 1) / count) for count in range(2, 2 + lobes)]
    total = sum(weight for _, _, weight in parts) or 1.0
    outline = []
    for index in range(points):
        angle = math.tau * index / points
        reach = radius * (1 + wobble * sum(weight * math.sin(count * angle + phase) for count, phase, weight in parts) / total)
        outline.append((x + reach * math.cos(angle), y + reach * math.sin(angle)))
    return outline


def stencil(image: Image.Image, draw: Callable[[Pen], None]) -> Image.Image:
    """Return the image with everything transparent but what `draw` draws."""
    cut = image.convert("RGBA")
    cut.putalpha(_mask((0, 0, image.width, image.height), draw))
    return cut
