"""The fonts that the tests of text bring: what a machine has of its own plays no part.

Chinese, Japanese and Korean come with the test-only package noto-cjk-sans-otc, Latin and its bold with matplotlib. No living package
ships colour emoji, so a small font of them is built here: bitmaps for the few that the tests draw, and ligatures for those of many parts.
"""

from __future__ import annotations

import colorsys
import contextlib
import functools
import importlib.util
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from imagegen_magic.imaging.text import font_files, fonts


def _folder(package: str) -> Path:
    """Return the folder of a package without importing it, which would delay the collection of all tests."""
    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


LATIN = _folder("matplotlib") / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
BOLD = LATIN.with_name("DejaVuSans-Bold.ttf")
CJK = _folder("noto_cjk_sans_otc") / "NotoSansCJK-Regular.ttc"

_EMOJI = "🦊👍👨👩👧✨☀🏰"
_PARTS = "\u200d\ufe0f\u20e31🏽🇯🇵"  # what only occurs with others; drawn as nothing by itself
_COMPOSED = ("👍🏽", "👨\u200d👩\u200d👧", "🇯🇵", "☀\ufe0f", "1\ufe0f\u20e3")
_PPEM = 109


def _name(character: str) -> str:
    return f"u{ord(character):04X}"


def _picture(number: int, count: int) -> bytes:
    """Return the PNG of a disc in a colour of its own."""
    image = Image.new("RGBA", (136, 128))
    hue = tuple(round(255 * part) for part in colorsys.hsv_to_rgb(number / count, 0.9, 0.9))
    ImageDraw.Draw(image).ellipse((4, 2, 131, 125), (*hue, 255))
    memory = io.BytesIO()
    image.save(memory, "PNG")
    return memory.getvalue()


@functools.cache
def emoji() -> bytes:
    """Return a colour emoji font with the few characters that the tests draw."""
    from fontTools.feaLib.builder import addOpenTypeFeaturesFromString
    from fontTools.fontBuilder import FontBuilder
    from fontTools.ttLib import newTable
    from fontTools.ttLib.tables._g_l_y_f import Glyph as Outline
    from fontTools.ttLib.tables.sbixGlyph import Glyph
    from fontTools.ttLib.tables.sbixStrike import Strike

    composed = [f"composed{number}" for number in range(len(_COMPOSED))]
    drawn = [*map(_name, _EMOJI), *composed]
    order = [".notdef", *drawn, *map(_name, _PARTS)]
    builder = FontBuilder(2048, isTTF=True)
    builder.setupGlyphOrder(order)
    builder.setupCharacterMap({ord(each): _name(each) for each in _EMOJI + _PARTS})
    builder.setupGlyf({name: Outline() for name in order})
    builder.setupHorizontalMetrics({name: (2550 if name in drawn else 0, 0) for name in order})
    builder.setupHorizontalHeader(ascent=1900, descent=-500)
    builder.setupNameTable({"familyName": "Emoji of the tests", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    font: Any = builder.font
    rules = "".join(f"sub {' '.join(map(_name, parts))} by {name};\n" for parts, name in zip(_COMPOSED, composed, strict=True))
    addOpenTypeFeaturesFromString(font, f"languagesystem DFLT dflt;\nfeature ccmp {{\n{rules}}} ccmp;\n")
    strike = Strike(ppem=_PPEM, resolution=72)
    for number, name in enumerate(drawn):
        strike.glyphs[name] = Glyph(glyphName=name, graphicType="png ", imageData=_picture(number, len(drawn)), originOffsetY=-26)
    for name in set(order) - set(drawn):
        strike.glyphs[name] = Glyph(glyphName=name)
    font["sbix"] = newTable("sbix")
    font["sbix"].version, font["sbix"].flags, font["sbix"].strikes = 1, 1, {_PPEM: strike}
    memory = io.BytesIO()
    font.save(memory)
    return memory.getvalue()


@contextlib.contextmanager
def only(*files: Path | bytes) -> Iterator[Path]:
    """Have the package find these fonts and no others; bytes are a font of emoji. Yields the folder that they are in."""
    caches = (font_files._files, font_files.faces, font_files.others, fonts.width, fonts.wrap, fonts.face_of)
    before = font_files._folders
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for font in files:
            if isinstance(font, bytes):
                (folder / "NotoColorEmoji.ttf").write_bytes(font)
            else:
                (folder / font.name).symlink_to(font)
        font_files._folders = lambda: [name]
        for each in caches:
            each.cache_clear()
        try:
            yield folder
        finally:
            font_files._folders = before
            for each in caches:
                each.cache_clear()
