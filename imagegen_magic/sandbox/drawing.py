"""Pictures drawn by rule from prompt and seed: poster art in a handful of styles, no AI, and a small mark that says so."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Callable
from functools import partial

from PIL import Image, ImageDraw, ImageFont

from imagegen_magic.formats import JPEG, PNG, WEBP
from imagegen_magic.sandbox import patterns, scenes
from imagegen_magic.sandbox.canvas import Canvas, Pen, brightness, stencil
from imagegen_magic.sandbox.palettes import INKS, LIGHTS, Light

_DETAIL = {"low": 0.65, "auto": 0.65, "medium": 0.85, "high": 1.0}
_MARK = "sandbox"

_SUBJECTS = {
    "fox": ("fox", "狐", "renard", "fuchs"),
    "castle": ("castle", "fortress", "palace", "tower", "城堡", "schloss", "burg", "château"),
    "city": ("city", "skyline", "street", "tokyo", "york", "building", "cyberpunk", "城市", "stadt", "街"),
    "portrait": ("portrait", "woman", "man ", "girl", "boy", "face", "person", "肖像", "人像"),
    "lighthouse": ("lighthouse", "phare", "leuchtturm", "灯塔"),
    "sea": ("sea", "ocean", "wave", "boat", "ship", "sail", "beach", "harbour", "harbor", "island", "海", "meer"),
    "dunes": ("desert", "dune", "sahara", "sand ", "沙"),
    "mountains": ("mountain", "forest", "lake", "hill", "landscape", "valley", "snow", "pine", "山", "森", "湖", "berg", "wald"),
}
_NIGHT = ("night", "star", "moon", "midnight", "dark", "neon", "cyberpunk", "夜", "星", "月", "nacht", "nuit")
_DAY = {
    "sunset": ("dusk", "desert"),
    "sunrise": ("dawn",),
    "dawn": ("dawn",),
    "autumn": ("autumn",),
    "fog": ("mist",),
    "mist": ("mist",),
    "desert": ("desert", "dusk"),
}
_LAND: dict[str, Callable[[Canvas, random.Random, Light, float], None]] = {
    "fox": scenes.fox,
    "castle": partial(scenes.mountains, stage=scenes.castle),
    "city": scenes.city,
    "lighthouse": partial(scenes.sea, tower=True),
    "sea": scenes.sea,
    "dunes": scenes.dunes,
    "mountains": scenes.mountains,
    "paper": scenes.paper_cut,
}
_SHEET = {
    "ribbons": patterns.ribbons,
    "tiles": patterns.tiles,
    "terrazzo": patterns.terrazzo,
    "scales": patterns.scales,
    "orbits": patterns.orbits,
    "portrait": patterns.portrait,
}
_FREE = ("mountains", "sea", "dunes", "paper", "paper", "ribbons", "ribbons", "tiles", "terrazzo", "scales", "orbits", "city")


def draw(
    prompt: str,
    *,
    seed: int,
    width: int,
    height: int,
    mime_type: str = PNG.mime_type,
    alpha: bool = False,
    quality: str = "medium",
    compression: int | None = None,
) -> bytes:
    """Return an encoded picture of exactly width x height pixels, the same for the same arguments.

    With `alpha` the picture is a sticker on a transparent ground. `quality` decides how much there is to see,
    `compression` (0-100, 100 the best) is for JPEG and WebP. Raises ValueError for another MIME type.
    """
    picture = paint(prompt, seed=seed, width=width, height=height, alpha=alpha and mime_type != JPEG.mime_type, quality=quality)
    return encoded(picture, mime_type, compression)


def paint(prompt: str, *, seed: int, width: int, height: int, alpha: bool = False, quality: str = "medium") -> Image.Image:
    """Return the picture itself; arguments as `draw`."""
    digest = hashlib.sha256(f"{seed}\n{prompt}".encode("utf-8", "replace")).digest()
    canvas = _painted(prompt.lower(), random.Random(digest), width, height, _DETAIL.get(quality, 0.85))
    _mark(canvas, inset=0.16 if alpha else 0.0)
    return _sticker(canvas) if alpha else canvas.image


def _painted(words: str, rng: random.Random, width: int, height: int, detail: float) -> Canvas:
    style = _style(words, rng)
    if style in _LAND:
        light = _light(words, rng)
        canvas = Canvas(width, height, light.sky)
        _LAND[style](canvas, rng, light, detail)
        return canvas
    inks = rng.choice([inks for inks in INKS if inks.name == "midnight"] if _any(_NIGHT, words) else INKS)
    canvas = Canvas(width, height, inks.paper)
    _SHEET[style](canvas, rng, inks, detail)
    return canvas


def _any(words: tuple[str, ...], text: str) -> bool:
    return any(word in text for word in words)


def _style(words: str, rng: random.Random) -> str:
    return next((subject for subject, names in _SUBJECTS.items() if _any(names, words)), rng.choice(_FREE))


def _light(words: str, rng: random.Random) -> Light:
    if _any(_NIGHT, words):
        return rng.choice([light for light in LIGHTS if light.night])
    wished = [name for word, names in _DAY.items() if word in words for name in names]
    return rng.choice([light for light in LIGHTS if light.name in wished] or [light for light in LIGHTS if not light.night] + [LIGHTS[8]])


def _mark(canvas: Canvas, inset: float) -> None:
    """Write the mark into the lower right corner, in dark or light ink as the ground wants it."""
    size = max(9.0, canvas.unit * 0.0155)
    if canvas.unit < 64:
        return
    font = ImageFont.load_default(size)
    gap = size * 0.22
    length = sum(font.getlength(letter) + gap for letter in _MARK) - gap
    x = canvas.width - length - size * 1.3 - inset * canvas.width
    y = canvas.height - size * 2.1 - inset * canvas.height
    box = (round(x), round(y), min(canvas.width, round(x + length) + 1), min(canvas.height, round(y + size * 1.3)))
    mask = Image.new("L", (box[2] - box[0], box[3] - box[1]))
    pen = ImageDraw.Draw(mask)
    at = 0.0
    for letter in _MARK:
        pen.text((at, 0), letter, fill=165, font=font)
        at += font.getlength(letter) + gap
    ground = canvas.image.crop(box).resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    ink = (20, 18, 24) if brightness(ground) > 0.5 else (255, 252, 244)  # type: ignore[arg-type]  # an RGB pixel is three numbers
    canvas.image.paste(ink, box, mask)


def _sticker(canvas: Canvas) -> Image.Image:
    """Return the sheet cut to a rounded shape on a transparent ground."""
    gap, radius = canvas.unit * 0.06, canvas.unit * 0.22
    left, top, right, bottom = gap, gap, canvas.width - gap, canvas.height - gap

    def pen(pen: Pen) -> None:
        pen.rectangle(left + radius, top, right - radius, bottom)
        pen.rectangle(left, top + radius, right, bottom - radius)
        for x in (left + radius, right - radius):
            for y in (top + radius, bottom - radius):
                pen.disc(x, y, radius)

    return stencil(canvas.image, pen)


def encoded(picture: Image.Image, mime_type: str, compression: int | None) -> bytes:
    """Return a picture as a file; `compression` (0-100, 100 the best) is for JPEG and WebP. Raises ValueError for another MIME type."""
    out = io.BytesIO()
    if mime_type == PNG.mime_type:
        picture.save(out, "PNG", compress_level=1)
    elif mime_type == JPEG.mime_type:
        picture.convert("RGB").save(out, "JPEG", quality=min(95, max(1, 90 if compression is None else compression)))
    elif mime_type == WEBP.mime_type:
        picture.save(out, "WEBP", quality=90 if compression is None else compression, method=0)
    else:
        raise ValueError(f"{mime_type} cannot be drawn")
    return out.getvalue()
