"""Images drawn by rule from prompt and seed: poster art in a handful of styles, without AI, and a small mark that says so."""

from __future__ import annotations

import hashlib
import io
import math
import random
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from imagegen_magic.formats import BY_TYPE, JPEG, WEB_TYPES
from imagegen_magic.sandbox.canvas import Canvas, Colour, Point, arc, brightness, colour, height_at, mix, placed, rectangle, ridge, swell

_DETAIL = {"low": 0.65, "auto": 0.65, "medium": 0.85, "high": 1.0}
_MARK = "sandbox"
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)


class Light(NamedTuple):
    """A time of day: the sky from zenith to horizon, sun or moon, the farthest and the nearest land, and lit windows."""

    sky: list[Colour]
    sun: Colour
    far: Colour
    near: Colour
    lamp: Colour
    night: bool


class Inks(NamedTuple):
    """Paper, its darkest ink, and the others in an order in which neighbours match."""

    paper: Colour
    dark: Colour
    inks: list[Colour]


_LIGHTS = {  # sky; sun, far, near, lamp
    "dawn": ("#34406e #7d6b94 #d99aa0 #f6c9a0 #fde7c0", "#fff3d6 #c9959a #22203f #ffd27a"),
    "morning": ("#7fb6c4 #acd3d0 #dbe6d4 #f7ecd2", "#fffaea #a9c9bd #17403f #ffd27a"),
    "dusk": ("#2b1745 #6b2358 #b93a57 #ea6f4d #f9bb67", "#ffe39a #b8486a #1b0d2c #ffd27a"),
    "autumn": ("#f4e6c6 #f3d5a2 #eeb676", "#d5502c #d69a6b #3c1c1c #ffd27a"),
    "mist": ("#c9d6d8 #dde3de #f0ece0", "#f1a765 #b3c3c0 #1d3a42 #ffd27a"),
    "fuji": ("#dce6ea #eef0ea #f8efe0", "#e4573f #9fb6c6 #14283f #ffd27a"),
    "desert": ("#e98a6b #f2ad7f #f8cf9f #fce6c4", "#fff4da #dd8a6c #5a1f33 #ffd27a"),
    "lagoon": ("#0e4a66 #2a7f8e #7ab8ab #e3dcb4 #f9e2b0", "#fff1c4 #5b9a98 #0a2b3b #ffd27a"),
    "night": ("#060b22 #0d1c42 #1d3a68 #41648f", "#f5efda #2b4a76 #040714 #ffd27a"),
    "indigo": ("#120a2e #2a1654 #4a2b78 #85569a", "#ffe9c9 #472f76 #0b0620 #ffd27a"),
    "polar": ("#04141f #08303d #125354 #3f8277", "#eaf7ec #174c52 #020b12 #ffd27a"),
}
_NIGHTS = ("night", "indigo", "polar")
_INKS = {  # paper and darkest ink; the others
    "bauhaus": ("#f1e7d3 #1f1d1c", "#d7402b #1f4f8f #efb32b #8fb2ab #e9d9b8"),
    "midcentury": ("#f0e6d4 #37353f", "#e0705a #2a6f6b #e8b34b #bccbb2 #8a4f4d"),
    "harbour": ("#eef0e8 #0c2f4a", "#0a7f8c #f4d490 #ff6259 #bcd6e4 #13496b"),
    "plum": ("#f6ebe3 #2f2640", "#5f2b58 #c5476b #f7a58a #f4d184 #8c6f9c"),
    "woods": ("#efeee0 #22332f", "#1c7672 #c34a36 #e3b594 #7a9b6d #f0d9a8"),
    "midnight": ("#161a31 #0c0f20", "#f0605d #fcdb6b #2a7fae #74c2b2 #f4efe0"),
    "clay": ("#f4e9dd #3b2a2a", "#b5533c #e3a06f #6f7f6a #d9c3a5 #8b3d3a"),
    "sorbet": ("#fbf1e6 #3a3350", "#f28f7c #f9c87c #84c0b4 #7b83bd #f3b7b0"),
}
_SUBJECTS = {
    "fox": "fox 狐 renard fuchs",
    "castle": "castle fortress palace tower 城堡 schloss burg château",
    "city": "city skyline street tokyo york building cyberpunk 城市 stadt 街",
    "lighthouse": "lighthouse phare leuchtturm 灯塔",
    "sea": "sea ocean wave boat ship sail beach harbour harbor island 海 meer",
    "mountains": "mountain forest lake hill landscape valley snow desert dune pine 山 森 湖 berg wald",
}
_NIGHT_WORDS = ("night", "star", "moon", "midnight", "dark", "neon", "cyberpunk", "夜", "星", "月", "nacht", "nuit")
_DAY_WORDS = {"dawn": "sunrise dawn", "dusk": "sunset desert", "desert": "sunset desert", "autumn": "autumn", "mist": "mist fog"}


