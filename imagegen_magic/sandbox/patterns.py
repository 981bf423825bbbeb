"""Abstract sheets of ink on paper: ribbons, Bauhaus tiles, terrazzo, waves, orbits, and a portrait of few shapes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from PIL import Image

from imagegen_magic.sandbox.canvas import Canvas, Colour, Pen, Point, brightness, closed, mix
from imagegen_magic.sandbox.palettes import Inks


def ribbons(canvas: Canvas, rng: random.Random, inks: Inks, detail: float) -> None:
    """Paint ribbons that flow across the sheet, swell and pinch, each lying on the next."""
    count = round(7 + 4 * detail)
    tilt, phase = rng.uniform(-0.35, 0.35), rng.uniform(0, math.tau)
    waves = rng.uniform(0.6, 0.95) * max(1.0, (canvas.width / canvas.height) ** 0.5)
    order = [inks.inks[n % len(inks.inks)] for n in range(count)]
    rng.shuffle(order)
    for index in range(count):
        edge = [_flow(canvas, step / 96, (index + 0.6) / (count + 1), tilt, phase, waves) for step in range(97)]
        below = [(x, y + canvas.unit * 0.05) for x, y in reversed(edge)]
        canvas.shadow([*edge, *below], canvas.unit * 0.016, (0, -canvas.unit * 0.007), 0.35, inks.dark)
        lower = [_flow(canvas, step / 96, (index + 1.95) / (count + 1), tilt, phase, waves) for step in range(96, -1, -1)]
        if index == count - 1:
            lower = [(float(canvas.width), canvas.height + 2.0), (0.0, canvas.height + 2.0)]
        tone = order[index]
        canvas.polygon([*edge, *lower], (mix(tone, inks.paper, 0.28), tone, mix(tone, inks.dark, 0.28)))


def _flow(canvas: Canvas, place: float, level: float, tilt: float, phase: float, waves: float) -> Point:
    swing = 0.15 * math.sin(math.tau * waves * place + phase + level * 2.2) + 0.05 * math.sin(
        math.tau * waves * 2.3 * place - phase + level * 5
    )
    pinch = 0.62 + 0.38 * math.sin(math.tau * waves * 0.7 * place + phase * 2) ** 2
    y = 0.5 + (level - 0.5) * 1.25 * pinch + swing + tilt * (place - 0.5)
    return canvas.width * place, canvas.height * y


def tiles(canvas: Canvas, rng: random.Random, inks: Inks, detail: float) -> None:
    """Paint a grid of Bauhaus tiles: quarters, halves, discs, leaves and stripes."""
    rows = rng.choice((4, 5, 6)) if detail > 0.7 else 4
    margin = canvas.unit * 0.07
    cell = (canvas.unit - 2 * margin) / rows
    columns = max(1, round((canvas.width - 2 * margin) / cell))
    lines = max(1, round((canvas.height - 2 * margin) / cell))
    wide, tall = (canvas.width - 2 * margin) / columns, (canvas.height - 2 * margin) / lines
    side = float(max(1, int(min(wide, tall))))  # whole pixels, so that no seam shows between tiles
    left, top = (canvas.width - side * columns) // 2, (canvas.height - side * lines) // 2
    last: Colour = inks.paper
    for row in range(lines):
        for column in range(columns):
            last = _tile(canvas, rng, inks, left + column * side, top + row * side, side, last)


def _tile(canvas: Canvas, rng: random.Random, inks: Inks, x: float, y: float, side: float, last: Colour) -> Colour:
    ground = rng.choice([ink for ink in (*inks.inks, inks.paper, inks.paper) if ink != last])
    figure = rng.choice([ink for ink in (*inks.inks, inks.dark, inks.paper) if abs(brightness(ink) - brightness(ground)) > 0.12])
    accent = rng.choice([ink for ink in (*inks.inks, inks.dark) if ink not in (ground, figure)])
    if ground != inks.paper:
        canvas.polygon([(x, y), (x + side, y), (x + side, y + side), (x, y + side)], ground)
    motif = rng.choice(("quarter", "quarter", "half", "disc", "leaf", "stripes", "arcs", "triangle", "eye"))
    bounds = (x, y, x + side, y + side)
    corner = rng.choice(((0, 0, 0), (1, 0, 90), (1, 1, 180), (0, 1, 270)))
    cx, cy, start = x + side * corner[0], y + side * corner[1], corner[2]
    middle = (x + side / 2, y + side / 2)
    if motif in ("quarter", "arcs"):
        for part, paint in ((1.0, figure), (0.72, ground), (0.46, accent)) if motif == "arcs" else ((1.0, figure), (0.36, accent)):
            canvas.shape(bounds, _slice(cx, cy, side * part, start, start + 90), paint)
    elif motif == "half":
        half_x, half_y = ((x, middle[1]), (x + side, middle[1]), (middle[0], y), (middle[0], y + side))[corner[2] // 90]
        begin = (270, 90, 0, 180)[corner[2] // 90]
        canvas.shape(bounds, _slice(half_x, half_y, side / 2, begin, begin + 180), figure)
    elif motif == "disc":
        canvas.disc(*middle, side * 0.42, figure)
        canvas.disc(*middle, side * 0.17, accent)
    elif motif == "leaf":
        canvas.shape(bounds, _leaf(x, y, side, corner[2] % 180 == 0), figure)
    elif motif == "stripes":
        _stripes(canvas, x, y, side, figure, corner[2] % 180 == 0)
    elif motif == "triangle":
        corners = [(x, y), (x + side, y), (x + side, y + side), (x, y + side)]
        canvas.polygon([point for n, point in enumerate(corners) if n != corner[2] // 90], figure)
    else:
        canvas.shape(bounds, _leaf(x, y, side, corner[2] % 180 == 0), figure)
        canvas.disc(*middle, side * 0.15, accent)
    return ground


def _slice(x: float, y: float, radius: float, start: float, end: float) -> Callable[[Pen], None]:
    return lambda pen: pen.slice(x, y, radius, start, end)


def _leaf(x: float, y: float, side: float, rising: bool) -> Callable[[Pen], None]:
    """Return what draws the lens between two opposite corners of a tile."""
    centres = (((x, y), 0), ((x + side, y + side), 180)) if rising else (((x + side, y), 90), ((x, y + side), 270))
    outline = []
    for (a, b), start in centres:
        for step in range(41):
            angle = math.radians(start + 90 * step / 40)
            outline.append((a + side * math.cos(angle), b + side * math.sin(angle)))
    return lambda pen: pen.polygon(outline)


def _stripes(canvas: Canvas, x: float, y: float, side: float, paint: Colour, upright: bool) -> None:
    for n in range(4):
        start, end = side * (n / 4 + 0.03), side * (n / 4 + 0.16)
        box = [(x + start, y), (x + end, y), (x + end, y + side), (x + start, y + side)]
        flat = [(x, y + start), (x + side, y + start), (x + side, y + end), (x, y + end)]
        canvas.polygon(box if upright else flat, paint)


def terrazzo(canvas: Canvas, rng: random.Random, inks: Inks, detail: float) -> None:
    """Paint chips of stone strewn over paper, great and small, none over another."""
    area = canvas.width * canvas.height / canvas.unit**2
    cell = 0.23 * canvas.unit  # no two chips of neighbours but one can touch
    placed: dict[tuple[int, int], list[tuple[float, float, float]]] = {}
    for size, tries in ((0.085, 60), (0.05, 260), (0.028, 600), (0.012, 700)):
        for _ in range(round(tries * area * detail)):
            radius = canvas.unit * size * rng.uniform(0.75, 1.3)
            x, y = rng.uniform(-radius, canvas.width + radius), rng.uniform(-radius, canvas.height + radius)
            home = int(x // cell), int(y // cell)
            near = (chip for a in (-1, 0, 1) for b in (-1, 0, 1) for chip in placed.get((home[0] + a, home[1] + b), ()))
            if all((x - a) ** 2 + (y - b) ** 2 > (radius + other) ** 2 * 1.06 for a, b, other in near):
                placed.setdefault(home, []).append((x, y, radius))
                _chip(canvas, rng, inks, x, y, radius)


def _chip(canvas: Canvas, rng: random.Random, inks: Inks, x: float, y: float, radius: float) -> None:
    corners = rng.randint(5, 8)
    turn = rng.uniform(0, math.tau)
    raw = [(turn + math.tau * (n + rng.uniform(-0.3, 0.3)) / corners, radius * rng.uniform(0.62, 1.0)) for n in range(corners)]
    points = [(x + reach * math.cos(angle), y + reach * math.sin(angle)) for angle, reach in raw]
    tone = rng.choice((*inks.inks, *inks.inks, inks.line))
    canvas.polygon(_eased(points), tone)
    if radius > canvas.unit * 0.03:
        for _ in range(5):
            a, b = rng.gauss(x, radius * 0.28), rng.gauss(y, radius * 0.28)
            canvas.disc(a, b, radius * rng.uniform(0.025, 0.06), mix(tone, inks.paper, 0.45))


def _eased(points: list[Point]) -> list[Point]:
    """Return a polygon with its corners cut four times (Chaikin)."""
    for _ in range(4):
        pairs = list(zip(points, [*points[1:], points[0]], strict=True))
        points = [
            point
            for (a, b), (c, d) in pairs
            for point in ((a * 0.82 + c * 0.18, b * 0.82 + d * 0.18), (a * 0.18 + c * 0.82, b * 0.18 + d * 0.82))
        ]
    return points


def scales(canvas: Canvas, rng: random.Random, inks: Inks, detail: float) -> None:
    """Paint seigaiha: rows of concentric scales, each row over the one behind, tinted by a hidden swell."""
    radius = canvas.unit / rng.choice((4.5, 5.5, 6.5))
    one, two, three = rng.sample(inks.inks, 3)
    stamps = [
        _stamp(radius, inks.paper, pair, detail)
        for pair in ((inks.dark, one), (inks.dark, two), (one, three), (two, inks.dark), (one, two))
    ]
    phase, tilt = rng.uniform(0, math.tau), rng.uniform(0.5, 1.4)
    for row in range(math.ceil(canvas.height / (radius * 0.5)) + 3):
        y = radius * 0.5 * (row - 0.2)
        for column in range(-1, math.ceil(canvas.width / (radius * 2)) + 2):
            x = radius * (2 * column + row % 2)
            hidden = math.sin(phase + tilt * math.tau * (x / canvas.width + 0.6 * y / canvas.height))
            stamp, mask = stamps[min(4, int((hidden + 1) * 2.5))]
            canvas.image.paste(stamp, (round(x - radius), round(y - radius)), mask)


def _stamp(radius: float, paper: Colour, pair: tuple[Colour, Colour], detail: float) -> tuple[Image.Image, Image.Image]:
    """Return one scale and the mask to paste it with."""
    size = math.ceil(radius * 2)
    sheet = Canvas(size, size, paper)
    rings = (0.94, 0.78, 0.7, 0.55, 0.47, 0.32, 0.24, 0.1) if detail > 0.7 else (0.94, 0.66, 0.56, 0.3, 0.2)
    for number, part in enumerate(rings):
        sheet.disc(radius, radius, radius * part, paper if number % 2 else pair[number // 2 % 2])
    mask = Canvas(size, size, (0, 0, 0))
    mask.disc(radius, radius, radius, (255, 255, 255))
    return sheet.image, mask.image.getchannel(0)


def orbits(canvas: Canvas, rng: random.Random, inks: Inks, detail: float) -> None:
    """Paint discs on thin orbits round a great one, with arcs and a horizon bar."""
    x, y = canvas.width * rng.uniform(0.42, 0.58), canvas.height * rng.uniform(0.44, 0.56)
    hero, second, *rest = rng.sample(inks.inks, len(inks.inks))
    reach = canvas.unit * 0.46
    canvas.disc(x, y, reach * 1.5, mix(inks.paper, second, 0.22))
    canvas.disc(x, y, reach * 1.12, mix(inks.paper, second, 0.4))
    rings = [0.42, 0.6, 0.8, 1.0, 1.3, 1.62][: round(4 + 2 * detail)]
    for part in rings:
        canvas.ring(x, y, reach * part, canvas.unit * 0.0035, inks.line, 0.75)
    canvas.disc(x, y, reach * 0.3, (mix(hero, inks.paper, 0.2), hero, mix(hero, inks.dark, 0.25)))
    canvas.shape(
        (x - reach * 0.3, y - reach * 0.3, x + reach * 0.3, y + reach * 0.3),
        _slice(x, y, reach * 0.3, 0, 180),
        mix(hero, inks.dark, 0.35),
        0.35,
    )
    angle = rng.uniform(0, math.tau)
    for number, part in enumerate(rings):
        angle += rng.uniform(1.6, 2.8)
        a, b = x + reach * part * math.cos(angle), y + reach * part * math.sin(angle)
        size = canvas.unit * rng.uniform(0.022, 0.065)
        canvas.disc(a, b, size * 1.22, inks.paper)
        canvas.disc(a, b, size, (rest or [second])[number % len(rest or [second])] if number % 2 else inks.line)
        canvas.disc(a - size * 0.3, b - size * 0.3, size * 0.22, inks.paper, 0.6)


def portrait(canvas: Canvas, rng: random.Random, inks: Inks, detail: float) -> None:
    """Paint a face of few shapes, half in light and half in shade, before a disc."""
    unit, x = canvas.unit, canvas.width / 2
    y = canvas.height * 0.47
    back, cloth, hair, cheek, *_ = rng.sample(inks.inks, 4)
    skin = mix((236, 188, 150), rng.choice(((120, 70, 48), (255, 222, 196), (190, 124, 84))), 0.6)
    shade = mix(skin, inks.dark, 0.28)
    canvas.disc(x + unit * 0.12, y - unit * 0.02, unit * 0.39, back)
    _bust(canvas, x, y, unit, cloth, inks)
    canvas.polygon(
        [
            (x - unit * 0.065, y + unit * 0.1),
            (x + unit * 0.065, y + unit * 0.1),
            (x + unit * 0.085, y + unit * 0.31),
            (x - unit * 0.085, y + unit * 0.31),
        ],
        shade,
    )
    canvas.polygon(closed(rng, x, y - unit * 0.07, unit * 0.265, 5, 0.07), hair)
    face = [
        (x + unit * 0.165 * math.cos(a), y + unit * (0.215 if math.sin(a) > 0 else 0.2) * math.sin(a))
        for a in (math.tau * n / 90 for n in range(90))
    ]
    canvas.polygon(face, skin)
    cheekbone = sorted((point for point in face if point[0] >= x), key=lambda point: point[1])
    canvas.polygon([*cheekbone, (x, y + unit * 0.1), (x + unit * 0.034, y + unit * 0.07), (x, y - unit * 0.02)], shade)
    fringe = [
        (x - unit * 0.175, y - unit * 0.04),
        (x - unit * 0.12, y - unit * 0.13),
        (x + unit * 0.03, y - unit * 0.155),
        (x + unit * 0.14, y - unit * 0.1),
        (x + unit * 0.18, y - unit * 0.02),
        (x + unit * 0.19, y - unit * 0.2),
        (x, y - unit * 0.27),
        (x - unit * 0.19, y - unit * 0.18),
    ]
    canvas.polygon(_eased(fringe), hair)
    for side in (-1, 1):
        lid = [
            (x + side * unit * 0.075 + unit * 0.036 * math.cos(a), y - unit * 0.005 + unit * 0.018 * math.sin(a))
            for a in (math.pi * n / 20 for n in range(21))
        ]
        canvas.line(lid, unit * 0.008, inks.dark)
        canvas.line(
            [
                (x + side * unit * 0.04, y - unit * 0.055),
                (x + side * unit * 0.08, y - unit * 0.066),
                (x + side * unit * 0.115, y - unit * 0.052),
            ],
            unit * 0.01,
            inks.dark,
        )
    canvas.disc(x - unit * 0.095, y + unit * 0.065, unit * 0.032, cheek, 0.55)
    canvas.polygon(
        _eased(
            [
                (x - unit * 0.045, y + unit * 0.118),
                (x - unit * 0.012, y + unit * 0.106),
                (x, y + unit * 0.112),
                (x + unit * 0.012, y + unit * 0.106),
                (x + unit * 0.045, y + unit * 0.118),
                (x, y + unit * 0.142),
            ]
        ),
        mix(cheek, inks.dark, 0.15),
    )


def _bust(canvas: Canvas, x: float, y: float, unit: float, cloth: Colour, inks: Inks) -> None:
    foot = canvas.height + unit * 0.4
    top = y + unit * 0.27
    shoulders = [
        (x - unit * 0.42, foot),
        (x - unit * 0.37, top + unit * 0.13),
        (x - unit * 0.16, top),
        (x + unit * 0.16, top),
        (x + unit * 0.37, top + unit * 0.13),
        (x + unit * 0.42, foot),
    ]
    canvas.polygon([*_eased(shoulders)], cloth)
    for n in range(1, 4):
        wide = unit * (0.085 + 0.035 * n)
        arc = [
            (x + wide * math.cos(a), top + unit * 0.02 + wide * 0.75 * math.sin(a))
            for a in (math.pi * (0.04 + 0.92 * step / 30) for step in range(31))
        ]
        canvas.line(arc, unit * 0.009, inks.paper if abs(brightness(inks.paper) - brightness(cloth)) > 0.2 else inks.dark)
