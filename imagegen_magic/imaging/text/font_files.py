"""The faces that this system has for a script, and which of them can draw a character: tested by drawing it, not by the font's tables.

Fonts are found by name in the folders of Linux, macOS and Windows; for the rarer scripts all fonts there are tried.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from functools import cache, lru_cache
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

_SUFFIXES = (".ttf", ".otf", ".ttc")
_MAX_FILES = 20_000  # listed: a font folder on a network drive must not delay a grid
_MAX_OTHERS = 600  # fonts opened in the search for a rare script
_STRIKES = (109, 160, 136, 128, 96, 64)  # pixel sizes in which bitmap emoji fonts come
_PROBE = 32  # px at which coverage is tested
_ABSENT = ("\U0010ffff", "\uffff", "\u0378")  # what no font draws
# The preferred fonts by file name, best first. Fonts under other names are found by `others`.
_LATIN = "sfns.ttf|segoeui.ttf|inter-regular.ttf|notosans-regular.ttf|roboto-regular.ttf|arial.ttf|dejavusans.ttf"
_LATIN_BOLD = "segoeuib.ttf|inter-bold.ttf|notosans-bold.ttf|roboto-bold.ttf|liberationsans-bold.ttf|arial bold.ttf|dejavusans-bold.ttf"
_HAN = "notosanscjk-regular.ttc|notosanssc-regular.otf|sourcehansans-regular.ttc|pingfang.ttc|hiragino sans gb.ttc|msyh.ttc|wqy-zenhei.ttc"
_HAN_BOLD = "notosanscjk-bold.ttc|notosanssc-bold.otf|sourcehansans-bold.ttc|msyhbd.ttc"
_KANA = "notosansjp-regular.otf|ヒラギノ角ゴシック w3.ttc|yugothm.ttc|meiryo.ttc|ipaexg.ttf|takaopgothic.ttf"
_HANGUL = "notosanskr-regular.otf|applesdgothicneo.ttc|malgun.ttf|nanumgothic.ttf"
_SYMBOLS = "notosanssymbols-regular.ttf|notosanssymbols2-regular.ttf|seguisym.ttf|apple symbols.ttf|dejavusans.ttf|symbola.ttf"
_EMOJI = "apple color emoji.ttc|notocoloremoji.ttf|notocoloremoji-regular.ttf|seguiemj.ttf|twemoji.ttf"


class Face(NamedTuple):
    """One face of a font file; `path` empty: the font that Pillow itself brings."""

    path: str
    number: int = 0


@cache
def faces(script: str, bold: bool) -> tuple[Face, ...]:
    """Return the known faces for a script, best first, bold ones before regular ones if `bold`; the last is Pillow's own, except emoji."""
    files = _files()
    if script == "emoji":
        return tuple(Face(files[name]) for name in _EMOJI.split("|") if name in files)
    local = {"ja": [_KANA], "ko": [_HANGUL]}.get(script, [])
    han, latin = [_HAN_BOLD] * bold + local + [_HAN], [_LATIN_BOLD] * bold + [_LATIN]
    if script == "ja" and any("cjk" in name for name in files):
        han = [_HAN_BOLD] * bold + [_HAN, _KANA]
    lists = [*latin, _SYMBOLS, *han, _HANGUL] if script == "latin" else [*han, _KANA, _HANGUL, *latin, _SYMBOLS]
    found = (_of_language(files[name], script) for name in "|".join(lists).split("|") if name in files)
    return (*dict.fromkeys(face for face in found if face), Face(""))


def _of_language(path: str, language: str) -> Face | None:
    """Return the face of a collection that draws Han characters as a language does; None if the file cannot be opened."""
    wanted = {"ja": " JP", "ko": " KR"}.get(language, " SC")
    face = Face(path)
    name = _name(face)
    if name is None:
        return None
    if not path.endswith(".ttc") or "CJK" not in name[0]:
        return face
    found = (Face(path, index) for index in range(8))
    return next((one for one in found if (called := _name(one)) and called[0].endswith(wanted) and "Mono" not in called[0]), face)


@cache
def _name(face: Face) -> tuple[str, str] | None:
    try:
        family, style = opened(face, _PROBE).getname()
    except OSError:
        return None
    return family or "", style or ""


