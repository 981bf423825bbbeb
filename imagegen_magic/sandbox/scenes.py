"""Landscapes in layers: sky, sun or moon, ridge behind ridge, and what a prompt's words put before them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

from imagegen_magic.sandbox.canvas import Canvas, Colour, Paint, Pen, Point, closed, mix, ridge, swell
from imagegen_magic.sandbox.palettes import Light


def sky(canvas: Canvas, rng: random.Random, light: Light, horizon: float, detail: float) -> tuple[float, float]:
    """Paint sky, stars and sun or moon; returns where sun or moon stands, in pixels."""
    width, unit = canvas.width, canvas.unit
    canvas.wash(light.sky[-1])
    canvas.wash(light.sky, (0, 0, width, math.ceil(horizon) + 2))
    x, y = width * rng.choice((0.28, 0.36, 0.64, 0.72)), horizon * rng.uniform(0.34, 0.62)
    if light.night:
        _stars(canvas, rng, horizon, round(170 * detail))
        y = horizon * rng.uniform(0.22, 0.42)
    radius = unit * (rng.uniform(0.055, 0.08) if light.night else rng.uniform(0.075, 0.14))
    canvas.glow(x, y, radius * 6, mix(light.sun, (255, 255, 255), 0.2), 0.5 if light.night else 0.75)
    if light.night and rng.random() < 0.55:
        _crescent(canvas, x, y, radius, light.sun)
    else:
        canvas.disc(x, y, radius, light.sun)
        if light.night:
            _craters(canvas, rng, x, y, radius, mix(light.sun, light.sky[-1], 0.25))
    if not light.night:
        _clouds(canvas, rng, light, horizon, detail)
    return x, y


def _stars(canvas: Canvas, rng: random.Random, horizon: float, count: int) -> None:
    for _ in range(count):
        x, y = rng.uniform(0, canvas.width), horizon * rng.random() ** 1.4 * 0.92
        size = canvas.unit * rng.choice((0.0009, 0.0011, 0.0014, 0.0018, 0.0026))
        canvas.disc(x, y, max(0.6, size), (255, 250, 235), rng.uniform(0.35, 1.0))


def _crescent(canvas: Canvas, x: float, y: float, radius: float, paint: Colour) -> None:
    def pen(pen: Pen) -> None:
        pen.disc(x, y, radius)
        pen.disc(x + radius * 0.46, y - radius * 0.16, radius * 0.88, 0)

    canvas.shape((x - radius, y - radius, x + radius, y + radius), pen, paint)


def _craters(canvas: Canvas, rng: random.Random, x: float, y: float, radius: float, paint: Colour) -> None:
    for away, angle, size in ((0.35, 0.9, 0.24), (0.5, 3.6, 0.17), (0.3, 5.2, 0.11), (0.62, 2.3, 0.08)):
        turned = angle + rng.uniform(-0.4, 0.4)
        canvas.disc(x + away * radius * math.cos(turned), y + away * radius * math.sin(turned), size * radius, paint, 0.7)


def _clouds(canvas: Canvas, rng: random.Random, light: Light, horizon: float, detail: float) -> None:
    paint = mix(light.sky[-1], (255, 255, 255), 0.45)
    for _ in range(round(rng.randint(2, 4) * detail)):
        x, y = canvas.width * rng.uniform(-0.05, 0.9), horizon * rng.uniform(0.12, 0.8)
        length = canvas.unit * rng.uniform(0.3, 0.6)
        for row in range(3):
            left = x + length * rng.uniform(0.0, 0.35) * (row != 1)
            thick, span = canvas.unit * 0.011, length * (1.0 if row == 1 else rng.uniform(0.4, 0.6))
            canvas.line([(left, y + row * thick * 1.9), (left + span, y + row * thick * 1.9)], thick, paint, 0.5)


def mountains(canvas: Canvas, rng: random.Random, light: Light, detail: float, *, trees: bool = True, stage: Stage | None = None) -> None:
    """Paint ridges from the horizon to the foot of the sheet, `stage` on the one in the middle, trees on the last two."""
    horizon = canvas.height * rng.uniform(0.58, 0.68)
    sky(canvas, rng, light, horizon, detail)
    count = round(4 + 3 * detail)
    craggy = rng.random() < 0.6
    for index in range(count):
        part = index / (count - 1)
        base = horizon + (canvas.height * 1.02 - horizon) * part**1.25
        swing = canvas.height * (0.30 - 0.18 * part) * rng.uniform(0.75, 1.1)
        rough = (0.52 if craggy else 0.42) - 0.1 * part
        edge = ridge(rng, canvas.width, base, swing, rough)
        tone = mix(light.far, light.near, part**0.85)
        haze = mix(tone, light.sky[-1], 0.5 * (1 - part) + 0.06)
        if trees and part > 0.7:
            _pines(canvas, rng, edge, tone, part, detail)
        canvas.below(edge, (tone, mix(tone, haze, 0.75), haze))
        if stage and index == count // 2:
            stage(canvas, rng, light, edge, mix(tone, light.near, 0.55))
    if rng.random() < 0.6 and not light.night:
        _birds(canvas, rng, light, horizon)


Stage = Callable[[Canvas, random.Random, Light, list[Point], Colour], None]


def _pines(canvas: Canvas, rng: random.Random, edge: list[Point], tone: Colour, part: float, detail: float) -> None:
    size = canvas.unit * (0.05 + 0.11 * (part - 0.7) / 0.3)
    trees: list[list[Point]] = []
    x = -size
    while x < canvas.width + size:
        x += size * rng.uniform(0.18, 0.62) / detail
        if rng.random() < 0.82:
            trees.append(_pine(rng, x, _height_at(edge, x) + size * 0.12, size * rng.uniform(0.55, 1.15)))
    canvas.polygons(trees, tone)


def _pine(rng: random.Random, x: float, foot: float, height: float) -> list[Point]:
    left: list[Point] = []
    right: list[Point] = []
    tiers = 6
    for tier in range(tiers):
        y = foot - height * (1 - tier / tiers) + height * 0.02
        inner, outer = 0.045 * height * tier / tiers, height * 0.21 * ((tier + 1) / tiers) ** 0.9
        sag = height / tiers * rng.uniform(0.92, 1.15)
        left += [(x - inner, y), (x - outer * rng.uniform(0.8, 1.1), y + sag)]
        right += [(x + inner, y), (x + outer * rng.uniform(0.8, 1.1), y + sag)]
    return [(x, foot - height), *left[1:], *reversed(right[1:])]


def _height_at(edge: list[Point], x: float) -> float:
    last = edge[-1][0] or 1.0
    place = min(max(x / last, 0.0), 1.0) * (len(edge) - 1)
    index = min(int(place), len(edge) - 2)
    return edge[index][1] + (edge[index + 1][1] - edge[index][1]) * (place - index)


def _birds(canvas: Canvas, rng: random.Random, light: Light, horizon: float) -> None:
    x, y = canvas.width * rng.uniform(0.2, 0.75), horizon * rng.uniform(0.25, 0.5)
    paint = mix(light.near, light.sky[0], 0.2)
    for _ in range(rng.randint(3, 6)):
        span = canvas.unit * rng.uniform(0.008, 0.016)
        a, b = x + canvas.unit * rng.uniform(-0.11, 0.11), y + canvas.unit * rng.uniform(-0.05, 0.05)
        wing = [
            (a - span, b - span * 0.45),
            (a - span * 0.45, b - span * 0.5),
            (a, b),
            (a + span * 0.45, b - span * 0.5),
            (a + span, b - span * 0.45),
        ]
        canvas.line(wing, max(1.0, canvas.unit * 0.0022), paint)


def castle(canvas: Canvas, rng: random.Random, light: Light, edge: list[Point], tone: Colour) -> None:
    """Put a castle with lit windows on a ridge."""
    unit = canvas.unit * 0.36
    x = canvas.width * rng.choice((0.4, 0.5, 0.6))
    foot = min(_height_at(edge, x + unit * step) for step in (-0.5, 0.0, 0.5)) + unit * 0.1
    hill = [(x - unit * 1.5, foot + unit * 0.75), (x - unit * 0.75, foot + unit * 0.1), (x - unit * 0.45, foot), (x + unit * 0.45, foot)]
    hill += [(x + unit * 0.8, foot + unit * 0.12), (x + unit * 1.6, foot + unit * 0.75)]
    curtain = [
        (x - unit * 0.4, foot - unit * 0.3),
        (x + unit * 0.45, foot - unit * 0.3),
        (x + unit * 0.45, foot + unit * 0.2),
        (x - unit * 0.4, foot + unit * 0.2),
    ]
    walls: list[list[Point]] = [hill, curtain, *_battlements(x - unit * 0.4, x + unit * 0.45, foot - unit * 0.3, unit * 0.03)]
    roofs: list[list[Point]] = []
    windows: list[Point] = []
    towers = (
        (-0.42, 0.15, 0.42, 1),
        (-0.2, 0.2, 0.62, 0),
        (0.03, 0.16, 0.92, 1),
        (0.24, 0.2, 0.55, 0),
        (0.43, 0.13, 0.5, 1),
        (-0.06, 0.1, 0.74, 1),
    )
    for place, wide, tall, pointed in towers:
        left, right, top = x + unit * (place - wide / 2), x + unit * (place + wide / 2), foot - unit * tall * rng.uniform(0.9, 1.08)
        walls.append([(left, top), (right, top), (right, foot + unit * 0.2), (left, foot + unit * 0.2)])
        if pointed:
            eave = unit * 0.025
            roofs.append([(left - eave, top), ((left + right) / 2, top - unit * wide * rng.uniform(1.6, 2.1)), (right + eave, top)])
        else:
            walls += _battlements(left, right, top, unit * 0.035)
        windows += [((left + right) / 2, top + unit * down) for down in (0.1, 0.24) if tall > down + 0.2]
    canvas.polygons(walls, tone)
    canvas.polygons(roofs, mix(tone, light.sun, 0.16))
    for a, b in windows:
        canvas.glow(a, b, unit * 0.07, light.lamp, 0.5)
        _arch(canvas, a, b, unit * 0.016, unit * 0.05, light.lamp)


def _battlements(left: float, right: float, top: float, size: float) -> list[list[Point]]:
    count = max(2, round((right - left) / (2 * size)))
    step = (right - left) / (2 * count - 1)
    return [
        [
            (left + 2 * n * step, top - size),
            (left + (2 * n + 1) * step, top - size),
            (left + (2 * n + 1) * step, top + 1),
            (left + 2 * n * step, top + 1),
        ]
        for n in range(count)
    ]


def _arch(canvas: Canvas, x: float, y: float, half: float, tall: float, paint: Colour) -> None:
    def pen(pen: Pen) -> None:
        pen.disc(x, y, half)
        pen.rectangle(x - half, y, x + half, y + tall)

    canvas.shape((x - half, y - half, x + half, y + tall), pen, paint)


def city(canvas: Canvas, rng: random.Random, light: Light, detail: float) -> None:
    """Paint a skyline in three depths, windows lit, over its reflection."""
    water = canvas.height * rng.uniform(0.78, 0.84)
    sky(canvas, rng, light, water, detail)
    for depth, part in enumerate((0.15, 0.5, 0.95)):
        tone = mix(light.far, light.near, part)
        _blocks(canvas, rng, light, water, tone, depth, detail)
    deep = mix(light.near, light.sky[1], 0.35)
    canvas.wash((mix(deep, light.sky[-1], 0.45), deep), (0, math.floor(water), canvas.width, canvas.height))
    _glitter(canvas, rng, light, canvas.width / 2, canvas.width / 2, water, round(90 * detail))


def _blocks(canvas: Canvas, rng: random.Random, light: Light, water: float, tone: Colour, depth: int, detail: float) -> None:
    unit = canvas.unit
    x = -unit * 0.05
    blocks: list[list[Point]] = []
    lamps: list[list[Point]] = []
    while x < canvas.width:
        wide, tall = (
            unit * rng.uniform(0.05, 0.12),
            water * rng.uniform(0.16, 0.34 + 0.16 * (2 - depth)) * (1.25 if rng.random() < 0.14 else 1),
        )
        top = water - tall
        blocks.append([(x, top), (x + wide, top), (x + wide, water + 2), (x, water + 2)])
        if rng.random() < 0.3:
            blocks.append(
                [
                    (x + wide * 0.47, top - tall * 0.16),
                    (x + wide * 0.53, top - tall * 0.16),
                    (x + wide * 0.54, top + 2),
                    (x + wide * 0.46, top + 2),
                ]
            )
        elif rng.random() < 0.35:
            blocks.append([(x, top + 2), (x + wide * 0.5, top - wide * 0.5), (x + wide, top + 2)])
        if depth:
            lamps += _lamps(rng, x, top, wide, water, unit, 0.42 if light.night else 0.2, detail)
        x += wide * rng.uniform(0.92, 1.25 + 0.5 * depth)
    canvas.polygons(blocks, (tone, mix(tone, light.sky[-1], 0.25)))
    canvas.polygons(lamps, light.lamp, 0.5 + 0.2 * depth)


def _lamps(
    rng: random.Random, x: float, top: float, wide: float, water: float, unit: float, lit: float, detail: float
) -> list[list[Point]]:
    size = unit * 0.0085
    columns = max(1, int((wide - size) / (size * 2)))
    pitch = wide / columns
    lamps: list[list[Point]] = []
    y = top + size * 1.6
    while y < water - size * 2:
        for column in range(columns):
            if rng.random() < lit * detail:
                a = x + pitch * (column + 0.5) - size / 2
                lamps.append([(a, y), (a + size, y), (a + size, y + size * 1.25), (a, y + size * 1.25)])
        y += size * 2.7
    return lamps


def _glitter(canvas: Canvas, rng: random.Random, light: Light, x: float, spread: float, water: float, count: int) -> None:
    depth = canvas.height - water
    for _ in range(count):
        part = rng.random() ** 1.3
        y = water + depth * (0.03 + 0.94 * part)
        half = canvas.unit * rng.uniform(0.006, 0.03) * (0.5 + part)
        a = rng.gauss(x, spread * (0.35 + 0.5 * part))
        canvas.line([(a - half, y), (a + half, y)], max(1.0, canvas.unit * 0.0022 * (0.6 + part)), light.sun, rng.uniform(0.15, 0.55))


def sea(canvas: Canvas, rng: random.Random, light: Light, detail: float, tower: bool = False) -> None:
    """Paint a sea in layered swells under sun or moon, with a sailing boat, or with a lighthouse."""
    horizon = canvas.height * rng.uniform(0.5, 0.58)
    x, _ = sky(canvas, rng, light, horizon, detail)
    top = mix(light.far, light.sky[-1], 0.35)
    canvas.wash((top, mix(light.far, light.near, 0.4)), (0, math.floor(horizon), canvas.width, canvas.height))
    _isle(canvas, rng, light, horizon)
    _glitter(canvas, rng, light, x, canvas.unit * 0.09, horizon, round(120 * detail))
    layers = round(4 + 2 * detail)
    for index in range(layers):
        part = (index + 1) / layers
        base = horizon + (canvas.height - horizon) * (0.22 + 0.72 * part**1.15)
        edge = swell(rng, canvas.width, base, canvas.unit * 0.016 * (0.6 + part), 1.4 + canvas.width / canvas.unit * (1.6 - part))
        tone = mix(mix(light.far, light.sky[0], 0.3), light.near, 0.2 + 0.8 * part)
        if index == 1 and not tower:
            _boat(canvas, rng, light, canvas.width * rng.uniform(0.3, 0.7), base - canvas.unit * 0.005)
        if index == 2 and tower:
            _lighthouse(canvas, light, canvas.width * (0.3 if x > canvas.width / 2 else 0.7), base, rng.uniform(0.5, 0.58))
        canvas.below(edge, (mix(tone, light.sky[-1], 0.3 * (1 - part) + 0.1), tone, mix(tone, light.near, 0.3)))
        crest = mix(tone, light.sun, 0.4)
        canvas.line(edge, max(1.0, canvas.unit * 0.0026), crest, 0.5)


def _isle(canvas: Canvas, rng: random.Random, light: Light, horizon: float) -> None:
    left = canvas.width * rng.choice((-0.1, 0.55))
    edge = ridge(rng, canvas.width * 0.55, horizon, canvas.height * 0.09, 0.5, 65)
    fading = [(left + x, horizon - (horizon - y) * math.sin(math.pi * min(1.0, x / (canvas.width * 0.55)))) for x, y in edge]
    canvas.polygon([*fading, (fading[-1][0], horizon + 1), (fading[0][0], horizon + 1)], mix(light.far, light.near, 0.25))


def _boat(canvas: Canvas, rng: random.Random, light: Light, x: float, y: float) -> None:
    size = canvas.unit * rng.uniform(0.16, 0.2)
    dark = mix(light.near, (0, 0, 0), 0.25)
    sail = mix(light.sun, (255, 255, 255), 0.5)
    canvas.line([(x, y), (x, y - size * 1.05)], max(1.0, size * 0.018), dark)
    canvas.polygon([(x + size * 0.03, y - size), (x + size * 0.03, y - size * 0.14), (x + size * 0.46, y - size * 0.14)], sail)
    canvas.polygon(
        [(x - size * 0.03, y - size * 0.9), (x - size * 0.03, y - size * 0.14), (x - size * 0.3, y - size * 0.14)],
        mix(sail, light.far, 0.35),
    )
    canvas.polygon(
        [
            (x - size * 0.42, y - size * 0.08),
            (x + size * 0.55, y - size * 0.08),
            (x + size * 0.38, y + size * 0.1),
            (x - size * 0.3, y + size * 0.1),
        ],
        dark,
    )


def _lighthouse(canvas: Canvas, light: Light, x: float, foot: float, tall: float) -> None:
    """Put a banded tower on a rock, its lamp lit; `tall` is its height in the canvas's shorter side."""
    size, dark = canvas.unit * tall, mix(light.near, (0, 0, 0), 0.2)

    def shape(points: Sequence[Point], paint: Paint) -> None:
        canvas.polygon([(x + across * size, foot - up * size) for across, up in points], paint)

    def band(low: float, high: float, paint: Colour, left: float = -1.0) -> None:
        narrow, wide = (0.128 - 0.07 * height for height in (high, low))
        shape([(left * wide, low), (left * narrow, high), (narrow, high), (wide, low)], paint)

    canvas.glow(x, foot - 0.84 * size, size * 0.5, light.lamp, 0.75)
    rock = [(-0.62, -0.16), (-0.5, -0.02), (-0.3, 0.05), (-0.16, 0.16), (0.13, 0.18), (0.24, 0.06), (0.46, 0.0), (0.66, -0.16)]
    shape(rock, (mix(light.far, light.near, 0.75), dark))
    walls = mix((250, 246, 238), light.far, 0.16), mix((196, 62, 46), light.near, 0.18)
    for step in range(5):
        low, high = 0.16 + 0.124 * step, 0.16 + 0.124 * (step + 1)
        band(low, high, walls[step % 2])
        band(low, high, mix(walls[step % 2], light.near, 0.3), left=0.35)
    shape([(-0.085, 0.77), (-0.085, 0.8), (0.085, 0.8), (0.085, 0.77)], dark)
    shape([(-0.045, 0.8), (-0.045, 0.88), (0.045, 0.88), (0.045, 0.8)], mix(light.lamp, (255, 255, 255), 0.3))
    shape([(-0.065, 0.88), (0, 0.96), (0.065, 0.88)], walls[1])