def paint(prompt: str, *, seed: int, width: int, height: int, alpha: bool = False, quality: str = "medium") -> Image.Image:
    """Return the image itself; arguments as for `draw`."""
    rng = random.Random(hashlib.sha256(f"{seed}\n{prompt}".encode("utf-8", "replace")).digest())
    image = _painted(prompt.lower(), rng, width, height, _DETAIL.get(quality, 0.85)).finished()
    _mark(image, inset=0.16 if alpha else 0.0)
    return _sticker(image) if alpha else image


def encoded(image: Image.Image, mime_type: str, compression: int | None) -> bytes:
    """Return an image as a file; `compression` (0 to 100, 100 the best) is for JPEG and WebP. Raises ValueError for another MIME type."""
    quality = 90 if compression is None else compression
    if mime_type not in WEB_TYPES:
        raise ValueError(f"{mime_type} cannot be drawn")
    out, image_format = io.BytesIO(), BY_TYPE[mime_type]
    image = image if image_format.alpha else image.convert("RGB")
    image.save(out, image_format.name, compress_level=1, quality=min(95, max(1, quality)) if image_format is JPEG else quality, method=0)
    return out.getvalue()


def _painted(words: str, rng: random.Random, width: int, height: int, detail: float) -> Canvas:
    style = _style(words, rng)
    if style == "ribbons":
        ground, inks = _INKS["midnight"] if any(word in words for word in _NIGHT_WORDS) else rng.choice(list(_INKS.values()))
        paper, dark = map(colour, ground.split())
        canvas = Canvas(width, height, paper)
        _ribbons(canvas, rng, Inks(paper, dark, [colour(ink) for ink in inks.split()]), detail)
        return canvas
    light = _light(words, rng)
    canvas = Canvas(width, height, light.sky[-1])
    _LAND[style](canvas, rng, light, detail)
    return canvas


def _style(words: str, rng: random.Random) -> str:
    return next((subject for subject, names in _SUBJECTS.items() if any(name in words for name in names.split())), rng.choice(_FREE_STYLES))


def _light(words: str, rng: random.Random) -> Light:
    requested = [name for name, named in _DAY_WORDS.items() if any(word in words for word in named.split())]
    names = list(_NIGHTS) if any(word in words for word in _NIGHT_WORDS) else requested or [*(set(_LIGHTS) - set(_NIGHTS)), "night"]
    name = rng.choice(sorted(names))
    sky, others = _LIGHTS[name]
    sun, far, near, lamp = map(colour, others.split())
    return Light([colour(each) for each in sky.split()], sun, far, near, lamp, name in _NIGHTS)


def _mark(image: Image.Image, inset: float) -> None:
    """Write the mark into the lower right corner, dark on light ground and light on dark."""
    unit = min(image.size)
    if unit < 64:
        return
    size = max(9.0, unit * 0.0155)
    font, gap = ImageFont.load_default(size), size * 0.22
    length = sum(font.getlength(letter) + gap for letter in _MARK) - gap
    x, y = image.width * (1 - inset) - length - size * 1.3, image.height * (1 - inset) - size * 2.1
    box = (round(x), round(y), min(image.width, round(x + length) + 1), min(image.height, round(y + size * 1.3)))
    mask = Image.new("L", (box[2] - box[0], box[3] - box[1]))
    at = 0.0
    for letter in _MARK:
        ImageDraw.Draw(mask).text((at, 0), letter, fill=165, font=font)
        at += font.getlength(letter) + gap
    ground = image.crop(box).resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    image.paste((20, 18, 24) if brightness(ground) > 0.5 else (255, 252, 244), box, mask)  # type: ignore[arg-type]  # three numbers