@cache
def others() -> tuple[Face, ...]:
    """Return upright regular faces of this system that are not known by name, for the rarer scripts."""
    known = "|".join([_LATIN, _LATIN_BOLD, _HAN, _HAN_BOLD, _KANA, _HANGUL, _SYMBOLS, _EMOJI]).split("|")
    marks = ("bold", "italic", "oblique", "mono", "light", "thin", "black", "condensed", "narrow")
    names = sorted(name for name in _files() if name not in known and not any(mark in name for mark in marks))
    faces = (Face(_files()[name]) for name in names[:_MAX_OTHERS])
    return tuple(face for face in faces if (name := _name(face)) and "last resort" not in name[0].lower())


@cache
def _files() -> dict[str, str]:
    """Return the font files of this system by their names in lower case; the first folder that has one wins."""
    found: dict[str, str] = {}
    left = _MAX_FILES
    for folder in _folders():
        for path, _, names in os.walk(folder):
            left -= len(names)
            for name in names:
                if name.lower().endswith(_SUFFIXES):
                    found.setdefault(unicodedata.normalize("NFC", name.lower()), os.path.join(path, name))
            if left < 0:
                return found
    return found


def _folders() -> list[str]:
    home = os.path.expanduser("~")
    if sys.platform == "win32":  # pragma: no cover - depends on the system
        local = os.environ.get("LOCALAPPDATA", "")
        return [os.path.join(os.environ.get("WINDIR", r"C:\Windows"), "Fonts"), os.path.join(local, r"Microsoft\Windows\Fonts")]
    if sys.platform == "darwin":  # pragma: no cover - depends on the system
        return [f"{home}/Library/Fonts", "/Library/Fonts", "/System/Library/Fonts"]
    shared = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    own = os.environ.get("XDG_DATA_HOME") or f"{home}/.local/share"
    return [
        f"{own}/fonts",
        f"{home}/.fonts",
        *(f"{folder}/fonts" for folder in shared.split(":")),
        "/run/current-system/sw/share/X11/fonts",
    ]


@lru_cache(maxsize=256)
def opened(face: Face, size: int) -> ImageFont.FreeTypeFont:
    """Return a face at a size in pixels. Raises OSError if the file is no font, or a bitmap font without that size."""
    if face.path:
        return ImageFont.truetype(face.path, size, face.number)
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # with a size it always is one
    return font


@lru_cache(maxsize=65_536)
def has_glyphs(face: Face, cluster: str, emoji: bool) -> bool:
    """Return whether a face has glyphs of its own for all visible characters of a cluster."""
    if emoji:
        tile = emoji_tile(face, cluster)
        return tile.size != (1, 1) and tile.tobytes() != emoji_tile(face, _ABSENT[2]).tobytes()
    absent = _absent(face)
    seen = [each for each in cluster if not each.isspace() and not _ignorable(each)]
    return absent is not None and all(_mask(face, each) not in absent for each in seen)


@cache
def _absent(face: Face) -> frozenset[tuple[tuple[int, int], bytes]] | None:
    """Return how a face draws what it does not have; None if it cannot be opened."""
    try:
        return frozenset({((0, 0), b""), *(_mask(face, each) for each in _ABSENT)})
    except OSError:
        return None


def _mask(face: Face, each: str) -> tuple[tuple[int, int], bytes]:
    mask = opened(face, _PROBE).getmask(each)
    return mask.size, bytes(mask) if all(mask.size) else b""


@cache
def _strike(face: Face) -> ImageFont.FreeTypeFont | None:
    """Return an emoji font at a size that it has; None if none can be opened."""
    for size in _STRIKES:
        try:
            return opened(face, size)
        except OSError:
            continue
    return None


@lru_cache(maxsize=512)
def emoji_tile(face: Face, cluster: str) -> Image.Image:
    """Return one emoji in colour, RGBA, cut to what is drawn; 1 × 1 if the font draws nothing."""
    font = _strike(face)
    empty = Image.new("RGBA", (1, 1))
    if font is None:
        return empty
    try:
        left, top, right, bottom = font.getbbox(cluster)
    except ValueError:  # of an invisible character, shaping leaves no glyph if the font has no space
        return empty
    if right <= left or bottom <= top:
        return empty
    tile = Image.new("RGBA", (int(right - left) + 4, int(bottom - top) + 4))
    ImageDraw.Draw(tile).text((2 - left, 2 - top), cluster, (0, 0, 0, 255), font, embedded_color=True)
    box = tile.getbbox()
    return tile.crop(box) if box else empty


def _ignorable(each: str) -> bool:
    return unicodedata.category(each) == "Cf" or "\ufe00" <= each <= "\ufe0f"