def dunes(canvas: Canvas, rng: random.Random, light: Light, detail: float) -> None:
    """Paint dunes, each a sharp crest between a lit and a shaded side, under a low sun."""
    horizon = canvas.height * rng.uniform(0.5, 0.58)
    sky(canvas, rng, light, horizon, detail)
    count = round(3 + 3 * detail)
    for index in range(count):
        part = index / (count - 1)
        base = horizon + (canvas.height - horizon) * (0.02 + 0.82 * part**1.2)
        edge = swell(
            rng, canvas.width, base, canvas.height * (0.035 + 0.06 * part), (1.5 - 0.9 * part) * max(1.0, canvas.width / canvas.height)
        )
        lit = mix(mix(light.far, light.sun, 0.42), light.near, 0.62 * part)
        canvas.shadow(
            [*edge, *((x, y + canvas.unit * 0.06) for x, y in reversed(edge))],
            canvas.unit * 0.02,
            (0, -canvas.unit * 0.008),
            0.22,
            light.near,
        )
        canvas.below(edge, (lit, mix(lit, light.far, 0.5), mix(lit, light.near, 0.4)))
        _lee(canvas, rng, edge, mix(lit, light.near, 0.36), mix(lit, light.near, 0.12))


def _lee(canvas: Canvas, rng: random.Random, edge: list[Point], dark: Colour, pale: Colour) -> None:
    """Shade the side of each crest that lies away from the light, down to a bulging spine."""
    crests = [n for n in range(8, len(edge) - 8) if edge[n][1] == min(y for _, y in edge[n - 8 : n + 9])]
    for crest in crests:
        end = next((n for n in range(crest + 6, len(edge) - 1) if edge[n + 1][1] < edge[n][1]), len(edge) - 1)
        slope = edge[crest : end + 1]
        drop, sway = min(canvas.height * rng.uniform(0.07, 0.15), 0.42 * (slope[-1][0] - slope[0][0])), rng.uniform(0.1, 0.3)
        spine = []
        for step, (x, y) in enumerate(slope):
            part = step / (len(slope) - 1)
            spine.append((x - (x - slope[0][0]) * (1 - part) * sway, y + drop * math.sin(math.pi * part) ** 1.4))
        canvas.polygon([*slope, *reversed(spine)], (dark, mix(dark, pale, 0.6), pale))