def _sticker(image: Image.Image) -> Image.Image:
    """Return the image cut to a rounded rectangle on a transparent ground."""
    unit, stencil = min(image.size), Canvas(*image.size, _BLACK)
    near, right, bottom = unit * 0.28, image.width - unit * 0.28, image.height - unit * 0.28
    corners = (((right, bottom), 0), ((near, bottom), 90), ((near, near), 180), ((right, near), 270))
    stencil.polygon([point for at, start in corners for point in arc(*at, unit * 0.22, start, start + 90)], _WHITE)
    cut = image.convert("RGBA")
    cut.putalpha(stencil.finished().getchannel(0))
    return cut


def _sky(canvas: Canvas, rng: random.Random, light: Light, horizon: float, detail: float) -> float:
    """Paint sky, sun or moon, and stars or clouds. Returns the x of sun or moon, in pixels."""
    canvas.rectangle(0, 0, canvas.width, horizon + 2, light.sky)
    x, y = (
        canvas.width * rng.choice((0.28, 0.36, 0.64, 0.72)),
        horizon * (rng.uniform(0.22, 0.42) if light.night else rng.uniform(0.34, 0.62)),
    )
    radius = canvas.unit * (rng.uniform(0.055, 0.08) if light.night else rng.uniform(0.075, 0.14))
    if light.night:
        _stars(canvas, rng, horizon, round(170 * detail))
    canvas.glow(x, y, radius * 6, mix(light.sun, _WHITE, 0.2), 0.5 if light.night else 0.75)
    if light.night and rng.random() < 0.55:
        canvas.polygon([*arc(x, y, radius, 35, 250), *arc(x + radius * 0.44, y - radius * 0.2, radius * 0.8, 215, 70)], light.sun)
    else:
        canvas.disc(x, y, radius, light.sun)
    if not light.night:
        _clouds(canvas, rng, mix(light.sky[-1], _WHITE, 0.45), horizon, detail)
    return x


def _stars(canvas: Canvas, rng: random.Random, horizon: float, count: int) -> None:
    for _ in range(count):
        x, y, size = rng.uniform(0, canvas.width), horizon * rng.random() ** 1.4 * 0.92, rng.choice((0.9, 1.1, 1.4, 1.8, 2.6))
        star = arc(x, y, max(0.6, canvas.unit * size / 1000), points=9)
        canvas.polygon(star, (255, 250, 235), rng.uniform(0.35, 1.0))


def _clouds(canvas: Canvas, rng: random.Random, paint: Colour, horizon: float, detail: float) -> None:
    for _ in range(round(rng.randint(2, 4) * detail)):
        x, y = canvas.width * rng.uniform(-0.05, 0.9), horizon * rng.uniform(0.12, 0.8)
        length, thick = canvas.unit * rng.uniform(0.3, 0.6), canvas.unit * 0.011
        for row in range(3):
            left, top = x + length * rng.uniform(0, 0.35) * (row != 1), y + row * thick * 1.9
            right = left + length * (1.0 if row == 1 else rng.uniform(0.4, 0.6))
            canvas.polygon([*arc(left, top, thick / 2, 90, 270, 9), *arc(right, top, thick / 2, -90, 90, 9)], paint, 0.5)


def _mountains(canvas: Canvas, rng: random.Random, light: Light, detail: float, castle: bool = False) -> None:
    """Ridges from the horizon to the foot of the sheet, pines on the last two, a castle on the one in the middle."""
    horizon = canvas.height * rng.uniform(0.58, 0.68)
    _sky(canvas, rng, light, horizon, detail)
    count, rough = round(4 + 3 * detail), 0.52 if rng.random() < 0.6 else 0.42
    for index in range(count):
        part = index / (count - 1)
        base = horizon + (canvas.height * 1.02 - horizon) * part**1.25
        edge = ridge(rng, canvas.width, base, canvas.height * (0.3 - 0.18 * part) * rng.uniform(0.75, 1.1), rough - 0.1 * part)
        tone = mix(light.far, light.near, part**0.85)
        haze = mix(tone, light.sky[-1], 0.5 * (1 - part) + 0.06)
        if part > 0.7:
            _pines(canvas, rng, edge, tone, part, detail)
        canvas.below(edge, (tone, mix(tone, haze, 0.75), haze))
        if castle and index == count // 2:
            _castle(canvas, rng, light, edge, mix(tone, light.near, 0.55))


def _pines(canvas: Canvas, rng: random.Random, edge: list[Point], tone: Colour, part: float, detail: float) -> None:
    size = canvas.unit * (0.05 + 0.11 * (part - 0.7) / 0.3)
    x, trees = -size, []
    while x < canvas.width + size:
        x += size * rng.uniform(0.18, 0.62) / detail
        if rng.random() < 0.82:
            trees.append(_pine(rng, x, height_at(edge, x) + size * 0.12, size * rng.uniform(0.55, 1.15)))
    canvas.polygons(trees, tone)


def _pine(rng: random.Random, x: float, foot: float, height: float) -> list[Point]:
    sides: tuple[list[Point], list[Point]] = [], []
    for tier in range(6):
        y = foot - height * (1 - tier / 6) + height * 0.02
        sag = height / 6 * rng.uniform(0.92, 1.15)
        for side, points in zip((-1, 1), sides, strict=True):
            points.append((x + side * 0.045 * height * tier / 6, y))
            points.append((x + side * height * 0.21 * ((tier + 1) / 6) ** 0.9 * rng.uniform(0.8, 1.1), y + sag))
    return [(x, foot - height), *sides[0][1:], *reversed(sides[1][1:])]


_TOWERS = (
    (-0.42, 0.15, 0.42, 1),
    (-0.2, 0.2, 0.62, 0),
    (0.03, 0.16, 0.92, 1),
    (0.24, 0.2, 0.55, 0),
    (0.43, 0.13, 0.5, 1),
    (-0.06, 0.1, 0.74, 1),
)


def _castle(canvas: Canvas, rng: random.Random, light: Light, edge: list[Point], tone: Colour) -> None:
    """A castle with lit windows on a ridge."""
    unit, x = canvas.unit * 0.36, canvas.width * rng.choice((0.4, 0.5, 0.6))
    foot = min(height_at(edge, x + unit * step) for step in (-0.5, 0.0, 0.5)) + unit * 0.1
    walls = [placed("-150,75 -75,10 -45,0 45,0 80,12 160,75", x, foot, unit), placed("-40,-30 45,-30 45,20 -40,20", x, foot, unit)]
    walls += _battlements(x - unit * 0.4, x + unit * 0.45, foot - unit * 0.3, unit * 0.03)
    roofs, windows = [], []
    for place, wide, tall, pointed in _TOWERS:
        left, right, top = x + unit * (place - wide / 2), x + unit * (place + wide / 2), foot - unit * tall * rng.uniform(0.9, 1.08)
        walls.append(rectangle(left, top, right, foot + unit * 0.2))
        if pointed:
            tip = ((left + right) / 2, top - unit * wide * rng.uniform(1.6, 2.1))
            roofs.append([(left - unit * 0.025, top), tip, (right + unit * 0.025, top)])
        else:
            walls += _battlements(left, right, top, unit * 0.035)
        windows += [((left + right) / 2, top + unit * down) for down in (0.1, 0.24) if tall > down + 0.2]
    canvas.polygons(walls, tone)
    canvas.polygons(roofs, mix(tone, light.sun, 0.16))
    for at in windows:
        canvas.glow(*at, unit * 0.07, light.lamp, 0.5)
        canvas.polygon([*arc(*at, unit * 0.016, 180, 360, 9), *placed("1.6,5 -1.6,5", *at, unit)], light.lamp)


def _battlements(left: float, right: float, top: float, size: float) -> list[list[Point]]:
    count = max(2, round((right - left) / (2 * size)))
    step = (right - left) / (2 * count - 1)
    return [rectangle(left + 2 * n * step, top - size, left + (2 * n + 1) * step, top + 1) for n in range(count)]