def paper_cut(canvas: Canvas, rng: random.Random, light: Light, detail: float) -> None:
    """Paint a valley of cut paper: hills within frames, each sheet throwing a soft shadow on the one behind."""
    unit, width, height = canvas.unit, canvas.width, canvas.height
    canvas.wash(light.sky)
    x, y = width * 0.5 + unit * rng.choice((-0.17, -0.13, 0.13, 0.17)), height * rng.uniform(0.34, 0.4)
    if light.night:
        _stars(canvas, rng, height * 0.75, round(140 * detail))
    canvas.glow(x, y, unit * 0.7, light.sun, 0.7)
    canvas.disc(x, y, unit * rng.uniform(0.085, 0.115), light.sun)
    for index in range(3):
        part = 0.12 + 0.2 * index
        edge = ridge(rng, width, height * (0.66 + 0.1 * index), height * (0.3 - 0.07 * index), 0.5 - 0.04 * index)
        _sheet(canvas, edge, mix(mix(light.far, light.sky[-1], 0.3 * (1 - part)), light.near, part))
    for index, hole in enumerate(_hollow(canvas, rng)):
        tone = mix(mix(light.far, light.sky[0], 0.35), light.near, 0.3 + 0.7 * index / 3)
        _frame(canvas, hole, tone, unit)
        if index > 1:
            _grove(canvas, rng, hole, tone, 0.09 + 0.06 * (index - 1))