def _city(canvas: Canvas, rng: random.Random, light: Light, detail: float) -> None:
    """A skyline in three depths with lit windows, over its reflection."""
    water = canvas.height * rng.uniform(0.78, 0.84)
    _sky(canvas, rng, light, water, detail)
    for depth, part in enumerate((0.15, 0.5, 0.95)):
        _blocks(canvas, rng, light, water, mix(light.far, light.near, part), depth, detail)
    deep = mix(light.near, light.sky[1], 0.35)
    canvas.rectangle(0, math.floor(water), canvas.width, canvas.height, (mix(deep, light.sky[-1], 0.45), deep))
    _glitter(canvas, rng, light.sun, canvas.width / 2, canvas.width / 2, water, round(90 * detail))


def _blocks(canvas: Canvas, rng: random.Random, light: Light, water: float, tone: Colour, depth: int, detail: float) -> None:
    unit, x = canvas.unit, -canvas.unit * 0.05
    blocks: list[list[Point]] = []
    lamps: list[list[Point]] = []
    while x < canvas.width:
        wide = unit * rng.uniform(0.05, 0.12)
        tall = water * rng.uniform(0.16, 0.34 + 0.16 * (2 - depth)) * (1.25 if rng.random() < 0.14 else 1)
        top = water - tall
        blocks.append(rectangle(x, top, x + wide, water + 2))
        if rng.random() < 0.3:
            blocks.append(rectangle(x + wide * 0.47, top - tall * 0.16, x + wide * 0.53, top + 2))
        elif rng.random() < 0.35:
            blocks.append([(x, top + 2), (x + wide * 0.5, top - wide * 0.5), (x + wide, top + 2)])
        if depth:
            lit = (0.42 if light.night else 0.2) * detail
            size, columns = unit * 0.0085, max(1, int(wide / unit / 0.017))
            for row in range(int((tall - size * 3.6) / (size * 2.7))):
                lefts = (x + wide / columns * (column + 0.5) - size / 2 for column in range(columns) if rng.random() < lit)
                y = top + size * (1.6 + 2.7 * row)
                lamps += [rectangle(left, y, left + size, y + size * 1.25) for left in lefts]
        x += wide * rng.uniform(0.92, 1.25 + 0.5 * depth)
    canvas.polygons(blocks, (tone, mix(tone, light.sky[-1], 0.25)))
    canvas.polygons(lamps, light.lamp, 0.5 + 0.2 * depth)


def _glitter(canvas: Canvas, rng: random.Random, paint: Colour, x: float, spread: float, water: float, count: int) -> None:
    for _ in range(count):
        part = rng.random() ** 1.3
        y, half = water + (canvas.height - water) * (0.03 + 0.94 * part), canvas.unit * rng.uniform(0.006, 0.03) * (0.5 + part)
        at, thick = rng.gauss(x, spread * (0.35 + 0.5 * part)), max(1.0, canvas.unit * 0.0022 * (0.6 + part))
        canvas.polygon(rectangle(at - half, y, at + half, y + thick), paint, rng.uniform(0.15, 0.55))


def _sea(canvas: Canvas, rng: random.Random, light: Light, detail: float, lighthouse: bool = False) -> None:
    """A sea in layered swells under sun or moon, with a sailing boat or a lighthouse."""
    horizon, unit = canvas.height * rng.uniform(0.5, 0.58), canvas.unit
    x = _sky(canvas, rng, light, horizon, detail)
    top = mix(light.far, light.sky[-1], 0.35)
    canvas.rectangle(0, math.floor(horizon), canvas.width, canvas.height, (top, mix(light.far, light.near, 0.4)))
    left = canvas.width * rng.choice((-0.1, 0.55))
    isle = ridge(rng, canvas.width * 0.55, horizon, canvas.height * 0.09, 0.5, 65)
    fading = [(left + a, horizon - (horizon - y) * math.sin(math.pi * a / (canvas.width * 0.55))) for a, y in isle]
    canvas.polygon([*fading, (fading[-1][0], horizon + 1), (left, horizon + 1)], mix(light.far, light.near, 0.25))
    _glitter(canvas, rng, light.sun, x, unit * 0.09, horizon, round(120 * detail))
    layers = round(4 + 2 * detail)
    for index in range(layers):
        part = (index + 1) / layers
        base = horizon + (canvas.height - horizon) * (0.22 + 0.72 * part**1.15)
        edge = swell(rng, canvas.width, base, unit * 0.016 * (0.6 + part), 1.4 + canvas.width / unit * (1.6 - part))
        tone = mix(mix(light.far, light.sky[0], 0.3), light.near, 0.2 + 0.8 * part)
        if index == 1 and not lighthouse:
            _boat(canvas, light, canvas.width * rng.uniform(0.3, 0.7), base - unit * 0.005, unit * rng.uniform(0.16, 0.2))
        if index == 2 and lighthouse:
            _lighthouse(canvas, light, canvas.width * (0.3 if x > canvas.width / 2 else 0.7), base, unit * rng.uniform(0.5, 0.58))
        canvas.below(edge, (mix(tone, light.sky[-1], 0.3 * (1 - part) + 0.1), tone, mix(tone, light.near, 0.3)))
        canvas.line(edge, max(1.0, unit * 0.0026), mix(tone, light.sun, 0.2))


def _boat(canvas: Canvas, light: Light, x: float, y: float, size: float) -> None:
    dark, sail = mix(light.near, _BLACK, 0.25), mix(light.sun, _WHITE, 0.5)
    canvas.line([(x, y), (x, y - size * 1.05)], max(1.0, size * 0.018), dark)
    canvas.polygon(placed("3,-100 3,-14 46,-14", x, y, size), sail)
    canvas.polygon(placed("-3,-90 -3,-14 -30,-14", x, y, size), mix(sail, light.far, 0.35))
    canvas.polygon(placed("-42,-8 55,-8 38,10 -30,10", x, y, size), dark)


def _lighthouse(canvas: Canvas, light: Light, x: float, foot: float, size: float) -> None:
    """A banded tower on a rock, its lamp lit."""
    dark, walls = mix(light.near, _BLACK, 0.2), (mix((250, 246, 238), light.far, 0.16), mix((196, 62, 46), light.near, 0.18))

    def band(low: float, high: float, paint: Colour, left: float = -1.0) -> None:
        narrow, wide = (0.128 - 0.07 * height for height in (high, low))
        corners = ((left * wide, low), (left * narrow, high), (narrow, high), (wide, low))
        canvas.polygon([(x + across * size, foot - up * size) for across, up in corners], paint)

    canvas.glow(x, foot - 0.84 * size, size * 0.5, light.lamp, 0.75)
    rock = placed("-62,16 -50,2 -30,-5 -16,-16 13,-18 24,-6 46,0 66,16", x, foot, size)
    canvas.polygon(rock, (mix(light.far, light.near, 0.75), dark))
    for step in range(5):
        band(0.16 + 0.124 * step, 0.284 + 0.124 * step, walls[step % 2])
        band(0.16 + 0.124 * step, 0.284 + 0.124 * step, mix(walls[step % 2], light.near, 0.3), left=0.35)
    canvas.polygon(placed("-8.5,-77 -8.5,-80 8.5,-80 8.5,-77", x, foot, size), dark)
    canvas.polygon(placed("-4.5,-80 -4.5,-88 4.5,-88 4.5,-80", x, foot, size), mix(light.lamp, _WHITE, 0.3))
    canvas.polygon(placed("-6.5,-88 0,-96 6.5,-88", x, foot, size), walls[1])