def _sheet(canvas: Canvas, edge: list[Point], tone: Colour) -> None:
    reach = canvas.unit * 0.06
    canvas.shadow([*edge, *((x, y + reach) for x, y in reversed(edge))], canvas.unit * 0.016, (0, -canvas.unit * 0.007), 0.3)
    canvas.below(edge, (mix(tone, (255, 255, 255), 0.1), tone))


def _hollow(canvas: Canvas, rng: random.Random) -> list[list[Point]]:
    """Return the holes of four sheets, each wider than the one behind and wobbling in its own way."""
    outlines = []
    for index in range(4):
        blob = closed(rng, 0, 0, 1, 9, 0.2, 200)
        across, down = 0.355 + 0.075 * index, 0.4 + 0.065 * index
        outlines.append([(canvas.width * (0.5 + x * across), canvas.height * (0.49 + y * down)) for x, y in blob])
    return outlines


def _grove(canvas: Canvas, rng: random.Random, hole: list[Point], tone: Colour, size: float) -> None:
    """Plant pines along the lower lip of a hole, thickest at its ends."""
    trees = []
    for x, y in hole:
        aside = abs(x / canvas.width - 0.5) * 2
        if y > canvas.height * 0.6 and 0.28 < aside < 0.86 and rng.random() < 0.55 * aside:
            trees.append(_pine(rng, x, y + canvas.unit * 0.02, canvas.unit * size * rng.uniform(0.6, 1.25) * (0.6 + 0.6 * aside)))
    canvas.polygons(trees, mix(tone, (255, 255, 255), 0.02))