_FOX = (  # the planes of half a face, drawn on both sides: outline, paint in light, paint in shade
    ("20,-42 66,-106 86,-20", "#b03e1e", "#8d3521"),
    ("36,-42 63,-82 73,-28", "#261a1e", "#261a1e"),
    ("0,-50 34,-46 84,-18 50,16 0,-2", "#f38a42", "#e0602c"),
    ("82,-20 108,22 88,24 92,46 66,44 24,78 46,10", "#faecd6", "#dccfc6"),
    ("82,-20 66,44 46,10", "#f5d3b8", "#ddbfae"),
    ("0,-6 50,10 24,78 0,92", "#e0602c", "#b03e1e"),
    ("0,50 22,66 0,98", "#faecd6", "#e3d5c6"),
    ("0,-50 12,-48 0,30", "#f5ac76", "#f38a42"),
    ("20,20 40,8 44,16 30,24", "#261a1e", "#261a1e"),
    ("32,15 33,13 35,14 34,16", "#faecd6", "#faecd6"),
    ("0,80 11,80 6,92 0,97", "#261a1e", "#261a1e"),
)


def _fox(canvas: Canvas, rng: random.Random, light: Light, detail: float) -> None:
    """A fox's face of folded planes before hills and a rising disc."""
    canvas.rectangle(0, 0, canvas.width, canvas.height, light.sky)
    horizon, x, y, unit = canvas.height * 0.74, canvas.width / 2, canvas.height * 0.5, canvas.unit * 0.34
    if light.night:
        _stars(canvas, rng, horizon, round(130 * detail))
    canvas.glow(x, y, unit * 3, light.sun, 0.55)
    canvas.disc(x, y - unit * 0.1, unit * 1.08, mix(light.sun, light.sky[-1], 0.1))
    for index in range(3):
        part = 0.25 + 0.3 * index
        edge = ridge(rng, canvas.width, horizon + canvas.height * 0.09 * index, canvas.height * 0.2 * (1 - part * 0.6), 0.46)
        tone = mix(light.far, light.near, part)
        if index == 2:
            _pines(canvas, rng, edge, tone, 0.85, detail)
        canvas.below(edge, (tone, mix(tone, light.near, 0.5)))
    for path, lit, shaded in _FOX:
        half = placed(path, 0, 0, unit)
        for side, paint in ((-1, lit), (1, shaded)):
            canvas.polygon([(x + side * a, y + unit * 0.12 + b) for a, b in half], colour(paint))


def _ribbons(canvas: Canvas, rng: random.Random, inks: Inks, detail: float) -> None:
    """Ribbons that flow across the sheet, swell and pinch, each on top of the one before."""
    count = round(7 + 4 * detail)
    tilt, phase = rng.uniform(-0.35, 0.35), rng.uniform(0, math.tau)
    waves = rng.uniform(0.6, 0.95) * max(1.0, (canvas.width / canvas.height) ** 0.5)

    def edge_at(level: float) -> list[Point]:
        points = []
        for at in (step / 96 for step in range(97)):
            swing = 0.15 * math.sin(math.tau * waves * at + phase + level * 2.2)
            swing += 0.05 * math.sin(math.tau * waves * 2.3 * at - phase + level * 5)
            pinch = 0.62 + 0.38 * math.sin(math.tau * waves * 0.7 * at + phase * 2) ** 2
            points.append((canvas.width * at, canvas.height * (0.5 + (level - 0.5) * 1.25 * pinch + swing + tilt * (at - 0.5))))
        return points

    order = [inks.inks[n % len(inks.inks)] for n in range(count)]
    rng.shuffle(order)
    for index, tone in enumerate(order):
        edge = edge_at((index + 0.6) / (count + 1))
        canvas.shadow([*edge, *((x, y + canvas.unit * 0.05) for x, y in reversed(edge))], canvas.unit * 0.016, 0.4, inks.dark)
        paint = (mix(tone, inks.paper, 0.28), tone, mix(tone, inks.dark, 0.28))
        if index == count - 1:
            canvas.below(edge, paint)
        else:
            canvas.polygon([*edge, *reversed(edge_at((index + 1.95) / (count + 1)))], paint)


_LAND: dict[str, Callable[[Canvas, random.Random, Light, float], None]] = {
    "fox": _fox,
    "castle": partial(_mountains, castle=True),
    "city": _city,
    "lighthouse": partial(_sea, lighthouse=True),
    "sea": _sea,
    "mountains": _mountains,
}
_FREE_STYLES = ("mountains", "mountains", "sea", "ribbons", "ribbons", "sea", "ribbons", "city")