def _frame(canvas: Canvas, hole: list[Point], tone: Colour, unit: float) -> None:
    """Lay a sheet with a hole over the rest; the shadow is that of the hole's rim alone, for the sheet hides all other."""
    bounds = (0.0, 0.0, float(canvas.width), float(canvas.height))
    middle = canvas.width / 2, canvas.height / 2
    rim = [(x + (x - middle[0]) * 0.16, y + (y - middle[1]) * 0.16) for x, y in hole]
    canvas.shadow([*hole, hole[0], rim[0], *reversed(rim)], unit * 0.02, (unit * 0.004, unit * 0.014), 0.42)

    def pen(pen: Pen) -> None:
        pen.rectangle(*bounds)
        pen.polygon(hole, 0)

    canvas.shape(bounds, pen, (mix(tone, (255, 255, 255), 0.08), tone))


def fox(canvas: Canvas, rng: random.Random, light: Light, detail: float) -> None:
    """Paint a fox's face of folded planes before hills and a rising disc."""
    horizon = canvas.height * 0.74
    canvas.wash(light.sky)
    if light.night:
        _stars(canvas, rng, horizon, round(130 * detail))
    x, y, unit = canvas.width / 2, canvas.height * 0.5, canvas.unit * 0.34
    canvas.glow(x, y, unit * 3, light.sun, 0.55)
    canvas.disc(x, y - unit * 0.1, unit * 1.08, mix(light.sun, light.sky[-1], 0.1))
    for index in range(3):
        part = 0.25 + 0.3 * index
        edge = ridge(rng, canvas.width, horizon + canvas.height * 0.09 * index, canvas.height * 0.2 * (1 - part * 0.6), 0.46)
        tone = mix(light.far, light.near, part)
        if index == 2:
            _pines(canvas, rng, edge, tone, 0.85, detail)
        canvas.below(edge, (tone, mix(tone, light.near, 0.5)))
    _face(canvas, x, y + unit * 0.12, unit, light)


def _face(canvas: Canvas, x: float, y: float, unit: float, light: Light) -> None:
    red, deep, bright, cream, dark = (224, 96, 44), (176, 62, 30), (243, 138, 66), (250, 236, 214), (38, 26, 30)
    planes: list[tuple[list[Point], Colour]] = []
    for side in (-1, 1):
        lit = side < 0
        planes += [
            ([(side * 0.2, -0.42), (side * 0.66, -1.06), (side * 0.86, -0.2)], deep if lit else mix(deep, dark, 0.25)),
            ([(side * 0.36, -0.42), (side * 0.63, -0.82), (side * 0.73, -0.28)], dark),
            ([(0, -0.5), (side * 0.34, -0.46), (side * 0.84, -0.18), (side * 0.5, 0.16), (0, -0.02)], bright if lit else red),
            (
                [
                    (side * 0.82, -0.2),
                    (side * 1.08, 0.22),
                    (side * 0.88, 0.24),
                    (side * 0.92, 0.46),
                    (side * 0.66, 0.44),
                    (side * 0.24, 0.78),
                    (side * 0.46, 0.1),
                ],
                cream if lit else mix(cream, light.far, 0.3),
            ),
            (
                [(side * 0.82, -0.2), (side * 0.66, 0.44), (side * 0.46, 0.1)],
                mix(cream, red, 0.18) if lit else mix(mix(cream, light.far, 0.3), red, 0.22),
            ),
            ([(0, -0.06), (side * 0.5, 0.1), (side * 0.24, 0.78), (0, 0.92)], red if lit else deep),
            ([(0, 0.5), (side * 0.22, 0.66), (0, 0.98)], cream if lit else mix(cream, light.far, 0.22)),
            ([(0, -0.5), (side * 0.12, -0.48), (0, 0.3)], mix(bright, cream, 0.35) if lit else bright),
        ]
    for points, paint in planes:
        canvas.polygon([(x + a * unit, y + b * unit) for a, b in points], paint)
    for side in (-1, 1):
        eye = [(side * 0.2, 0.2), (side * 0.4, 0.08), (side * 0.44, 0.16), (side * 0.3, 0.24)]
        canvas.polygon([(x + a * unit, y + b * unit) for a, b in eye], dark)
        canvas.disc(x + side * 0.335 * unit - unit * 0.012, y + 0.145 * unit, unit * 0.018, cream)
    canvas.polygon([(x + a * unit, y + b * unit) for a, b in ((-0.11, 0.8), (0.11, 0.8), (0.06, 0.92), (0, 0.97), (-0.06, 0.92))], dark)
